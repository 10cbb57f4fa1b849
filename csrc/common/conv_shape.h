// What a convolution is, for the CPU's and CUDA's kernels and their bindings.
#pragma once

#include "common/host_device.h"

namespace minivae {

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
