// One element of the reparameterised Gaussian and its divergence (Kingma & Welling 2014).
// logvar = ln sigma^2, so sigma = exp(logvar / 2):
//
//   z  = mu + sigma eps
//   kl = 1/2 ( mu^2 + sigma^2 - 1 - ln sigma^2 ) = 1/2 ( mu^2 + expm1(logvar) - logvar )
//
// expm1, because sigma^2 - 1 - ln sigma^2 cancels all its digits where sigma is near 1. The
// derivatives of z and kl, for upstream dz and dkl of the row:
//
//   dmu     = dz + dkl mu
//   dlogvar = 1/2 dz eps sigma + 1/2 dkl expm1(logvar)
//
// Traffic in float32: forward reads mu, logvar, eps and writes z, 16 bytes per element; backward
// reads mu, logvar, eps, dz and writes dmu, dlogvar, 24. Noise made in the kernel saves the 4 of
// eps.
#pragma once

#include "common/host_device.h"
#include "math/elementary.h"
#include "math/fast_float.h"

namespace minivae {

// sigma and sigma^2 - 1, which z, kl and dlogvar share.
template <class T>
struct Deviation {
  T sigma, variance_minus_1;
};

template <class T>
MV_HD Deviation<T> deviation_of(T logvar) {
  Deviation<T> s;
  exponential_by_half(logvar, s.sigma, s.variance_minus_1);
  return s;
}

// The same for GPU kernels: float has the errors that math/fast_float.h states.
template <class T>
MV_HD Deviation<T> fast_deviation_of(T logvar) {
  Deviation<T> s;
  fast_exponential_by_half(logvar, s.sigma, s.variance_minus_1);
  return s;
}

template <class T>
MV_HD T reparameterize(T mu, Deviation<T> s, T eps) {
  return mu + s.sigma * eps;
}

template <class T>
MV_HD T kl_element(T mu, T logvar, Deviation<T> s) {
  return T(0.5) * (mu * mu + (s.variance_minus_1 - logvar));
}

template <class T>
MV_HD void reparam_kl_gradient(T mu, Deviation<T> s, T eps, T dz, T dkl, T& dmu, T& dlogvar) {
  dmu = dz + dkl * mu;
  dlogvar = T(0.5) * (dz * eps * s.sigma + dkl * s.variance_minus_1);
}

}  // namespace minivae
