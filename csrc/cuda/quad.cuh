// Four neighbouring elements moved by 128-bit accesses: one for float, two for double.
#pragma once

#include <cstdint>

#include "cuda/launch_geometry.h"
#include "cuda/platform.h"

namespace minivae {

template <class T>
struct alignas(16) Quad {
  T x[4];
};

// Whether quad 0 of every array lies on a 16-byte boundary, and with it every other.
template <class... P>
bool quads_are_aligned(const P*... arrays) {
  return ((reinterpret_cast<std::uintptr_t>(arrays) % 16 == 0) && ...);
}

// Elements 4q .. 4q + 3. One wide access where the quad is whole and kAligned says that it can be;
// otherwise one access per element, of `part` only, and zeros elsewhere.
template <bool kAligned, class T>
__device__ __forceinline__ Quad<T> load_quad(const T* array, Index quad, QuadPart part) {
  if (kAligned && part.end - part.begin == 4) return *reinterpret_cast<const Quad<T>*>(array + 4 * quad);
  Quad<T> values{};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j >= part.begin && j < part.end) values.x[j] = array[4 * quad + j];
  }
  return values;
}

template <bool kAligned, class T>
__device__ __forceinline__ void store_quad(T* array, Index quad, QuadPart part, const Quad<T>& values) {
  if (kAligned && part.end - part.begin == 4) {
    *reinterpret_cast<Quad<T>*>(array + 4 * quad) = values;
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j >= part.begin && j < part.end) array[4 * quad + j] = values.x[j];
  }
}

}  // namespace minivae
