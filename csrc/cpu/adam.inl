// Adam over the elements [begin, end) of one parameter.
template <class T>
void adam(T* MV_RESTRICT p, const T* MV_RESTRICT g, T* MV_RESTRICT m, T* MV_RESTRICT v,
          const AdamFactors<T>& factors, Index begin, Index end) {
  const AdamFactors<T> k = factors;  // a copy no store can alias
  for (Index i = begin; i < end; ++i) adam_element(p[i], g[i], m[i], v[i], k);
}
