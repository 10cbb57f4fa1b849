// Images number index[first .. last) of a uint8 (N, size) array as numbers in [0, 1], or as the 0s
// and 1s that the stream `key` draws when `draw` is set. Indices have been checked.
template <class T>
void gather_pixels(const std::uint8_t* images, const std::int64_t* index, bool draw, NoiseKey key, T* out,
                   Index size, Index first, Index last) {
  std::uint32_t room[kTileRoom];
  for (Index row = first; row < last; ++row) {
    const std::uint8_t* MV_RESTRICT p = images + index[row] * size;
    T* MV_RESTRICT to = out + row * size;
    if (!draw) {
      for (Index i = 0; i < size; ++i) to[i] = pixel_value<T>(p[i]);
      continue;
    }
    for (Index start = 0; start < size; start += kTile) {
      const Index count = min_index(kTile, size - start);
      const std::uint32_t* MV_RESTRICT w = words_tile(key, row * size + start, count, room);
      for (Index i = 0; i < count; ++i) to[start + i] = pixel_draw<T>(p[start + i], w[i]);
    }
  }
}
