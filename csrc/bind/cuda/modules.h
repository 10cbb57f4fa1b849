// The parts of the CUDA module: each function adds the kernels of one file, and bind_cuda calls all of them.
// A kernel takes the arguments that it has in minivae.kernels.reference, then its outputs, then scratch
// memory and a version where it has them, then the stream's handle as an integer. minivae/kernels/cuda.py is
// the caller.
#pragma once

#include <pybind11/pybind11.h>

namespace minivae {

void bind_conv(pybind11::module_& module);
void bind_layers(pybind11::module_& module);
void bind_losses(pybind11::module_& module);
void bind_noise(pybind11::module_& module);
void bind_matmul(pybind11::module_& module);
void bind_reparam_kl(pybind11::module_& module);
void bind_training(pybind11::module_& module);
void bind_cuda(pybind11::module_& module);

}  // namespace minivae
