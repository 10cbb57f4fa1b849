// The module minivae._cuda: CUDA kernels on arrays that are on a GPU. Importing it asks nothing of
// the driver, so it works on a machine that has none.
#include "bind/cuda/modules.h"

PYBIND11_MODULE(_cuda, module) {
  minivae::bind_cuda(module);
}
