// Stands before csrc/cuda/platform.h: the CUDA words that a kernel source uses, for g++. The meaning of
// everything that involves other threads is in emulated/block.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulated/block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (::minivae::emulated::self().thread)
#define blockIdx (::minivae::emulated::self().block_index)
#define blockDim (::minivae::emulated::self().block_size)
#define gridDim (::minivae::emulated::self().grid_size)

// Where a thread waits, for messages and to see that all wait at the same place.
#define MV_TEXT_(x) #x
#define MV_TEXT(x) MV_TEXT_(x)
#define MV_SITE (__FILE__ ":" MV_TEXT(__LINE__))

#define __syncthreads() ::minivae::emulated::sync_threads(MV_SITE)
#define __syncwarp(...) ::minivae::emulated::sync_warp(MV_SITE, ##__VA_ARGS__)
#define __shfl_sync(...) ::minivae::emulated::shuffle(MV_SITE, __VA_ARGS__)
#define __shfl_xor_sync(...) ::minivae::emulated::shuffle_xor(MV_SITE, __VA_ARGS__)
#define __shfl_down_sync(...) ::minivae::emulated::shuffle_down(MV_SITE, __VA_ARGS__)
#define __shfl_up_sync(...) ::minivae::emulated::shuffle_up(MV_SITE, __VA_ARGS__)
#define __ballot_sync(...) ::minivae::emulated::ballot(MV_SITE, __VA_ARGS__)

#define MV_SHARED(T, name, extents) \
  struct name##_site_ {             \
    T array extents;                \
  };                                \
  auto& name = ::minivae::emulated::shared<name##_site_>().array
#define MV_SHARED_DYNAMIC(T, name) T* name = reinterpret_cast<T*>(::minivae::emulated::shared_dynamic())

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};

// A word that threads of several blocks count in. It brings the order of memory with it that a kernel asks
// of __threadfence on a GPU; the thread sanitizer knows no fence.
inline unsigned atomicAdd(unsigned* p, unsigned x) {
  return __atomic_fetch_add(p, x, __ATOMIC_ACQ_REL);
}
inline void __threadfence() {}

// The sum of two floats, rounded toward zero.
inline float __fadd_rz(float a, float b) {
  const double sum = static_cast<double>(a) + b;
  const float nearest = static_cast<float>(sum);
  return std::fabs(nearest) > std::fabs(sum) ? std::nextafter(nearest, 0.0f) : nearest;
}

inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
