// The standard normal numbers of a quad: one Philox call makes all four.
#pragma once

#include "cuda/quad.cuh"
#include "math/normal.h"

namespace minivae {

template <class T>
__device__ __forceinline__ Quad<T> normal_quad(NoiseKey key, Index quad) {
  const Words4 w = noise_words(key, static_cast<std::uint64_t>(quad));
  Quad<T> n;
  box_muller(w.w0, w.w1, n.x[0], n.x[1]);
  box_muller(w.w2, w.w3, n.x[2], n.x[3]);
  return n;
}

}  // namespace minivae
