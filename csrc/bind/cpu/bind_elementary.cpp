// Python bindings of parts of csrc/math alone, for tests.
#include <utility>

#include "bind/cpu/recorder.h"
#include "bind/cpu/modules.h"
#include "cpu/table.h"

namespace minivae {
namespace {

template <Elementary function>
py::object elementary(const py::object& x) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("x", x));
    const T* data = input<T>("x", x, shape);
    py::array_t<T> y = result<T>(shape);
    kernels<T>().elementary(function, data, y.mutable_data(), 0, count(shape));
    return std::move(y);
  });
}

// Words (K, 2) to normal numbers out (K, 2).
template <bool kFast>
void box_muller_pairs(const py::object& words, const py::object& out) {
  const std::uint32_t* w = input<std::uint32_t>("words", words, {kAny, 2});
  const Shape shape = shape_of(any_array("words", words));
  by_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const auto pairs = kFast ? kernels<T>().fast_box_muller_pairs : kernels<T>().box_muller_pairs;
    pairs(w, in_place<T>("out", out, shape), 0, shape[0]);
  });
}

py::tuple noise_block(std::uint64_t seed, std::uint64_t offset, std::uint64_t block) {
  const Words4 w = noise_words({seed, offset}, block);
  return py::make_tuple(w.w0, w.w1, w.w2, w.w3);
}

}  // namespace

void bind_elementary(py::module_& module) {
  py::module_ tests = module.def_submodule("elementary", "Parts of csrc/math alone, for tests.");
  tests.def("exp", &elementary<Elementary::kExp>);
  tests.def("expm1", &elementary<Elementary::kExpm1>);
  tests.def("log", &elementary<Elementary::kLog>);
  tests.def("log1p", &elementary<Elementary::kLog1p>);
  tests.def("exp_of_negative", &elementary<Elementary::kExpOfNegative>);
  tests.def("exp_half", &elementary<Elementary::kExpHalf>);
  tests.def("expm1_by_half", &elementary<Elementary::kExpm1ByHalf>);
  tests.def("fast_exp_half", &elementary<Elementary::kFastExpHalf>);
  tests.def("fast_expm1_by_half", &elementary<Elementary::kFastExpm1ByHalf>);
  tests.def("log1p_of_fraction", &elementary<Elementary::kLog1pOfFraction>);
  tests.def("box_muller", &box_muller_pairs<false>);
  tests.def("fast_box_muller", &box_muller_pairs<true>);
  tests.def("noise_block", &noise_block);
}

}  // namespace minivae
