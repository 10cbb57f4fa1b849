// Standard normal numbers from random words: Box & Muller 1958, "A note on the generation of random
// normal deviates". With u = (w + 1/2) 2^-32,
//
//   n0 = sqrt(-2 ln u0) cos(2 pi u1)      n1 = sqrt(-2 ln u0) sin(2 pi u1)
//
// u has 33 bits and float holds 24, so u is never formed in float. Whatever is small is made from
// the word exactly: near u = 1 the logarithm takes t = 1 - u, and the angle is reduced to an eighth
// of a turn in integers. So a float is within a few ulp of the double for every word, and ln 0 cannot
// occur. Traffic: writes 4 bytes per element in float32, reads nothing.
#pragma once

#include "common/host_device.h"
#include "math/elementary.h"
#include "math/philox.h"

namespace minivae {

template <class T>
MV_HD void box_muller(std::uint32_t w0, std::uint32_t w1, T& n0, T& n1) {
  // ln u for u < 1/2, ln(1 - t) with t = (2^32 - 1 - w + 1/2) 2^-32 else; 0 < t <= 1/2 in both
  // cases.
  const bool upper = w0 >> 31;
  const auto distance = static_cast<std::int32_t>(upper ? ~w0 : w0);
  const T t = (static_cast<T>(distance) + T(0.5)) * T(0x1p-32);
  const T high = upper ? 1 - t : t;
  const T low = upper ? (1 - high) - t : T(0);
  const T radius = std::sqrt(-2 * log_of_sum(high, low));

  const std::uint32_t quadrant = (w1 + 0x20000000u) >> 30;
  const auto rest = static_cast<std::int32_t>(w1 - (quadrant << 30));
  T sine, cosine;
  sincos_turns((static_cast<T>(rest) + T(0.5)) * T(0x1p-32), quadrant, sine, cosine);
  n0 = radius * cosine;
  n1 = radius * sine;
}

}  // namespace minivae
