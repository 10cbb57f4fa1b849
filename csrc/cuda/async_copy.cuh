// Asynchronous copies from global to shared memory that use no registers: cp.async, from sm_80 on.
// Tests that compile kernels for the CPU replace this header by one of the same name (tests/cuda/stand_in).
#pragma once

#include "cuda/platform.h"

namespace minivae {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kCopiesAsync = false;  // and nothing of what follows is called
#else
constexpr bool kCopiesAsync = true;
#endif

// *to becomes *from, or 0 where that is not inside.
template <class T>
__device__ __forceinline__ void copy_async(T* to, const T* from, bool inside) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = inside ? sizeof(T) : 0;  // the rest is zeros
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
               :
               : "r"(address), "l"(from), "n"(sizeof(T)), "r"(bytes)
               : "memory");
}

// Makes one group of all copies since the last call.
__device__ __forceinline__ void end_group_of_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until all of this thread's groups but the last kGroups have arrived.
template <int kGroups>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kGroups) : "memory");
}

}  // namespace minivae
