// Row log-mean-exp: the importance-weighted bound of K samples per image, and its gradient.
//
// Idea: a warp per row. The largest weight and the sum go from lane to lane by shuffles, so a row is
// read twice (the second time from a cache, since a warp's row is small) and nothing passes through
// shared memory. Bytes per element in float32: 12 with weights, 8 without, of which 4 are from a cache.
// Limit: memory for many rows; K is 1 to 5000 and N a batch, so in practice the launch.
#include "cuda/log_mean_exp.h"

#include "cuda/launch.h"
#include "cuda/reduce.cuh"
#include "math/log_mean_exp.h"

namespace minivae {
namespace {

// The largest over a warp, in every lane. NaN is skipped: the sum that follows has it again.
template <class T>
__device__ __forceinline__ T lane_max(T x) {
#pragma unroll
  for (int bit = kWarp / 2; bit > 0; bit /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, x, bit);
    x = other > x ? other : x;
  }
  return x;
}

template <class T>
__global__ void row_log_mean_exp(const T* x, T* y, T* weights, Index N, Index K) {
  const Index row = (Index(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (row >= N) return;  // the whole warp
  const int lane = threadIdx.x % kWarp;
  T top = -kInfinity<T>;
  for (Index i = row * K + lane; i < (row + 1) * K; i += kWarp) top = x[i] > top ? x[i] : top;
  top = finite_or_zero(lane_max(top));
  double sum = 0;
  for (Index i = row * K + lane; i < (row + 1) * K; i += kWarp) sum += shifted_exp(x[i], top);
  sum = lane_sum(sum);
  if (lane == 0) y[row] = log_mean_exp_from(sum / static_cast<double>(K), top);
  if (!weights) return;
  for (Index i = row * K + lane; i < (row + 1) * K; i += kWarp) {
    weights[i] = static_cast<T>(static_cast<double>(shifted_exp(x[i], top)) / sum);
  }
}

}  // namespace

template <class T>
void log_mean_exp(const T* x, T* y, T* weights, Index N, Index K, Stream stream) {
  launch(row_log_mean_exp<T>, lanes_per_row(N, kWarp), stream, x, y, weights, N, K);
}

template void log_mean_exp(const float*, float*, float*, Index, Index, Stream);
template void log_mean_exp(const double*, double*, double*, Index, Index, Stream);

}  // namespace minivae
