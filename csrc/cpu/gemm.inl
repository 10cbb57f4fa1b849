// Matrix product C = A B + bias, or max(A B + bias, 0), for matrices of any strides.
//
// The scheme is that of Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008),
// in the form of Van Zee & van de Geijn, "BLIS" (2015). C is computed in tiles of kTileRows x kTileVectors
// vectors, which stay in registers while k runs: each step loads one row of B (the vectors) and multiplies
// it with one column of A (an element at a time, in every lane). Around the tile:
//
//   j over kBlockCols columns    a block of B, kBlockDepth x kBlockCols, packed; stays in L2
//     k over kBlockDepth
//       i over kBlockRows        a block of A, kBlockRows x kBlockDepth, packed; stays in L2
//         j over tiles           a panel of B, kBlockDepth x one tile wide, stays in L1
//           i over tiles         panels of A stream through
//
// Packing copies a block into panels, [k][lane] with the lanes of one tile side by side, padded with
// zeros, so that a tile reads memory in order whatever the strides were.
//
// Where all rows of A fit in one block, each panel of B is packed just before it is used, while the panels after it
// are fetched from memory. A skinny product (few rows) takes the time of reading B once. If B's rows are contiguous,
// only a few of them are then read side by side (a short depth); if its columns are, the product is made of dot
// products (dot.inl).
//
// Threads take rectangles of C and share nothing. Every element of C is a sum over k in an order that
// depends on the sizes and strides alone, so the result does not depend on the number of threads.

template <class T>
constexpr Index kBlockDepth = 1024 / sizeof(T);
constexpr Index kBlockRows = 10 * kTileRows;
template <class T>
constexpr Index kBlockCols = 3072 / sizeof(T);

constexpr Index kSkinny = 24;                    // rows up to which a product is skinny
constexpr Index kThin = 24;                      // rows or columns up to which a product is thin
constexpr Index kSkinnyDepth = 32;               // rows of B read side by side
constexpr Index kStreamBytes = Index(32) << 20;  // results this large bypass the caches
constexpr Index kSmallWork = 1 << 16;            // multiplications up to which one thread does all

struct GemmPlan {
  bool dots;  // contiguous rows of A times contiguous columns of B
  Index depth;
};

template <class T>
GemmPlan plan_gemm(Index M, Index N, Index K, const Matrix<T>& a, const Matrix<T>& b) {
  const bool dots = a.col == 1 && b.row == 1 && K >= kBlockDepth<T> && (M <= kThin || N <= kThin);
  return {dots, M <= kSkinny && b.col == 1 ? kSkinnyDepth : kBlockDepth<T>};
}

// Rows [i0, i1) and columns [j0, j1) of C.
template <class T>
void gemm_rectangle(const GemmPlan& plan, const Matrix<T>& a, const Matrix<T>& b, Index K,
                    const Output<T>& out, Index i0, Index i1, Index j0, Index j1) {
  if (plan.dots) return dot_rectangle(a, b, K, out, i0, i1, j0, j1);
  constexpr Index W = kTileCols<T>;
  const Index blocks = K > 0 ? ceil_div(K, plan.depth) : 1;  // K = 0 still writes the bias
  const Index block_depth = ceil_div(K, blocks);
  const bool one_block = i1 - i0 <= kBlockRows;  // of A: each panel of B meets all its rows at once
  T* packed_a = scratch<T>(Scratch::kPackedA, (kBlockRows + kTileRows) * block_depth + kVectorLanes<T>);
  T* packed_b = scratch<T>(Scratch::kPackedB, (kBlockCols<T> + W) * block_depth + kVectorLanes<T>);
  for (Index jb = j0, jb_end; jb < j1; jb = jb_end) {
    // A few columns first, where stores past the caches need it, so that the others are aligned.
    const Index lead = out.stream ? to_alignment(out.c + jb) : 0;
    jb_end = min_index(jb + (lead > 0 ? lead : kBlockCols<T>), j1);
    for (Index block = 0; block < blocks; ++block) {
      const Index k0 = block * block_depth, depth = min_index(block_depth, K - k0);
      const Output<T> part = out.part(block + 1 == blocks);
      const auto pack = [&](Index j, T* dst) {
        pack_panel<W>(b.at(k0, j), b.col, b.row, min_index(W, jb_end - j), depth, dst);
        return StridedRows<T>{dst, W};
      };
      if (!one_block) {
        for (Index j = jb; j < jb_end; j += W) pack(j, packed_b + (j - jb) * depth);
      }
      for (Index ib = i0; ib < i1; ib += kBlockRows) {
        const Index ib_end = min_index(ib + kBlockRows, i1);
        pack_rows(a, ib, ib_end, k0, depth, packed_a);
        for (Index j = jb; j < jb_end; j += W) {
          const Index cols = min_index(W, jb_end - j);
          const StridedRows<T> panel =
              one_block ? pack(j, packed_b) : StridedRows<T>{packed_b + (j - jb) * depth, W};
          for (Index i = ib, rows; i < ib_end; i += rows) {
            rows = tile_rows(ib_end - i);
            fitting_tile(depth, packed_a + (i - ib) * depth, panel, part, i, j, rows, cols, block > 0);
          }
        }
      }
    }
  }
}

// A small C with a long sum: K is cut in pieces whose number depends on K alone, and added in order.
template <class T>
void gemm_pieces(Index M, Index N, Index K, const Matrix<T>& a, const Matrix<T>& b, const Output<T>& out) {
  const Index pieces = min_index(16, K / 2048), depth = ceil_div(K, pieces);
  T* parts = scratch<T>(Scratch::kPartial, pieces * M * N);
  parallel_for(pieces, 1, [&](Index begin, Index end) {
    for (Index piece = begin; piece < end; ++piece) {
      const Index k0 = piece * depth, length = min_index(depth, K - k0);
      const Matrix<T> a_piece{a.at(0, k0), a.row, a.col}, b_piece{b.at(k0, 0), b.row, b.col};
      const Output<T> sums{parts + piece * M * N, N};
      gemm_rectangle(plan_gemm(M, N, length, a_piece, b_piece), a_piece, b_piece, length, sums, 0, M, 0, N);
    }
  });
  for (Index i = 0; i < M; ++i) {
    for (Index j = 0; j < N; ++j) {
      T sum = 0;
      for (Index piece = 0; piece < pieces; ++piece) sum += parts[(piece * M + i) * N + j];
      if (out.col_bias) sum += out.col_bias[j];
      out.c[i * out.ld + j] = out.rectify ? relu_of(sum) : sum;
    }
  }
}

// C = A B + bias, by as many threads as its size justifies.
template <class T>
void gemm_to(Index M, Index N, Index K, const Matrix<T>& a, const Matrix<T>& b, Output<T> out) {
  const GemmPlan plan = plan_gemm(M, N, K, a, b);
  out.stream = M * N * Index(sizeof(T)) >= kStreamBytes && K <= plan.depth && !plan.dots;
  if (M * N <= 4096 && K >= 8192) return gemm_pieces(M, N, K, a, b, out);
  // Cut the longer side of C until every thread has a rectangle.
  Index row_parts = 1, col_parts = 1;
  if (double(M) * double(N) * double(K) > kSmallWork) {
    while (row_parts * col_parts < threads()) {
      const bool cut_cols = N / col_parts >= M / row_parts;
      if (cut_cols ? N / col_parts <= kTileCols<T> : M / row_parts <= kTileRows) break;
      ++(cut_cols ? col_parts : row_parts);
    }
  }
  const Index part_rows = ceil_div(ceil_div(M, row_parts), kTileStep) * kTileStep;
  const Index part_cols = ceil_div(ceil_div(N, col_parts), kVectorLanes<T>) * kVectorLanes<T>;
  row_parts = ceil_div(M, part_rows);
  col_parts = ceil_div(N, part_cols);
  parallel_for(row_parts * col_parts, 1, [&](Index begin, Index end) {
    for (Index part = begin; part < end; ++part) {
      const Index i = part / col_parts * part_rows, j = part % col_parts * part_cols;
      gemm_rectangle(plan, a, b, K, out, i, min_index(i + part_rows, M), j, min_index(j + part_cols, N));
    }
    if (out.stream) finish_streams();
  });
}

// c (M, N), C-contiguous, becomes a (M, K) times b (K, N), plus bias (N,) in every row unless it is null,
// then max(., 0) if `rectify`.
template <class T>
void gemm(Index M, Index N, Index K, const Matrix<T>& a, const Matrix<T>& b, const T* bias, bool rectify,
          T* c) {
  if (M == 0 || N == 0) return;
  const Output<T> out{c, N, bias, false, rectify};
  const bool narrow = N <= kThin && N % kTileCols<T> != 0 && M > kThin && K >= kTileCols<T>;
  if (!narrow || plan_gemm(M, N, K, a, b).dots) return gemm_to(M, N, K, a, b, out);
  // So few columns leave a tile's vectors nearly empty, so the transpose is computed: its rows are long.
  T* turned = scratch<T>(Scratch::kTile, M * N);
  gemm_to(N, M, K, b.transposed(), a.transposed(), Output<T>{turned, M});
  for (Index i = 0; i < M; ++i) {
    for (Index j = 0; j < N; ++j) {
      const T sum = turned[j * M + i] + (bias ? bias[j] : T(0));
      c[i * N + j] = rectify ? relu_of(sum) : sum;
    }
  }
}
