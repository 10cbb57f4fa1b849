// Convolution, and its adjoint in the input (the transposed convolution's forward map), in six versions.
//
//   v1  a thread per output                  the definition: divisions for every multiply-add
//   v2  tiles in registers, offsets kept     a fetched number serves 16 to 64 others
//   v3  no tile where channels are few       no product that is not stored
//   v4  slabs copied by cp.async             fetched numbers bypass the registers
//   v5  tensor cores, TF32                   the multiply-adds of a warp in one instruction
//   v6  tensor cores, 3xTF32                 float32's digits, for three times the products
//
// All are implicit matrix products: the matrix of all patches has KH KW / stride^2 times the size of the
// images and is never written; a number of it is fetched from the images when it is multiplied. The
// adjoint falls into stride^2 parts of the same form (conv_part.h), which run as one launch. Bias and
// ReLU are applied when a result is stored.
//
// Bytes: images, weights and output once each from device memory where the L2 cache holds what
// neighbouring tiles share. Limit: arithmetic, 2 N O OH OW C KH KW operations; with few channels (the
// last layers of the models make 1 and 3) the fetches, each of which serves those channels only.
//
// v4 is the default. v5 and v6 are explicit choices: TF32 numbers have 10 bits of mantissa, and the result
// of v5 about three digits; v6 has float32's, and is another sum of them. Up to 8 output channels both run
// v3's kernel, in float32.
#include "cuda/conv2d.h"

#include <type_traits>

#include "cuda/conv_operands.cuh"
#include "cuda/conv_parts.cuh"
#include "cuda/refuse_version.h"
#include "cuda/tensor_tile.cuh"

namespace minivae {
namespace {

// ---- v1: the definition --------------------------------------------------------------------------------
// A thread per output; neighbours in a warp are neighbouring positions, so reads of pixels and writes of
// results are coalesced. To find tap k takes two divisions, for one multiply-add.

constexpr int kThreads = 128;

template <class T>
__global__ void convolve_v1(const __grid_constant__ ConvParts<T> parts, Epilogue<T> epilogue) {
  const int number = part_of_block(parts);
  const ConvPart<T>& part = parts.part[number];
  const Index block = blockIdx.x - parts.first_block[number], row = block % part.rows;
  const Index position = block / part.rows * kThreads + threadIdx.x;
  if (position >= part.positions) return;
  const Spot<T> spot = spot_of(part, position);
  const T* weights = part.weights + row * part.weight_row;
  T sum = 0;
  for (Index k = 0; k < part.depth; ++k) {
    const Tap tap = tap_of(part, k);
    sum = std::fma(weights[tap.weight], element(pixel(part, spot, tap)), sum);
  }
  output_of(part, position)[row * part.out_height * part.out_width] = finished(epilogue, sum, row);
}

// ---- v2: tiles -----------------------------------------------------------------------------------------
// Wrong with v1: every multiply-add fetches two numbers and works out where they lie. Change: a block
// makes a tile from slabs in shared memory (tile_product.cuh), so that a number fetched serves 16 to 64
// multiply-adds; a thread keeps the addresses of its positions, and the distances of the taps from them lie
// in a table that the block shares. Gain: three fifths to two thirds of the inner loop's instructions multiply
// and add, half in the tile of 16 rows. Price of reading slabs 16 bytes at a time: where the results of a part
// cannot be stored so (planes of 7 x 7, the adjoint with a stride), the lanes of a store are four positions
// apart, and it touches up to four times as many sectors as neighbours would, once per output.

template <class Tile, int kSlabs, class T>
__global__ __launch_bounds__(Tile::kThreads) void convolve_tiles(const __grid_constant__ ConvParts<T> parts,
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
    const Index count = min_index(part.depth - first, kEntries);
    if constexpr (kSlabs > 2 && kCopiesAsync) {
      add_product_async<kSlabs>(tile, weights, patches, first_row, first_col, 0, count);
    } else {
      add_product(tile, weights, patches, first_row, first_col, 0, count);
    }
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

// ---- v3: a thread per position -------------------------------------------------------------------------
// Wrong with v2: of 16 rows of a tile one is used where a last layer makes one channel, yet each pixel
// passes through shared memory. Change: up to 8 channels are made by one thread, for two
// positions, from pixels that it reads where they are, in the L1 cache if a neighbour had them, and weights
// that the block shares. Gain: up to 16 times fewer products, and two barriers per 256 taps.

constexpr int kFew = 8, kEach = 2;

template <int R, class T>
__global__ __launch_bounds__(kThreads) void convolve_v3(const __grid_constant__ ConvParts<T> parts,
                                                        Epilogue<T> epilogue) {
  const int number = part_of_block(parts);
  const ConvPart<T>& part = parts.part[number];
  const Index block = blockIdx.x - parts.first_block[number];
  const int thread = static_cast<int>(threadIdx.x);
  const Index first_position = block * kEach * kThreads + thread;
  MV_SHARED(Tap, taps, [kEntries]);
  constexpr int kAtOnce = 4;  // taps whose pixels are on their way together
  using Weights = Vector<T, R>;
  MV_SHARED(Weights, weights, [kEntries]);
  const Patches<T> patches{part, taps};
  Spot<T> spots[kEach];
  T sum[kEach][R] = {};
#pragma unroll
  for (int p = 0; p < kEach; ++p) spots[p] = patches.line(first_position + p * kThreads);
  for (Index first = 0; first < part.depth; first += kEntries) {
    for (int k = thread; k < kEntries; k += kThreads) {
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
          const T x = element(pixel(part, spots[p], tap));
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
    const Index position = first_position + p * kThreads;
    if (position >= part.positions) continue;
    T* const out = output_of(part, position);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r < part.rows) out[r * plane] = finished(epilogue, sum[p][r], r);
    }
  }
}

// ---- v4, v5 and v6: tiles fed and multiplied otherwise -------------------------------------------------
// v4. Wrong with v3, whose tiles are v2's: a number passes through registers, where it waits until the slab
// before is multiplied, and one slab at a time is on its way. Change: cp.async copies global to shared memory
// past the registers, three slabs there. Gain: the latency of two slabs is hidden, not of one.
// (async_copy.cuh; on sm_75, and in float64, whose three slabs are more than 48 KiB, v4 is v3.)
//
// v5. Wrong with v4: nothing but that float32 has no faster unit. Change: the sums of a tile are made by
// tensor cores, which take numbers of 10 bits; fetched as in v2, because they are rounded on their way.
// Gain: an instruction of a warp does 1024 multiply-adds, not 32; fetching is most of the loop that is left.
// (tensor_tile.cuh)
//
// v6. Wrong with v5: three digits. Change: each factor is the sum of two TF32 numbers, and three products
// stand for one. Gain: float32's digits from tensor cores, for three times the products and 2.2 to 2.7 times
// the instructions of the inner loop.

template <class Tile, int kSlabs, class T>
void launch_tiles(const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  launch_parts(convolve_tiles<Tile, kSlabs, T>, Tile::kThreads, Tile::kRows, Tile::kCols, all, epilogue,
               stream);
}

template <int kSlabs, class T>
void run_tiles(Index rows, const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  constexpr int W = kWide<T>;
  if (rows <= 16) return launch_tiles<FmaTile<T, 16, 128, 8, 4, 4, W>, kSlabs>(all, epilogue, stream);
  if (rows <= 32) return launch_tiles<FmaTile<T, 32, 128, 8, 4, 8, W>, kSlabs>(all, epilogue, stream);
  launch_tiles<FmaTile<T, 64, 64, 16, 4, 4, W>, kSlabs>(all, epilogue, stream);
}

template <class T>
void run_few(Index rows, const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue, Stream stream) {
  const auto run = [&](auto channels) {
    constexpr int R = decltype(channels)::value;
    launch_parts(convolve_v3<R, T>, kThreads, R, kEach * kThreads, all, epilogue, stream);
  };
  if (rows == 1) return run(std::integral_constant<int, 1>());
  if (rows <= 4) return run(std::integral_constant<int, 4>());
  run(std::integral_constant<int, 8>());
}

template <Factors kFactors>
void run_tensors(Index rows, const std::vector<ConvPart<float>>& all, const Epilogue<float>& epilogue,
                 Stream stream) {
  if (rows <= 32) return launch_tiles<TensorTile<32, 128, kFactors>, 2>(all, epilogue, stream);
  launch_tiles<TensorTile<64, 128, kFactors>, 2>(all, epilogue, stream);
}

template <class T>
void convolve(int version, Index rows, const std::vector<ConvPart<T>>& all, const Epilogue<T>& epilogue,
              Stream stream) {
  constexpr bool kTensors = std::is_same_v<T, float>;
  constexpr int kSlabs = kTensors ? 3 : 2;  // what 48 KiB hold
  if (version >= 3 && rows <= kFew) return run_few(rows, all, epilogue, stream);
  switch (version) {
    case 1: launch_parts(convolve_v1<T>, kThreads, 1, kThreads, all, epilogue, stream); return;
    case 2: run_tiles<2>(rows, all, epilogue, stream); return;
    case 3: run_tiles<2>(rows, all, epilogue, stream); return;
    case 4: run_tiles<kSlabs>(rows, all, epilogue, stream); return;
    case 5:
      if constexpr (kTensors) return run_tensors<Factors::kWhole>(rows, all, epilogue, stream);
      break;
    case 6:
      if constexpr (kTensors) return run_tensors<Factors::kHalves>(rows, all, epilogue, stream);
      break;
  }
  refuse_version(kTensors ? kConv2dVersions : kConv2dBest, version);
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
void conv2d(int version, const ConvShape& shape, const T* x, const T* w, const T* b, bool rectify, T* y,
            Stream stream) {
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
  convolve<T>(version, shape.O, {part}, {b, rectify}, stream);
}

template <class T>
void conv2d_grad_input(int version, const ConvShape& shape, const T* dy, const T* w, const T* b, bool rectify,
                       T* dx, Stream stream) {
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
  convolve(version, shape.C, parts, epilogue, stream);
}

#define MV_INSTANTIATE(T)                                                                      \
  template void conv2d(int, const ConvShape&, const T*, const T*, const T*, bool, T*, Stream); \
  template void conv2d_grad_input(int, const ConvShape&, const T*, const T*, const T*, bool, T*, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
