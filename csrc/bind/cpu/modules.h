// The parts of the CPU module: each function adds the kernels of one file. A kernel takes the arguments that
// it has in minivae.kernels.reference; minivae/kernels/cpu.py states them.
#pragma once

#include <pybind11/pybind11.h>

namespace minivae {

void bind_arithmetic(pybind11::module_& module);
void bind_conv(pybind11::module_& module);
void bind_elementary(pybind11::module_& module);
void bind_layers(pybind11::module_& module);
void bind_losses(pybind11::module_& module);
void bind_matmul(pybind11::module_& module);
void bind_noise(pybind11::module_& module);
void bind_parallel(pybind11::module_& module);
void bind_reparam_kl(pybind11::module_& module);
void bind_tape(pybind11::module_& module);
void bind_training(pybind11::module_& module);

}  // namespace minivae
