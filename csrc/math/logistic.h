// The logistic function of a logit l, sigmoid(l) = 1 / (1 + exp(-l)), from e = exp(-|l|) <= 1, which
// cannot overflow and which the losses need as well: 1 / (1 + e) for l >= 0 and e / (1 + e) below.
#pragma once

#include <cmath>

#include "common/host_device.h"
#include "math/elementary.h"

namespace minivae {

template <class T>
MV_HD T logistic_exponential(T logit) {
  return exponential_of_negative(-std::fabs(logit));
}

template <class T>
MV_HD T logistic(T logit, T e) {
  return (logit >= 0 ? T(1) : e) / (1 + e);
}

}  // namespace minivae
