// Reparameterised Gaussian and its divergence on the GPU: the versions are described in
// reparam_kl.cu. Arrays are (N, D) in C order and in device memory, kl and dkl are (N,).
#pragma once

#include "common/host_device.h"
#include "cuda/noise_source.h"
#include "cuda/stream.h"

namespace minivae {

constexpr int kReparamKlVersions = 6;
constexpr int kReparamKlDraws = 5;  // the first version that draws noise; the others need noise.eps

// z = mu + exp(logvar / 2) eps and the rows' KL.
template <class T>
void reparam_kl_forward(int version, const T* mu, const T* logvar, NoiseSource<T> noise, T* z, T* kl, Index N,
                        Index D, Stream stream);

// Their gradients for upstream dz (N, D) and dkl (N,).
template <class T>
void reparam_kl_backward(int version, const T* mu, const T* logvar, NoiseSource<T> noise, const T* dz,
                         const T* dkl, T* dmu, T* dlogvar, Index N, Index D, Stream stream);

}  // namespace minivae
