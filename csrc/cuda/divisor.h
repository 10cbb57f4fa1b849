// Division by a number that stays the same, as a product: Granlund & Montgomery 1994, "Division by
// invariant integers using multiplication", theorem 4.2. With l = ceil(log2 d) and
// m = floor(2^(63 + l) / d) + 1, which has 64 bits,
//
//   floor(n / d) = floor(m n / 2^(63 + l))     for every 0 <= n < 2^63
//
// A GPU has no instruction that divides: n / d with 64 bits is a call of about a hundred
// instructions, this product about eight. Kernels turn positions into (image, row, column) with it.
#pragma once

#include "common/host_device.h"

namespace minivae {

// The upper half of the product of two 64-bit numbers.
MV_HD std::uint64_t multiply_high_64(std::uint64_t a, std::uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
#endif
}

struct Divisor {
  Index d;
  std::uint64_t multiplier;  // 0 stands for d = 1, whose shift would be -1
  int shift;                 // l - 1

  Divisor() = default;
  // d >= 1
  explicit Divisor(Index divisor) : d(divisor), multiplier(0), shift(0) {
    if (d == 1) return;
    int l = 1;
    while ((static_cast<std::uint64_t>(1) << l) < static_cast<std::uint64_t>(d)) ++l;
    multiplier = static_cast<std::uint64_t>((static_cast<unsigned __int128>(1) << (63 + l)) / d) + 1;
    shift = l - 1;
  }
};

struct QuotientRest {
  Index quotient, rest;
};

// n >= 0
MV_HD QuotientRest divide(Index n, const Divisor& by) {
  const Index quotient =
      by.multiplier == 0
          ? n
          : static_cast<Index>(multiply_high_64(static_cast<std::uint64_t>(n), by.multiplier) >> by.shift);
  return {quotient, n - quotient * by.d};
}

}  // namespace minivae
