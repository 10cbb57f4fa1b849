// Python bindings of the reparameterised Gaussian and its KL divergence on a GPU.
#include "bind/cuda/device_array_args.h"
#include "bind/cuda/modules.h"
#include "cuda/reparam_kl.h"

namespace minivae {
namespace {

template <class T>
NoiseSource<T> noise_for(int version, DeviceArgs& args, const py::object& noise, const Shape& shape) {
  require_version(version, 1, kReparamKlVersions);
  if (version < kReparamKlDraws && !is_device_array(noise)) {
    throw py::value_error(expected("noise", "an array for a version below " + std::to_string(kReparamKlDraws),
                                   type_name(noise) + " for version " + std::to_string(version)));
  }
  return args.noise_source<T>(noise, shape);
}

void forward(const py::object& mu, const py::object& logvar, const py::object& noise, const py::object& z,
             const py::object& kl, int version, std::uintptr_t stream) {
  by_device_dtype("mu", mu, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("mu", mu, 2);
    DeviceArgs args;
    const T* m = args.input<T>("mu", mu, shape);
    const T* l = args.input<T>("logvar", logvar, shape);
    const NoiseSource<T> n = noise_for<T>(version, args, noise, shape);
    T* out = args.output<T>("z", z, shape);
    T* sums = args.output<T>("kl", kl, {shape[0]});
    reparam_kl_forward<T>(version, m, l, n, out, sums, shape[0], shape[1], stream_of(stream));
  });
}

void backward(const py::object& mu, const py::object& logvar, const py::object& noise, const py::object& dz,
              const py::object& dkl, const py::object& dmu, const py::object& dlogvar, int version,
              std::uintptr_t stream) {
  by_device_dtype("mu", mu, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("mu", mu, 2);
    DeviceArgs args;
    const T* m = args.input<T>("mu", mu, shape);
    const T* l = args.input<T>("logvar", logvar, shape);
    const NoiseSource<T> n = noise_for<T>(version, args, noise, shape);
    const T* gz = args.input<T>("dz", dz, shape);
    const T* gk = args.input<T>("dkl", dkl, {shape[0]});
    T* gm = args.output<T>("dmu", dmu, shape);
    T* gl = args.output<T>("dlogvar", dlogvar, shape);
    reparam_kl_backward<T>(version, m, l, n, gz, gk, gm, gl, shape[0], shape[1], stream_of(stream));
  });
}

}  // namespace

void bind_reparam_kl(py::module_& module) {
  module.def("reparam_kl_forward", &forward);
  module.def("reparam_kl_backward", &backward);
  module.attr("VERSIONS")["reparam_kl_forward"] = kReparamKlVersions;
  module.attr("VERSIONS")["reparam_kl_backward"] = kReparamKlVersions;
  module.attr("DRAWS_NOISE") = kReparamKlDraws;
}

}  // namespace minivae
