// Adam over all parameters at once.
//
// Idea: one launch updates every layer. The pointers of up to kMost parameters travel with the launch;
// each parameter has its own blocks, and a block looks up its parameter. The bias corrections depend
// on the step alone; one thread of each block makes them in double (math/adam.h), because step and
// learning rate may lie in device memory, where a captured graph finds them changed at every replay.
// Bytes per element in float32: 28 (g, m, v, p read; m, v, p written). Limit: memory; MLPVAE's 652,824
// parameters are 18 MB, which an L2 cache of 50 MB keeps from step to step.
#include "cuda/adam.h"

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/quad.cuh"

namespace minivae {
namespace {

constexpr int kMost = 64;  // parameters of a launch, whose arguments have room for 4 KB

template <class T>
struct AdamList {
  AdamArrays<T> arrays[kMost];
  Index first_block[kMost];
  int size;
};

template <bool kAligned, class T>
__global__ void adam_step(const __grid_constant__ AdamList<T> list, Count step, Scalar lr,
                          AdamSettings settings) {
  MV_SHARED(AdamFactors<T>, factors, [1]);
  MV_SHARED(int, mine, [1]);
  if (threadIdx.x == 0) {
    factors[0] = adam_factors<T>(static_cast<double>(value_of(step)), value_of(lr), settings);
    int i = list.size - 1;
    while (list.first_block[i] > Index(blockIdx.x)) --i;
    mine[0] = i;
  }
  __syncthreads();
  const AdamFactors<T> k = factors[0];
  const int i = mine[0];
  const AdamArrays<T> a = list.arrays[i];
  const Index q = (Index(blockIdx.x) - list.first_block[i]) * blockDim.x + threadIdx.x;
  const QuadPart part = part_in_row(q, 0, a.count);
  Quad<T> param = load_quad<kAligned>(a.p, q, part), first = load_quad<kAligned>(a.m, q, part),
          second = load_quad<kAligned>(a.v, q, part);
  const Quad<T> gradient = load_quad<kAligned>(a.g, q, part);
#pragma unroll
  for (int j = 0; j < 4; ++j) adam_element(param.x[j], gradient.x[j], first.x[j], second.x[j], k);
  store_quad<kAligned>(a.p, q, part, param);
  store_quad<kAligned>(a.m, q, part, first);
  store_quad<kAligned>(a.v, q, part, second);
}

template <class T>
__global__ void end_of_step(std::uint64_t* counters, Index count, const T* loss, const T* rec, const T* kl,
                            T* out) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) ++counters[i];
  if (out && i < 3) out[i] = *(i == 0 ? loss : i == 1 ? rec : kl);
}

}  // namespace

template <class T>
void adam(const std::vector<AdamArrays<T>>& parameters, const Count& step, const Scalar& lr,
          const AdamSettings& settings, Stream stream) {
  for (std::size_t begin = 0; begin < parameters.size(); begin += kMost) {
    AdamList<T> list{};
    list.size = static_cast<int>(std::min<std::size_t>(kMost, parameters.size() - begin));
    Index blocks = 0;
    bool aligned = true;
    for (int i = 0; i < list.size; ++i) {
      const AdamArrays<T>& a = list.arrays[i] = parameters[begin + i];
      list.first_block[i] = blocks;
      blocks += over_elements(a.count, 4).blocks;
      aligned = aligned && quads_are_aligned(a.p, a.g, a.m, a.v);
    }
    launch(aligned ? adam_step<true, T> : adam_step<false, T>, checked_grid(blocks, kThreads), stream, list,
           step, lr, settings);
  }
}

template <class T>
void finish(std::uint64_t* counters, Index count, const T* const terms[3], T* out, Stream stream) {
  launch(end_of_step<T>, over_elements(count < 3 ? 3 : count), stream, counters, count, terms[0], terms[1],
         terms[2], out);
}

#define MV_INSTANTIATE(T)                                                                                 \
  template void adam(const std::vector<AdamArrays<T>>&, const Count&, const Scalar&, const AdamSettings&, \
                     Stream);                                                                             \
  template void finish(std::uint64_t*, Index, const T* const[3], T*, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
