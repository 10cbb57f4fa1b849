// The parts of the module: each adds its functions, and bind_cuda all of them. Arguments of a kernel are those of
// minivae.kernels.reference, then its outputs, then a version where there are several, then the
// stream's handle as an integer; minivae/kernels/cuda.py calls them.
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
