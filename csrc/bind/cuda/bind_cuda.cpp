// Adds all parts of the CUDA extension to its module, and what describes the build and the device.
#include "bind/cuda/modules.h"
#include "bind/interface.h"
#include "cuda/device.h"

namespace py = pybind11;

namespace minivae {

void bind_cuda(py::module_& module) {
  module.doc() = "Compiled CUDA kernels. minivae.kernels.cuda calls them.";
  module.attr("INTERFACE") = kInterface;
  module.attr("compiler") = compiler();
  module.attr("architectures") = architectures();
  module.attr("VERSIONS") = py::dict();          // the highest version of each kernel that has several
  module.attr("FLOAT64_VERSIONS") = py::dict();  // of those that have fewer for float64
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

}  // namespace minivae
