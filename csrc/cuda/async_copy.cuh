// Copies from global to shared memory that pass no register and wait for nothing (cp.async, from sm_80 on).
// Where a GPU has none, and on the CPU that stands in for one, they are done at once.
#pragma once

#include "cuda/platform.h"

namespace minivae {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kCopiesAsync = false;
#else
constexpr bool kCopiesAsync = true;
#endif

// Where an element lies; one that is not inside counts as 0.
template <class T>
struct Found {
  const T* at;
  bool inside;
};

// *to becomes the element.
template <class T>
__device__ __forceinline__ void copy_async(T* to, const Found<T>& from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = from.inside ? sizeof(T) : 0;  // the rest is zeros
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
               :
               : "r"(address), "l"(from.at), "n"(sizeof(T)), "r"(bytes)
               : "memory");
#else
  *to = from.inside ? *from.at : T(0);
#endif
}

// What was copied since the last call is one group.
__device__ __forceinline__ void end_group_of_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until all of this thread's groups but the last kGroups have arrived.
template <int kGroups>
__device__ __forceinline__ void wait_for_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" : : "n"(kGroups) : "memory");
#endif
}

}  // namespace minivae
