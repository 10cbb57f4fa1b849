// Uniform and normal noise: a thread for each Philox call and its four elements, written by 128-bit accesses
// where the array begins on a 16-byte boundary. Writes 4 bytes per element in float32; for `normal` the arithmetic
// (ten rounds of Philox, two logarithms, square roots and sine-cosine pairs) takes about as long.
#include "cuda/noise.h"

#include "cuda/launch.h"
#include "cuda/noise.cuh"

namespace minivae {
namespace {

struct MakeUniform {
  template <class T>
  __device__ static Quad<T> quad(NoiseKey key, Index q, T) {
    const Quad<std::uint32_t> w = word_quad(key, q);
    return {
        {uniform_from<T>(w.x[0]), uniform_from<T>(w.x[1]), uniform_from<T>(w.x[2]), uniform_from<T>(w.x[3])}};
  }
};

struct MakeNormal {
  template <class T>
  __device__ static Quad<T> quad(NoiseKey key, Index q, T) {
    return normal_quad<T>(key, q);
  }
};

template <class Make, bool kAligned, class T>
__global__ void fill(Noise noise, T* out, Index count) {
  const Index q = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (4 * q < count)
    store_quad<kAligned>(out, q, part_in_row(q, 0, count), Make::quad(key_of(noise), q, T()));
}

template <class Make, class T>
void launch_fill(Noise noise, T* out, Index count, Stream stream) {
  const auto kernel = quads_are_aligned(out) ? fill<Make, true, T> : fill<Make, false, T>;
  launch(kernel, over_elements(count, 4), stream, noise, out, count);
}

}  // namespace

template <class T>
void uniform(Noise noise, T* out, Index count, Stream stream) {
  launch_fill<MakeUniform>(noise, out, count, stream);
}

template <class T>
void normal(Noise noise, T* out, Index count, Stream stream) {
  launch_fill<MakeNormal>(noise, out, count, stream);
}

#define MV_INSTANTIATE(T)                          \
  template void uniform(Noise, T*, Index, Stream); \
  template void normal(Noise, T*, Index, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
