// Adam over all parameters, and the end of a recorded step: adam.cu.
#pragma once

#include <vector>

#include "common/adam_arrays.h"
#include "cuda/scalar.h"
#include "cuda/stream.h"
#include "math/adam.h"

namespace minivae {

// One step, in place: p, m and v of every parameter change. `step` counts from 1.
template <class T>
void adam(const std::vector<AdamArrays<T>>& parameters, const Count& step, const Scalar& lr,
          const AdamSettings& settings, Stream stream);

// The end of a recorded step: counters[i] += 1, and out[i] = *terms[i] unless `out` is null.
template <class T>
void finish(std::uint64_t* counters, Index count, const T* const terms[3], T* out, Stream stream);

}  // namespace minivae
