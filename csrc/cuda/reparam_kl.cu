// z = mu + exp(logvar / 2) eps with the rows' KL, and their gradients: five versions, each with one
// idea more than the one before. The arithmetic of an element is csrc/math/reparam_kl.h in all.
//
//   v1  a kernel for each output        mu and logvar are read twice
//   v2  one kernel, a block per row     read once; most threads of a short row have nothing to do
//   v3  one kernel, a warp per row      no barrier, no shared memory
//   v4  four elements at a time         128-bit accesses, as many lanes per row as it has quads
//   v5  noise made in the kernel        eps is never in memory
//
// Bytes per element in float32, and 4 / D more for kl or dkl: v1 moves 24 forward and 28 backward
// (mu, logvar and eps for z, mu and logvar for kl; dz and mu, then logvar, eps and dz), v2 to v4 16
// and 24, v5 12 and 20.
#include "cuda/reparam_kl.h"

#include "cuda/launch.h"
#include "cuda/quad.cuh"
#include "cuda/reduce.cuh"
#include "math/normal.h"
#include "math/reparam_kl.h"

namespace minivae {
namespace {

__device__ __forceinline__ Index thread_number() {
  return Index(blockIdx.x) * blockDim.x + threadIdx.x;
}

// ---- v1: the formulas as they stand ------------------------------------------------------------
// One thread per element of z, dmu or dlogvar, which is as good as it gets for one array alone. The
// sum of a row is one thread's loop: neighbouring threads read addresses D apart, so each fetches a
// sector of 32 bytes for 4 that it uses, and a batch of 128 rows keeps 4 warps of the GPU busy.

template <class T>
__global__ void sample_v1(const T* mu, const T* logvar, const T* eps, T* z, Index count) {
  const Index i = thread_number();
  if (i < count) z[i] = reparameterize(mu[i], logvar[i], eps[i]);
}

template <class T>
__global__ void divergence_v1(const T* mu, const T* logvar, T* kl, Index N, Index D) {
  const Index row = thread_number();
  if (row >= N) return;
  double sum = 0;
  for (Index i = row * D; i < (row + 1) * D; ++i) sum += kl_element(mu[i], logvar[i]);
  kl[row] = static_cast<T>(sum);
}

// ---- v3: a warp per row ------------------------------------------------------------------------
// Wrong with v2: a block has 256 threads, a row of latents 20 to 512 elements, so most threads wait
// at the barrier for the few that work. Change: 32 threads per row; they exchange their sums in
// registers. Gain: for short rows eight times as many in flight, and no wait.

template <class T>
__global__ void forward_v3(const T* mu, const T* logvar, const T* eps, T* z, T* kl, Index N, Index D) {
  const Index row = thread_number() / kWarp;
  if (row >= N) return;  // the whole warp
  const int lane = threadIdx.x % kWarp;
  double sum = 0;
  for (Index i = row * D + lane; i < (row + 1) * D; i += kWarp) {
    z[i] = reparameterize(mu[i], logvar[i], eps[i]);
    sum += kl_element(mu[i], logvar[i]);
  }
  sum = lane_sum(sum);
  if (lane == 0) kl[row] = static_cast<T>(sum);
}

template <class T>
__global__ void backward_v3(const T* mu, const T* logvar, const T* eps, const T* dz, const T* dkl, T* dmu,
                            T* dlogvar, Index N, Index D) {
  const Index row = thread_number() / kWarp;
  if (row >= N) return;
  const T gradient = dkl[row];
  for (Index i = row * D + threadIdx.x % kWarp; i < (row + 1) * D; i += kWarp) {
    reparam_kl_gradient(mu[i], logvar[i], eps[i], dz[i], gradient, dmu[i], dlogvar[i]);
  }
}

}  // namespace

template <class T>
void reparam_kl_forward(int version, const T* mu, const T* logvar, NoiseSource<T> noise, T* z, T* kl, Index N,
                        Index D, Stream stream) {
  switch (version) {
    case 1:
      launch(sample_v1<T>, over_elements(N * D), stream, mu, logvar, noise.eps, z, N * D);
      launch(divergence_v1<T>, over_elements(N), stream, mu, logvar, kl, N, D);
      break;
    default: launch(forward_v3<T>, lanes_per_row(N, kWarp), stream, mu, logvar, noise.eps, z, kl, N, D); break;
  }
}

template <class T>
void reparam_kl_backward(int version, const T* mu, const T* logvar, NoiseSource<T> noise, const T* dz,
                         const T* dkl, T* dmu, T* dlogvar, Index N, Index D, Stream stream) {
  (void)version;
  launch(backward_v3<T>, lanes_per_row(N, kWarp), stream, mu, logvar, noise.eps, dz, dkl, dmu, dlogvar, N, D);
}

#define MV_INSTANTIATE(T)                                                                                  \
  template void reparam_kl_forward(int, const T*, const T*, NoiseSource<T>, T*, T*, Index, Index, Stream); \
  template void reparam_kl_backward(int, const T*, const T*, NoiseSource<T>, const T*, const T*, T*, T*,   \
                                    Index, Index, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
