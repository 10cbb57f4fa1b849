// A pixel p in 0 .. 255 as a number, or as a draw that is 1 with that probability.
// Traffic in float32: reads 1 byte per element and writes 4.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace minivae {

template <class T>
MV_HD T pixel_value(std::uint8_t p) {
  return static_cast<T>(p) / 255;
}

// u < p / 255 for the uniform number u = (2 w + 1) 2^-33, exactly and so the same in every dtype.
template <class T>
MV_HD T pixel_draw(std::uint8_t p, std::uint32_t w) {
  const std::uint64_t left = (2 * static_cast<std::uint64_t>(w) + 1) * 255;
  return left < static_cast<std::uint64_t>(p) << 33 ? T(1) : T(0);
}

}  // namespace minivae
