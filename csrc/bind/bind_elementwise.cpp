// Python bindings of the kernels that work element by element.
#include "bind/array_args.h"
#include "bind/modules.h"
#include "cpu/parallel.h"
#include "cpu/table.h"

namespace minivae {
namespace {

// Elements below which a second thread costs more than it brings.
constexpr Index kGrain = 1 << 15;

void adam(const py::object& param, const py::object& grad, const py::object& m, const py::object& v,
          double weight_decay, double one_minus_beta1, double beta2, double one_minus_beta2,
          double step_size, double sqrt_correction, double eps) {
  by_dtype("param", param, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape{any_array("param", param).size()};
    T* p = in_place<T>("param", param, shape);
    const T* g = input<T>("grad", grad, shape);
    T* m1 = in_place<T>("m", m, shape);
    T* m2 = in_place<T>("v", v, shape);
    const std::size_t bytes = static_cast<std::size_t>(shape[0]) * sizeof(T);
    require_disjoint({"param", p, bytes}, {{"grad", g, bytes}, {"m", m1, bytes}, {"v", m2, bytes}});
    require_disjoint({"m", m1, bytes}, {{"grad", g, bytes}, {"v", m2, bytes}});
    require_disjoint({"v", m2, bytes}, {{"grad", g, bytes}});
    const AdamFactors<T> factors{T(weight_decay), T(one_minus_beta1), T(beta2), T(one_minus_beta2),
                                 T(step_size), T(sqrt_correction), T(eps)};
    py::gil_scoped_release release;
    parallel_for(shape[0], kGrain, [&](Index begin, Index end) {
      kernels<T>().adam(p, g, m1, m2, factors, begin, end);
    });
  });
}

// dtype is an empty array of the dtype wanted: the caller's np.empty has parsed the shape.
void uniform(const py::object& out, std::uint64_t seed, std::uint64_t offset) {
  by_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("out", out));
    T* data = in_place<T>("out", out, shape);
    py::gil_scoped_release release;
    parallel_for(count(shape), kGrain, [&](Index begin, Index end) {
      kernels<T>().uniform({seed, offset}, data, begin, end);
    });
  });
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("adam", &adam);
  module.def("uniform", &uniform);
}

}  // namespace minivae
