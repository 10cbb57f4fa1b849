// The gradient of a convolution's weights: dw (O, C KH KW) = dy (O, N OH OW) x patches of x, transposed.
//
// Idea: the same implicit product as conv2d.cu with the roles changed: positions are summed over, and
// there are many of them (258,064 for the last layer of a batch of faces) for few elements of dw (216).
// The sum is cut into pieces, so that the whole GPU has work; pieces are added by a second kernel, in
// their order, so the result has the same bits every time.
//
// Bytes: x once for every 16 to 64 output channels, dy once for every 16 to 128 taps, and the pieces.
// Limit: arithmetic with many channels, fetches with few.
#include "cuda/conv2d.h"

#include "cuda/conv_operands.cuh"
#include "cuda/epilogue.cuh"
#include "cuda/launch.h"

namespace minivae {
namespace {

struct WeightCut {
  Index down, across, depth, pieces;
};

template <class Tile>
WeightCut cut_for(Index rows, Index cols, Index depth) {
  constexpr Index kBlocks = Tile::kThreads < 128 ? 528 : 264;  // per multiprocessor of an H200: four, or two
  constexpr Index kLeast = 512;                                // the fewest positions of a block
  const Index down = ceil_div(rows, Tile::kRows), across = ceil_div(cols, Tile::kCols);
  const Index wanted = ceil_div(kBlocks, down * across > 0 ? down * across : 1);
  const Index most = depth > kLeast ? depth / kLeast : 1;
  const Index piece = ceil_div(depth, min_index(wanted, most));
  return {down, across, piece, depth > 0 ? ceil_div(depth, piece) : 1};
}

// Calls run(tile) with the tile that an image's channels and taps leave least of empty. A layer of few
// channels has few columns, 9 or 27; most others have hundreds.
template <class T, class Run>
void by_size(Index rows, Index cols, Run run) {
  constexpr int W = kWide<T>;
  if (cols <= 32 && rows <= 16) return run(FmaTile<T, 16, 32, 16, 2, 4, W>());
  if (cols <= 16) return run(FmaTile<T, 32, 16, 16, 4, 2, 2>());
  if (cols <= 32) return run(FmaTile<T, 32, 32, 16, 4, 4, W>());
  if (rows <= 16) return run(FmaTile<T, 16, 128, 8, 4, 4, W>());
  if (rows <= 32) return run(FmaTile<T, 32, 128, 8, 4, 8, W>());
  run(FmaTile<T, 64, 64, 16, 4, 4, W>());
}

template <class Tile, class T>
__global__ __launch_bounds__(Tile::kThreads) void weight_tiles(ConvPart<T> part, const T* dy, WeightCut cut,
                                                               T* out) {
  const Index tiles = cut.down * cut.across, number = blockIdx.x % tiles, piece = blockIdx.x / tiles;
  const Index first_row = number % cut.down * Tile::kRows, first_col = number / cut.down * Tile::kCols;
  const Index last = min_index((piece + 1) * cut.depth, part.positions);
  MV_SHARED(Spot<T>, spots, [kEntries]);
  MV_SHARED(const T*, gradients, [kEntries]);
  const GradientRows<T> rows{part, gradients};
  const TurnedPatches<T> patches{part, spots};
  Tile tile;
  for (Index first = piece * cut.depth; first < last; first += kEntries) {
    for (int k = static_cast<int>(threadIdx.x); k < kEntries; k += Tile::kThreads) {
      const Index position = first + k;
      const bool inside = position < last;
      spots[k] = inside ? spot_of(part, position) : Spot<T>{nullptr, kOutside, kOutside};
      const Index skipped = divide(position, part.by_plane).quotient * (part.rows - 1) * part.by_plane.d;
      gradients[k] = inside ? dy + skipped + position : nullptr;
    }
    __syncthreads();
    add_product(tile, rows, patches, first_row, first_col, 0, min_index(last - first, kEntries));
  }
  T* corner = out + piece * part.rows * part.depth;
  tile.results([&](int r, int c, auto v) {
    constexpr int W = sizeof(v.lane) / sizeof(T);
    const Index row = first_row + r, col = first_col + c;
#pragma unroll
    for (int w = 0; w < W; ++w) {
      if (row < part.rows && col + w < part.depth) corner[row * part.depth + col + w] = v.lane[w];
    }
  });
}

}  // namespace

Index conv2d_grad_weight_scratch(Index rows, Index cols, Index depth) {
  Index pieces = 1;
  by_size<float>(rows, cols, [&](auto tile) { pieces = cut_for<decltype(tile)>(rows, cols, depth).pieces; });
  return pieces > 1 ? pieces * rows * cols : 0;
}

template <class T>
void conv2d_grad_weight(const ConvShape& shape, const T* x, const T* dy, T* dw, T* scratch, Stream stream) {
  const ConvPart<T> part = [&] {
    ConvPart<T> p = conv_part<T>(forward_axis(shape.h), forward_axis(shape.w), shape.N, shape.O, shape.C);
    p.images = x;
    return p;
  }();
  if (shape.O * part.depth == 0) return;
  by_size<T>(shape.O, part.depth, [&](auto tile) {
    using Tile = decltype(tile);
    const WeightCut cut = cut_for<Tile>(shape.O, part.depth, part.positions);
    const Grid grid = checked_grid(cut.down * cut.across * cut.pieces, Tile::kThreads);
    launch(weight_tiles<Tile, T>, grid, stream, part, dy, cut, cut.pieces > 1 ? scratch : dw);
    if (cut.pieces == 1) return;
    const Index count = shape.O * part.depth;
    launch(add_products<T>, over_elements(count), stream, scratch, cut.pieces, Epilogue<T>{nullptr, false},
           dw, count, part.depth);
  });
}

template void conv2d_grad_weight(const ConvShape&, const float*, const float*, float*, float*, Stream);
template void conv2d_grad_weight(const ConvShape&, const double*, const double*, double*, double*, Stream);

}  // namespace minivae
