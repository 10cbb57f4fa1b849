// A matrix with any strides: the operands of matrix products on the CPU and on a GPU.
#pragma once

#include "common/host_device.h"

namespace minivae {

// A matrix of any strides, counted in elements: element (i, j) is at p[i * row + j * col].
template <class T>
struct Matrix {
  const T* p;
  Index row, col;

  __attribute__((always_inline)) const T* at(Index i, Index j) const { return p + i * row + j * col; }
  Matrix transposed() const { return {p, col, row}; }
};

}  // namespace minivae
