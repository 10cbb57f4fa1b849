// Row sums of the Bernoulli cross-entropy over rows [first, last) of (N, M), and its gradient in
// the same pass unless `dlogits` is null.
template <class T>
void bce_with_logits(const T* logits, const T* target, T* loss, T* dlogits, Index M, Index first,
                     Index last) {
  sum_rows(first, last, M, loss, [&](Index begin, Index count, T* MV_RESTRICT term) {
    const T* MV_RESTRICT l = logits + begin;
    const T* MV_RESTRICT t = target + begin;
    if (dlogits) {
      T* MV_RESTRICT gradient = dlogits + begin;
      for (Index i = 0; i < count; ++i) {
        const T e = logistic_exponential(l[i]);
        term[i] = bce_loss(l[i], t[i], e);
        gradient[i] = bce_gradient(l[i], t[i], e);
      }
    } else {
      for (Index i = 0; i < count; ++i) term[i] = bce_loss(l[i], t[i], logistic_exponential(l[i]));
    }
  });
}
