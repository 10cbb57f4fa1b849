// Which elements of an image meet which weights: integer arithmetic, one dimension at a time.
//
// A convolution with stride s reads input o * s + k * dilation - padding for output o and tap k. Split the
// input into s phases, every s-th element each: then o and o + 1 read neighbours of one phase, the tap
// k * dilation = phase + s * shift reads phase element o + shift, and stride and dilation are gone.
#pragma once

#include <vector>

#include "common/conv_shape.h"

namespace minivae {

// Element i of phase p is element start[p] + i * step of the image, or 0 where that lies outside [0, size).
struct Phases {
  Index size, step, count;
  std::vector<Index> start;
};

// For a convolution: tap k reads element o + shift[k] of phase[k].
struct ConvTaps {
  std::vector<Index> remainder;  // the phases that some tap reads, as k * dilation modulo stride
  std::vector<Index> phase, shift;
  Index reach = 0;  // the largest shift

  // What outputs [first, first + outputs) read.
  Phases inputs(const ConvAxis& axis, Index first, Index outputs) const;
};
ConvTaps conv_taps(const ConvAxis& axis);

// For the adjoint in the input: inputs i * stride + remainder - padding, first <= i < last, are sums over the
// taps listed here of weight tap[t] times output i - shift[t].
struct AdjointPhase {
  Index first, last;
  std::vector<Index> tap, shift;
};
struct AdjointTaps {
  std::vector<AdjointPhase> phase;  // one per remainder
  Index first, last;                // the range of i over all phases
  Index reads_first, reads_last;    // the range of outputs they read, zeros outside included
  Index reach;                      // the largest shift
};
AdjointTaps adjoint_taps(const ConvAxis& axis);

// How many images, and how many rows of each, one thread processes at a time, so that its work space of
// `row_bytes` per row stays in L2: whole images if several fit, else part of one; in blocks of equal size.
struct ConvBlock {
  Index images, rows;
};
ConvBlock conv_block(Index images, Index rows, Index row_bytes, Index least_blocks);

}  // namespace minivae
