// One element of the Bernoulli cross-entropy of a logit l and a target t in [0, 1]:
//
//   loss = -[ t ln sigmoid(l) + (1 - t) ln sigmoid(-l) ] = softplus(l) - l t
//   softplus(l) = ln(1 + e^l) = max(l, 0) + log1p(e),  e = exp(-|l|) <= 1, so nothing overflows
//   dloss/dl = sigmoid(l) - t
//
// Traffic in float32: reads l, t and writes dl: 12 bytes per element, 8 without the gradient.
#pragma once

#include "common/host_device.h"
#include "math/elementary.h"
#include "math/logistic.h"

namespace minivae {

template <class T>
MV_HD T bce_loss(T logit, T target, T e) {
  return (logit > 0 ? logit : T(0)) - logit * target + logarithm_1p_of_fraction(e);
}

template <class T>
MV_HD T bce_gradient(T logit, T target, T e) {
  return logistic(logit, e) - target;
}

}  // namespace minivae
