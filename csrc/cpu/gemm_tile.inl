// The parts of a matrix product: operands, their packing, and the tile of C that is kept in registers.
// gemm.inl puts them together; conv2d.inl uses them on images.

// Where a product goes: rows `ld` apart. col_bias (one value per column) may be null. With `stream` the
// result goes past the caches, for one that is larger than they are; with `rectify` it is max(., 0) of
// the finished sum.
template <class T>
struct Output {
  T* c;
  Index ld;
  const T* col_bias = nullptr;
  bool stream = false;
  bool rectify = false;

  // The same for the sum over a part of k, which only the last part finishes.
  MV_INLINE Output part(bool last) const { return {c, ld, col_bias, stream, rectify && last}; }
};

constexpr int kTileRows = kVectorRegisters == 32 ? 12 : 6;  // the sums take 24 of 32 vector registers,
constexpr int kTileVectors = 2;                             // or 12 of 16
constexpr int kTileStep = kTileRows / 3;                    // shorter tiles serve the last rows
template <class T>
constexpr int kTileCols = kTileVectors * kVectorLanes<T>;

// The shortest tile that holds `rows`.
MV_INLINE int tile_height(Index rows) {
  return rows > 2 * kTileStep ? kTileRows : rows > kTileStep ? 2 * kTileStep : kTileStep;
}

// relu_of in every lane.
template <class T>
MV_INLINE Vec<T> rectified(Vec<T> x) {
  return x <= Vec<T>{} ? Vec<T>{} : x;
}

// dst[k * Width + i] = src[i * stride_i + k * stride_k] for i < count, 0 for count <= i < Width. Writes up
// to kVectorLanes elements past the end.
template <int Width, class T>
void pack_panel(const T* src, Index stride_i, Index stride_k, Index count, Index depth, T* dst) {
  constexpr int L = kVectorLanes<T>;
  Index k = 0;
  if (stride_k == 1 && stride_i != 1) {  // transpose, L x L at a time
    for (; k + L <= depth; k += L) {
      // The last group first: where Width is no multiple of L its spare lanes fall on the next k.
      for (int group = (Width - 1) / L * L; group >= 0; group -= L) {
        Vec<T> block[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) {
          block[i] = group + i < count ? load(src + (group + i) * stride_i + k) : Vec<T>{};
        }
        transpose<T>(block);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) store(dst + (k + i) * Width + group, block[i]);
      }
    }
  } else if (stride_i == 1 && count == Width) {
    for (; k < depth; ++k) {
      for (int i = 0; i < Width; i += L)
        fetch_ahead(src + k * stride_k + 2 * Width + i);  // the next panel but one
      __builtin_memcpy(dst + k * Width, src + k * stride_k, Width * sizeof(T));
    }
  }
  for (; k < depth; ++k) {
    for (Index i = 0; i < Width; ++i) {
      dst[k * Width + i] = i < count ? src[i * stride_i + k * stride_k] : T(0);
    }
  }
}

// How many of the rows that are left the next tile takes. Two shorter tiles are faster than a whole one and one of
// kTileStep rows, whose few sums wait for one another.
MV_INLINE Index tile_rows(Index left) {
  return left > kTileRows && left <= kTileRows + kTileStep ? 2 * kTileStep : min_index(left, kTileRows);
}

// Rows [i0, i1) of `a`, columns [k0, k0 + depth), as one panel for each tile, each of its own tile_height.
template <class T>
void pack_rows(const Matrix<T>& a, Index i0, Index i1, Index k0, Index depth, T* dst) {
  for (Index i = i0, rows; i < i1; i += rows) {
    const T* src = a.at(i, k0);
    rows = tile_rows(i1 - i);
    switch (tile_height(rows)) {
      case kTileRows: pack_panel<kTileRows>(src, a.row, a.col, rows, depth, dst); break;
      case 2 * kTileStep: pack_panel<2 * kTileStep>(src, a.row, a.col, rows, depth, dst); break;
      default: pack_panel<kTileStep>(src, a.row, a.col, rows, depth, dst);
    }
    dst += tile_height(rows) * depth;
  }
}

// How a tile finds row k of its part of B: rows `ld` apart, or at a listed distance from p.
template <class T>
struct StridedRows {
  const T* p;
  Index ld;
  MV_INLINE const T* operator()(Index k) const { return p + k * ld; }
};
template <class T>
struct ListedRows {
  const T* p;
  const Index* offset;
  MV_INLINE const T* operator()(Index k) const { return p + offset[k]; }
};

// C(i0 .., j0 ..) (+)= sum over k < depth of (column k of the panel a) x (row k of B).
// Only rows x cols of the tile are written; all of it is computed.
template <int Rows, int Vectors, class T, class BRows>
void tile(Index depth, const T* a, BRows b, const Output<T>& out, Index i0, Index j0, Index rows, Index cols,
          bool accumulate) {
  constexpr int L = kVectorLanes<T>;
  Vec<T> acc[Rows][Vectors] = {};
  for (Index k = 0; k < depth; ++k) {
    const T* p = b(k);
    Vec<T> row[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) row[v] = load(p + v * L);
    Vec<T> group;
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vec<T> x = factor(a + k * Rows, i, group);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[i][v] = multiply_add(x, row[v], acc[i][v]);
    }
  }
  T* const c = out.c + i0 * out.ld + j0;
  const T* const bias = accumulate || !out.col_bias ? nullptr : out.col_bias + j0;
  const Index ld = out.ld;
  // Calls f(sum, where it goes, v) for the first `height` rows; all loops are unrolled, so that sums have registers.
  const auto each = [&](Index height, auto f) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      if (i == height) break;
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) f(acc[i][v], c + i * ld + v * L, v);
    }
  };
  const auto finish = [&](Index height, auto read, auto write) __attribute__((always_inline)) {
    if (accumulate)
      each(height, [&](Vec<T>& sum, T* p, int v) __attribute__((always_inline)) { sum = read(p, v) + sum; });
    if (bias)
      each(height,
           [&](Vec<T>& sum, T*, int v) __attribute__((always_inline)) { sum = sum + read(bias + v * L, v); });
    if (out.rectify)
      each(height, [&](Vec<T>& sum, T*, int) __attribute__((always_inline)) { sum = rectified<T>(sum); });
    each(height, write);
  };
  const auto whole = [&](const T* p, int) __attribute__((always_inline)) { return load(p); };
  if (rows < Rows || cols < Vectors * L) {
    const auto inside = [&](int v) __attribute__((always_inline)) {
      return first_lanes<T>(min_index(L, cols - v * L));
    };
    finish(
        rows, [&](const T* p, int v) __attribute__((always_inline)) { return load_lanes(p, inside(v)); },
        [&](Vec<T> sum, T* p, int v) __attribute__((always_inline)) { store_lanes(p, sum, inside(v)); });
  } else if (out.stream && can_stream(c) && can_stream(c + ld)) {
    finish(Rows, whole,
           [&](Vec<T> sum, T* p, int) __attribute__((always_inline)) { store_past_caches(p, sum); });
  } else {
    finish(Rows, whole, [&](Vec<T> sum, T* p, int) __attribute__((always_inline)) { store(p, sum); });
  }
}

// The tile that fits rows x cols.
template <class T, class BRows>
MV_INLINE void fitting_tile(Index depth, const T* a, BRows b, const Output<T>& out, Index i0, Index j0,
                            Index rows, Index cols, bool accumulate) {
  using Tile = void (*)(Index, const T*, BRows, const Output<T>&, Index, Index, Index, Index, bool);
  static constexpr Tile tiles[3][2] = {{tile<kTileStep, 1, T, BRows>, tile<kTileStep, 2, T, BRows>},
                                       {tile<2 * kTileStep, 1, T, BRows>, tile<2 * kTileStep, 2, T, BRows>},
                                       {tile<kTileRows, 1, T, BRows>, tile<kTileRows, 2, T, BRows>}};
  const int height = tile_height(rows) / kTileStep - 1;
  tiles[height][cols > kVectorLanes<T>](depth, a, b, out, i0, j0, rows, cols, accumulate);
}
