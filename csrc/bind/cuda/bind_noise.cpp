// Python bindings that fill arrays on a GPU with uniform or normal noise.
#include "bind/cuda/device_array_args.h"
#include "bind/cuda/modules.h"
#include "cuda/noise.h"

namespace minivae {
namespace {

// Calls run(noise, data, count) on `out`, an array of any shape.
template <class Run>
void fill(const py::object& out, const py::object& noise, Run run) {
  by_device_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_array("out", out).shape;
    DeviceArgs args;
    const Noise n = args.noise(noise);
    run(n, args.output<T>("out", out, shape), count(shape));
  });
}

}  // namespace

void bind_noise(py::module_& module) {
  module.def("uniform", [](const py::object& out, const py::object& noise, std::uintptr_t stream) {
    fill(out, noise, [&](auto n, auto* data, Index count) { uniform(n, data, count, stream_of(stream)); });
  });
  module.def("normal", [](const py::object& out, const py::object& noise, std::uintptr_t stream) {
    fill(out, noise, [&](auto n, auto* data, Index count) { normal(n, data, count, stream_of(stream)); });
  });
}

}  // namespace minivae
