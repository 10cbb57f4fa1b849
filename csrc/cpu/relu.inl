// y = max(x, 0), where NaN stays NaN, and dx = dy where y > 0, over elements [begin, end).

template <class T>
void relu(const T* MV_RESTRICT x, T* MV_RESTRICT y, Index begin, Index end) {
  for (Index i = begin; i < end; ++i) y[i] = x[i] <= 0 ? T(0) : x[i];
}

template <class T>
void relu_backward(const T* MV_RESTRICT y, const T* MV_RESTRICT dy, T* MV_RESTRICT dx, Index begin,
                   Index end) {
  for (Index i = begin; i < end; ++i) dx[i] = y[i] > 0 ? dy[i] : T(0);
}
