// Work space that is kept from one call to the next, one set per thread: mapping and unmapping megabytes
// in every call costs more than many kernels do.
#pragma once

#include <cstddef>

namespace minivae {

// The purposes that hold work space at the same time within one thread.
enum class Scratch { kPackedA, kPackedB, kPlanes, kTile, kOffsets, kPhases, kMasks, kPartial, kCount };

// At least `bytes` bytes, aligned to a cache line, with unspecified content; valid until this thread asks
// for the same purpose again. Freed when the thread ends. Throws std::bad_alloc.
void* scratch_bytes(Scratch purpose, std::size_t bytes);

template <class T>
T* scratch(Scratch purpose, long long count) {
  return static_cast<T*>(scratch_bytes(purpose, static_cast<std::size_t>(count) * sizeof(T)));
}

}  // namespace minivae
