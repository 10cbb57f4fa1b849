// Convolution, and its adjoint in the input (which is the transposed convolution's forward map).
//
// Idea: implicit matrix products. The matrix of all patches has KH KW / stride^2 times the size of the
// images; it is never written: a tile of it is fetched from the images on its way to shared memory.
// The adjoint falls into stride^2 parts of the same form (conv_part.h), which run as one launch. Where an
// element lies is worked out before the loop that multiplies: a thread keeps the addresses of its
// positions, and the distances of the taps from them lie in a table that the block shares. Bias and
// rectifier ride on the last store.
//
// Bytes: images, weights and output once each from device memory where the L2 cache holds what
// neighbouring tiles share. Limit: arithmetic, 2 N O OH OW C KH KW operations; with few channels (a face's
// first and last layers have 3 and 8) the fetches, which a tile of 16 rows uses 16 times only.
#include "cuda/conv2d.h"

#include "cuda/conv_operands.cuh"
#include "cuda/epilogue.cuh"
#include "cuda/launch.h"

namespace minivae {
namespace {

constexpr int kMostParts = 4;  // of a launch: those of stride 2

template <class T>
struct ConvParts {
  int count;
  Index first_block[kMostParts];
  ConvPart<T> part[kMostParts];
};

template <class Tile, class T>
__global__ __launch_bounds__(Tile::kThreads) void convolve(ConvParts<T> parts, Epilogue<T> epilogue) {
  int number = 0;
  while (number + 1 < parts.count && blockIdx.x >= parts.first_block[number + 1]) ++number;
  const ConvPart<T> part = parts.part[number];
  const Index block = blockIdx.x - parts.first_block[number], down = ceil_div(part.rows, Tile::kRows);
  const Index first_row = block % down * Tile::kRows, first_col = block / down * Tile::kCols;
  MV_SHARED(Tap, taps, [kEntries]);
  const WeightRows<T> weights{part, taps};
  const Patches<T> patches{part, taps};
  Tile tile;
  for (Index first = 0; first < part.depth; first += kEntries) {
    fill_taps<Tile>(part, first, taps);
    add_product(tile, weights, patches, first_row, first_col, 0, min_index(part.depth - first, kEntries));
  }
  tile.results([&](int r, int c, auto v) {
    constexpr int W = sizeof(v.lane) / sizeof(T);
    const Index row = first_row + r;
    if (row >= part.rows) return;
    if (part.wide) {
      if (first_col + c >= part.positions) return;
      const QuotientRest place = divide(first_col + c, part.by_plane);
#pragma unroll
      for (int w = 0; w < W; ++w) v.lane[w] = finished(epilogue, v.lane[w], row);
      store(part.out + (place.quotient * part.rows + row) * part.by_plane.d + place.rest, v);
      return;
    }
#pragma unroll
    for (int w = 0; w < W; ++w) {
      const Index position = first_col + c + w;
      if (position >= part.positions) return;
      const PositionPlace p = place_of_position(part, position);
      const Index i = part.h.out_first + p.row * part.h.out_step,
                  j = part.w.out_first + p.col * part.w.out_step;
      part.out[((p.image * part.rows + row) * part.out_height + i) * part.out_width + j] =
          finished(epilogue, v.lane[w], row);
    }
  });
}

template <class T>
bool stores_wide(const ConvPart<T>& part) {
  const bool whole = part.h.out_step == 1 && part.w.out_step == 1 && part.h.positions == part.out_height &&
                     part.w.positions == part.out_width;
  return whole && part.by_plane.d % kWide<T> == 0 && all_aligned(part.out);
}

template <class T>
void launch_parts(const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  for (std::size_t first = 0; first < all.size(); first += kMostParts) {
    by_rows<T>(all[first].rows, [&](auto tile) {
      using Tile = typename decltype(tile)::type;
      ConvParts<T> parts{};
      Index blocks = 0;
      for (std::size_t i = first; i < all.size() && i < first + kMostParts; ++i) {
        parts.part[parts.count] = all[i];
        parts.part[parts.count].wide = stores_wide(all[i]);
        parts.first_block[parts.count++] = blocks;
        blocks += ceil_div(all[i].rows, Tile::kRows) * ceil_div(all[i].positions, Tile::kCols);
      }
      launch(convolve<Tile, T>, checked_grid(blocks, Tile::kThreads), stream, parts, epilogue);
    });
  }
}

// What no tap reaches is the bias alone.
template <class T>
__global__ void fill_channels(Epilogue<T> epilogue, T* out, Index count, Divisor by_plane,
                              Divisor by_channels) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = finished(epilogue, T(0), divide(divide(i, by_plane).quotient, by_channels).rest);
}

}  // namespace

template <class T>
void conv2d(const ConvShape& shape, const T* x, const T* w, const T* b, bool rectify, T* y, Stream stream) {
  const ConvAxis &h = shape.h, &v = shape.w;
  if (shape.N * shape.O == 0) return;
  ConvPart<T> part = conv_part<T>(forward_axis(h), forward_axis(v), shape.N, shape.O, shape.C);
  part.images = x;
  part.weights = w;
  part.out = y;
  part.kernel_width = v.kernel;
  part.weight_row = shape.C * h.kernel * v.kernel;
  part.weight_channel = h.kernel * v.kernel;
  part.out_height = h.output;
  part.out_width = v.output;
  launch_parts<T>({part}, {b, rectify}, stream);
}

template <class T>
void conv2d_grad_input(const ConvShape& shape, const T* dy, const T* w, const T* b, bool rectify, T* dx,
                       Stream stream) {
  const ConvAxis &h = shape.h, &v = shape.w;
  const Index count = shape.N * shape.C * h.input * v.input;
  if (count == 0) return;
  const Epilogue<T> epilogue{b, rectify};
  std::vector<ConvPart<T>> parts;
  Index reached = 0;
  for (const PartAxis& rows : adjoint_axes(h)) {
    for (const PartAxis& cols : adjoint_axes(v)) {
      ConvPart<T> part = conv_part<T>(rows, cols, shape.N, shape.C, shape.O);
      part.images = dy;
      part.weights = w;
      part.out = dx;
      part.kernel_width = v.kernel;
      part.weight_row = h.kernel * v.kernel;
      part.weight_channel = shape.C * h.kernel * v.kernel;
      part.out_height = h.input;
      part.out_width = v.input;
      reached += part.positions * shape.C;
      parts.push_back(part);
    }
  }
  if (reached < count) {
    launch(fill_channels<T>, over_elements(count), stream, epilogue, dx, count, Divisor(h.input * v.input),
           Divisor(shape.C));
  }
  launch_parts(parts, epilogue, stream);
}

#define MV_INSTANTIATE(T)                                                                 \
  template void conv2d(const ConvShape&, const T*, const T*, const T*, bool, T*, Stream); \
  template void conv2d_grad_input(const ConvShape&, const T*, const T*, const T*, bool, T*, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
