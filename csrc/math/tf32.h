// The number that tensor cores multiply where they are given a float: TF32 keeps the sign, the 8 bits
// of the exponent and 10 of the 23 bits of the mantissa. Rounded to nearest, halves away from 0, as
// the instruction cvt.rna.tf32.f32 does it; the relative error is at most 2^-11.
#pragma once

#include <cmath>

#include "common/host_device.h"
#include "math/elementary.h"

namespace minivae {

MV_HD float round_to_tf32(float x) {
  const float rounded = from_bits<float>((to_bits(x) + 0x1000u) & ~0x1fffu);
  return std::fabs(x) < kInfinity<float> ? rounded : x + x;  // NaN keeps a bit of those that are left
}

}  // namespace minivae
