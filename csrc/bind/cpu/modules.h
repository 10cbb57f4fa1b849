// The parts of the CPU module: each function adds the kernels of one file.
#pragma once

#include <pybind11/pybind11.h>

namespace minivae {

void bind_elementwise(pybind11::module_& module);
void bind_matmul(pybind11::module_& module);
void bind_conv(pybind11::module_& module);
void bind_layers(pybind11::module_& module);
void bind_parallel(pybind11::module_& module);
void bind_tape(pybind11::module_& module);

}  // namespace minivae
