// Where a kernel gets its noise: from an array, or from the stream of csrc/math/philox.h.
#pragma once

#include <cstdint>

#include "math/philox.h"

namespace minivae {

// One draw of the stream, as minivae.Noise: its key, with an offset that may move on while the launch
// stays the same. `counter`, when it is not null, is one number in device memory that is added to the
// offset: a captured graph is replayed with the arguments it was captured with, so this is how its
// noise differs from step to step.
struct Noise {
  std::uint64_t seed = 0;
  std::uint64_t offset = 0;
  std::uint64_t first = 0;
  const std::uint64_t* counter = nullptr;
};

MV_HD NoiseKey key_of(const Noise& noise) {
  return {noise.seed, noise.offset + (noise.counter ? *noise.counter : 0), noise.first};
}

// An array shaped like the numbers it joins, or, where it is null, a draw.
template <class T>
struct NoiseSource {
  const T* eps = nullptr;
  Noise draw;
};

}  // namespace minivae
