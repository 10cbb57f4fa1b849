// The inner part of every product of this folder, matrix or convolution: one block of threads makes
// a tile of C = A B, kRows x kCols, from slabs of A and B that are kDepth deep.
//
//   global memory -> registers -> shared memory -> registers -> multiply-add
//
// Two slabs lie in shared memory: while the block multiplies one, the next is on its way into
// registers, and it is put into the other half before the only barrier of the round. A thread holds
// kRows/rows-of-threads x kCols/columns-of-threads sums, so each number it reads from shared memory
// is used that many times; see matmul.cu for the versions that lead here.
//
// An operand is seen as lines (rows of A, columns of B) by depth (the k that is summed over). It
// says where an element lies in two steps, each decoded once and used often:
//
//   struct Operand {
//     static constexpr bool kAlongDepth;   // neighbours in memory differ in k, else in the line
//     static constexpr int kWidth;         // elements that one fetch takes, neighbours in memory
//     Line line(Index j) const;            // for a convolution (image, row, column)
//     Depth depth(Index k) const;          // for a convolution (channel, tap)
//     Vector<T, kWidth> at(Line, Depth) const;   // zeros outside
//   };
//
// so that one kernel multiplies matrices of any strides and images it never unfolds. One that is also
// copied by cp.async says with found(Line, Depth) where the element lies.
#pragma once

#include "cuda/async_copy.cuh"
#include "cuda/vector.cuh"

namespace minivae {

// ---- operands ------------------------------------------------------------------------------------

// Where an element lies; one that is not inside counts as 0.
template <class T>
struct Found {
  const T* at;
  bool inside;
};

struct Place {
  Index offset;
  bool inside;
};

// A matrix of any strides. A wide one has its lines or its depth contiguous, its extents and the
// other stride are multiples of kWidth and its pointer is aligned: a fetch is then inside or outside
// as a whole.
template <class T, bool kAlong, int W>
struct MatrixOperand {
  static constexpr bool kAlongDepth = kAlong;
  static constexpr int kWidth = W;
  const T* p;
  Index line_stride, depth_stride, lines, depths;

  __device__ Place line(Index j) const { return {j * line_stride, j < lines}; }
  __device__ Place depth(Index k) const { return {k * depth_stride, k < depths}; }
  __device__ Vector<T, W> at(Place line, Place depth) const {
    if (line.inside && depth.inside) return load<W>(p + line.offset + depth.offset);
    return {};
  }
};

// ---- a slab's way into shared memory ---------------------------------------------------------------

// Slabs are stored [k][line], whatever they were in memory: what a thread multiplies lies side by
// side. The threads spread over neighbours in memory first.
template <class T, class Operand, int kLines, int kDepth, int kThreads>
struct Stage {
  static constexpr int W = Operand::kWidth;
  static constexpr bool kAlong = Operand::kAlongDepth;
  static constexpr int kRun = (kAlong ? kDepth : kLines) / W;  // fetches that lie side by side
  static constexpr int kRuns = kAlong ? kLines : kDepth;
  static constexpr int kRunsAtOnce = kThreads / kRun;
  static constexpr int kPieces = (kRuns + kRunsAtOnce - 1) / kRunsAtOnce;  // of each thread
  static constexpr bool kEven = kRuns % kRunsAtOnce == 0;                  // or some have one less
  static_assert(kThreads % kRun == 0, "a run is fetched by some of the threads");

  const Operand& operand;
  decltype(operand.line(0)) line[kAlong ? kPieces : 1];
  Vector<T, W> piece[kPieces] = {};

  __device__ static int within() { return static_cast<int>(threadIdx.x) % kRun * W; }
  __device__ static int run(int s) { return static_cast<int>(threadIdx.x) / kRun + s * kRunsAtOnce; }

  __device__ static bool exists(int s) { return kEven || run(s) < kRuns; }

  __device__ Stage(const Operand& source, Index first_line) : operand(source) {
#pragma unroll
    for (int s = 0; s < (kAlong ? kPieces : 1); ++s) {
      line[s] = operand.line(first_line + (kAlong ? run(s) : within()));
    }
  }

  __device__ void fetch(Index k) {
    if constexpr (kAlong) {
      const auto depth = operand.depth(k + within());
#pragma unroll
      for (int s = 0; s < kPieces; ++s) {
        if (exists(s)) piece[s] = operand.at(line[s], depth);
      }
    } else {
#pragma unroll
      for (int s = 0; s < kPieces; ++s) {
        if (exists(s)) piece[s] = operand.at(line[0], operand.depth(k + run(s)));
      }
    }
  }

  // fetch and put at once, of elements as they are: cp.async copies them past the registers.
  template <int kPitch>
  __device__ void copy(Index k, T (&slab)[kDepth][kPitch]) const {
    if constexpr (kAlong) {
      const auto depth = operand.depth(k + within());
#pragma unroll
      for (int s = 0; s < kPieces; ++s) {
        if (exists(s)) copy_element(&slab[within()][run(s)], operand.found(line[s], depth));
      }
    } else {
#pragma unroll
      for (int s = 0; s < kPieces; ++s) {
        if (exists(s))
          copy_element(&slab[run(s)][within()], operand.found(line[0], operand.depth(k + run(s))));
      }
    }
  }

  __device__ static void copy_element(T* to, const Found<T>& from) { copy_async(to, from.at, from.inside); }

  // Tile::number turns an element into what is multiplied: itself, or a rounded one.
  template <class Tile, int kPitch>
  __device__ void put(T (&slab)[kDepth][kPitch]) const {
#pragma unroll
    for (int s = 0; s < kPieces; ++s) {
      if (!exists(s)) continue;
#pragma unroll
      for (int w = 0; w < W; ++w) {
        (kAlong ? slab[within() + w][run(s)] : slab[run(s)][within() + w]) = Tile::number(piece[s].lane[w]);
      }
    }
  }
};

// ---- multiply-add in registers ---------------------------------------------------------------------

// The sums of one thread: kRows x kCols of the tile in groups of neighbours, the groups spread over
// the tile so that a warp reads shared memory without bank conflicts. Groups of columns are read, and
// stored where the result allows it, by wide accesses; elsewhere the lanes of a store are a group apart.
template <class T, int kTileRows, int kTileCols, int kTileDepth, int kThreadRows, int kThreadCols, int kGroup>
struct FmaTile {
  using Element = T;
  static constexpr int kRows = kTileRows, kCols = kTileCols, kDepth = kTileDepth;
  static constexpr int kThreadsAcross = kCols / kThreadCols;
  static constexpr int kThreads = kRows / kThreadRows * kThreadsAcross;
  static constexpr int kRowGroup = kThreadRows < kWide<T> ? kThreadRows : kWide<T>;
  static constexpr int kColGroup = kGroup;
  static constexpr int kPad = 16 / sizeof(T);

  T sum[kThreadRows][kThreadCols] = {};

  __device__ static T number(T x) { return x; }

  __device__ static int row(int r) {
    const int thread = static_cast<int>(threadIdx.x) / kThreadsAcross;
    return (r / kRowGroup * (kRows / kThreadRows) + thread) * kRowGroup + r % kRowGroup;
  }
  __device__ static int col(int c) {
    const int thread = static_cast<int>(threadIdx.x) % kThreadsAcross;
    return (c / kColGroup * kThreadsAcross + thread) * kColGroup + c % kColGroup;
  }

  template <int kPitchA, int kPitchB>
  __device__ void multiply(const T (&a)[kDepth][kPitchA], const T (&b)[kDepth][kPitchB]) {
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      T left[kThreadRows], right[kThreadCols];
#pragma unroll
      for (int r = 0; r < kThreadRows; r += kRowGroup) {
        const auto v = load<kRowGroup>(&a[k][row(r)]);
#pragma unroll
        for (int w = 0; w < kRowGroup; ++w) left[r + w] = v.lane[w];
      }
#pragma unroll
      for (int c = 0; c < kThreadCols; c += kColGroup) {
        const auto v = load<kColGroup>(&b[k][col(c)]);
#pragma unroll
        for (int w = 0; w < kColGroup; ++w) right[c + w] = v.lane[w];
      }
#pragma unroll
      for (int r = 0; r < kThreadRows; ++r) {
#pragma unroll
        for (int c = 0; c < kThreadCols; ++c) sum[r][c] = std::fma(left[r], right[c], sum[r][c]);
      }
    }
  }

  // Calls write(row, col, vector) for each group of columns, counted from the tile's corner.
  template <class Write>
  __device__ void results(Write write) const {
#pragma unroll
    for (int c = 0; c < kThreadCols; c += kColGroup) {
#pragma unroll
      for (int r = 0; r < kThreadRows; ++r) {
        Vector<T, kColGroup> v;
#pragma unroll
        for (int w = 0; w < kColGroup; ++w) v.lane[w] = sum[r][c + w];
        write(row(r), col(c), v);
      }
    }
  }
};

// ---- the tile ----------------------------------------------------------------------------------------

template <class Tile>
struct alignas(16) Slabs {
  typename Tile::Element a[Tile::kDepth][Tile::kRows + Tile::kPad];
  typename Tile::Element b[Tile::kDepth][Tile::kCols + Tile::kPad];
};

// Adds the sums over k in [first, last) of the tile whose corner is (row, col); `last` is a multiple of
// the depth beyond `first`, or both operands are zero from there to the next.
template <class Tile, class A, class B>
__device__ void add_product(Tile& tile, const A& a, const B& b, Index row, Index col, Index first,
                            Index last) {
  using T = typename Tile::Element;
  MV_SHARED(Slabs<Tile>, slabs, [2]);
  Stage<T, A, Tile::kRows, Tile::kDepth, Tile::kThreads> stage_a(a, row);
  Stage<T, B, Tile::kCols, Tile::kDepth, Tile::kThreads> stage_b(b, col);

  stage_a.fetch(first);
  stage_b.fetch(first);
  stage_a.template put<Tile>(slabs[0].a);
  stage_b.template put<Tile>(slabs[0].b);
  __syncthreads();
  int slab = 0;
  for (Index k = first; k < last; k += Tile::kDepth, slab ^= 1) {
    const bool more = k + Tile::kDepth < last;
    if (more) {
      stage_a.fetch(k + Tile::kDepth);
      stage_b.fetch(k + Tile::kDepth);
    }
    tile.multiply(slabs[slab].a, slabs[slab].b);
    if (more) {
      stage_a.template put<Tile>(slabs[slab ^ 1].a);
      stage_b.template put<Tile>(slabs[slab ^ 1].b);
    }
    __syncthreads();
  }
}

// The same with kSlabs slabs in shared memory: while one is multiplied the others are on their way, and the
// threads hold none of it in registers.
template <int kSlabs, class Tile, class A, class B>
__device__ void add_product_async(Tile& tile, const A& a, const B& b, Index row, Index col, Index first,
                                  Index last) {
  using T = typename Tile::Element;
  MV_SHARED(Slabs<Tile>, slabs, [kSlabs]);
  const Stage<T, A, Tile::kRows, Tile::kDepth, Tile::kThreads> stage_a(a, row);
  const Stage<T, B, Tile::kCols, Tile::kDepth, Tile::kThreads> stage_b(b, col);
  const auto copy = [&](Index k, int slab) {
    if (k < last) {
      stage_a.copy(k, slabs[slab].a);
      stage_b.copy(k, slabs[slab].b);
    }
    end_group_of_copies();  // past the end an empty one, so that groups and slabs are counted alike
  };

#pragma unroll
  for (int s = 0; s < kSlabs - 1; ++s) copy(first + s * Tile::kDepth, s);
  int slab = 0;
  for (Index k = first; k < last; k += Tile::kDepth) {
    wait_for_copies<kSlabs - 2>();
    __syncthreads();  // this slab is there, and all have done with the one before it
    copy(k + (kSlabs - 1) * Tile::kDepth, slab == 0 ? kSlabs - 1 : slab - 1);
    tile.multiply(slabs[slab].a, slabs[slab].b);
    slab = slab == kSlabs - 1 ? 0 : slab + 1;
  }
  __syncthreads();
}

template <class Tile, class A, class B>
__device__ Tile tile_product(const A& a, const B& b, Index row, Index col, Index first, Index last) {
  Tile tile;
  add_product(tile, a, b, row, col, first, last);
  return tile;
}

}  // namespace minivae
