// z = mu + exp(logvar / 2) eps and the rows' KL, and both gradients, over rows [first, last) of (N,
// D). eps is an array, or null: then the elements of the stream `key` are made tile by tile, here
// and once more in backward, and never pass through memory.

template <class T>
void reparam_kl_forward(const T* mu, const T* logvar, const T* eps, NoiseKey key, T* z, T* kl, Index D,
                        Index first, Index last) {
  T room[kTileRoom];
  sum_rows(first, last, D, kl, [&](Index begin, Index count, T* MV_RESTRICT term) {
    const T* MV_RESTRICT e = eps ? eps + begin : normal_tile(key, begin, count, room);
    const T* MV_RESTRICT m = mu + begin;
    const T* MV_RESTRICT l = logvar + begin;
    T* MV_RESTRICT out = z + begin;
    for (Index i = 0; i < count; ++i) {
      const Deviation<T> s = deviation_of(l[i]);
      out[i] = reparameterize(m[i], s, e[i]);
      term[i] = kl_element(m[i], l[i], s);
    }
  });
}

template <class T>
void reparam_kl_backward(const T* mu, const T* logvar, const T* eps, NoiseKey key, const T* dz, const T* dkl,
                         T* dmu, T* dlogvar, Index D, Index first, Index last) {
  T room[kTileRoom], row_gradient[kTile];
  const Index end = last * D;
  for (Index begin = first * D; begin < end; begin += kTile) {
    const Index count = min_index(kTile, end - begin);
    // dkl of each element's row, spread out first so that the loop below can be vectorised.
    for (Index i = 0, row = begin / D, column = begin % D; i < count; ++row, column = 0) {
      const Index piece = min_index(D - column, count - i);
      for (Index j = 0; j < piece; ++j) row_gradient[i + j] = dkl[row];
      i += piece;
    }
    const T* MV_RESTRICT e = eps ? eps + begin : normal_tile(key, begin, count, room);
    const T* MV_RESTRICT m = mu + begin;
    const T* MV_RESTRICT l = logvar + begin;
    const T* MV_RESTRICT g = dz + begin;
    T* MV_RESTRICT gm = dmu + begin;
    T* MV_RESTRICT gl = dlogvar + begin;
    for (Index i = 0; i < count; ++i) {
      reparam_kl_gradient(m[i], deviation_of(l[i]), e[i], g[i], row_gradient[i], gm[i], gl[i]);
    }
  }
}
