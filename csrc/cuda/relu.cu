// ReLU as a kernel of its own, for where it is not fused with a product or a bias.
//
// Idea: a thread per quad, one 128-bit access per array. Bytes per element in float32: 8 forward, 12
// backward. Limit: memory.
#include "cuda/relu.h"

#include "cuda/launch.h"
#include "cuda/quad.cuh"
#include "math/relu.h"

namespace minivae {
namespace {

template <bool kAligned, class T>
__global__ void forward(const T* x, T* y, Index count) {
  const Index q = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  const QuadPart part = part_in_row(q, 0, count);
  const Quad<T> in = load_quad<kAligned>(x, q, part);
  Quad<T> out;
#pragma unroll
  for (int j = 0; j < 4; ++j) out.x[j] = relu_of(in.x[j]);
  store_quad<kAligned>(y, q, part, out);
}

template <bool kAligned, class T>
__global__ void backward(const T* y, const T* dy, T* dx, Index count) {
  const Index q = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  const QuadPart part = part_in_row(q, 0, count);
  const Quad<T> out = load_quad<kAligned>(y, q, part), upstream = load_quad<kAligned>(dy, q, part);
  Quad<T> gradient;
#pragma unroll
  for (int j = 0; j < 4; ++j) gradient.x[j] = relu_gradient(out.x[j], upstream.x[j]);
  store_quad<kAligned>(dx, q, part, gradient);
}

}  // namespace

template <class T>
void relu(const T* x, T* y, Index count, Stream stream) {
  const auto kernel = quads_are_aligned(x, y) ? forward<true, T> : forward<false, T>;
  launch(kernel, over_elements(count, 4), stream, x, y, count);
}

template <class T>
void relu_backward(const T* y, const T* dy, T* dx, Index count, Stream stream) {
  const auto kernel = quads_are_aligned(y, dy, dx) ? backward<true, T> : backward<false, T>;
  launch(kernel, over_elements(count, 4), stream, y, dy, dx, count);
}

#define MV_INSTANTIATE(T)                          \
  template void relu(const T*, T*, Index, Stream); \
  template void relu_backward(const T*, const T*, T*, Index, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
