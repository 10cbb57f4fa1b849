// The operands of a convolution for tile_product.cuh: see conv_part.h for what they index.
#pragma once

#include "cuda/conv_part.h"
#include "cuda/tile_product.cuh"

namespace minivae {

// Columns are positions, the depth is (channel, tap): patches of images that are never unfolded.
template <class T>
struct Patches {
  static constexpr bool kAlongDepth = false;  // neighbours in memory are neighbouring positions
  static constexpr int kWidth = 1;
  const ConvPart<T>& part;

  struct Line {
    const T* image;
    int row, col;
    bool inside;
  };
  struct Depth {
    Index channel;
    int row, col;
    bool inside;
  };

  __device__ Line line(Index position) const {
    const PositionPlace p = place_of_position(part, position);
    const T* image = part.images + p.image * part.channels * part.h.size * part.w.size;
    return {image, static_cast<int>(p.row) * part.h.scale + part.h.offset,
            static_cast<int>(p.col) * part.w.scale + part.w.offset, position < part.positions};
  }
  __device__ Depth depth(Index k) const {
    const DepthPlace p = place_of_depth(part, k);
    return {p.channel * part.h.size * part.w.size, part.h.shift + p.row * part.h.shift_step,
            part.w.shift + p.col * part.w.shift_step, k < part.depth};
  }
  __device__ Vector<T, 1> at(const Line& line, const Depth& depth) const {
    const int row = line.row + depth.row, col = line.col + depth.col;
    const bool inside =
        line.inside && depth.inside && row >= 0 && row < part.h.size && col >= 0 && col < part.w.size;
    return {{inside ? line.image[depth.channel + Index(row) * part.w.size + col] : T(0)}};
  }
};

// The same with positions as depth, for the gradient of the weights.
template <class T>
struct TurnedPatches {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  Patches<T> patches;

  __device__ auto line(Index k) const { return patches.depth(k); }
  __device__ auto depth(Index position) const { return patches.line(position); }
  __device__ Vector<T, 1> at(const typename Patches<T>::Depth& line,
                             const typename Patches<T>::Line& depth) const {
    return patches.at(depth, line);
  }
};

// Rows are the weights of one of the part's channels of the output, the depth is (channel, tap).
template <class T>
struct WeightRows {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  const ConvPart<T>& part;

  __device__ Place line(Index row) const { return {row * part.weight_row, row < part.rows}; }
  __device__ Place depth(Index k) const {
    const DepthPlace p = place_of_depth(part, k);
    const Index row = part.h.kernel_first + Index(p.row) * part.h.kernel_step;
    const Index col = part.w.kernel_first + Index(p.col) * part.w.kernel_step;
    return {p.channel * part.weight_channel + row * part.kernel_width + col, k < part.depth};
  }
  __device__ Vector<T, 1> at(Place line, Place depth) const {
    return {{line.inside && depth.inside ? part.weights[line.offset + depth.offset] : T(0)}};
  }
};

// Rows are channels of images (N, rows, plane), the depth is (image, place in the plane).
template <class T>
struct ChannelRows {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  const T* images;
  Index rows, positions;
  Divisor by_plane;

  __device__ Place line(Index row) const { return {row * by_plane.d, row < rows}; }
  __device__ Place depth(Index position) const {
    const QuotientRest p = divide(position, by_plane);
    return {p.quotient * rows * by_plane.d + p.rest, position < positions};
  }
  __device__ Vector<T, 1> at(Place line, Place depth) const {
    return {{line.inside && depth.inside ? images[line.offset + depth.offset] : T(0)}};
  }
};

// Tiles for products of few rows, which images with few channels give: 16 x 128, 32 x 128 or 64 x 64.
// Calls run(tile type).
template <class T>
using NarrowTile = FmaTile<T, 16, 128, 8, 4, 4, 1>;
template <class T>
using MiddleTile = FmaTile<T, 32, 128, 8, 4, 8, 1>;
template <class T>
using SquareTile = FmaTile<T, 64, 64, 16, 4, 4, 1>;

template <class Tile>
struct TileType {
  using type = Tile;
};

template <class T, class Run>
void by_rows(Index rows, Run run) {
  if (rows <= 16) return run(TileType<NarrowTile<T>>());
  if (rows <= 32) return run(TileType<MiddleTile<T>>());
  run(TileType<SquareTile<T>>());
}

}  // namespace minivae
