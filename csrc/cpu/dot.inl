// Dot products of contiguous rows, a tile of them at a time: the form for a skinny product whose operands
// both lie along the summed dimension, and for the weight gradient of a convolution.

constexpr int kDotRows = kVectorRegisters == 32 ? 8 : 4;  // the sums take 24 of 32 vector registers,
constexpr int kDotCols = 3;                               // or 12 of 16
// The sums of a tile, rounded up to whole vectors.
template <class T>
constexpr int kDotSums = (kDotRows * kDotCols + kVectorLanes<T> - 1) / kVectorLanes<T> * kVectorLanes<T>;

// out[i * kDotCols + j] = sum over k < depth of a[i][k] * b[j][k]. With Fetch, what lies `ahead` of
// b is fetched into the cache.
template <bool Fetch, class T>
void dot_tile(Index depth, const T* const (&a)[kDotRows], const T* const (&b)[kDotCols], Index ahead,
              T (&out)[kDotSums<T>]) {
  constexpr int L = kVectorLanes<T>, R = kDotRows, S = kDotCols;
  Vec<T> acc[kDotSums<T>] = {};
  const auto step = [&](Index k, Index count) __attribute__((always_inline)) {
    const auto read = [&](const T* p, Vec<T>& v) {
      v = count == L ? load(p + k) : load_lanes(p + k, first_lanes<T>(count));
    };
    Vec<T> y[S];
#pragma GCC unroll 8
    for (int j = 0; j < S; ++j) {
      read(b[j], y[j]);
      if (Fetch) fetch_ahead(b[j] + k + ahead);
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      Vec<T> x;
      read(a[i], x);
      keep_in_register(x);
#pragma GCC unroll 8
      for (int j = 0; j < S; ++j) acc[i * S + j] = multiply_add(x, y[j], acc[i * S + j]);
    }
  };
  Index k = 0;
  for (; k + L <= depth; k += L) step(k, L);
  if (k < depth) step(k, depth - k);
#pragma GCC unroll 16
  for (int group = 0; group < R * S; group += L) store(out + group, sum_each<T>(acc + group));
}

constexpr Index kDotBlockCols = 48;  // columns of B that stay in L2 while all rows of A meet them
template <class T>
constexpr Index kDotDepth = 2560 / sizeof(T);  // so that kDotRows rows of A stay in L1

// Rows [i0, i1) and columns [j0, j1) of C = A B, where rows of A and columns of B are contiguous. Past the
// last row or column the tile computes that one again and drops it.
template <class T>
void dot_rectangle(const Matrix<T>& a, const Matrix<T>& b, Index K, const Output<T>& out, Index i0, Index i1,
                   Index j0, Index j1) {
  constexpr int R = kDotRows, S = kDotCols;
  for (Index jb = j0; jb < j1; jb += kDotBlockCols) {
    const Index jb_end = min_index(jb + kDotBlockCols, j1);
    for (Index k = 0; k < K; k += kDotDepth<T>) {
      const Output<T> part = out.part(k + kDotDepth<T> >= K);
      for (Index i = i0; i < i1; i += R) {
        const T* x[R];
        for (int r = 0; r < R; ++r) x[r] = a.at(min_index(i + r, i1 - 1), k);
        for (Index j = jb; j < jb_end; j += S) {
          const T* y[S];
          for (int s = 0; s < S; ++s) y[s] = b.at(k, min_index(j + s, jb_end - 1));
          T sums[kDotSums<T>];
          dot_tile<true>(min_index(kDotDepth<T>, K - k), x, y, S * b.col, sums);
          for (int r = 0; r < R && i + r < i1; ++r) {
            for (int s = 0; s < S && j + s < jb_end; ++s) {
              T* c = out.c + (i + r) * out.ld + j + s;
              const T before = k > 0 ? *c : out.col_bias ? out.col_bias[j + s] : T(0);
              const T sum = before + sums[r * S + s];
              *c = part.rectify ? relu_of(sum) : sum;
            }
          }
        }
      }
    }
  }
}
