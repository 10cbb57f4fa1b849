// The parts of a convolution (conv_part.h) as the argument of one launch, and where blocks write.
#pragma once

#include <vector>

#include "cuda/conv_part.h"
#include "cuda/epilogue.cuh"
#include "cuda/launch.h"
#include "cuda/vector.cuh"

namespace minivae {

constexpr int kMostParts = 4;  // of a launch: those of stride 2

template <class T>
struct ConvParts {
  int count;
  Index first_block[kMostParts];
  ConvPart<T> part[kMostParts];
};

// Which part a block belongs to.
template <class T>
__device__ int part_of_block(const ConvParts<T>& parts) {
  int number = 0;
  while (number + 1 < parts.count && blockIdx.x >= parts.first_block[number + 1]) ++number;
  return number;
}

// Where the part's output begins that `position` makes; channels are a plane of out apart.
template <class T>
__device__ T* output_of(const ConvPart<T>& part, Index position) {
  const PositionPlace p = place_of_position(part, position);
  const Index i = part.h.out_first + p.row * part.h.out_step, j = part.w.out_first + p.col * part.w.out_step;
  return part.out + (p.image * part.rows * part.out_height + i) * part.out_width + j;
}

template <class T>
bool stores_wide(const ConvPart<T>& part) {
  const bool whole = part.h.out_step == 1 && part.w.out_step == 1 && part.h.positions == part.out_height &&
                     part.w.positions == part.out_width;
  return whole && part.by_plane.d % kWide<T> == 0 && all_aligned(part.out);
}

// A kernel whose blocks of `threads` make `rows` x `positions` of a part.
template <class T>
void launch_parts(void (*kernel)(ConvParts<T>, Epilogue<T>), int threads, Index rows, Index positions,
                  const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  for (std::size_t first = 0; first < all.size(); first += kMostParts) {
    ConvParts<T> parts{};
    Index blocks = 0;
    for (std::size_t i = first; i < all.size() && i < first + kMostParts; ++i) {
      parts.part[parts.count] = all[i];
      parts.part[parts.count].wide = stores_wide(all[i]);
      parts.first_block[parts.count++] = blocks;
      blocks += ceil_div(all[i].rows, rows) * ceil_div(all[i].positions, positions);
    }
    launch(kernel, checked_grid(blocks, threads), stream, parts, epilogue);
  }
}

}  // namespace minivae
