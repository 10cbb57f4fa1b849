// The sizes of a convolution, for the CPU's and CUDA's kernels and their bindings.
#pragma once

#include "common/host_device.h"

namespace minivae {

// One spatial dimension of a convolution: output o reads input o * stride + k * dilation - padding for each
// k < kernel.
struct ConvAxis {
  Index input, output, kernel, stride, padding, dilation;
};

// How many outputs an axis has: 0 where the kernel reaches beyond the padded input. stride >= 1.
constexpr Index conv_output_size(Index input, Index kernel, Index stride, Index padding, Index dilation) {
  const Index left = input + 2 * padding - dilation * (kernel - 1) - 1;
  return left < 0 ? 0 : left / stride + 1;
}

// y (N, O, h.output, w.output) from x (N, C, h.input, w.input) by weights (O, C, h.kernel, w.kernel).
struct ConvShape {
  Index N, C, O;
  ConvAxis h, w;
};

}  // namespace minivae
