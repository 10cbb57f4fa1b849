// The macro and types with which the headers of csrc/math compile as C++ and as CUDA.
#pragma once

#include <cstdint>
#include <cstring>

// Every function of csrc/math is MV_HD: inlined into the loop that calls it, so that the loop can
// be vectorised, and `static`, so that the linker never merges copies compiled for different
// instruction sets (if it kept an AVX-512 copy, a machine without AVX-512 would crash).
#if defined(__CUDACC__)
#define MV_HD static __host__ __device__ __forceinline__
#else
#define MV_HD static inline __attribute__((always_inline))
#endif

namespace minivae {

using Index = std::int64_t;

MV_HD constexpr Index ceil_div(Index a, Index b) {
  return (a + b - 1) / b;
}
MV_HD constexpr Index min_index(Index a, Index b) {
  return a < b ? a : b;
}

}  // namespace minivae
