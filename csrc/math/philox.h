// Philox4x32-10: 128 random bits from a 128-bit counter and a 64-bit key.
// Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
//
// One round takes the words (x0 x1 x2 x3) through two 32 x 32 -> 64 bit products:
//
//   x0' = high(M1 x2) ^ x1 ^ k0     x1' = low(M1 x2)
//   x2' = high(M0 x0) ^ x3 ^ k1     x3' = low(M0 x0)
//
// and adds the Weyl constants to the key. Ten rounds; no state, so element i of a stream can be
// made on any machine without making the others.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace minivae {

struct Words4 {
  std::uint32_t w0, w1, w2, w3;
};

// A noise stream: the key, the upper half of the counter, and the element of the stream that is element 0 of
// the arrays drawn.
struct NoiseKey {
  std::uint64_t seed;
  std::uint64_t offset;
  std::uint64_t first = 0;
};

MV_HD std::uint32_t multiply_high(std::uint32_t a, std::uint32_t b) {
#if defined(__CUDA_ARCH__)
  return __umulhi(a, b);  // one instruction; of the line below nvcc makes a product of 64 bits and a sum
#else
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(a) * b) >> 32);
#endif
}

MV_HD Words4 philox4x32(Words4 x, std::uint32_t k0, std::uint32_t k1) {
  constexpr std::uint32_t M0 = 0xD2511F53u, M1 = 0xCD9E8D57u;
  for (int round = 0; round < 10; ++round) {
    x = {multiply_high(M1, x.w2) ^ x.w1 ^ k0, M1 * x.w2, multiply_high(M0, x.w0) ^ x.w3 ^ k1, M0 * x.w0};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

// The words of elements 4 block .. 4 block + 3.
MV_HD Words4 noise_words(NoiseKey key, std::uint64_t block) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  return philox4x32({low(block), high(block), low(key.offset), high(key.offset)}, low(key.seed),
                    high(key.seed));
}

// u = w 2^-32 + 2^-33, in (0, 1) and exact in double; float is the double rounded, and may be 1.
template <class T>
MV_HD T uniform_from(std::uint32_t w) {
  return static_cast<T>(w * 0x1p-32 + 0x1p-33);
}

}  // namespace minivae
