// What the matrix and image kernels take: plain descriptions, shared by every instruction set.
#pragma once

#include "common/host_device.h"

namespace minivae {

// A matrix of any strides, counted in elements: element (i, j) is at p[i * row + j * col].
template <class T>
struct Matrix {
  const T* p;
  Index row, col;

  __attribute__((always_inline)) const T* at(Index i, Index j) const { return p + i * row + j * col; }
};

// One spatial dimension of a convolution: output o reads input o * stride + k * dilation - padding for each
// k < kernel.
struct ConvAxis {
  Index input, output, kernel, stride, padding, dilation;
};

// y (N, O, h.output, w.output) from x (N, C, h.input, w.input) by weights (O, C, h.kernel, w.kernel).
struct ConvShape {
  Index N, C, O;
  ConvAxis h, w;
};

}  // namespace minivae
