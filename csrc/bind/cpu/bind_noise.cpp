// Python bindings that fill arrays with uniform or normal noise.
#include "bind/cpu/modules.h"
#include "bind/cpu/noise_arg.h"
#include "bind/cpu/ranges.h"
#include "cpu/table.h"

namespace minivae {
namespace {

// Fills an array that the caller has just allocated with NumPy, which has checked shape and dtype.
template <class Fill>
void fill(const py::object& out, Fill fill_range) {
  const Shape shape = shape_of(any_array("out", out));
  by_dtype("dtype", out, [&](auto zero) {
    using T = decltype(zero);
    T* data = in_place<T>("out", out, shape);
    over_rows({out}, count(shape), 1, [=](Index begin, Index end) { fill_range(data, begin, end); });
  });
}

void uniform(const py::object& out, const py::object& noise) {
  const NoiseKey key = noise_key(noise);
  fill(out, [=](auto* data, Index begin, Index end) {
    kernels<std::decay_t<decltype(*data)>>().uniform(key, data, begin, end);
  });
}

void normal(const py::object& out, const py::object& noise) {
  const NoiseKey key = noise_key(noise);
  fill(out, [=](auto* data, Index begin, Index end) {
    kernels<std::decay_t<decltype(*data)>>().normal(key, data, begin, end);
  });
}

}  // namespace

void bind_noise(py::module_& module) {
  module.def("uniform", &uniform);
  module.def("normal", &normal);
}

}  // namespace minivae
