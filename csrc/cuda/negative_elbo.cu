// The means of two losses over all images, their weighted sum, and its derivative, in one launch of one block.
//
// Idea: these are a few hundred numbers. As array operations every step would be a launch, and so would the
// ones, zeros and quotients of the backward pass, whose result is known in advance. Bytes: R + 2 K numbers.
// Limit: the launch.
#include "cuda/negative_elbo.h"

#include "cuda/launch.h"
#include "cuda/reduce.cuh"
#include "math/negative_elbo.h"

namespace minivae {
namespace {

template <class T>
__device__ double mean_of(const T* x, Index count) {
  double sum = 0;
  for (Index i = threadIdx.x; i < count; i += blockDim.x) sum += x[i];
  return block_sum(sum) / static_cast<double>(count);
}

template <class T>
__global__ void terms_of(const T* rec, Index R, const T* kl, Index K, const T* beta, T* terms, T* share) {
  const T weight = *beta;
  for (Index i = threadIdx.x; i < K; i += blockDim.x) share[i] = kl_share(weight, K);
  const T mean_rec = static_cast<T>(mean_of(rec, R));
  __syncthreads();  // the sums share their memory
  const T mean_kl = static_cast<T>(mean_of(kl, K));
  if (threadIdx.x != 0) return;
  terms[0] = weighted_loss(mean_rec, mean_kl, weight);
  terms[1] = mean_rec;
  terms[2] = mean_kl;
}

}  // namespace

template <class T>
void negative_elbo(const T* rec, Index R, const T* kl, Index K, const T* beta, T* terms, T* share,
                   Stream stream) {
  launch(terms_of<T>, block_per_row(1), stream, rec, R, kl, K, beta, terms, share);
}

#define MV_INSTANTIATE(T) \
  template void negative_elbo(const T*, Index, const T*, Index, const T*, T*, T*, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
