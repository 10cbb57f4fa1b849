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
    if (strides[0] % size || strides[1] % size || reinterpret_cast<std::uintptr_t>(data) % alignof(T)) {
      throw py::value_error(std::string(name) + " must be aligned to its elements");
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
  throw py::value_error("a (" + std::to_string(a.rows) + ", " + std::to_string(a.cols) + ") and b (" +
                        std::to_string(b.rows) + ", " + std::to_string(b.cols) +
                        ") do not fit: the columns of a must be as many as the rows of b");
}

}  // namespace minivae
