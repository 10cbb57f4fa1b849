// A convolution, or one of the parts that its adjoint in the input falls into, as a matrix product
//
//   out[channel, position] = sum over (other channel, tap) of weight x image
//
// whose right operand is never written: an element of it is an element of an image, or a zero of the
// padding. Both directions are the same along each axis. With position p and tap t counted from 0:
//
//   it reads image coordinate     p scale + offset + t tap_step
//   by the kernel's element       kernel_first + t kernel_step
//   for the output's coordinate   out_first + p out_step
//
// The convolution itself is one part: p goes over the outputs, t over the kernel. Of its adjoint there
// is one for each remainder r of the input coordinate modulo the stride, because input i = r + p s
// meets tap k only where r + padding - k dilation is a multiple of s: every (gcd)th tap of the kernel,
// at output p + (r + padding - k dilation) / s. No product with a zero between strides is ever made.
#pragma once

#include <numeric>
#include <vector>

#include "common/conv_shape.h"
#include "cuda/divisor.h"

namespace minivae {

struct PartAxis {
  int size;  // of the images that are read
  int scale, offset;
  int taps, tap_step;
  int kernel_first, kernel_step;
  int positions, out_first, out_step;
};

inline PartAxis forward_axis(const ConvAxis& a) {
  const auto i = [](Index x) {
    return static_cast<int>(x);
  };  // sizes are at most 2^30, which the bindings check
  return {i(a.input), i(a.stride), -i(a.padding), i(a.kernel), i(a.dilation), 0, 1, i(a.output), 0, 1};
}

// For the inputs of remainder r < min(stride, input). It has no taps where no output reaches them.
inline PartAxis adjoint_axis(const ConvAxis& a, Index r) {
  const Index s = a.stride, step = s / std::gcd(s, a.dilation);
  Index first = 0;
  while (first < a.kernel && first < step && (r + a.padding - first * a.dilation) % s != 0) ++first;
  const bool none = first == a.kernel || first == step;
  PartAxis part{};
  part.size = static_cast<int>(a.output);
  part.scale = 1;
  part.taps = none ? 0 : static_cast<int>((a.kernel - 1 - first) / step + 1);
  part.offset = none ? 0 : static_cast<int>((r + a.padding - first * a.dilation) / s);
  part.tap_step = -static_cast<int>(step * a.dilation / s);
  part.kernel_first = static_cast<int>(first);
  part.kernel_step = static_cast<int>(step);
  part.positions = static_cast<int>(ceil_div(a.input - r, s));
  part.out_first = static_cast<int>(r);
  part.out_step = static_cast<int>(s);
  return part;
}

// The remainders of an axis that any tap reaches; there are at most as many as taps.
inline std::vector<PartAxis> adjoint_axes(const ConvAxis& a) {
  std::vector<PartAxis> reached;
  for (Index k = 0; k < a.kernel; ++k) {
    const Index r = ((k * a.dilation - a.padding) % a.stride + a.stride) % a.stride;
    bool known = r >= a.input;
    for (const PartAxis& part : reached) known = known || part.out_first == r;
    if (!known) reached.push_back(adjoint_axis(a, r));
  }
  return reached;
}

template <class T>
struct ConvPart {
  PartAxis h, w;
  const T* images;  // (N, channels, h.size, w.size)
  const T* weights;
  T* out;  // (N, rows, out_height, out_width)
  Index rows, channels, kernel_width;
  Index weight_row, weight_channel;  // strides of the weights
  Index out_height, out_width;
  bool wide;                    // kWide<T> neighbouring positions are 16 bytes of `out`
  Index positions, depth;       // columns of the product, and what is summed over
  Divisor by_plane, by_width;   // position -> image, row, column
  Divisor by_taps, by_tap_row;  // depth -> channel, tap, its row and column
};

template <class T>
ConvPart<T> conv_part(const PartAxis& h, const PartAxis& w, Index images, Index rows, Index channels) {
  const auto divisor = [](Index d) { return Divisor(d > 0 ? d : 1); };
  ConvPart<T> part{};
  part.h = h;
  part.w = w;
  part.rows = rows;
  part.channels = channels;
  const Index plane = Index(h.positions) * w.positions, taps = Index(h.taps) * w.taps;
  part.positions = images * plane;
  part.depth = channels * taps;
  part.by_plane = divisor(plane);
  part.by_width = divisor(w.positions);
  part.by_taps = divisor(taps);
  part.by_tap_row = divisor(w.taps);
  return part;
}

// ---- where the elements lie --------------------------------------------------------------------------

struct PositionPlace {
  Index image, row, col;
};

template <class T>
MV_HD PositionPlace place_of_position(const ConvPart<T>& part, Index position) {
  const QuotientRest image = divide(position, part.by_plane);
  const QuotientRest row = divide(image.rest, part.by_width);
  return {image.quotient, row.quotient, row.rest};
}

// A row outside of every image, whichever is added to it: all are within 2^30.
constexpr int kOutside = -(1 << 30);

// What a position reads: `at` is the element of channel 0 for tap 0, and that tap's place in the image,
// which may be beside it.
template <class T>
struct alignas(16) Spot {
  const T* at;
  int row, col;
};

template <class T>
MV_HD Spot<T> spot_of(const ConvPart<T>& part, Index position) {
  const PositionPlace p = place_of_position(part, position);
  const int row = static_cast<int>(p.row) * part.h.scale + part.h.offset;
  const int col = static_cast<int>(p.col) * part.w.scale + part.w.offset;
  const Index first = p.image * part.channels * part.h.size;
  return {part.images + (first + row) * part.w.size + col, row, col};
}

// A tap, counted over the channels: how far its element is from a spot's, its rows and columns too, and
// its weight from the first of a row of weights. 32 bits are enough, which the bindings check.
struct alignas(16) Tap {
  int offset, row, col, weight;
};

template <class T>
MV_HD Tap tap_of(const ConvPart<T>& part, Index k) {
  const QuotientRest channel = divide(k, part.by_taps);
  const QuotientRest place = divide(channel.rest, part.by_tap_row);
  const int i = static_cast<int>(place.quotient), j = static_cast<int>(place.rest);
  const int row = i * part.h.tap_step, col = j * part.w.tap_step;
  const Index offset = (channel.quotient * part.h.size + row) * part.w.size + col;
  const Index kernel_row = part.h.kernel_first + i * part.h.kernel_step;
  const Index kernel_col = part.w.kernel_first + j * part.w.kernel_step;
  const Index weight = channel.quotient * part.weight_channel + kernel_row * part.kernel_width + kernel_col;
  return {static_cast<int>(offset), row, col, static_cast<int>(weight)};
}

}  // namespace minivae
