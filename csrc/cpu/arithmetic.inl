// Sums and products of arrays: the small operations between the larger kernels of a training step.

// y = a + b over elements [begin, end).
template <class T>
void add(const T* MV_RESTRICT a, const T* MV_RESTRICT b, T* MV_RESTRICT y, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) y[i] = a[i] + b[i];
}

// Each row of x (N, M) times its factor, in place, over rows [first, last).
template <class T>
void scale_rows(T* MV_RESTRICT x, const T* MV_RESTRICT factors, Index M, Index first, Index last) {
  for (Index n = first; n < last; ++n) {
    const T factor = factors[n];
    for (Index i = n * M; i < (n + 1) * M; ++i) x[i] *= factor;
  }
}
