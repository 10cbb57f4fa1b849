// Arrays of noise in device memory; element i of a stream whatever the grid (math/philox.h).
#pragma once

#include "common/host_device.h"
#include "cuda/noise_source.h"
#include "cuda/stream.h"

namespace minivae {

// Uniform in (0, 1], the double rounded once.
template <class T>
void uniform(Noise noise, T* out, Index count, Stream stream);

// Standard normal.
template <class T>
void normal(Noise noise, T* out, Index count, Stream stream);

}  // namespace minivae
