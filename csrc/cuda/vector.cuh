// W neighbouring elements, which move by one instruction where they make up 16 bytes.
#pragma once

#include "cuda/platform.h"

namespace minivae {

template <class T, int W>
struct alignas(sizeof(T) * W) Vector {
  T lane[W];
};

// Elements in 16 bytes, the most one thread moves at a time.
template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

// Hides from nvcc how a value was computed, so that it is kept in a register and not computed again in every
// iteration of a loop.
template <class T>
__device__ __forceinline__ T* kept(T* p) {
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(p));
#endif
  return p;
}
__device__ __forceinline__ int kept(int x) {
#if defined(__CUDA_ARCH__)
  asm("" : "+r"(x));
#endif
  return x;
}

template <int W, class T>
__device__ __forceinline__ Vector<T, W> load(const T* p) {
  return *reinterpret_cast<const Vector<T, W>*>(p);
}

template <class T, int W>
__device__ __forceinline__ void store(T* p, const Vector<T, W>& v) {
  *reinterpret_cast<Vector<T, W>*>(p) = v;
}

// Whether every one of these pointers may be read and written 16 bytes at a time.
template <class... Pointers>
bool all_aligned(Pointers... p) {
  return ((reinterpret_cast<std::uintptr_t>(p) % 16 == 0) && ...);
}

}  // namespace minivae
