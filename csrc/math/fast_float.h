// e^(x/2) with e^x - 1, and a pair of standard normal numbers, in float and in two thirds of the
// instructions of elementary.h and normal.h: for GPU kernels that wait for instructions and not for memory.
// Doubles go to the functions there.
//
// They take fewer because each sum of a product is one fused multiply-add, 2^n is one factor, ln(1 + f) and
// the sine are polynomials of one argument, without a division, and a GPU's special unit takes the square
// root. Nothing is left for nvcc to contract, so a GPU gives the bits that the CPU gives in the tests, except
// for the square root.
// Largest errors in units in the last place; tests/kernels/test_elementary.py and
// tests/engine/test_noise.py hold the CPU to them:
//
//   e^(x/2) 1.25, where it is 2^-125.5 or more, and 0 below    e^x - 1 beside it 3.25
//   normal numbers 5, on a GPU 7: the relative error of its square root is up to 2^-23 (PTX ISA, sqrt.approx)
//
// Polynomials are minimax fits to the relative error, which the comments state.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "math/elementary.h"
#include "math/normal.h"

namespace minivae {

// c0 + c1 x + c2 x^2 + ..., each step rounded once.
MV_HD float fused_polynomial(float, float c0) {
  return c0;
}
template <class... C>
MV_HD float fused_polynomial(float x, float c0, C... rest) {
  return std::fma(x, fused_polynomial(x, rest...), c0);
}

// With x = k 2 ln 2 + r and p = 2 e^(r/2) - 2: e^(x/2) = 2^(k-1) (2 + p), and e^x - 1 = p + p^2 / 4 for
// k = 0. Then r is x and p is x and something positive, so rounding leaves e^x - 1 no smaller than x and
// a KL divergence no smaller than 0. The polynomial is (p - r) / r^2; error of e^(r/2) 2^-28.2.
MV_HD void fast_exponential_by_half(float x, float& root, float& minus_1) {
  using R = Real<float>;
  x = x < -175 ? -175.0f : x;  // 0 and infinity lie beyond; NaN passes both comparisons
  x = x > 178 ? 178.0f : x;
  // The lowest bits of `shifted` are the biased exponent of 2^(k-1).
  constexpr float kRounder = R::kRounder + (R::kBias - 1);
  const float shifted = std::fma(x, 0.5f * R::kInverseLn2, kRounder), k = shifted - kRounder;
  const float r = std::fma(k, -2 * R::kLn2Low, std::fma(k, -2 * R::kLn2High, x));
  const float tail =
      fused_polynomial(r, 0x1.fffffcp-3f, 0x1.555492p-5f, 0x1.5558b6p-8f, 0x1.1239a2p-11f, 0x1.6a4746p-15f);
  const float p = std::fma(r * r, tail, r);
  root = (2 + p) * power_of_two<float>(to_bits(shifted));
  minus_1 = k == 0 ? std::fma(0.25f * p, p, p) : std::fma(root, root, -1.0f);
}

MV_HD float fast_square_root(float x) {
#if defined(__CUDA_ARCH__)
  float root;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(x));
  return root;
#else
  return std::sqrt(x);
#endif
}

// -2 ln u for u = (w + 1/2) 2^-32. From u = 2/3 on it is made from 1 - u, which is exact; below from
// u = 2^k m with m in [2/3, 4/3). With h = 2 (1 - u) or 2 (1 - m), -2 ln(1 - h/2) = h + h^2 (1/4 + h/12 + ...);
// error 2^-25.2.
MV_HD float minus_two_log_of_word(std::uint32_t w) {
  const bool upper = w > 0xaaaaaaaau;
  const float twice = std::fma(static_cast<float>(upper ? ~w : w), 0x1p-31f, 0x1p-32f);
  // k, where the bits of a float have its exponent: 2 m is in [4/3, 8/3).
  const std::uint32_t exponent = upper ? 0 : (to_bits(twice) - to_bits(4 / 3.0f)) & 0xff800000u;
  const float h = upper ? twice : 2 - from_bits<float>(to_bits(twice) - exponent);
  const float tail = fused_polynomial(h, 0x1.ffffd6p-3f, 0x1.5554fcp-4f, 0x1.00145p-5f, 0x1.99d3a8p-7f,
                                      0x1.503884p-8f, 0x1.1ea94cp-9f, 0x1.3b0e5cp-10f, 0x1.1f243ep-11f);
  constexpr float kMinusTwoLn2 = -0x1.62e43p-23f;  // for one step of that exponent
  const auto steps = static_cast<float>(static_cast<std::int32_t>(exponent));
  return std::fma(steps, kMinusTwoLn2, std::fma(h * h, tail, h));
}

// Sine and cosine of 2 pi u for u = (w + 1/2) 2^-32 = r + quadrant / 4 with |r| <= 1/8, by polynomials in
// r^2; errors 2^-25.1, most of it that of 2 pi, and 2^-31.4.
MV_HD void sincos_of_word(std::uint32_t w, float& sine, float& cosine) {
  const std::uint32_t turned = w + 0x20000000u;  // the quadrant is its highest two bits
  const float r = std::fma(static_cast<float>(static_cast<std::int32_t>(w << 2)), 0x1p-34f, 0x1p-33f);
  const float y = r * r;
  const float s = r * fused_polynomial(y, 0x1.921fb6p+2f, -0x1.4abc24p+5f, 0x1.46806cp+6f, -0x1.330da6p+6f);
  const float c = fused_polynomial(y, 1.0f, -0x1.3bd3cep+4f, 0x1.03c226p+6f, -0x1.55ddcap+6f, 0x1.df3206p+5f);
  const bool odd = static_cast<std::int32_t>(turned << 1) < 0;
  constexpr std::uint32_t kSign = 0x80000000u;
  sine = from_bits<float>(to_bits(odd ? c : s) ^ (turned & kSign));
  cosine = from_bits<float>(to_bits(odd ? s : c) ^ ((turned + 0x40000000u) & kSign));
}

MV_HD void fast_box_muller(std::uint32_t w0, std::uint32_t w1, float& n0, float& n1) {
  const float radius = fast_square_root(minus_two_log_of_word(w0));
  float sine, cosine;
  sincos_of_word(w1, sine, cosine);
  n0 = radius * cosine;
  n1 = radius * sine;
}

MV_HD void fast_exponential_by_half(double x, double& root, double& minus_1) {
  exponential_by_half(x, root, minus_1);
}
MV_HD void fast_box_muller(std::uint32_t w0, std::uint32_t w1, double& n0, double& n1) {
  box_muller(w0, w1, n0, n1);
}

}  // namespace minivae
