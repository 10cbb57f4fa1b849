// Sums over the threads of a row, in double and in one fixed order: the result does not depend on
// which block or warp runs when. No float atomics, which add in the order of arrival.
#pragma once

#include "cuda/launch_geometry.h"
#include "cuda/platform.h"

namespace minivae {

// The sum over `lanes` neighbouring lanes of a warp (a power of two), in each of them. The partner
// of a step is the lane whose number differs in one bit: log2(lanes) exchanges and no memory. Every
// lane of the warp has to come here.
__device__ __forceinline__ double lane_sum(double x, int lanes = kWarp) {
  for (int bit = lanes / 2; bit > 0; bit /= 2) x += __shfl_xor_sync(0xffffffffu, x, bit);
  return x;
}

// The sum over the block, in thread 0 and the rest of its warp: warps by shuffles, then the warps'
// sums through shared memory. Every thread of the block has to come here; blockDim.x is a multiple
// of 32. Called twice in a kernel it needs a barrier between.
__device__ __forceinline__ double block_sum(double x) {
  MV_SHARED(double, partial, [kWarp]);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  x = lane_sum(x);
  if (lane == 0) partial[warp] = x;
  __syncthreads();
  if (warp == 0) x = lane_sum(lane < warps ? partial[lane] : 0.0);
  return x;
}

}  // namespace minivae
