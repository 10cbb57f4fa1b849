// Checks the arguments of a convolution for one dimension, height or width; the CPU's and CUDA's bindings
// share it.
#pragma once

#include <algorithm>
#include <array>
#include <string>

#include "bind/array_args.h"
#include "common/conv_shape.h"

namespace minivae {

using Pair = std::array<Index, 2>;  // height, width

// The largest size, stride, padding or dilation. The product of two such numbers fits in 64 bits.
constexpr Index kLargest = (Index(1) << 31) - 1;

// Dimension i of a convolution. `output` may be smaller than the size that the input gives; then the last
// rows of the input are not read. Without `output` it is that size.
inline ConvAxis conv_axis(int i, Index input, Index kernel, const Pair& stride, const Pair& padding,
                          const Pair& dilation, Index output = -1) {
  const char* const name = i == 0 ? "height" : "width";
  const Index s = stride[i], p = padding[i], d = dilation[i];
  const auto given = [&] {
    return "input " + std::to_string(input) + ", kernel " + std::to_string(kernel) + ", stride " +
           std::to_string(s) + ", padding " + std::to_string(p) + ", dilation " + std::to_string(d) +
           (output == -1 ? "" : ", output " + std::to_string(output));
  };
  if (kernel < 1 || s < 1 || p < 0 || d < 1) {
    throw py::value_error(
        expected(name, "kernel, stride and dilation of at least 1 and padding of at least 0", given()));
  }
  if (input < 0 || std::max({input, output, kernel, s, p, d}) > kLargest) {
    throw py::value_error(expected(name, "sizes in [0, " + std::to_string(kLargest) + "]", given()));
  }
  const Index full = conv_output_size(input, kernel, s, p, d);
  if (full < 1 || output > full) {
    throw py::value_error(expected(name,
                                   "an output size of at least " + std::to_string(std::max<Index>(1, output)),
                                   std::to_string(full) + " from " + given()));
  }
  // A stride larger than the padded input gives one output however large it is. It is reduced because the
  // size of the work space depends on it.
  return {input, output < 0 ? full : output, kernel, std::min(s, input + 2 * p), p, d};
}

}  // namespace minivae
