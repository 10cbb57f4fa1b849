// Row log-mean-exp over (N, K), K at least 1: log_mean_exp.cu. `weights` may be null.
#pragma once

#include "common/host_device.h"
#include "cuda/stream.h"

namespace minivae {

// y = ln mean exp(x) for every row, and weights = softmax(x), its gradient.
template <class T>
void log_mean_exp(const T* x, T* y, T* weights, Index N, Index K, Stream stream);

}  // namespace minivae
