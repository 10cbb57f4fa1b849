// ln( 1/K sum_k exp(x_k) ) = m + ln( 1/K sum_k exp(x_k - m) ) with m = max_k x_k, and the weights
// exp(x_k) / sum_j exp(x_j), which are its derivatives. The largest exponent is 0, so nothing
// overflows. Where m is infinite x - m would be NaN, so 0 is subtracted instead.
// Traffic in float32: reads x twice and writes a weight, 12 bytes per element, 8 without weights.
#pragma once

#include <cmath>

#include "common/host_device.h"
#include "math/elementary.h"

namespace minivae {

template <class T>
MV_HD T finite_or_zero(T top) {
  return std::fabs(top) < kInfinity<T> ? top : T(0);
}

template <class T>
MV_HD T shifted_exp(T x, T top) {
  return exponential(x - top);
}

// The result from the mean of the shifted exponentials.
template <class T>
MV_HD T log_mean_exp_from(double mean, T top) {
  return static_cast<T>(static_cast<double>(top) + logarithm(mean));
}

}  // namespace minivae
