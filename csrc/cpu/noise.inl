// Uniform and normal noise. Blocks of four elements share a Philox call, so a range is made tile by tile
// from whole blocks, in a buffer that stays in cache; the loops over blocks are vectorised.

// Elements made at a time, and room for a range that begins or ends inside a block.
constexpr Index kTile = 512;
constexpr Index kTileRoom = kTile + 8;

// Elements [begin, begin + count) of the stream, count <= kTile, somewhere in `room`: returns the first.
template <class T>
const T* uniform_tile(NoiseKey key, Index begin, Index count, T* room) {
  const Index first = begin / 4, blocks = ceil_div(begin + count, 4) - first;
  for (Index b = 0; b < blocks; ++b) {
    const Words4 w = noise_words(key, static_cast<std::uint64_t>(first + b));
    room[4 * b] = uniform_from<T>(w.w0);
    room[4 * b + 1] = uniform_from<T>(w.w1);
    room[4 * b + 2] = uniform_from<T>(w.w2);
    room[4 * b + 3] = uniform_from<T>(w.w3);
  }
  return room + begin % 4;
}

template <class T>
void uniform(NoiseKey key, T* out, Index begin, Index end) {
  T room[kTileRoom];
  for (Index i = begin; i < end; i += kTile) {
    const Index count = min_index(kTile, end - i);
    std::memcpy(out + i, uniform_tile(key, i, count, room), count * sizeof(T));
  }
}
