// Checks of the two factors of a matrix product, shared by the CPU's and CUDA's bindings.
#pragma once

#include <algorithm>
#include <string>

#include "bind/array_args.h"
#include "common/matrix.h"

namespace minivae {

template <class T>
struct MatrixArg {
  const char* name;
  Index rows, cols;
  Matrix<T> view;

  // `strides` in bytes.
  MatrixArg(const char* label, const void* data, const Shape& shape, const Shape& strides)
      : name(label), rows(shape[0]), cols(shape[1]) {
    constexpr Index size = sizeof(T);
    require_aligned(name, data, alignof(T));
    if (strides[0] % size || strides[1] % size) {
      throw py::value_error(
          expected(name, "strides in multiples of " + std::to_string(size) + " bytes", to_text(strides)));
    }
    view = {static_cast<const T*>(data), strides[0] / size, strides[1] / size};
  }

  // The memory between the first and the last element.
  Extent extent() const {
    if (rows == 0 || cols == 0) return {name, view.p, 0};
    const Index down = (rows - 1) * view.row, across = (cols - 1) * view.col;
    const T* first = view.p + std::min<Index>(down, 0) + std::min<Index>(across, 0);
    const T* last = view.p + std::max<Index>(down, 0) + std::max<Index>(across, 0);
    return {name, first, static_cast<std::size_t>(last - first + 1) * sizeof(T)};
  }
};

template <class T>
void require_product(const MatrixArg<T>& a, const MatrixArg<T>& b) {
  if (a.cols == b.rows) return;
  throw py::value_error(expected("matmul", "a (M, K) and b (K, N)",
                                 "a " + to_text({a.rows, a.cols}) + " and b " + to_text({b.rows, b.cols})));
}

}  // namespace minivae
