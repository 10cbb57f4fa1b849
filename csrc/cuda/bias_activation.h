// Bias, ReLU and their gradients over (N, C, L): bias_activation.cu. `scratch` has
// channel_scratch(shape, 1) doubles.
#pragma once

#include "cuda/channels.h"
#include "cuda/stream.h"

namespace minivae {

// y = x + b for every channel, then max(., 0) if `rectify`.
template <class T>
void bias_activation(const T* x, const T* b, bool rectify, T* y, const Channels& shape, Stream stream);

// dx = 0 where y <= 0, else dy, and db = the sums of dx over all but the channel.
template <class T>
void bias_relu_backward(const T* y, const T* dy, T* dx, T* db, double* scratch, const Channels& shape,
                        Stream stream);

// The sums of x over all but the channel: the gradient of a bias with no activation after it.
template <class T>
void channel_sum(const T* x, T* sums, double* scratch, const Channels& shape, Stream stream);

}  // namespace minivae
