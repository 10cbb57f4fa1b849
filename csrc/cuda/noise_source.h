// Where a kernel gets its standard normal numbers: an array, or the stream of csrc/math/philox.h.
#pragma once

#include <cstdint>

#include "math/philox.h"

namespace minivae {

// A stream's key, with an offset that may move on while the launch stays the same: `counter`, when
// it is not null, is one number in device memory that is added to the offset. A captured graph is
// replayed with the arguments it was captured with, so this is how its noise differs from step to
// step.
struct NoiseStream {
  std::uint64_t seed = 0;
  std::uint64_t offset = 0;
  const std::uint64_t* counter = nullptr;
};

MV_HD NoiseKey key_of(const NoiseStream& stream) {
  return {stream.seed, stream.offset + (stream.counter ? *stream.counter : 0)};
}

// An array shaped like the numbers it joins, or, where it is null, a stream.
template <class T>
struct NoiseSource {
  const T* eps = nullptr;
  NoiseStream stream;
};

}  // namespace minivae
