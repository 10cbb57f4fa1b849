// The module _cuda_emulated: minivae._cuda with the CPU in place of the GPU, and with `emulator`.
#include "bind/cuda/modules.h"

namespace minivae {
void bind_emulator(pybind11::module_& module);
}

PYBIND11_MODULE(_cuda_emulated, module) {
  minivae::bind_cuda(module);
  minivae::bind_emulator(module);
}
