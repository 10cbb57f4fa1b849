// Batch normalisation over (N, C, L) and its gradients: batch_norm.cu. `scratch` has
// channel_scratch(shape, 2) doubles.
#pragma once

#include "cuda/channels.h"
#include "cuda/stream.h"

namespace minivae {

// The batch's mean and biased variance for every channel; NaN for a channel without elements.
template <class T>
void batch_statistics(const T* x, T* mean, T* var, double* scratch, const Channels& shape, Stream stream);

// running <- running + momentum (batch - running) for C channels of `count` >= 2 elements each; the
// variance is made unbiased first, times count / (count - 1).
template <class T>
void update_running(const T* mean, const T* var, Index count, double momentum, T* running_mean,
                    T* running_var, Index C, Stream stream);

// y = (x - mean) / sqrt(var + eps) w + b.
template <class T>
void batch_norm_forward(const T* x, const T* w, const T* b, const T* mean, const T* var, double eps, T* y,
                        const Channels& shape, Stream stream);

// dx, dw = sum(dy xh) and db = sum(dy); see math/batch_norm.h. In training mean and var depend on x.
template <class T>
void batch_norm_backward(const T* x, const T* w, const T* mean, const T* var, double eps, const T* dy,
                         bool training, T* dx, T* dw, T* db, double* scratch, const Channels& shape,
                         Stream stream);

}  // namespace minivae
