// The order of an epoch, made on the GPU, and equal to the one that NumPy makes on the host.
//
// The host sorts `count` uniform numbers and keeps equal ones in their order. A uniform number is
// its 32-bit word w up to a monotone map, so that order is the order of the keys (w, i), which are all
// different: any correct sort gives it, on every machine. The key is w in the upper and i in the
// lower half of 64 bits.
//
// Idea: Batcher's bitonic network (1968, "Sorting networks and their applications"). Its exchanges do
// not depend on the data, so every pass is the same for all threads, and while the distance between
// partners is below kBlockKeys the passes stay in shared memory. Bytes: 16 per key for a kernel, 15
// kernels for 60,000 keys, 1 MB each. Limit: the launches, once an epoch.
#include "cuda/pixels.h"

#include "cuda/launch.h"

namespace minivae {
namespace {

constexpr Index kBlockKeys = 4096;                  // 32 KB of shared memory
constexpr std::uint64_t kLast = ~std::uint64_t(0);  // fills up to a power of two; no key is as large

__global__ void make_keys(Noise noise, std::uint64_t* keys, Index count, Index padded) {
  const Index block = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (4 * block >= padded) return;
  const Words4 w = noise_words(key_of(noise), static_cast<std::uint64_t>(block));
  const std::uint32_t word[4] = {w.w0, w.w1, w.w2, w.w3};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const Index i = 4 * block + j;
    keys[i] = i < count ? static_cast<std::uint64_t>(word[j]) << 32 | static_cast<std::uint64_t>(i) : kLast;
  }
}

// Pair number `pair` of a pass is (i, i + distance), i having a 0 where distance has its 1; it goes up
// where i lies in an even run of `run` keys.
__device__ __forceinline__ Index first_of_pair(Index pair, Index distance) {
  return 2 * pair - (pair & (distance - 1));
}

__device__ __forceinline__ void order_pair(std::uint64_t& low, std::uint64_t& high, bool up) {
  if ((low > high) == up) {
    const std::uint64_t other = low;
    low = high;
    high = other;
  }
}

__global__ void exchange_far(std::uint64_t* keys, Index run, Index distance, Index pairs) {
  const Index pair = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pair >= pairs) return;
  const Index i = first_of_pair(pair, distance);
  order_pair(keys[i], keys[i + distance], (i & run) == 0);
}

// The passes of runs first_run, ..., last_run that stay within a block's keys.
__global__ void exchange_near(std::uint64_t* keys, Index first_run, Index last_run) {
  MV_SHARED(std::uint64_t, mine, [kBlockKeys]);
  const Index base = Index(blockIdx.x) * kBlockKeys;
  for (Index i = threadIdx.x; i < kBlockKeys; i += blockDim.x) mine[i] = keys[base + i];
  for (Index run = first_run; run <= last_run; run *= 2) {
    for (Index distance = min_index(run, kBlockKeys) / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (Index pair = threadIdx.x; pair < kBlockKeys / 2; pair += blockDim.x) {
        const Index i = first_of_pair(pair, distance);
        order_pair(mine[i], mine[i + distance], ((base + i) & run) == 0);
      }
    }
  }
  __syncthreads();
  for (Index i = threadIdx.x; i < kBlockKeys; i += blockDim.x) keys[base + i] = mine[i];
}

__global__ void store_order(const std::uint64_t* keys, std::int64_t* order, Index count) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) order[i] = static_cast<std::int64_t>(keys[i] & 0xffffffffu);
}

}  // namespace

Index permutation_scratch(Index count) {
  Index padded = kBlockKeys;
  while (padded < count) padded *= 2;
  return padded;
}

void permutation(Noise noise, std::uint64_t* scratch, std::int64_t* order, Index count, Stream stream) {
  if (count == 0) return;
  const Index padded = permutation_scratch(count);
  const Grid blocks = checked_grid(padded / kBlockKeys, kThreads);
  launch(make_keys, over_elements(padded, 4), stream, noise, scratch, count, padded);
  launch(exchange_near, blocks, stream, scratch, Index(2), kBlockKeys);
  for (Index run = 2 * kBlockKeys; run <= padded; run *= 2) {
    for (Index distance = run / 2; distance >= kBlockKeys; distance /= 2) {
      launch(exchange_far, over_elements(padded / 2), stream, scratch, run, distance, padded / 2);
    }
    launch(exchange_near, blocks, stream, scratch, run, run);
  }
  launch(store_order, over_elements(count), stream, scratch, order, count);
}

}  // namespace minivae
