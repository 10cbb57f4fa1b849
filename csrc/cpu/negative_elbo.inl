// The terms of the negative ELBO: the means of two losses over all images and their weighted sum. The
// arithmetic is csrc/math/negative_elbo.h.

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
