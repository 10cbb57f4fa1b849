// What the arithmetic headers need to be read by a C++ and by a CUDA compiler alike.
#pragma once

#include <cstdint>
#include <cstring>

// Every function of csrc/math is MV_HD: inlined into the loop that calls it, so that the loop can
// be vectorised, and `static`, so that copies compiled for different instruction sets never meet in
// the linker (an AVX-512 copy chosen for everybody would crash a machine without it).
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
