// One element of an Adam step (Kingma & Ba 2015, algorithm 1) in the order of operations of
// PyTorch:
//
//   g  <- g + weight_decay p                      the L2 term, not AdamW's decoupled decay
//   m  <- m + (1 - beta1) (g - m)
//   v  <- beta2 v + (1 - beta2) g g
//   p  <- p - lr / (1 - beta1^t)  m / ( sqrt(v) / sqrt(1 - beta2^t) + eps )
//
// The factors that depend on the step alone are computed by adam_factors in double: on the CPU once in every
// call, on a GPU once in every block, because step and lr may be in device memory.
// Traffic: reads g, m, v, p and writes m, v, p: 28 bytes per element in float32.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace minivae {

template <class T>
struct AdamFactors {
  T weight_decay;
  T one_minus_beta1;
  T beta2;
  T one_minus_beta2;
  T step_size;        // lr / (1 - beta1^t)
  T sqrt_correction;  // sqrt(1 - beta2^t)
  T eps;
};

// The settings of one call. The step of adam_factors counts from 1.
struct AdamSettings {
  double beta1, beta2, eps, weight_decay;
};

template <class T>
MV_HD AdamFactors<T> adam_factors(double step, double lr, const AdamSettings& s) {
  return {static_cast<T>(s.weight_decay),
          static_cast<T>(1 - s.beta1),
          static_cast<T>(s.beta2),
          static_cast<T>(1 - s.beta2),
          static_cast<T>(lr / (1 - std::pow(s.beta1, step))),
          static_cast<T>(std::sqrt(1 - std::pow(s.beta2, step))),
          static_cast<T>(s.eps)};
}

template <class T>
MV_HD void adam_element(T& p, T g, T& m, T& v, const AdamFactors<T>& k) {
  g = g + k.weight_decay * p;
  m = m + k.one_minus_beta1 * (g - m);
  v = v * k.beta2 + k.one_minus_beta2 * g * g;
  p = p - k.step_size * m / (std::sqrt(v) / k.sqrt_correction + k.eps);
}

}  // namespace minivae
