// The kernels as a table of functions: one table per instruction set, one half per dtype. Each
// kernel is written once, in csrc/cpu/<op>.inl, and compiled once per table by isa_<name>.cpp.
//
// A kernel works on the range [begin, end) of its outermost dimension, so that the caller decides
// how many threads share the work and no result depends on it. Pointers are aligned to their dtype
// and point to C-contiguous arrays; outputs do not overlap inputs, except where a kernel is in
// place.
#pragma once

// Every system header that a kernel body or csrc/math uses is included here, outside the regions
// compiled for one instruction set, so that no shared inline function is compiled for AVX-512.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "common/conv_shape.h"
#include "common/matrix.h"
#include "cpu/conv_geometry.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"
#include "math/adam.h"
#include "math/batch_norm.h"
#include "math/bce_with_logits.h"
#include "math/elementary.h"
#include "math/fast_float.h"
#include "math/negative_elbo.h"
#include "math/normal.h"
#include "math/philox.h"
#include "math/pixels.h"
#include "math/relu.h"
#include "math/reparam_kl.h"
#include "math/squared_error_with_logits.h"

#define MV_RESTRICT __restrict__

namespace minivae {

enum class Elementary {
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kExpOfNegative,
  kExpHalf,
  kExpm1ByHalf,
  kFastExpHalf,
  kFastExpm1ByHalf,
  kLog1pOfFraction
};

template <class T>
struct Kernels {
  // noise.inl, over elements
  void (*uniform)(NoiseKey key, T* out, Index begin, Index end);
  void (*normal)(NoiseKey key, T* out, Index begin, Index end);
  // reparam_kl.inl, over rows; eps may be null, then key serves
  void (*reparam_kl_forward)(const T* mu, const T* logvar, const T* eps, NoiseKey key, T* z, T* kl, Index D,
                             Index first, Index last);
  void (*reparam_kl_backward)(const T* mu, const T* logvar, const T* eps, NoiseKey key, const T* dz,
                              const T* dkl, T* dmu, T* dlogvar, Index D, Index first, Index last);
  // bce_with_logits.inl and squared_error_with_logits.inl, over rows; dlogits may be null
  void (*bce_with_logits)(const T* logits, const T* target, T* loss, T* dlogits, T scale, Index M,
                          Index first, Index last);
  void (*squared_error_with_logits)(const T* logits, const T* target, T* loss, T* dlogits, T scale, Index M,
                                    Index first, Index last);
  // adam.inl, over elements
  void (*adam)(T* p, const T* g, T* m, T* v, const AdamFactors<T>& k, Index begin, Index end);
  // arithmetic.inl, over elements and over rows
  void (*add)(const T* a, const T* b, T* y, Index begin, Index end);
  void (*scale_rows)(T* x, const T* factors, Index M, Index first, Index last);
  // negative_elbo.inl, of all numbers
  void (*negative_elbo)(const T* rec, Index R, const T* kl, Index K, T beta, T* terms, T* share);
  // gather_pixels.inl, over rows
  void (*gather_pixels)(const std::uint8_t* images, const std::int64_t* index, bool draw, NoiseKey key,
                        T* out, Index size, Index first, Index last);
  // relu.inl, over elements
  void (*relu)(const T* x, T* y, Index begin, Index end);
  void (*relu_backward)(const T* y, const T* dy, T* dx, Index begin, Index end);
  // the same, over channels of (N, C, L)
  void (*bias_relu_backward)(const T* y, const T* dy, T* dx, T* db, Index N, Index C, Index L, Index first,
                             Index last);
  // batch_norm.inl, over channels of (N, C, L)
  void (*channel_sum)(const T* x, T* sums, Index N, Index C, Index L, Index first, Index last);
  void (*batch_statistics)(const T* x, T* mean, T* var, Index N, Index C, Index L, Index first, Index last);
  void (*batch_norm_forward)(const T* x, const T* w, const T* b, const T* mean, const T* var, T eps, T* y,
                             Index N, Index C, Index L, Index first, Index last);
  void (*batch_norm_backward)(const T* x, const T* w, const T* mean, const T* var, T eps, const T* dy,
                              bool training, T* dx, T* dw, T* db, Index N, Index C, Index L, Index first,
                              Index last);
  void (*update_running)(const T* mean, const T* var, T momentum, T unbias, T* running_mean, T* running_var,
                         Index C);
  // gemm.inl and conv2d.inl, which divide their work among the threads themselves; biases may be
  // null
  void (*gemm)(Index M, Index N, Index K, const Matrix<T>& a, const Matrix<T>& b, const T* bias, bool rectify,
               T* c);
  void (*conv2d)(const ConvShape& shape, const T* x, const T* w, const T* b, bool rectify, T* y);
  void (*conv2d_grad_input)(const ConvShape& shape, const T* dy, const T* w, const T* b, bool rectify, T* dx);
  void (*conv2d_grad_weight)(const ConvShape& shape, const T* x, const T* dy, T* dw);
  // elementary.inl, over elements, for tests
  void (*elementary)(Elementary function, const T* x, T* y, Index begin, Index end);
  void (*box_muller_pairs)(const std::uint32_t* words, T* out, Index begin, Index end);
  void (*fast_box_muller_pairs)(const std::uint32_t* words, T* out, Index begin, Index end);
};

struct Table {
  const char* isa;
  Kernels<float> f32;
  Kernels<double> f64;
};

extern const Table plain_table;
#if defined(__x86_64__)
extern const Table avx2_table;
extern const Table avx512_table;
#elif defined(__aarch64__)
extern const Table neon_table;
#endif

// The table in use. At first the best the machine has, or the one MINIVAE_ISA names.
const Table& table();
// Chooses a table by name; std::invalid_argument when the name is unknown or the machine lacks it.
void use_table(const char* isa);
// The tables this machine can run, best last; `count` receives their number.
const Table* const* usable_tables(int* count);

template <class T>
const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
  return table().f32;
}
template <>
inline const Kernels<double>& kernels<double>() {
  return table().f64;
}

}  // namespace minivae
