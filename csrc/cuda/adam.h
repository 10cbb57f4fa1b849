// Adam over the flat arena, and the small things around a step: adam.cu.
#pragma once

#include "cuda/scalar.h"
#include "cuda/stream.h"
#include "math/adam.h"

namespace minivae {

// One step, in place: p, m and v change. `step` counts from 1.
template <class T>
void adam(T* p, const T* g, T* m, T* v, const Count& step, const Scalar& lr, const AdamSettings& settings,
          Index count, Stream stream);

// counters[i] += 1.
void advance(std::uint64_t* counters, Index count, Stream stream);

}  // namespace minivae
