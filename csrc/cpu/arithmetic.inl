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

// The mean of n numbers, summed in double.
template <class T>
T mean_of(const T* x, Index n) {
  RowSum sum;
  add_piece(sum, x, n);
  return static_cast<T>(total(sum) / static_cast<double>(n));
}

// terms = (rec + beta kl, rec, kl), where rec and kl are the means of R and K numbers; each of the K shares
// is beta / K, the derivative of the first term by a number of kl.
template <class T>
void negative_elbo(const T* rec, Index R, const T* kl, Index K, T beta, T* terms, T* share) {
  terms[1] = mean_of(rec, R);
  terms[2] = mean_of(kl, K);
  terms[0] = weighted_loss(terms[1], terms[2], beta);
  for (Index n = 0; n < K; ++n) share[n] = kl_share(beta, K);
}
