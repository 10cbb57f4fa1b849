// Uniform and normal noise. Blocks of four elements share a Philox call, so a range is made tile by
// tile from whole blocks, in a buffer that stays in cache. The loops over blocks are vectorised.

// Elements made at a time, and room for a range that begins or ends inside a block.
constexpr Index kTile = 512;
constexpr Index kTileRoom = kTile + 8;

// The words of elements [begin, begin + count), count <= kTile, somewhere in `room`: returns the
// first.
static const std::uint32_t* words_tile(NoiseKey key, Index begin, Index count, std::uint32_t* room) {
  begin += static_cast<Index>(key.first);
  const Index first = begin / 4, blocks = ceil_div(begin + count, 4) - first;
  for (Index b = 0; b < blocks; ++b) {
    const Words4 w = noise_words(key, static_cast<std::uint64_t>(first + b));
    room[4 * b] = w.w0;
    room[4 * b + 1] = w.w1;
    room[4 * b + 2] = w.w2;
    room[4 * b + 3] = w.w3;
  }
  return room + begin % 4;
}

// The same for standard normal numbers.
template <class T>
const T* normal_tile(NoiseKey key, Index begin, Index count, T* room) {
  begin += static_cast<Index>(key.first);
  const Index first = begin / 4, blocks = ceil_div(begin + count, 4) - first;
  for (Index b = 0; b < blocks; ++b) {
    const Words4 w = noise_words(key, static_cast<std::uint64_t>(first + b));
    T n0, n1, n2, n3;
    box_muller(w.w0, w.w1, n0, n1);
    box_muller(w.w2, w.w3, n2, n3);
    room[4 * b] = n0;
    room[4 * b + 1] = n1;
    room[4 * b + 2] = n2;
    room[4 * b + 3] = n3;
  }
  return room + begin % 4;
}

template <class T>
void uniform(NoiseKey key, T* MV_RESTRICT out, Index begin, Index end) {
  std::uint32_t room[kTileRoom];
  for (Index start = begin; start < end; start += kTile) {
    const Index count = min_index(kTile, end - start);
    const std::uint32_t* MV_RESTRICT w = words_tile(key, start, count, room);
    for (Index i = 0; i < count; ++i) out[start + i] = uniform_from<T>(w[i]);
  }
}

template <class T>
void normal(NoiseKey key, T* out, Index begin, Index end) {
  T room[kTileRoom];
  for (Index start = begin; start < end; start += kTile) {
    const Index count = min_index(kTile, end - start);
    std::memcpy(out + start, normal_tile(key, start, count, room), count * sizeof(T));
  }
}
