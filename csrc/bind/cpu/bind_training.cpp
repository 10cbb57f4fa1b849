// Python bindings of what a training step needs beside its model: optimiser and batches.
#include <utility>
#include <vector>

#include "bind/cpu/modules.h"
#include "bind/cpu/noise_arg.h"
#include "bind/cpu/ranges.h"
#include "common/adam_arrays.h"
#include "cpu/table.h"

namespace minivae {
namespace {

template <class T>
AdamArrays<T> adam_arrays(const py::object& param, const py::object& grad, const py::object& m,
                          const py::object& v) {
  const Shape shape = shape_of(any_array("param", param));
  const AdamArrays<T> a{in_place<T>("param", param, shape), input<T>("grad", grad, shape),
                        in_place<T>("m", m, shape), in_place<T>("v", v, shape), count(shape)};
  const std::size_t bytes = static_cast<std::size_t>(a.count) * sizeof(T);
  require_disjoint({"param", a.p, bytes}, {{"grad", a.g, bytes}, {"m", a.m, bytes}, {"v", a.v, bytes}});
  require_disjoint({"m", a.m, bytes}, {{"grad", a.g, bytes}, {"v", a.v, bytes}});
  require_disjoint({"v", a.v, bytes}, {{"grad", a.g, bytes}});
  return a;
}

double number(const char* name, const py::object& value) {
  try {
    return value.cast<double>();
  } catch (const py::cast_error&) {
    throw py::type_error(expected(name, "a number or an array of one", py::repr(value)));
  }
}

// Every parameter is checked before the first one changes. `lr` is a number or an array of one; the number in the
// array `counter`, if there is one, is added to the step. Both are read when the kernel runs.
void adam(const py::sequence& params, const py::sequence& grads, const py::sequence& ms,
          const py::sequence& vs, Index step, const py::object& lr, double beta1, double beta2, double eps,
          double weight_decay, const py::object& counter) {
  const py::tuple p(params), g(grads), m(ms), v(vs);  // copies, because the lists may change meanwhile
  require_one_length(p, g, m, v);
  if (p.empty()) return;
  const bool told = py::isinstance<py::array>(lr);
  const double* rate_now = told ? input<double>("lr", lr, {1}) : nullptr;
  const double rate = told ? 0 : number("lr", lr);
  const std::uint64_t* moved = counter.is_none() ? nullptr : input<std::uint64_t>("counter", counter, {1});
  by_dtype("param", p[0], [&](auto zero) {
    using T = decltype(zero);
    std::vector<AdamArrays<T>> all;
    std::vector<py::object> arrays{counter};
    if (told) arrays.push_back(lr);
    for (std::size_t i = 0; i < p.size(); ++i) {
      all.push_back(adam_arrays<T>(p[i], g[i], m[i], v[i]));
      arrays.insert(arrays.end(), {p[i], g[i], m[i], v[i]});
    }
    const AdamSettings settings{beta1, beta2, eps, weight_decay};
    launch(arrays, [=, all = std::move(all)] {
      const double t = static_cast<double>(step) + (moved ? static_cast<double>(*moved) : 0);
      const AdamFactors<T> factors = adam_factors<T>(t, rate_now ? *rate_now : rate, settings);
      for (const AdamArrays<T>& a : all) {
        parallel_for(a.count, kGrain, [&](Index begin, Index end) {
          kernels<T>().adam(a.p, a.g, a.m, a.v, factors, begin, end);
        });
      }
    });
  });
}

py::object gather_pixels(const py::object& images, const py::object& index, const py::object& dtype,
                         const py::object& noise) {
  const py::array all = array_arg<std::uint8_t>("images", images);
  if (all.ndim() == 0) throw py::value_error(expected("images", "shape (N, ...)", "()"));
  const std::int64_t* rows = input<std::int64_t>("index", index, {kAny});
  const Index batch = any_array("index", index).size();
  for (Index i = 0; i < batch; ++i) {
    if (rows[i] < 0 || rows[i] >= all.shape(0)) {
      throw py::index_error(
          expected("index", "numbers in [0, " + std::to_string(all.shape(0)) + ")", std::to_string(rows[i])));
    }
  }
  Shape shape = shape_of(all);
  shape[0] = batch;
  const Index size = count(Shape(shape.begin() + 1, shape.end()));
  const bool draw = !noise.is_none();
  const NoiseKey key = draw ? noise_key(noise) : NoiseKey{};
  const auto* pixels = static_cast<const std::uint8_t*>(all.data());
  return by_dtype("dtype", py::array(py::dtype::from_args(dtype), 0), [&](auto zero) -> py::object {
    using T = decltype(zero);
    py::array_t<T> out = result<T>(shape);
    T* to = out.mutable_data();
    over_rows({images, index}, batch, size, [=](Index first, Index last) {
      kernels<T>().gather_pixels(pixels, rows, draw, key, to, size, first, last);
    });
    return std::move(out);
  });
}

}  // namespace

void bind_training(py::module_& module) {
  module.def("adam", &adam);
  module.def("gather_pixels", &gather_pixels);
}

}  // namespace minivae
