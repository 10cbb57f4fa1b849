// Python bindings of the reparameterised Gaussian and its KL divergence.
#include "bind/cpu/modules.h"
#include "bind/cpu/noise_arg.h"
#include "bind/cpu/ranges.h"
#include "cpu/table.h"

namespace minivae {
namespace {

py::object reparam_kl_forward(const py::object& mu, const py::object& logvar, const py::object& noise) {
  return by_dtype("mu", mu, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_with("mu", mu, 2);
    const T* m = input<T>("mu", mu, shape);
    const T* l = input<T>("logvar", logvar, shape);
    const NoiseArg<T> n(noise, shape);
    py::array_t<T> z = result<T>(shape), kl = result<T>({shape[0]});
    T *z_data = z.mutable_data(), *kl_data = kl.mutable_data();
    const Index D = shape[1];
    over_rows({mu, logvar, n.array}, shape[0], D, [=, eps = n.eps, key = n.key()](Index first, Index last) {
      kernels<T>().reparam_kl_forward(m, l, eps, key(), z_data, kl_data, D, first, last);
    });
    return py::make_tuple(z, kl);
  });
}

py::object reparam_kl_backward(const py::object& mu, const py::object& logvar, const py::object& noise,
                               const py::object& dz, const py::object& dkl) {
  return by_dtype("mu", mu, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_with("mu", mu, 2);
    const T* m = input<T>("mu", mu, shape);
    const T* l = input<T>("logvar", logvar, shape);
    const NoiseArg<T> n(noise, shape);
    const T* gz = input<T>("dz", dz, shape);
    const T* gk = input<T>("dkl", dkl, {shape[0]});
    py::array_t<T> dmu = result<T>(shape), dlogvar = result<T>(shape);
    T *gm = dmu.mutable_data(), *gl = dlogvar.mutable_data();
    const Index D = shape[1];
    over_rows({mu, logvar, n.array, dz, dkl}, shape[0], D,
              [=, eps = n.eps, key = n.key()](Index first, Index last) {
                kernels<T>().reparam_kl_backward(m, l, eps, key(), gz, gk, gm, gl, D, first, last);
              });
    return py::make_tuple(dmu, dlogvar);
  });
}

}  // namespace

void bind_reparam_kl(py::module_& module) {
  module.def("reparam_kl_forward", &reparam_kl_forward);
  module.def("reparam_kl_backward", &reparam_kl_backward);
}

}  // namespace minivae
