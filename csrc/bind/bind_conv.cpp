// Python bindings of the kernels behind the layers: matrix products, convolutions, batch normalisation.
#include <algorithm>

#include "bind/array_args.h"
#include "bind/modules.h"
#include "cpu/parallel.h"
#include "cpu/table.h"

namespace minivae {
namespace {

// A matrix of any strides that are whole elements.
template <class T>
Matrix<T> matrix(const char* name, const py::object& value, Index* rows, Index* cols) {
  const py::array a = any_array(name, value);
  if (!holds<T>(a)) {
    throw py::type_error(std::string(name) + " must be " + dtype_name<T>() + " in native byte order, got " +
                         std::string(py::str(a.dtype().attr("str"))));
  }
  if (a.ndim() != 2) {
    throw py::value_error(std::string(name) + " must have 2 dimensions, got shape " + to_text(shape_of(a)));
  }
  const Index size = sizeof(T);
  if (a.strides(0) % size || a.strides(1) % size ||
      reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) != 0) {
    throw py::value_error(std::string(name) + " must be aligned to its elements");
  }
  *rows = a.shape(0);
  *cols = a.shape(1);
  return {static_cast<const T*>(a.data()), a.strides(0) / size, a.strides(1) / size};
}

// The memory between the first and the last element.
template <class T>
Extent extent_of(const char* name, const Matrix<T>& m, Index rows, Index cols) {
  if (rows == 0 || cols == 0) return {name, m.p, 0};
  const Index down = (rows - 1) * m.row, across = (cols - 1) * m.col;
  const T* first = m.p + std::min<Index>(down, 0) + std::min<Index>(across, 0);
  const T* last = m.p + std::max<Index>(down, 0) + std::max<Index>(across, 0);
  return {name, first, static_cast<std::size_t>(last - first + 1) * sizeof(T)};
}

py::object matmul(const py::object& a, const py::object& b, const py::object& bias, const py::object& out) {
  return by_dtype("a", a, [&](auto zero) -> py::object {
    using T = decltype(zero);
    Index M, N, K, inner;
    const Matrix<T> left = matrix<T>("a", a, &M, &K), right = matrix<T>("b", b, &inner, &N);
    if (K != inner) {
      throw py::value_error("a (" + std::to_string(M) + ", " + std::to_string(K) + ") and b (" +
                            std::to_string(inner) + ", " + std::to_string(N) + ") do not fit: the columns of " +
                            "a must be as many as the rows of b");
    }
    const T* columns = bias.is_none() ? nullptr : input<T>("bias", bias, {N});
    py::object result = out;
    if (out.is_none()) result = output<T>({M, N});
    T* c = in_place<T>("out", result, {M, N});
    if (!out.is_none()) {
      require_disjoint({"out", c, static_cast<std::size_t>(M * N) * sizeof(T)},
                       {extent_of("a", left, M, K), extent_of("b", right, K, N),
                        {"bias", columns, columns ? static_cast<std::size_t>(N) * sizeof(T) : 0}});
    }
    py::gil_scoped_release release;
    kernels<T>().gemm(M, N, K, left, right, columns, c);
    return result;
  });
}

}  // namespace

void bind_conv(py::module_& module) {
  module.def("matmul", &matmul);
}

}  // namespace minivae
