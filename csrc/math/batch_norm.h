// One element of a normalised channel (Ioffe & Szegedy 2015, algorithm 1) and of its gradient. With
// xh = (x - mean) / sqrt(var + eps):
//
//   y  = w xh + b = (x - mean) scale + b        scale = w / sqrt(var + eps)
//   dx = scale [dy - mean(dy) - xh mean(dy xh)]
//
// When mean and var are constants, the bracket is dy: the two means are then given as 0.
// Traffic in float32: forward reads x twice (once for the statistics) and writes y, 12 bytes per
// element; backward reads x and dy twice (once for their sums) and writes dx, 20.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace minivae {

template <class T>
MV_HD T batch_norm_scale(T w, T var, T eps) {
  return w / std::sqrt(var + eps);
}

template <class T>
MV_HD T batch_norm_element(T x, T mean, T scale, T b) {
  return (x - mean) * scale + b;
}

// Backward needs this alone, for xh, and takes w times it as the scale. That rounds once more than
// batch_norm_scale, which therefore stays: one formula for both would change the bits of one pass.
template <class T>
MV_HD T inverse_deviation(T var, T eps) {
  return 1 / std::sqrt(var + eps);
}

template <class T>
MV_HD T normalized(T x, T mean, T inverse) {
  return (x - mean) * inverse;
}

template <class T>
MV_HD T batch_norm_gradient(T xh, T dy, T mean_dy, T mean_dy_xh, T scale) {
  return (dy - (mean_dy + xh * mean_dy_xh)) * scale;
}

// The factor that makes the variance of `count` elements unbiased.
MV_HD double unbiasing_factor(Index count) {
  return static_cast<double>(count) / static_cast<double>(count - 1);
}

// A running statistic after a batch; the batch's variance comes unbiased.
template <class T>
MV_HD T moved_towards(T running, T batch, T momentum) {
  return running + momentum * (batch - running);
}

}  // namespace minivae
