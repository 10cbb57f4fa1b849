// The noise of a quad: one Philox call makes all four elements, two where the array's first element is not the
// first one of a call.
#pragma once

#include "cuda/quad.cuh"
#include "math/fast_float.h"

namespace minivae {

// Elements first + 4 quad and the three after it, where make(words) gives the elements of one call;
// kWhole says that first is a multiple of four.
template <bool kWhole = false, class Make>
__device__ __forceinline__ auto quad_of_stream(NoiseKey key, Index quad, Make make) {
  const std::uint64_t block = static_cast<std::uint64_t>(quad) + key.first / 4;
  const int skipped = kWhole ? 0 : static_cast<int>(key.first % 4);
  auto elements = make(noise_words(key, block));
  if (skipped == 0) return elements;
  const auto next = make(noise_words(key, block + 1));
  for (int s = 0; s < skipped; ++s) {  // indices known at compile time keep quads in registers
    elements = {{elements.x[1], elements.x[2], elements.x[3],
                 s == 0   ? next.x[0]
                 : s == 1 ? next.x[1]
                          : next.x[2]}};
  }
  return elements;
}

__device__ __forceinline__ Quad<std::uint32_t> word_quad(NoiseKey key, Index quad) {
  return quad_of_stream(key, quad, [](Words4 w) { return Quad<std::uint32_t>{{w.w0, w.w1, w.w2, w.w3}}; });
}

template <class T, bool kWhole = false>
__device__ __forceinline__ Quad<T> normal_quad(NoiseKey key, Index quad) {
  return quad_of_stream<kWhole>(key, quad, [](Words4 w) {
    Quad<T> n;
    fast_box_muller(w.w0, w.w1, n.x[0], n.x[1]);
    fast_box_muller(w.w2, w.w3, n.x[2], n.x[3]);
    return n;
  });
}

}  // namespace minivae
