// Batch normalisation of channels [first, last) of (N, C, L), and sums over everything but the channel.
// Statistics and sums are in double; the variance is a second pass over the data, about the mean. The arithmetic
// of an element is csrc/math/batch_norm.h.

// The sum over n and l of term(position of x[n, c, l]).
template <class Term>
double channel_total(Index N, Index C, Index L, Index c, Term term) {
  RowSum sum;
  for (Index n = 0; n < N; ++n) add_terms(sum, L, [=](Index l) { return term((n * C + c) * L + l); });
  return total(sum);
}

// The same for L = 1, columns of a matrix, of which neighbours are summed side by side.
template <class T, class Term>
void column_totals(T* sums, Index N, Index C, Index first, Index last, Term term) {
  for (Index c = first; c < last; c += kLanes) {
    double column[kLanes] = {};
    const Index count = min_index(kLanes, last - c);
    for (Index n = 0; n < N; ++n) {
      for (Index j = 0; j < count; ++j) column[j] += term(n * C + c + j);
    }
    for (Index j = 0; j < count; ++j) sums[c + j] = static_cast<T>(column[j]);
  }
}

template <class T>
void channel_sum(const T* x, T* sums, Index N, Index C, Index L, Index first, Index last) {
  if (L == 1) return column_totals(sums, N, C, first, last, [=](Index i) { return double(x[i]); });
  for (Index c = first; c < last; ++c) {
    sums[c] = static_cast<T>(channel_total(N, C, L, c, [=](Index i) { return double(x[i]); }));
  }
}

template <class T>
void batch_statistics(const T* x, T* mean, T* var, Index N, Index C, Index L, Index first, Index last) {
  const double count = double(N) * double(L);
  for (Index c = first; c < last; ++c) {
    const double m = channel_total(N, C, L, c, [=](Index i) { return double(x[i]); }) / count;
    const double squares = channel_total(N, C, L, c, [=](Index i) { return (x[i] - m) * (x[i] - m); });
    mean[c] = static_cast<T>(m);
    var[c] = static_cast<T>(squares / count);
  }
}

template <class T>
void update_running(const T* mean, const T* var, T momentum, T unbias, T* running_mean, T* running_var,
                    Index C) {
  for (Index c = 0; c < C; ++c) {
    running_mean[c] = moved_towards(running_mean[c], mean[c], momentum);
    running_var[c] = moved_towards(running_var[c], var[c] * unbias, momentum);
  }
}

template <class T>
void batch_norm_forward(const T* x, const T* w, const T* b, const T* mean, const T* var, T eps, T* y, Index N,
                        Index C, Index L, Index first, Index last) {
  for (Index c = first; c < last; ++c) {
    const T m = mean[c], scale = batch_norm_scale(w[c], var[c], eps), shift = b[c];
    for (Index n = 0; n < N; ++n) {
      const T* MV_RESTRICT from = x + (n * C + c) * L;
      T* MV_RESTRICT to = y + (n * C + c) * L;
      for (Index i = 0; i < L; ++i) to[i] = batch_norm_element(from[i], m, scale, shift);
    }
  }
}

// dw = sum(dy xh) and db = sum(dy); dx takes their means over the N L elements, or 0 when mean and var are
// constants.
template <class T>
void batch_norm_backward(const T* x, const T* w, const T* mean, const T* var, T eps, const T* dy,
                         bool training, T* dx, T* dw, T* db, Index N, Index C, Index L, Index first,
                         Index last) {
  const double count = double(N) * double(L);
  for (Index c = first; c < last; ++c) {
    const T m = mean[c], inverse = inverse_deviation(var[c], eps), scale = w[c] * inverse;
    const auto xh = [=](Index i) { return normalized(x[i], m, inverse); };
    const double sum_dy = channel_total(N, C, L, c, [=](Index i) { return double(dy[i]); });
    const double sum_dy_xh = channel_total(N, C, L, c, [=](Index i) { return dy[i] * double(xh(i)); });
    db[c] = static_cast<T>(sum_dy);
    dw[c] = static_cast<T>(sum_dy_xh);
    const T mean_dy = training ? static_cast<T>(sum_dy / count) : 0;
    const T mean_dy_xh = training ? static_cast<T>(sum_dy_xh / count) : 0;
    for (Index n = 0; n < N; ++n) {
      const T* MV_RESTRICT from = x + (n * C + c) * L;
      const T* MV_RESTRICT gradient = dy + (n * C + c) * L;
      T* MV_RESTRICT to = dx + (n * C + c) * L;
      for (Index i = 0; i < L; ++i) {
        to[i] = batch_norm_gradient(normalized(from[i], m, inverse), gradient[i], mean_dy, mean_dy_xh, scale);
      }
    }
  }
}
