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
// neighbouring tiles share. Limit: arithmetic, 2 N O OH OW C KH KW operations; with few channels (the
// last layers of the models make 1 and 3) the fetches, each of which serves those channels only.
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

// ---- many channels: tiles ------------------------------------------------------------------------------

template <class Tile, class T>
__global__ __launch_bounds__(Tile::kThreads) void convolve(const __grid_constant__ ConvParts<T> parts,
                                                           Epilogue<T> epilogue) {
  const int number = part_of_block(parts);
  const ConvPart<T>& part = parts.part[number];
  const Index block = blockIdx.x - parts.first_block[number];
  const Index down = ceil_div(part.rows, Tile::kRows);
  const Index first_row = block % down * Tile::kRows, first_col = block / down * Tile::kCols;
  MV_SHARED(Tap, taps, [kEntries]);
  const WeightRows<T> weights{part, taps};
  const Patches<T> patches{part, taps};
  Tile tile;
  for (Index first = 0; first < part.depth; first += kEntries) {
    for (int k = static_cast<int>(threadIdx.x); k < kEntries; k += Tile::kThreads) {
      taps[k] = tap_or_none(part, first + k);
    }
    __syncthreads();
    add_product(tile, weights, patches, first_row, first_col, 0, min_index(part.depth - first, kEntries));
  }
  const Index plane = part.out_height * part.out_width;
  tile.results([&](int r, int c, auto v) {
    constexpr int W = sizeof(v.lane) / sizeof(T);
    const Index row = first_row + r, position = first_col + c;
    if (row >= part.rows || position >= part.positions) return;
#pragma unroll
    for (int w = 0; w < W; ++w) v.lane[w] = finished(epilogue, v.lane[w], row);
    if (part.wide) {
      store(output_of(part, position) + row * plane, v);
      return;
    }
#pragma unroll
    for (int w = 0; w < W; ++w) {
      if (position + w < part.positions) output_of(part, position + w)[row * plane] = v.lane[w];
    }
  });
}

// ---- few channels: a thread per position ------------------------------------------------------------------
// Wrong with tiles: of 16 rows one is used where the last layer makes one channel, yet each pixel takes
// the whole way through shared memory. Change: a thread makes all R channels of two positions, from pixels
// that it reads where they are, in the L1 cache if a neighbour had them, and weights that the block shares.

constexpr int kFewThreads = 128, kEach = 2;

template <int R, class T>
__global__ __launch_bounds__(kFewThreads) void convolve_few(const __grid_constant__ ConvParts<T> parts,
                                                            Epilogue<T> epilogue) {
  const int number = part_of_block(parts);
  const ConvPart<T>& part = parts.part[number];
  const Index block = blockIdx.x - parts.first_block[number];
  const int thread = static_cast<int>(threadIdx.x);
  const Index first_position = block * kEach * kFewThreads + thread;
  MV_SHARED(Tap, taps, [kEntries]);
  constexpr int kAtOnce = kWide<T>;  // taps whose pixels are on their way together
  using Weights = Vector<T, R>;
  MV_SHARED(Weights, weights, [kEntries]);
  const Patches<T> patches{part, taps};
  Spot<T> spots[kEach];
  T sum[kEach][R] = {};
#pragma unroll
  for (int p = 0; p < kEach; ++p) spots[p] = patches.line(first_position + p * kFewThreads);
  for (Index first = 0; first < part.depth; first += kEntries) {
    for (int k = thread; k < kEntries; k += kFewThreads) {
      taps[k] = tap_or_none(part, first + k);
#pragma unroll
      for (int r = 0; r < R; ++r) {
        const bool inside = r < part.rows && taps[k].weight >= 0;
        weights[k].lane[r] = inside ? part.weights[r * part.weight_row + taps[k].weight] : T(0);
      }
    }
    __syncthreads();
    const int count = static_cast<int>(min_index(part.depth - first, kEntries));
    for (int k = 0; k < count; k += kAtOnce) {  // past the end of the depth the table has zeros
#pragma unroll
      for (int s = 0; s < kAtOnce; ++s) {
        const Tap tap = taps[k + s];
        const Weights w = weights[k + s];
#pragma unroll
        for (int p = 0; p < kEach; ++p) {
          const T x = pixel(part, spots[p], tap);
#pragma unroll
          for (int r = 0; r < R; ++r) sum[p][r] = std::fma(w.lane[r], x, sum[p][r]);
        }
      }
    }
    __syncthreads();
  }
  const Index plane = part.out_height * part.out_width;
#pragma unroll
  for (int p = 0; p < kEach; ++p) {
    const Index position = first_position + p * kFewThreads;
    if (position >= part.positions) continue;
    T* const out = output_of(part, position);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r < part.rows) out[r * plane] = finished(epilogue, sum[p][r], r);
    }
  }
}

// ---- launches ------------------------------------------------------------------------------------------

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

template <class Tile, class T>
void launch_tiles(const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  launch_parts(convolve<Tile, T>, Tile::kThreads, Tile::kRows, Tile::kCols, all, epilogue, stream);
}

template <int R, class T>
void launch_few(const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  launch_parts(convolve_few<R, T>, kFewThreads, R, kEach * kFewThreads, all, epilogue, stream);
}

template <class T>
void launch_by_rows(Index rows, const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue,
                    Stream stream) {
  constexpr int W = kWide<T>;
  if (rows == 1) return launch_few<1>(all, epilogue, stream);
  if (rows <= 4) return launch_few<4>(all, epilogue, stream);
  if (rows <= 8) return launch_few<8>(all, epilogue, stream);
  if (rows <= 16) return launch_tiles<FmaTile<T, 16, 128, 8, 4, 4, W>>(all, epilogue, stream);
  if (rows <= 32) return launch_tiles<FmaTile<T, 32, 128, 8, 4, 8, W>>(all, epilogue, stream);
  launch_tiles<FmaTile<T, 64, 64, 16, 4, 4, W>>(all, epilogue, stream);
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
  launch_by_rows<T>(shape.O, {part}, {b, rectify}, stream);
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
  launch_by_rows(shape.C, parts, epilogue, stream);
}

#define MV_INSTANTIATE(T)                                                                 \
  template void conv2d(const ConvShape&, const T*, const T*, const T*, bool, T*, Stream); \
  template void conv2d_grad_input(const ConvShape&, const T*, const T*, const T*, bool, T*, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
