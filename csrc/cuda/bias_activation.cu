// Bias and ReLU of a layer, one pass over memory in each direction.
//
//   forward    y  = max(x + b, 0)
//   backward   dx = 0 where y <= 0, else dy;  db = sum of dx over all but the channel
//
// Idea: operations on the same elements read and write them once. Bytes per element in float32: forward 8
// (instead of 16 for two kernels), backward 12 (instead of 16: one pass masks and sums).
// Limit: memory; at the sizes of an MLP on MNIST, the two launches of the backward pass.
#include "cuda/bias_activation.h"

#include "cuda/channel_sums.cuh"
#include "cuda/quad.cuh"
#include "cuda/vector.cuh"
#include "math/relu.h"

namespace minivae {
namespace {

template <bool kAligned, bool kRectify, class T>
__global__ void forward(const T* x, const T* b, T* y, Index count, Divisor by_L, Divisor by_C) {
  const Index q = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  const QuadPart part = part_in_row(q, 0, count);
  if (part.end <= part.begin) return;
  const QuotientRest line = divide(4 * q, by_L);  // which (image, channel), and where in it
  Index position = line.rest, channel = divide(line.quotient, by_C).rest;
  Quad<T> v = load_quad<kAligned>(x, q, part);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const T sum = v.x[j] + b[channel];
    v.x[j] = kRectify ? relu_of(sum) : sum;
    if (++position == by_L.d) {
      position = 0;
      if (++channel == by_C.d) channel = 0;
    }
  }
  store_quad<kAligned>(y, q, part, v);
}

template <class T, int W>
struct MaskedSum {
  static constexpr int kSums = 1, kWidth = W;
  const T *y, *dy;
  T* dx;

  __device__ void operator()(Index element, Index, double* sum) const {
    const Vector<T, W> out = load<W>(y + element), upstream = load<W>(dy + element);
    Vector<T, W> gradient;
#pragma unroll
    for (int w = 0; w < W; ++w) {
      gradient.lane[w] = relu_gradient(out.lane[w], upstream.lane[w]);
      sum[0] += gradient.lane[w];
    }
    store(dx + element, gradient);
  }
};

template <class T, int W>
struct PlainSum {
  static constexpr int kSums = 1, kWidth = W;
  const T* x;

  __device__ void operator()(Index element, Index, double* sum) const {
    const Vector<T, W> in = load<W>(x + element);
#pragma unroll
    for (int w = 0; w < W; ++w) sum[0] += in.lane[w];
  }
};

}  // namespace

template <class T>
void bias_activation(const T* x, const T* b, bool rectify, T* y, const Channels& shape, Stream stream) {
  const Index count = shape.count() * shape.C;
  if (count == 0) return;
  const auto kernel = quads_are_aligned(x, y)
                          ? (rectify ? forward<true, true, T> : forward<true, false, T>)
                          : (rectify ? forward<false, true, T> : forward<false, false, T>);
  launch(kernel, over_elements(count, 4), stream, x, b, y, count, shape.by_L, Divisor(shape.C));
}

template <class T>
void bias_relu_backward(const T* y, const T* dy, T* dx, T* db, double* scratch, const Channels& shape,
                        Stream stream) {
  if (shape.L % kWide<T> == 0 && quads_are_aligned(y, dy, dx)) {
    sum_channels(MaskedSum<T, kWide<T>>{y, dy, dx}, shape, db, scratch, stream);
  } else {
    sum_channels(MaskedSum<T, 1>{y, dy, dx}, shape, db, scratch, stream);
  }
}

template <class T>
void channel_sum(const T* x, T* sums, double* scratch, const Channels& shape, Stream stream) {
  if (shape.L % kWide<T> == 0 && quads_are_aligned(x)) {
    sum_channels(PlainSum<T, kWide<T>>{x}, shape, sums, scratch, stream);
  } else {
    sum_channels(PlainSum<T, 1>{x}, shape, sums, scratch, stream);
  }
}

#define MV_INSTANTIATE(T)                                                                         \
  template void bias_activation(const T*, const T*, bool, T*, const Channels&, Stream);           \
  template void bias_relu_backward(const T*, const T*, T*, T*, double*, const Channels&, Stream); \
  template void channel_sum(const T*, T*, double*, const Channels&, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
