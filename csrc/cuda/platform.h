// The one CUDA header of a kernel source. nvcc compiles it for the GPU; g++ -DMINIVAE_EMULATED
// compiles the same source for the CPU, where blocks, warps, shuffles and barriers are carried out
// by tests/cuda/stand_in, so that tests execute kernel bodies without a GPU.
//
// Shared memory is declared by a macro, because it is one array per block and C++ has no such
// storage: MV_SHARED(float, tile, [32][33]) is __shared__ float tile[32][33]. MV_SHARED_DYNAMIC
// names the bytes that the launch asked for (Grid::shared_bytes) as a pointer, aligned to 16.
#pragma once

#if defined(MINIVAE_EMULATED)
#include "cuda/emulated/dialect.h"
#else
#include <cuda_runtime.h>

#define MV_SHARED(T, name, extents) __shared__ T name extents
#define MV_SHARED_DYNAMIC(T, name)                         \
  extern __shared__ __align__(16) unsigned char shared_[]; \
  T* name = reinterpret_cast<T*>(shared_)
#endif
