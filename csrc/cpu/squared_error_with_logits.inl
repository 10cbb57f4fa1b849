// Row sums of the squared error of sigmoid(logits) over rows [first, last) of (N, M), and its gradient in
// the same pass unless `dlogits` is null.
template <class T>
void squared_error_with_logits(const T* logits, const T* target, T* loss, T* dlogits, T scale, Index M,
                               Index first, Index last) {
  sum_rows(first, last, M, loss, [&](Index begin, Index count, T* MV_RESTRICT term) {
    const T* MV_RESTRICT l = logits + begin;
    const T* MV_RESTRICT t = target + begin;
    if (dlogits) {
      T* MV_RESTRICT gradient = dlogits + begin;
      for (Index i = 0; i < count; ++i) {
        const T e = logistic_exponential(l[i]);
        const T error = pixel_error(l[i], t[i], e);
        term[i] = error * error;
        gradient[i] = squared_error_gradient(error, e) * scale;
      }
    } else {
      for (Index i = 0; i < count; ++i) {
        const T error = pixel_error(l[i], t[i], logistic_exponential(l[i]));
        term[i] = error * error;
      }
    }
  });
}
