// Adam over all parameters, and the small things around a step: adam.cu.
#pragma once

#include <vector>

#include "cuda/scalar.h"
#include "cuda/stream.h"
#include "math/adam.h"

namespace minivae {

// One parameter with its gradient and moments.
template <class T>
struct AdamArrays {
  T* p;
  const T* g;
  T *m, *v;
  Index count;
};

// One step, in place: p, m and v of every parameter change. `step` counts from 1.
template <class T>
void adam(const std::vector<AdamArrays<T>>& parameters, const Count& step, const Scalar& lr,
          const AdamSettings& settings, Stream stream);

// counters[i] += 1.
void advance(std::uint64_t* counters, Index count, Stream stream);

}  // namespace minivae
