// One dimension of a convolution from its arguments, checked: shared by the CPU's and CUDA's bindings.
#pragma once

#include <algorithm>
#include <array>
#include <string>

#include "bind/array_args.h"
#include "common/conv_shape.h"

namespace minivae {

using Pair = std::array<Index, 2>;  // height, width

// The largest size, stride, padding or dilation: with it no product of two of them leaves 64 bits.
constexpr Index kLargest = (Index(1) << 31) - 1;

// One dimension, the sizes checked: `output` may be smaller than what the input gives, then the last
// rows of the input meet nothing.
inline ConvAxis conv_axis(int i, Index input, Index kernel, const Pair& stride, const Pair& padding,
                          const Pair& dilation, Index output = -1) {
  static const char* const names[] = {"height", "width"};
  const Index s = stride[i], p = padding[i], d = dilation[i];
  if (kernel < 1 || s < 1 || p < 0 || d < 1) {
    throw py::value_error("kernel, stride and dilation must be at least 1 and padding at least 0, got " +
                          to_text({kernel, s, d, p}) + " for the " + names[i]);
  }
  if (input < 0 || std::max({input, output, kernel, s, p, d}) > kLargest) {
    throw py::value_error("sizes of a convolution must be in [0, " + std::to_string(kLargest) +
                          "], got input, output, kernel, stride, padding, dilation " +
                          to_text({input, output, kernel, s, p, d}) + " for the " + names[i]);
  }
  const Index full = conv_output_size(input, kernel, s, p, d);
  if (full < 1 || output > full) {
    throw py::value_error(std::string(names[i]) + " " + std::to_string(input) + " with kernel " +
                          std::to_string(kernel) + ", stride " + std::to_string(s) + ", padding " +
                          std::to_string(p) + " and dilation " + std::to_string(d) + " gives " +
                          std::to_string(full) + ", expected at least " +
                          std::to_string(std::max<Index>(1, output)));
  }
  // A stride past the padded input gives one output whatever its size, but work space is laid out for it.
  return {input, output < 0 ? full : output, kernel, std::min(s, input + 2 * p), p, d};
}

}  // namespace minivae
