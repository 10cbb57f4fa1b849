// Rounds a float to TF32, the format that tensor cores multiply: it has the sign, the 8 bits of the
// exponent and 10 of the 23 bits of the mantissa. Rounding is to nearest, halves away from 0, as by
// the instruction cvt.rna.tf32.f32; the relative error is at most 2^-11.
#pragma once

#include <cmath>

#include "common/host_device.h"
#include "math/elementary.h"

namespace minivae {

MV_HD float round_to_tf32(float x) {
  const float rounded = from_bits<float>((to_bits(x) + 0x1000u) & ~0x1fffu);
  return std::fabs(x) < kInfinity<float> ? rounded : x + x;  // rounding its bits could make NaN infinite
}

}  // namespace minivae
