// The one CUDA header of a kernel source. Tests that compile kernels for the CPU replace it by a header of the
// same name (tests/cuda/stand_in), where blocks, warps, shuffles and barriers are plain C++.
//
// Shared memory is declared by a macro, because it is one array per block and C++ has no such
// storage: MV_SHARED(float, tile, [32][33]) is __shared__ float tile[32][33]. MV_SHARED_DYNAMIC
// names the bytes that the launch asked for (Grid::shared_bytes) as a pointer, aligned to 16.
#pragma once

#include <cuda_runtime.h>

#define MV_SHARED(T, name, extents) __shared__ T name extents
#define MV_SHARED_DYNAMIC(T, name)                         \
  extern __shared__ __align__(16) unsigned char shared_[]; \
  T* name = reinterpret_cast<T*>(shared_)
