// The operands of a convolution for tile_product.cuh: see conv_part.h for what they index.
#pragma once

#include "cuda/conv_part.h"
#include "cuda/tile_product.cuh"

namespace minivae {

// What the depth of a product stands for is worked out once, 256 of it at a time, into a table in shared
// memory: all threads need the same, for every slab. Lines past the end repeat the last one; their results
// are not stored. A depth past the end counts as zero on both sides.
constexpr int kEntries = 256;

template <class T>
__device__ __forceinline__ T element(const Found<T>& found) {
  return found.inside ? __ldg(found.at) : T(0);
}

template <class T>
__device__ __forceinline__ Found<T> pixel(const ConvPart<T>& part, const Spot<T>& spot, const Tap& tap) {
  const auto inside = [](int x, int size) { return static_cast<unsigned>(x) < static_cast<unsigned>(size); };
  const bool both = inside(spot.row + tap.row, part.h.size) & inside(spot.col + tap.col, part.w.size);
  return {spot.at + tap.offset, both};
}

// Columns are positions, the depth is (channel, tap): patches of images that are never unfolded.
template <class T>
struct Patches {
  static constexpr bool kAlongDepth = false;  // neighbours in memory are neighbouring positions
  static constexpr int kWidth = 1;
  const ConvPart<T>& part;
  const Tap* taps;

  __device__ Spot<T> line(Index position) const {
    const Spot<T> spot = spot_of(part, min_index(position, part.positions - 1));
    return {kept(spot.at), spot.row, spot.col};
  }
  __device__ Tap depth(Index k) const { return taps[k]; }
  __device__ Found<T> found(const Spot<T>& spot, const Tap& tap) const { return pixel(part, spot, tap); }
  __device__ Vector<T, 1> at(const Spot<T>& spot, const Tap& tap) const {
    return {{element(found(spot, tap))}};
  }
};

// Rows are the weights of one of the part's channels of the output, the depth is (channel, tap).
template <class T>
struct WeightRows {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  const ConvPart<T>& part;
  const Tap* taps;

  __device__ const T* line(Index row) const {
    return kept(part.weights + min_index(row, part.rows - 1) * part.weight_row);
  }
  __device__ int depth(Index k) const { return taps[k].weight; }
  __device__ Found<T> found(const T* row, int weight) const { return {row + weight, weight >= 0}; }
  __device__ Vector<T, 1> at(const T* row, int weight) const { return {{element(found(row, weight))}}; }
};

// The entry of a table of taps.
template <class T>
__device__ Tap tap_or_none(const ConvPart<T>& part, Index k) {
  return k < part.depth ? tap_of(part, k) : Tap{0, kOutside, kOutside, -1};
}

// The same with positions as depth, for the gradient of the weights.
template <class T>
struct TurnedPatches {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  const ConvPart<T>& part;
  const Spot<T>* spots;

  __device__ Tap line(Index k) const { return tap_of(part, min_index(k, part.depth - 1)); }
  __device__ Spot<T> depth(Index position) const { return spots[position]; }
  __device__ Vector<T, 1> at(const Tap& tap, const Spot<T>& spot) const {
    return {{element(pixel(part, spot, tap))}};
  }
};

// Rows are channels of dy (N, rows, plane), the depth is (image, place in the plane).
template <class T>
struct GradientRows {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  const ConvPart<T>& part;
  const T* const* gradients;  // of channel 0; null past the end

  __device__ int line(Index row) const {
    return kept(static_cast<int>(min_index(row, part.rows - 1) * part.by_plane.d));
  }
  __device__ const T* depth(Index position) const { return gradients[position]; }
  __device__ Vector<T, 1> at(int row, const T* gradient) const {
    return {{gradient ? __ldg(gradient + row) : T(0)}};
  }
};

}  // namespace minivae
