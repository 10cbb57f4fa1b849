// One element of the squared error between a pixel s = sigmoid(l) and a target t:
//
//   loss = (s - t)^2
//   dloss/dl = 2 (s - t) s (1 - s)
//   s (1 - s) = e / (1 + e)^2 with e = exp(-|l|), on both sides of 0 and with no digit cancelled
//
// Traffic in float32: reads l, t and writes dl: 12 bytes per element, 8 without the gradient.
#pragma once

#include "common/host_device.h"
#include "math/logistic.h"

namespace minivae {

template <class T>
MV_HD T pixel_error(T logit, T target, T e) {
  return logistic(logit, e) - target;
}

template <class T>
MV_HD T squared_error_gradient(T error, T e) {
  return 2 * error * (e / ((1 + e) * (1 + e)));
}

}  // namespace minivae
