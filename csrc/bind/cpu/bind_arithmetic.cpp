// Python bindings of sums and products of arrays.
#include <utility>

#include "bind/cpu/modules.h"
#include "bind/cpu/ranges.h"
#include "cpu/table.h"

namespace minivae {
namespace {

py::object add(const py::object& a, const py::object& b) {
  return by_dtype("a", a, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("a", a));
    const T *left = input<T>("a", a, shape), *right = input<T>("b", b, shape);
    py::array_t<T> y = result<T>(shape);
    T* sum = y.mutable_data();
    over_rows({a, b}, count(shape), 1,
              [=](Index begin, Index end) { kernels<T>().add(left, right, sum, begin, end); });
    return std::move(y);
  });
}

void scale_rows(const py::object& x, const py::object& factors) {
  by_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = shape_with("x", x, 2);
    T* rows = in_place<T>("x", x, shape);
    const T* by = input<T>("factors", factors, {shape[0]});
    const Index M = shape[1];
    over_rows({x, factors}, shape[0], M,
              [=](Index first, Index last) { kernels<T>().scale_rows(rows, by, M, first, last); });
  });
}

}  // namespace

void bind_arithmetic(py::module_& module) {
  module.def("add", &add);
  module.def("scale_rows", &scale_rows);
}

}  // namespace minivae
