// Row sums of the Bernoulli cross-entropy over rows [first, last) of (N, M), and its gradient in
// the same pass unless `dlogits` is null. A tile's exponentials are computed first, in a loop of their own,
// because a processor overlaps more elements of two short loops than of one long loop.
template <class T>
void bce_with_logits(const T* logits, const T* target, T* loss, T* dlogits, T scale, Index M, Index first,
                     Index last) {
  sum_rows(first, last, M, loss, [&](Index begin, Index count, T* MV_RESTRICT term) {
    const T* MV_RESTRICT l = logits + begin;
    const T* MV_RESTRICT t = target + begin;
    T e[kTile];
    for (Index i = 0; i < count; ++i) e[i] = logistic_exponential(l[i]);
    if (dlogits) {
      T* MV_RESTRICT gradient = dlogits + begin;
      for (Index i = 0; i < count; ++i) {
        term[i] = bce_loss(l[i], t[i], e[i]);
        gradient[i] = bce_gradient(l[i], t[i], e[i]) * scale;
      }
    } else {
      for (Index i = 0; i < count; ++i) term[i] = bce_loss(l[i], t[i], e[i]);
    }
  });
}
