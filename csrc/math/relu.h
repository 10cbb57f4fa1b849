// ReLU: y = max(x, 0), where NaN stays NaN, and dx = 0 where y <= 0, else dy: a NaN is not hidden.
// Traffic in float32: forward reads x and writes y, 8 bytes per element; backward reads y, dy and
// writes dx, 12.
#pragma once

#include "common/host_device.h"

namespace minivae {

template <class T>
MV_HD T relu_of(T x) {
  return x <= 0 ? T(0) : x;
}

template <class T>
MV_HD T relu_gradient(T y, T dy) {
  return y <= 0 ? T(0) : dy;
}

}  // namespace minivae
