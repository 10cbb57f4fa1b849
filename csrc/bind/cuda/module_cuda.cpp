// The module minivae._cuda: CUDA kernels on arrays that are on a GPU. Importing it asks nothing of
// the driver, so it works on a machine that has none. Built by g++ with MINIVAE_EMULATED it is
// _cuda_emulated, the same module with the CPU in place of the GPU, for tests.
#include <pybind11/pybind11.h>

#include "bind/cuda/modules.h"
#include "cuda/device.h"

namespace py = pybind11;

#if defined(MINIVAE_EMULATED)
PYBIND11_MODULE(_cuda_emulated, module) {
  minivae::bind_emulator(module);
  module.attr("emulated") = true;
#else
PYBIND11_MODULE(_cuda, module) {
  module.attr("emulated") = false;
#endif
  using namespace minivae;
  module.doc() = "Compiled CUDA kernels. minivae.kernels.cuda is their Python face.";
  module.attr("compiler") = compiler();
  module.attr("architectures") = architectures();
  module.attr("VERSIONS") = py::dict();  // the highest version of each kernel that has several
  module.def(
      "device",
      [] {
        const DeviceInfo d = device_info(current_device());
        py::dict info;
        info["number"] = d.number;
        info["name"] = d.name;
        info["compute_capability"] = py::make_tuple(d.major, d.minor);
        info["multiprocessors"] = d.multiprocessors;
        info["memory"] = d.memory;
        info["l2_cache"] = d.l2_cache;
        return info;
      },
      "The current device; RuntimeError with CUDA's reason when there is none.");
  bind_conv(module);
  bind_layers(module);
  bind_losses(module);
  bind_noise(module);
  bind_matmul(module);
  bind_reparam_kl(module);
  bind_training(module);
}
