// Adam over all parameters at once.
//
// Idea: parameters, gradients and moments are four flat arrays, so one launch updates every layer.
// The bias corrections depend on the step alone; one thread of each block makes them in double
// (math/adam.h), because step and learning rate may lie in device memory, where a captured graph
// finds them changed at every replay. Bytes per element in float32: 28 (g, m, v, p read; m, v, p
// written). Limit: memory; MLPVAE's 652,824 parameters are 18 MB, which an L2 cache of 50 MB keeps
// from step to step.
#include "cuda/adam.h"

#include "cuda/launch.h"
#include "cuda/quad.cuh"

namespace minivae {
namespace {

template <bool kAligned, class T>
__global__ void adam_step(T* p, const T* g, T* m, T* v, Count step, Scalar lr, AdamSettings settings,
                          Index count) {
  MV_SHARED(AdamFactors<T>, factors, [1]);
  if (threadIdx.x == 0) {
    factors[0] = adam_factors<T>(static_cast<double>(value_of(step)), value_of(lr), settings);
  }
  __syncthreads();
  const AdamFactors<T> k = factors[0];
  const Index q = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  const QuadPart part = part_in_row(q, 0, count);
  Quad<T> param = load_quad<kAligned>(p, q, part), first = load_quad<kAligned>(m, q, part),
          second = load_quad<kAligned>(v, q, part);
  const Quad<T> gradient = load_quad<kAligned>(g, q, part);
#pragma unroll
  for (int j = 0; j < 4; ++j) adam_element(param.x[j], gradient.x[j], first.x[j], second.x[j], k);
  store_quad<kAligned>(p, q, part, param);
  store_quad<kAligned>(m, q, part, first);
  store_quad<kAligned>(v, q, part, second);
}

__global__ void add_one(std::uint64_t* counters, Index count) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) ++counters[i];
}

}  // namespace

template <class T>
void adam(T* p, const T* g, T* m, T* v, const Count& step, const Scalar& lr, const AdamSettings& settings,
          Index count, Stream stream) {
  const auto kernel = quads_are_aligned(p, g, m, v) ? adam_step<true, T> : adam_step<false, T>;
  launch(kernel, over_elements(count, 4), stream, p, g, m, v, step, lr, settings, count);
}

void advance(std::uint64_t* counters, Index count, Stream stream) {
  launch(add_one, over_elements(count), stream, counters, count);
}

#define MV_INSTANTIATE(T) \
  template void adam(T*, const T*, T*, T*, const Count&, const Scalar&, const AdamSettings&, Index, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
