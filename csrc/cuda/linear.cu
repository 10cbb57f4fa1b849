// A fully connected layer where launches cost more than arithmetic: each product in one launch, with all that
// belongs to it.
//
//   forward    y_k  = x W_k^T + b_k, perhaps max(., 0)       two maps of one x are one matrix of O1 + O2 rows
//   dx         sum_k d_k W_k                                 the mask of a ReLU is applied as d is read
//   dW, db     d_k^T x, column sums of d_k                   db is dW's column for an input that is always 1
//
// Idea: the operands of a tiled product (tile_product.cuh) say where an element lies, so two weights lie
// side by side without being copied together, and what is done to an element before or after the product
// is done on its way. A product of MLPVAE has 14 to 91 tiles of 64 x 64 and there are 132
// multiprocessors, so long sums are cut into pieces; the block that is last to leave its piece adds all
// pieces of its tile, in their order and not in that of their arrival, where a second kernel would have
// cost a launch. Bytes: each operand once, where the caches hold it. Limit: at batch 128 the latency of
// one wave of blocks.
#include "cuda/linear.h"

#include "cuda/launch.h"
#include "cuda/tile_product.cuh"
#include "math/relu.h"

namespace minivae {
namespace {

// ---- operands: two matrices as one -------------------------------------------------------------------

template <class T>
struct Line {
  const T* p;  // null outside
  Index step;
  const T* y;
};

// The rows of W_1, then those of W_2, along their I columns; or along all those rows for every column.
template <class T, bool kAlong>
struct Weights {
  static constexpr bool kAlongDepth = kAlong;
  static constexpr int kWidth = 1;
  Layer<T> layer;

  __device__ Line<T> row(Index o) const {
    const Index first = layer.O[0];
    if (o < first) return {layer.w[0] + o * layer.I, 1, nullptr};
    return {o - first < layer.O[1] ? layer.w[1] + (o - first) * layer.I : nullptr, 1, nullptr};
  }
  __device__ Place column(Index i) const { return {i, i < layer.I}; }
  __device__ auto line(Index j) const {
    if constexpr (kAlong) return row(j);
    if constexpr (!kAlong) return column(j);
  }
  __device__ auto depth(Index k) const {
    if constexpr (kAlong) return column(k);
    if constexpr (!kAlong) return row(k);
  }
  __device__ Vector<T, 1> at(Line<T> row, Place column) const {
    if (row.p && column.inside) return {row.p[column.offset]};
    return {};
  }
  __device__ Vector<T, 1> at(Place column, Line<T> row) const { return at(row, column); }
};

// d_1 and d_2 side by side, (N, O1 + O2), 0 where a ReLU gave 0: along its columns, or its transpose along
// them.
template <class T, bool kAlong>
struct Gradients {
  static constexpr bool kAlongDepth = kAlong;
  static constexpr int kWidth = 1;
  Layer<T> layer;
  Upstream<T> upstream;

  __device__ Line<T> column(Index o) const {
    const Index first = layer.O[0];
    if (o < first) return {upstream.dy[0] + o, first, upstream.y ? upstream.y + o : nullptr};
    return {o - first < layer.O[1] ? upstream.dy[1] + (o - first) : nullptr, layer.O[1], nullptr};
  }
  __device__ Place row(Index n) const { return {n, n < layer.N}; }
  __device__ auto line(Index j) const {
    if constexpr (kAlong) return row(j);
    if constexpr (!kAlong) return column(j);
  }
  __device__ auto depth(Index k) const {
    if constexpr (kAlong) return column(k);
    if constexpr (!kAlong) return row(k);
  }
  __device__ Vector<T, 1> at(Line<T> column, Place row) const {
    if (!column.p || !row.inside) return {};
    const Index at = row.offset * column.step;
    return {column.y ? relu_gradient(column.y[at], column.p[at]) : column.p[at]};
  }
  __device__ Vector<T, 1> at(Place row, Line<T> column) const { return at(column, row); }
};

// x (N, I) by its columns, and after them one of ones.
template <class T>
struct InputAndOne {
  static constexpr bool kAlongDepth = false;
  static constexpr int kWidth = 1;
  const T* x;
  Index N, I;

  __device__ Place line(Index i) const { return {i, i <= I}; }
  __device__ Place depth(Index n) const { return {n * I, n < N}; }
  __device__ Vector<T, 1> at(Place i, Place n) const {
    if (!i.inside || !n.inside) return {};
    return {i.offset == I ? T(1) : x[n.offset + i.offset]};
  }
};

// ---- results -------------------------------------------------------------------------------------------

template <class T>
struct ToOutputs {  // element (n, o) of x [W_1; W_2]^T
  Layer<T> layer;
  bool rectify;
  T* out[2];

  __device__ void operator()(Index n, Index o, T sum) const {
    // Chosen by conditions: an index that is a variable would put the arrays into local memory.
    const bool second = o >= layer.O[0];
    const Index column = second ? o - layer.O[0] : o, columns = second ? layer.O[1] : layer.O[0];
    const T* bias = second ? layer.b[1] : layer.b[0];
    if (bias) sum += bias[column];
    (second ? out[1] : out[0])[n * columns + column] = rectify ? relu_of(sum) : sum;
  }
};

template <class T>
struct ToInput {
  T* dx;
  Index I;
  __device__ void operator()(Index n, Index i, T sum) const { dx[n * I + i] = sum; }
};

template <class T>
struct ToParameters {  // element (o, i) of [d_1, d_2]^T [x, 1]
  Layer<T> layer;
  T* dw[2];
  T* db[2];

  __device__ void operator()(Index o, Index i, T sum) const {
    const bool second = o >= layer.O[0];
    const Index row = second ? o - layer.O[0] : o;
    T* const sums = second ? db[1] : db[0];
    if (i < layer.I) {
      (second ? dw[1] : dw[0])[row * layer.I + i] = sum;
    } else if (sums) {
      sums[row] = sum;
    }
  }
};

// ---- the product ---------------------------------------------------------------------------------------

template <class T>
using Tile = FmaTile<T, 64, 64, 16, 4, 4, kWide<T>>;
constexpr int kSide = 64, kElements = kSide * kSide;

struct Cut {
  Index down, across;  // tiles
  Index depth, pieces;
};

Cut cut_layer(Index M, Index N, Index K) {
  constexpr Index kBlocks = 132;  // one per multiprocessor of an H200
  constexpr Index kLeast = 64;    // the fewest k of a block
  const Index down = ceil_div(M, kSide), across = ceil_div(N, kSide);
  const Index wanted = kBlocks / (down * across), most = K / kLeast;
  const Index pieces = min_index(wanted > 1 ? wanted : 1, most > 1 ? most : 1);
  const Index depth = ceil_div(ceil_div(K, pieces), 16) * 16;
  return {down, across, depth, ceil_div(K, depth)};
}

// Whether this block is the last of `pieces` to come here; it then sees what the others wrote before.
__device__ __forceinline__ bool last_to_come(unsigned* ticket, Index pieces) {
  MV_SHARED(bool, last, [1]);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last[0] = atomicAdd(ticket, 1u) == static_cast<unsigned>(pieces - 1);
    if (last[0]) *ticket = 0;  // for the next launch
  }
  __syncthreads();
  __threadfence();
  return last[0];
}

template <class A, class B, class Out, class T>
__global__ __launch_bounds__(Tile<T>::kThreads) void layer_product(A a, B b, Out out, Cut cut, T* partial,
                                                                   unsigned* tickets, Index M, Index N,
                                                                   Index K) {
  const Index tile = blockIdx.x / cut.pieces, piece = blockIdx.x % cut.pieces;
  const Index row = tile / cut.across * kSide, col = tile % cut.across * kSide;
  const Index first = piece * cut.depth, last = min_index(first + cut.depth, K);
  T* mine = partial + Index(blockIdx.x) * kElements;
  tile_product<Tile<T>>(a, b, row, col, first, last).results([&](int r, int c, auto v) {
    constexpr int W = sizeof(v.lane) / sizeof(T);
    if (cut.pieces > 1) {
      store(mine + r * kSide + c, v);
      return;
    }
#pragma unroll
    for (int w = 0; w < W; ++w) {
      if (row + r < M && col + c + w < N) out(row + r, col + c + w, v.lane[w]);
    }
  });
  if (cut.pieces == 1 || !last_to_come(tickets + tile, cut.pieces)) return;
  const T* all = partial + tile * cut.pieces * kElements;
  for (int e = static_cast<int>(threadIdx.x); e < kElements; e += Tile<T>::kThreads) {
    const Index i = row + e / kSide, j = col + e % kSide;
    if (i >= M || j >= N) continue;
    T sum = 0;
    for (Index p = 0; p < cut.pieces; ++p) sum += all[p * kElements + e];
    out(i, j, sum);
  }
}

template <class A, class B, class Out, class T>
void launch_product(const A& a, const B& b, const Out& out, T* scratch, unsigned* tickets, Index M, Index N,
                    Index K, Stream stream) {
  const Cut cut = cut_layer(M, N, K);
  const Grid grid = checked_grid(cut.down * cut.across * cut.pieces, Tile<T>::kThreads);
  launch(layer_product<A, B, Out, T>, grid, stream, a, b, out, cut, scratch, tickets, M, N, K);
}

}  // namespace

Index linear_scratch(Index rows, Index columns, Index depth) {
  const Cut cut = cut_layer(rows, columns, depth);
  return cut.pieces > 1 ? cut.down * cut.across * cut.pieces * kElements : 0;
}

template <class T>
void linear(const Layer<T>& layer, const T* x, bool rectify, T* const out[2], T* scratch, unsigned* tickets,
            Stream stream) {
  const MatrixOperand<T, true, 1> a{x, layer.I, 1, layer.N, layer.I};
  const ToOutputs<T> results{layer, rectify, {out[0], out[1]}};
  launch_product(a, Weights<T, true>{layer}, results, scratch, tickets, layer.N, layer.O[0] + layer.O[1],
                 layer.I, stream);
}

template <class T>
void linear_grad_input(const Layer<T>& layer, const Upstream<T>& upstream, T* dx, T* scratch,
                       unsigned* tickets, Stream stream) {
  launch_product(Gradients<T, true>{layer, upstream}, Weights<T, false>{layer}, ToInput<T>{dx, layer.I},
                 scratch, tickets, layer.N, layer.I, layer.O[0] + layer.O[1], stream);
}

template <class T>
void linear_grad_weight(const Layer<T>& layer, const Upstream<T>& upstream, const T* x, T* const dw[2],
                        T* const db[2], T* scratch, unsigned* tickets, Stream stream) {
  const ToParameters<T> results{layer, {dw[0], dw[1]}, {db[0], db[1]}};
  launch_product(Gradients<T, false>{layer, upstream}, InputAndOne<T>{x, layer.N, layer.I}, results, scratch,
                 tickets, layer.O[0] + layer.O[1], layer.I + 1, layer.N, stream);
}

#define MV_INSTANTIATE(T)                                                                                   \
  template void linear(const Layer<T>&, const T*, bool, T* const[2], T*, unsigned*, Stream);                \
  template void linear_grad_input(const Layer<T>&, const Upstream<T>&, T*, T*, unsigned*, Stream);          \
  template void linear_grad_weight(const Layer<T>&, const Upstream<T>&, const T*, T* const[2], T* const[2], \
                                   T*, unsigned*, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
