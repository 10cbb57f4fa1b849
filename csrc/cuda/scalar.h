// Numbers that may change from step to step. A captured graph is replayed with the arguments it was
// captured with, so what changes lies in device memory and is read when the kernel runs.
#pragma once

#include "common/host_device.h"

namespace minivae {

// A number, or its address in device memory.
struct Scalar {
  double value = 0;
  const double* memory = nullptr;
};

MV_HD double value_of(const Scalar& scalar) {
  return scalar.memory ? *scalar.memory : scalar.value;
}

// A count that goes on from `start` as the counter in memory does, if there is one.
struct Count {
  Index start = 0;
  const std::uint64_t* counter = nullptr;
};

MV_HD Index value_of(const Count& count) {
  return count.start + (count.counter ? static_cast<Index>(*count.counter) : 0);
}

}  // namespace minivae
