// Batch normalisation: statistics, y, and the gradients.
//
// Idea: mean and variance in one pass over x instead of two, without the cancellation that
// mean(x^2) - mean(x)^2 is known for. Sums are taken of d = x - p, p the channel's first element:
//
//   mean = p + sum(d) / M        var = ( sum(d^2) - sum(d)^2 / M ) / M
//
// The subtraction cancels as many digits as (p - mean)^2 / var has, and because p is itself one of
// the M elements, (p - mean)^2 <= M var. In double that leaves float32's digits for every M here.
// (Welford's update is as safe, and divides for every element.)
//
// Bytes per element in float32: forward 12 (x twice, y), backward 20 (x and dy twice, dx). The
// second reading of a layer that fits the L2 cache comes from there. Limit: memory; three launches
// forward, three backward.
#include "cuda/batch_norm.h"

#include "cuda/channel_sums.cuh"
#include "cuda/vector.cuh"
#include "math/batch_norm.h"

namespace minivae {
namespace {

// ---- forward -------------------------------------------------------------------------------------

template <class T, int W>
struct ShiftedMoments {
  static constexpr int kSums = 2, kWidth = W;
  const T* x;
  Index L;

  __device__ void operator()(Index element, Index channel, double* sum) const {
    const double pivot = x[channel * L];  // of the first image
    const Vector<T, W> in = load<W>(x + element);
#pragma unroll
    for (int w = 0; w < W; ++w) {
      const double d = in.lane[w] - pivot;
      sum[0] += d;
      sum[1] += d * d;
    }
  }
};

template <class T>
__global__ void store_statistics(const T* x, const double* partial, T* mean, T* var, Channels a,
                                 Index pieces) {
  const Index channel = (Index(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (channel >= a.C) return;  // the whole warp
  const double count = double(a.N) * double(a.L);
  const double sum = sum_of_pieces(partial, 0, pieces, a.C, channel);
  const double squares = sum_of_pieces(partial, 1, pieces, a.C, channel);
  if (threadIdx.x % kWarp != 0) return;
  const double pivot = count > 0 ? x[channel * a.L] : 0.0;
  const double spread = (squares - sum * sum / count) / count;
  mean[channel] = static_cast<T>(pivot + sum / count);
  var[channel] = static_cast<T>(spread < 0 ? 0.0 : spread);  // by rounding; NaN stays
}

// running <- running + momentum (batch - running), with the batch's unbiased variance, as PyTorch.
template <class T>
__global__ void move_running(const T* mean, const T* var, T momentum, T unbias, T* running_mean,
                             T* running_var, Index C) {
  const Index channel = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (channel >= C) return;
  running_mean[channel] = moved_towards(running_mean[channel], mean[channel], momentum);
  running_var[channel] = moved_towards(running_var[channel], var[channel] * unbias, momentum);
}

// Calls visit(element, channel) for W neighbours of one channel, a thread each.
template <int W, class Visit>
__device__ void over_vectors(Index count, const Divisor& by_L, const Divisor& by_C, Visit visit) {
  const Index element = (Index(blockIdx.x) * blockDim.x + threadIdx.x) * W;
  if (element < count) visit(element, divide(divide(element, by_L).quotient, by_C).rest);
}

template <int W, class T>
__global__ void normalize(const T* x, const T* w, const T* b, const T* mean, const T* var, T eps, T* y,
                          Index count, Divisor by_L, Divisor by_C) {
  over_vectors<W>(count, by_L, by_C, [&](Index element, Index channel) {
    const T m = mean[channel], scale = batch_norm_scale(w[channel], var[channel], eps), shift = b[channel];
    Vector<T, W> v = load<W>(x + element);
#pragma unroll
    for (int i = 0; i < W; ++i) v.lane[i] = batch_norm_element(v.lane[i], m, scale, shift);
    store(y + element, v);
  });
}

// ---- backward ------------------------------------------------------------------------------------

template <class T, int W>
struct GradientSums {
  static constexpr int kSums = 2, kWidth = W;
  const T *x, *dy, *mean, *var;
  T eps;

  __device__ void operator()(Index element, Index channel, double* sum) const {
    const T m = mean[channel], inverse = inverse_deviation(var[channel], eps);
    const Vector<T, W> in = load<W>(x + element), upstream = load<W>(dy + element);
#pragma unroll
    for (int w = 0; w < W; ++w) {
      sum[0] += upstream.lane[w];
      sum[1] += double(upstream.lane[w]) * double(normalized(in.lane[w], m, inverse));
    }
  }
};

// db and dw, and beside them the means that dx needs, in double where the partial sums of the
// channel's first piece were.
template <class T>
__global__ void store_gradient_sums(double* partial, T* dw, T* db, Channels a, Index pieces) {
  const Index channel = (Index(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (channel >= a.C) return;  // the whole warp
  const double count = double(a.N) * double(a.L);
  const double sum_dy = sum_of_pieces(partial, 0, pieces, a.C, channel);
  const double sum_dy_xh = sum_of_pieces(partial, 1, pieces, a.C, channel);
  if (threadIdx.x % kWarp != 0) return;
  db[channel] = static_cast<T>(sum_dy);
  dw[channel] = static_cast<T>(sum_dy_xh);
  partial[channel] = sum_dy / count;
  partial[pieces * a.C + channel] = sum_dy_xh / count;
}

// `means` is (2, pieces, C), of which the first of the pieces is used; null where mean and var are
// constants.
template <int W, class T>
__global__ void input_gradient(const T* x, const T* w, const T* mean, const T* var, T eps, const T* dy,
                               const double* means, Index pieces, T* dx, Index count, Divisor by_L,
                               Divisor by_C) {
  over_vectors<W>(count, by_L, by_C, [&](Index element, Index channel) {
    const T m = mean[channel], inverse = inverse_deviation(var[channel], eps), scale = w[channel] * inverse;
    const T mean_dy = means ? static_cast<T>(means[channel]) : T(0);
    const T mean_dy_xh = means ? static_cast<T>(means[pieces * by_C.d + channel]) : T(0);
    const Vector<T, W> in = load<W>(x + element), upstream = load<W>(dy + element);
    Vector<T, W> gradient;
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const T xh = normalized(in.lane[i], m, inverse);
      gradient.lane[i] = batch_norm_gradient(xh, upstream.lane[i], mean_dy, mean_dy_xh, scale);
    }
    store(dx + element, gradient);
  });
}

// Calls run(constant W) with the widest access that a channel's rows allow.
template <class T, class Run, class... Arrays>
void by_width(const Channels& shape, Run run, const Arrays*... arrays) {
  if (shape.L % kWide<T> == 0 && all_aligned(arrays...)) {
    run(std::integral_constant<int, kWide<T>>());
  } else {
    run(std::integral_constant<int, 1>());
  }
}

}  // namespace

template <class T>
void batch_statistics(const T* x, T* mean, T* var, double* scratch, const Channels& shape, Stream stream) {
  by_width<T>(
      shape,
      [&](auto width) {
        constexpr int W = decltype(width)::value;
        const ChannelCut cut = cut_channels(shape);
        launch(sum_pieces<ShiftedMoments<T, W>>, cut.grid(), stream, ShiftedMoments<T, W>{x, shape.L}, shape,
               cut, scratch);
        launch(store_statistics<T>, warp_per_channel(shape.C), stream, x, scratch, mean, var, shape,
               cut.pieces);
      },
      x);
}

template <class T>
void update_running(const T* mean, const T* var, Index count, double momentum, T* running_mean,
                    T* running_var, Index C, Stream stream) {
  launch(move_running<T>, over_elements(C), stream, mean, var, static_cast<T>(momentum),
         static_cast<T>(unbiasing_factor(count)), running_mean, running_var, C);
}

template <class T>
void batch_norm_forward(const T* x, const T* w, const T* b, const T* mean, const T* var, double eps, T* y,
                        const Channels& shape, Stream stream) {
  const Index count = shape.count() * shape.C;
  if (count == 0) return;
  by_width<T>(
      shape,
      [&](auto width) {
        constexpr int W = decltype(width)::value;
        launch(normalize<W, T>, over_elements(count, W), stream, x, w, b, mean, var, static_cast<T>(eps), y,
               count, shape.by_L, Divisor(shape.C));
      },
      x, y);
}

template <class T>
void batch_norm_backward(const T* x, const T* w, const T* mean, const T* var, double eps, const T* dy,
                         bool training, T* dx, T* dw, T* db, double* scratch, const Channels& shape,
                         Stream stream) {
  by_width<T>(
      shape,
      [&](auto width) {
        constexpr int W = decltype(width)::value;
        using Sums = GradientSums<T, W>;
        const ChannelCut cut = cut_channels(shape);
        const Index count = shape.count() * shape.C;
        launch(sum_pieces<Sums>, cut.grid(), stream, Sums{x, dy, mean, var, static_cast<T>(eps)}, shape, cut,
               scratch);
        launch(store_gradient_sums<T>, warp_per_channel(shape.C), stream, scratch, dw, db, shape, cut.pieces);
        if (count == 0) return;
        launch(input_gradient<W, T>, over_elements(count, W), stream, x, w, mean, var, static_cast<T>(eps),
               dy, training ? scratch : nullptr, cut.pieces, dx, count, shape.by_L, Divisor(shape.C));
      },
      x, dy, dx);
}

#define MV_INSTANTIATE(T)                                                                                   \
  template void batch_statistics(const T*, T*, T*, double*, const Channels&, Stream);                       \
  template void update_running(const T*, const T*, Index, double, T*, T*, Index, Stream);                   \
  template void batch_norm_forward(const T*, const T*, const T*, const T*, const T*, double, T*,            \
                                   const Channels&, Stream);                                                \
  template void batch_norm_backward(const T*, const T*, const T*, const T*, double, const T*, bool, T*, T*, \
                                    T*, double*, const Channels&, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
