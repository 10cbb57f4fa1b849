// One matrix product, out = max(a b + bias, 0), in five versions, from three lines to tensor cores.
//
//   v1  a thread per element, threads down the columns    every access of a warp far from the next
//   v2  a thread per element, threads along the rows      neighbours read and write neighbours
//   v3  tiles in shared memory                            global memory read 16 times less often
//   v4  tiles in registers, wide loads, two slabs         shared memory read 8 times less often
//   v5  tensor cores, TF32                                the multiply-adds of 8 warps in one instruction
//
// The product does 2 M N K operations on at least (M K + K N + M N) sizeof(T) bytes. From a few
// hundred on in each direction arithmetic is the limit, 67 Tflop/s of float32 by the H200's datasheet;
// what a version changes is how many bytes from which memory it needs for that arithmetic. All take
// matrices of any strides, so a transposed matrix is not copied first.
//
// v5 is an explicit choice and never the default: TF32 numbers have 10 bits of mantissa, and its
// result about three digits.
#include "cuda/matmul.h"

#include <type_traits>

#include "cuda/epilogue.cuh"
#include "cuda/launch.h"
#include "cuda/refuse_version.h"
#include "cuda/tensor_tile.cuh"
#include "cuda/tile_product.cuh"

namespace minivae {
namespace {

template <class T>
__device__ __forceinline__ T dot(const Product<T>& p, Index i, Index j) {
  T sum = 0;
  for (Index k = 0; k < p.K; ++k) {
    sum = std::fma(p.a.p[i * p.a.row + k * p.a.col], p.b.p[k * p.b.row + j * p.b.col], sum);
  }
  return sum;
}

template <class T>
__device__ __forceinline__ T finished(const Product<T>& p, T sum, Index j) {
  return finished(Epilogue<T>{p.bias, p.rectify}, sum, j);
}

// ---- v1: the definition ----------------------------------------------------------------------------
// A thread per element of out, numbered down the columns. The 32 threads of a warp read 32 rows of a,
// and of each 32-byte sector that arrives they use one number; they write 32 rows of out as well.

template <class T>
__global__ void product_v1(Product<T> p) {
  const Index number = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (number >= p.M * p.N) return;
  const Index i = number % p.M, j = number / p.M;
  p.out[i * p.N + j] = finished(p, dot(p, i, j), j);
}

// ---- v2: coalesced ---------------------------------------------------------------------------------
// Wrong with v1: eight times the bytes that are used. Change: threads numbered along the rows. A warp
// reads 32 neighbours of b, writes 32 neighbours of out, and one number of a serves all of it. Gain: up
// to eight times, for b in C order.

template <class T>
__global__ void product_v2(Product<T> p) {
  const Index number = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (number >= p.M * p.N) return;
  const Index i = number / p.N, j = number % p.N;
  p.out[number] = finished(p, dot(p, i, j), j);
}

// ---- v3: tiles in shared memory --------------------------------------------------------------------
// Wrong with v2: two loads for every multiply-add; each number of b is read by M threads. Change: 16 x
// 16 threads fetch a 16 x 16 tile of a and of b once and all read them from shared memory. Gain: global
// memory gives each number 16 times less often; still two loads a multiply-add, now from shared memory.

constexpr int kSide = 16;

template <class T>
__global__ void product_v3(Product<T> p) {
  MV_SHARED(T, a, [kSide][kSide + 1]);  // one more column: a column's elements are in different banks
  MV_SHARED(T, b, [kSide][kSide + 1]);
  const Index across = ceil_div(p.N, kSide);
  const int down = static_cast<int>(threadIdx.x) / kSide, along = static_cast<int>(threadIdx.x) % kSide;
  const Index i = blockIdx.x / across * kSide + down, j = blockIdx.x % across * kSide + along;
  T sum = 0;
  for (Index k = 0; k < p.K; k += kSide) {
    a[down][along] = i < p.M && k + along < p.K ? p.a.p[i * p.a.row + (k + along) * p.a.col] : T(0);
    b[down][along] = k + down < p.K && j < p.N ? p.b.p[(k + down) * p.b.row + j * p.b.col] : T(0);
    __syncthreads();
#pragma unroll
    for (int s = 0; s < kSide; ++s) sum = std::fma(a[down][s], b[s][along], sum);
    __syncthreads();
  }
  if (i < p.M && j < p.N) p.out[i * p.N + j] = finished(p, sum, j);
}

// ---- v4 and v5: tiles in registers -----------------------------------------------------------------
// Wrong with v3: shared memory gives a multiprocessor 32 numbers a cycle and 128 multiply-adds want 256.
// Change: a thread makes 8 x 8 sums from 8 + 8 numbers, so shared memory is read 8 times less often; it
// fetches 16 bytes at a time; and the next slab is on its way while this one is multiplied. Gain: the
// multiply-adds themselves become the limit. (tile_product.cuh)
//
// v5. Wrong with v4: nothing but that float32 has no faster unit. Change: the sums of a tile are made by
// tensor cores, which take numbers of 10 bits. Gain: by the datasheet up to seven times the rate; a tile
// that is fed like this one, through registers and a barrier a slab, gets a part of it. (tensor_tile.cuh)
//
// A small product has fewer tiles than there are multiprocessors. Its sum over k is then cut into pieces, one
// per block, whose sums are stored in `scratch` and added by a second kernel.

enum class Sides { kSmall, kLarge, kEither };  // tiles of 64 x 64, of 128 x 128

struct Cut {
  bool small;
  Index down, across;  // tiles
  Index depth, pieces;
};

Cut cut_product(Index M, Index N, Index K, Sides sides) {
  constexpr Index kEnough = 96;   // the fewest large tiles
  constexpr Index kBlocks = 132;  // one per multiprocessor of an H200
  constexpr Index kLeast = 128;   // the fewest k of a block
  const auto tiles = [&](Index side) { return ceil_div(M, side) * ceil_div(N, side); };
  const bool small = sides == Sides::kSmall || (sides == Sides::kEither && tiles(128) < kEnough);
  const Index side = small ? 64 : 128;
  const Index wanted = ceil_div(kBlocks, tiles(side) > 0 ? tiles(side) : 1);
  const Index most = K > kLeast ? K / kLeast : 1;
  const Index depth = ceil_div(ceil_div(K, min_index(wanted, most)), 16) * 16;
  return {small, ceil_div(M, side), ceil_div(N, side), depth, K > 0 ? ceil_div(K, depth) : 1};
}

template <class Tile, class A, class B, class T>
__global__ __launch_bounds__(Tile::kThreads) void product_tiles(A a, B b, Cut cut, Epilogue<T> epilogue,
                                                                T* out, Index M, Index N, Index K,
                                                                bool wide) {
  const Index tiles = cut.down * cut.across, number = blockIdx.x % tiles, piece = blockIdx.x / tiles;
  const Index row = number / cut.across * Tile::kRows, col = number % cut.across * Tile::kCols;
  const Index first = piece * cut.depth, last = min_index(first + cut.depth, K);
  T* corner = out + piece * M * N;
  tile_product<Tile>(a, b, row, col, first, last).results([&](int r, int c, auto v) {
    constexpr int W = sizeof(v.lane) / sizeof(T);
    const Index i = row + r, j = col + c;
    if (i >= M) return;
    if (wide && j < N) {
#pragma unroll
      for (int w = 0; w < W; ++w) v.lane[w] = finished(epilogue, v.lane[w], j + w);
      store(corner + i * N + j, v);
      return;
    }
#pragma unroll
    for (int w = 0; w < W; ++w) {
      if (j + w < N) corner[i * N + j + w] = finished(epilogue, v.lane[w], j + w);
    }
  });
}

template <class Tile, class A, class B, class T>
void launch_tiles(const A& a, const B& b, const Cut& cut, const Product<T>& p, T* scratch, bool wide,
                  Stream stream) {
  const Epilogue<T> epilogue{p.bias, p.rectify}, none{nullptr, false};
  const Grid grid = checked_grid(cut.down * cut.across * cut.pieces, Tile::kThreads);
  const auto kernel = product_tiles<Tile, A, B, T>;
  if (cut.pieces == 1) {
    launch(kernel, grid, stream, a, b, cut, epilogue, p.out, p.M, p.N, p.K, wide);
    return;
  }
  launch(kernel, grid, stream, a, b, cut, none, scratch, p.M, p.N, p.K, wide);
  launch(add_products<T>, over_elements(p.M * p.N), stream, scratch, cut.pieces, epilogue, p.out, p.M * p.N,
         p.N);
}

// Calls run(operand a, operand b, wide). Where strides, extents and pointers of all three matrices allow
// it they are moved 16 bytes at a time, along the axis of stride 1; else one element at a time, in the
// order of rows.
template <class T, class Run>
void by_layout(const Product<T>& p, const T* scratch, Run run) {
  constexpr int W = kWide<T>;
  const bool a_along = p.a.row != 1 || p.a.col == 1, b_along = p.b.col != 1;
  const bool wide = p.M % W == 0 && p.N % W == 0 && p.K % W == 0 && (a_along ? p.a.col : p.a.row) == 1 &&
                    (b_along ? p.b.row : p.b.col) == 1 && (a_along ? p.a.row : p.a.col) % W == 0 &&
                    (b_along ? p.b.col : p.b.row) % W == 0 && all_aligned(p.a.p, p.b.p, p.out, scratch);
  const auto with = [&](auto along_a, auto along_b, auto width) {
    constexpr int w = decltype(width)::value;
    run(MatrixOperand<T, decltype(along_a)::value, w>{p.a.p, p.a.row, p.a.col, p.M, p.K},
        MatrixOperand<T, decltype(along_b)::value, w>{p.b.p, p.b.col, p.b.row, p.N, p.K}, wide);
  };
  const std::true_type yes;
  const std::false_type no;
  const std::integral_constant<int, W> vector;
  if (!wide) return with(yes, no, std::integral_constant<int, 1>());
  if (a_along) return b_along ? with(yes, yes, vector) : with(yes, no, vector);
  b_along ? with(no, yes, vector) : with(no, no, vector);
}

template <class T>
void product_v4(const Product<T>& p, T* scratch, Stream stream) {
  constexpr int W = kWide<T>;
  constexpr bool kMayBeLarge = std::is_same_v<T, float>;  // 64 sums in double are too many registers
  const Cut cut = cut_product(p.M, p.N, p.K, kMayBeLarge ? Sides::kEither : Sides::kSmall);
  by_layout(p, scratch, [&](const auto& a, const auto& b, bool wide) {
    if constexpr (kMayBeLarge) {
      if (!cut.small) {
        launch_tiles<FmaTile<T, 128, 128, 8, 8, 8, W>>(a, b, cut, p, scratch, wide, stream);
        return;
      }
    }
    launch_tiles<FmaTile<T, 64, 64, 16, 4, 4, W>>(a, b, cut, p, scratch, wide, stream);
  });
}

void product_v5(const Product<float>& p, float* scratch, Stream stream) {
  const Cut cut = cut_product(p.M, p.N, p.K, Sides::kLarge);
  by_layout(p, scratch, [&](const auto& a, const auto& b, bool wide) {
    launch_tiles<TensorTile<128, 128, Factors::kWhole>>(a, b, cut, p, scratch, wide, stream);
  });
}

}  // namespace

Index matmul_scratch(Index M, Index N, Index K) {
  Index most = 1;
  for (const Sides sides : {Sides::kSmall, Sides::kLarge}) {
    const Index pieces = cut_product(M, N, K, sides).pieces;
    most = pieces > most ? pieces : most;
  }
  return most > 1 ? most * M * N : 0;
}

template <class T>
void matmul(int version, const Product<T>& p, T* scratch, Stream stream) {
  if (p.M * p.N == 0) return;
  switch (version) {
    case 1: launch(product_v1<T>, over_elements(p.M * p.N), stream, p); return;
    case 2: launch(product_v2<T>, over_elements(p.M * p.N), stream, p); return;
    case 3:
      launch(product_v3<T>, checked_grid(ceil_div(p.M, kSide) * ceil_div(p.N, kSide), kSide * kSide), stream,
             p);
      return;
    case 4: product_v4(p, scratch, stream); return;
    case 5:
      if constexpr (std::is_same_v<T, float>) {
        product_v5(p, scratch, stream);
        return;
      }
  }
  refuse_version(std::is_same_v<T, float> ? kMatmulVersions : kMatmulBest, version);
}

template void matmul(int, const Product<float>&, float*, Stream);
template void matmul(int, const Product<double>&, double*, Stream);

}  // namespace minivae
