// y = max(x, 0), where NaN stays NaN, and dx = 0 where y <= 0, else dy, over elements [begin, end).

template <class T>
void relu(const T* MV_RESTRICT x, T* MV_RESTRICT y, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) y[i] = relu_of(x[i]);
}

template <class T>
void relu_backward(const T* MV_RESTRICT y, const T* MV_RESTRICT dy, T* MV_RESTRICT dx, Index begin,
                   Index end) {
  for (Index i = begin; i < end; ++i) dx[i] = relu_gradient(y[i], dy[i]);
}

// The same dx for channels [first, last) of (N, C, L), and db = the sums of dx over all but the channel, in
// the order of channel_sum.
template <class T>
void bias_relu_backward(const T* MV_RESTRICT y, const T* MV_RESTRICT dy, T* MV_RESTRICT dx, T* MV_RESTRICT db,
                        Index N, Index C, Index L, Index first, Index last) {
  if (L == 1) {
    return column_totals(db, N, C, first, last,
                         [=](Index i) { return double(dx[i] = relu_gradient(y[i], dy[i])); });
  }
  RowSum* const sums = scratch<RowSum>(Scratch::kPartial, last - first);
  for (Index c = first; c < last; ++c) sums[c - first] = {};
  for (Index n = 0; n < N; ++n) {  // the channels of an image lie side by side
    for (Index c = first; c < last; ++c) {
      const Index row = (n * C + c) * L;
      for (Index i = row; i < row + L; ++i) dx[i] = relu_gradient(y[i], dy[i]);
      add_piece(sums[c - first], dx + row, L);
    }
  }
  for (Index c = first; c < last; ++c) db[c] = static_cast<T>(total(sums[c - first]));
}
