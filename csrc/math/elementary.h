// exp, expm1, log, log1p, and sine and cosine of a fraction of a whole turn, for float and double.
//
// They have no branches, so that the loop around a call can be vectorised, as it cannot with libm's
// functions. Only additions, multiplications, divisions, comparisons and operations on the bits are
// used, each rounded by itself, so that every instruction set gives the same bytes. NaN stays NaN,
// infinities, zeros with their sign, overflow and subnormals come out as C defines them. Largest
// errors in units in the last place; tests/kernels/test_elementary.py holds them to it on numbers of every
// exponent, and over all floats the errors are 0.99, 1.54, 0.84 and 1.40:
//
//   exp 1.0    expm1 2.25    log 1.0    log1p 1.5
//
// Two functions that the losses use instead take fewer operations; over every third float their errors are
// 1.31 and 3.48:
//
//   log1p of a number in [0, 1] 1.5    expm1 beside exp(x / 2) 4.0
//
// Polynomials are minimax fits (Remez) to the relative error, which the comments state.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace minivae {

template <class T>
struct Real;

template <>
struct Real<float> {
  using Bits = std::uint32_t;
  static constexpr int kBits = 32, kMantissa = 23, kBias = 127;
  static constexpr float kRounder = 0x1.8p23f;  // x + kRounder has ulp 1: rounds x to an integer
  static constexpr float kInverseLn2 = 0x1.715476p+0f;
  static constexpr float kLn2High = 0x1.62e4p-1f;  // 15 bits: exact times any exponent
  static constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  static constexpr float kExpMin = -105, kExpMax = 89;  // exp is 0 and infinity beyond
  static constexpr int kExpLift = 64;                   // e^kExpMin 2^kExpLift is a normal number
  static constexpr float kExpm1Min = -20;               // expm1 is -1 below
  static constexpr float kTiny = 0x1p-25f;              // expm1(x) and log1p(x) round to x below
};

template <>
struct Real<double> {
  using Bits = std::uint64_t;
  static constexpr int kBits = 64, kMantissa = 52, kBias = 1023;
  static constexpr double kRounder = 0x1.8p52;
  static constexpr double kInverseLn2 = 0x1.71547652b82fep+0;
  static constexpr double kLn2High = 0x1.62e42fefa3p-1;  // 41 bits
  static constexpr double kLn2Low = 0x1.3de6af278ece6p-42;
  static constexpr double kExpMin = -746, kExpMax = 710;
  static constexpr int kExpLift = 128;
  static constexpr double kExpm1Min = -40;
  static constexpr double kTiny = 0x1p-54;
};

template <class T>
using BitsOf = typename Real<T>::Bits;

template <class T>
MV_HD BitsOf<T> to_bits(T x) {
  BitsOf<T> bits;
  std::memcpy(&bits, &x, sizeof x);
  return bits;
}

template <class T>
MV_HD T from_bits(BitsOf<T> bits) {
  T x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
constexpr T kInfinity = static_cast<T>(HUGE_VAL);
template <class T>
constexpr T kNaN = static_cast<T>(NAN);

// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class T>
MV_HD T polynomial(T, T c0) {
  return c0;
}
template <class T, class... C>
MV_HD T polynomial(T x, T c0, C... rest) {
  return c0 + x * polynomial(x, rest...);
}

// x as an integer n, to nearest, and as a number again: |x| < 2^21. The integer is modulo 2^kBits.
template <class T>
MV_HD T round_to_integer(T x, BitsOf<T>& n) {
  const T shifted = x + Real<T>::kRounder;
  n = to_bits(shifted) - to_bits(Real<T>::kRounder);
  return shifted - Real<T>::kRounder;
}

// The inverse: an integer modulo 2^kBits, seen as signed, as a number.
template <class T>
MV_HD T to_real(BitsOf<T> n) {
  return from_bits<T>(n + to_bits(Real<T>::kRounder)) - Real<T>::kRounder;
}

// 2^n for a biased exponent n + kBias in [1, 2 kBias].
template <class T>
MV_HD T power_of_two(BitsOf<T> biased) {
  return from_bits<T>(biased << Real<T>::kMantissa);
}

// ---- exp and expm1: x = n ln 2 + r with |r| <= ln 2 / 2, e^x = 2^n e^r -------------------------

// (e^r - 1 - r) / r^2; errors of e^r: 2^-28.2 and 2^-57.9.
MV_HD float exp_tail(float r) {
  return polynomial(r, 0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558f8p-5f, 0x1.123b02p-7f, 0x1.6a2288p-10f);
}
MV_HD double exp_tail(double r) {
  return polynomial(r, 0x1.000000000000ap-1, 0x1.55555555554f8p-3, 0x1.5555555550754p-5, 0x1.111111112814ap-7,
                    0x1.6c16c1846fe24p-10, 0x1.a01a0129088c1p-13, 0x1.a01999441328cp-16,
                    0x1.71df270b7ee0fp-19, 0x1.28ae34aba89aap-22, 0x1.ad7ea53e4ca85p-26);
}

// e^r - 1, and n. ln 2 is taken off in two parts, the first without rounding.
template <class T>
MV_HD T expm1_reduced(T x, BitsOf<T>& n) {
  const T k = round_to_integer(x * Real<T>::kInverseLn2, n);
  const T r = (x - k * Real<T>::kLn2High) - k * Real<T>::kLn2Low;
  return r + r * r * exp_tail(r);
}

// x where exp(x) is neither 0 nor infinity, and the nearest such number elsewhere; NaN passes.
template <class T>
MV_HD T clamped_for_exp(T x) {
  x = x < Real<T>::kExpMin ? Real<T>::kExpMin : x;
  return x > Real<T>::kExpMax ? Real<T>::kExpMax : x;
}

// 2^n y in two factors: either may be all there is before overflow or below the subnormals. The offset
// keeps the halves positive, because not every machine has a signed shift of 64-bit lanes.
template <class T>
MV_HD T times_power_of_two(T y, BitsOf<T> n) {
  const BitsOf<T> m = n + 2 * Real<T>::kBias, half = m >> 1;
  return (y * power_of_two<T>(half)) * power_of_two<T>(m - half);
}

template <class T>
MV_HD T exponential(T x) {
  BitsOf<T> n;
  const T p = expm1_reduced(clamped_for_exp(x), n);
  return times_power_of_two(1 + p, n);
}

// The same bytes for x <= 0 with less work: lifted by a constant, 2^n is a normal number.
template <class T>
MV_HD T exponential_of_negative(T x) {
  using R = Real<T>;
  BitsOf<T> n;
  const T p = expm1_reduced(x < R::kExpMin ? R::kExpMin : x, n);
  return ((1 + p) * power_of_two<T>(n + (R::kBias + R::kExpLift))) * power_of_two<T>(R::kBias - R::kExpLift);
}

// e^(x/2), the same bytes as exponential(x / 2), and e^x - 1 from one reduction. With p = e^(x/2) - 1
// the latter is p (2 + p), which keeps its digits near 0; elsewhere the square less 1 does. Of -0 it is 0.
template <class T>
MV_HD void exponential_by_half(T x, T& root, T& minus_1) {
  BitsOf<T> n;
  const T p = expm1_reduced(clamped_for_exp(T(0.5) * x), n);
  root = times_power_of_two(1 + p, n);
  minus_1 = n == 0 ? p * (2 + p) : root * root - 1;
}

template <class T>
MV_HD T exponential_minus_1(T x) {
  using R = Real<T>;
  const T clamped = x < R::kExpm1Min ? R::kExpm1Min : (x > R::kExpMax ? R::kExpMax : x);
  BitsOf<T> n;
  const T p = expm1_reduced(clamped, n);
  // 2^n p + (2^n - 1), at half size because 2^n alone may overflow.
  const T half = power_of_two<T>(n + (R::kBias - 1));
  const T y = 2 * (half * p + (half - T(0.5)));
  return std::fabs(x) < R::kTiny ? x : y;  // also keeps -0 and subnormals
}

// ---- log and log1p: x = 2^k (1 + f), ln x = k ln 2 + ln(1 + f) ---------------------------------
// With s = f / (2 + f):  ln(1 + f) = ln((1 + s) / (1 - s)) = 2 s + s^3 (2/3 + 2/5 s^2 + ...)
//                                 = f - f^2/2 + s (f^2/2 + s^2 (2/3 + 2/5 s^2 + ...)),
// the last form because f carries no error and what follows is small beside it.

// 2/3 + 2/5 y + ... for 0 <= y <= 0.0295; errors of ln(1 + f): 2^-30.2 and 2^-59.4.
MV_HD float log_tail(float y) {
  return polynomial(y, 0x1.55557ap-1f, 0x1.995eaep-2f, 0x1.31e47p-2f);
}
MV_HD double log_tail(double y) {
  return polynomial(y, 0x1.5555555555593p-1, 0x1.999999997fca4p-2, 0x1.2492494201a31p-2, 0x1.c71c51faffc3dp-3,
                    0x1.7466420ad8949p-3, 0x1.39a16538466dap-3, 0x1.2f08eda73d933p-3);
}

// ln(high + low), for a positive normal high and |low| <= ulp(high), 0 from high = 2^60 on. `shift`
// is added to k.
template <class T>
MV_HD T log_of_sum(T high, T low, BitsOf<T> shift = 0) {
  using R = Real<T>;
  using Bits = BitsOf<T>;
  const Bits one = to_bits(T(1)), root = to_bits(T(0.70710678118654752440));
  // Adding one - root makes the exponent field step at sqrt(1/2) instead of at 1, so f is in
  // [sqrt(1/2) - 1, sqrt(2) - 1).
  const Bits stepped = to_bits(high) + (one - root);
  const Bits k = (stepped >> R::kMantissa) - R::kBias;
  const T mantissa = from_bits<T>(to_bits(high) - (k << R::kMantissa));
  const T scaled_low = low * power_of_two<T>(R::kBias - k);
  const T f = (mantissa - 1) + (low != 0 ? scaled_low : T(0));
  const T s = f / (2 + f), y = s * s, half_square = T(0.5) * f * f;
  const T tail = s * (half_square + y * log_tail(y));
  const T exponent = to_real<T>(k + shift);
  return exponent * R::kLn2High + (f - (half_square - (tail + exponent * R::kLn2Low)));
}

// 2/3 + 2/5 y + ... for 0 <= y <= 1/9; errors of ln(1 + f): 2^-27.7 and 2^-59.3.
MV_HD float log1p_tail(float y) {
  return polynomial(y, 0x1.555502p-1f, 0x1.99d1ccp-2f, 0x1.1ec038p-2f, 0x1.1eca6ap-2f);
}
MV_HD double log1p_tail(double y) {
  return polynomial(y, 0x1.5555555555535p-1, 0x1.99999999a074ep-2, 0x1.249249208c76ep-2, 0x1.c71c741c65c48p-3,
                    0x1.745cb4015b672p-3, 0x1.3b1ddb68b3659p-3, 0x1.1067c4898aa9cp-3, 0x1.efd8664bdf43bp-4,
                    0x1.55b0468b483d9p-4, 0x1.5c79f158dfbf0p-3);
}

// ln(1 + x) for x in [0, 1], where no reduction is needed: 2 s = x - s x, so that it is
// x - s (x - s^2 (2/3 + ...)), in which x carries no error.
template <class T>
MV_HD T logarithm_1p_of_fraction(T x) {
  const T s = x / (2 + x), y = s * s;
  return x - s * (x - y * log1p_tail(y));
}

template <class T>
MV_HD T logarithm(T x) {
  using R = Real<T>;
  constexpr int kUp = R::kMantissa + 2;  // lifts every subnormal into the normal numbers
  const bool subnormal = x < power_of_two<T>(1);
  const T lifted = subnormal ? x * power_of_two<T>(R::kBias + kUp) : x;
  const T y = log_of_sum(lifted, T(0), subnormal ? BitsOf<T>(-kUp) : BitsOf<T>(0));
  const T right = x > 0 ? y : (x == 0 ? -kInfinity<T> : kNaN<T>);
  return x < kInfinity<T> ? right : x;  // infinity and NaN
}

template <class T>
MV_HD T logarithm_1p(T x) {
  using R = Real<T>;
  // high + low = 1 + x without error (Knuth's two-sum). Large x has no use for low, and infinity
  // would make it NaN.
  const T high = 1 + x, part = high - 1;
  const T error = (1 - (high - part)) + (x - part);
  const T low = x < T(0x1p60) ? error : T(0);
  const T y = log_of_sum(high, low);
  const T right = x > -1 ? y : (x == -1 ? -kInfinity<T> : kNaN<T>);
  const T finite = std::fabs(x) < R::kTiny ? x : right;
  return x < kInfinity<T> ? finite : x;
}

// ---- sine and cosine of 2 pi (r + quadrant / 4), |r| <= 1/8 ------------------------------------

// (sin x - x) / x^3 and (cos x - 1 + x^2/2) / x^4 in y = x^2; errors 2^-28.0, 2^-58.0; 2^-33.2,
// 2^-64.2.
MV_HD float sine_tail(float y) {
  return polynomial(y, -0x1.555546p-3f, 0x1.11075cp-7f, -0x1.994cfap-13f);
}
MV_HD float cosine_tail(float y) {
  return polynomial(y, 0x1.55554ap-5f, -0x1.6c0c86p-10f, 0x1.9a00d8p-16f);
}
MV_HD double sine_tail(double y) {
  return polynomial(y, -0x1.5555555555549p-3, 0x1.111111110f861p-7, -0x1.a01a019c0e4c2p-13,
                    0x1.71de3574b8f8fp-19, -0x1.ae5e63cbcac75p-26, 0x1.5d92462c77cbcp-33);
}
MV_HD double cosine_tail(double y) {
  return polynomial(y, 0x1.555555555554cp-5, -0x1.6c16c16c15162p-10, 0x1.a01a019caef56p-16,
                    -0x1.27e4f807d7341p-22, 0x1.1ee9ea6d41c41p-29, -0x1.8fadd0962917bp-37);
}

template <class T>
constexpr T kTwoPi = static_cast<T>(6.28318530717958647693);

template <class T>
MV_HD void sincos_turns(T r, std::uint32_t quadrant, T& sine, T& cosine) {
  using Bits = BitsOf<T>;
  const T x = kTwoPi<T> * r, y = x * x;
  const T s = x + x * y * sine_tail(y);
  const T c = 1 - (T(0.5) * y - y * y * cosine_tail(y));
  const bool odd = quadrant & 1;
  constexpr int kSign = Real<T>::kBits - 2;  // moves bit 1 to the sign
  const Bits sine_sign = static_cast<Bits>(quadrant & 2) << kSign;
  const Bits cosine_sign = static_cast<Bits>((quadrant + 1) & 2) << kSign;
  sine = from_bits<T>(to_bits(odd ? c : s) ^ sine_sign);
  cosine = from_bits<T>(to_bits(odd ? s : c) ^ cosine_sign);
}

}  // namespace minivae
