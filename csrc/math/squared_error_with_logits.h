// One element of the squared error between a pixel s = sigmoid(l) and a target t:
//
//   loss = (s - t)^2,  s = 1 / (1 + e) for l >= 0 and e / (1 + e) below, e = exp(-|l|)
//   dloss/dl = 2 (s - t) s (1 - s),  s (1 - s) = e / (1 + e)^2 on both sides, with no digit cancelled
//
// Traffic in float32: reads l, t and writes dl: 12 bytes per element, 8 without the gradient.
#pragma once

#include <cmath>

#include "common/host_device.h"
#include "math/elementary.h"

namespace minivae {

template <class T>
MV_HD T pixel_error(T logit, T target, T e) {
  return (logit >= 0 ? T(1) : e) / (1 + e) - target;
}

template <class T>
MV_HD T squared_error_gradient(T error, T e) {
  return 2 * error * (e / ((1 + e) * (1 + e)));
}

}  // namespace minivae
