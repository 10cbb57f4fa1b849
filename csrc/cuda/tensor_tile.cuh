// The tile of tile_product.cuh on tensor cores: each warp makes 32 x 64 of it (32 x 32 of a tile of 32 rows)
// from products m16n8k8 of TF32 numbers, summed in float32.
//
// The instruction fixes which lane holds which elements (PTX ISA, "Matrix fragments for
// mma.m16n8k8"). With g = lane / 4 and t = lane % 4:
//
//   a[0..3] = A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t + 4]
//   b[0..1] = B[t, g], B[t + 4, g]
//   c[0..3] = C[g, 2t], C[g, 2t + 1], C[g + 8, 2t], C[g + 8, 2t + 1]
#pragma once

#include "cuda/launch_geometry.h"
#include "cuda/vector.cuh"
#include "math/tf32.h"

namespace minivae {

// c += a b. Tensor cores do not round that sum to nearest, they truncate it. Where there are none for TF32
// (sm_75, and the CPU that stands in for a GPU) the lanes pass each other what they hold: slow, and the same
// fragments and truncation. Volatile, because all lanes of a warp have to take part.
__device__ __forceinline__ void multiply_add_tf32(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
        "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
  const int lane = static_cast<int>(threadIdx.x) % kWarp, row = lane / 4 * 4, col = lane % 4 * 2;
  float part[4] = {};
  for (int k = 0; k < 8; ++k) {
    const int half = k / 4, t = k % 4;
    const float low = __shfl_sync(0xffffffffu, a[2 * half], row + t);
    const float high = __shfl_sync(0xffffffffu, a[2 * half + 1], row + t);
    const float left = __shfl_sync(0xffffffffu, b[half], col * 4 + t);
    const float right = __shfl_sync(0xffffffffu, b[half], (col + 1) * 4 + t);
    part[0] += low * left;
    part[1] += low * right;
    part[2] += high * left;
    part[3] += high * right;
  }
  for (int i = 0; i < 4; ++i) c[i] = __fadd_rz(c[i], part[i]);
#endif
}

// Whole, a number is rounded to TF32 on its way to shared memory. In halves it is the sum of two such
// numbers, of which three of four products count, the small ones first: 3xTF32, with about float's digits.
// Only 8 of each are summed by tensor cores, which truncate; the rest is added outside, rounded to nearest
// (Ootomo and Yokota, 2022). Truncated throughout, a sum of 576 is off by 5e-6 of its size, and so by 2e-7.
enum class Factors { kWhole, kHalves };

template <int kTileRows, int kTileCols, Factors kFactors>
struct TensorTile {
  using Element = float;
  static constexpr int kRows = kTileRows, kCols = kTileCols, kDepth = 16;
  static constexpr int kWarpRows = 32, kWarpCols = kRows > 32 ? 64 : 32, kWarpsAcross = kCols / kWarpCols;
  static constexpr int kThreads = kRows / kWarpRows * kWarpsAcross * kWarp;
  static constexpr int kDown = kWarpRows / 16, kAcross = kWarpCols / 8;  // products of a warp
  static constexpr int kPad = 8;  // four values of t, eight of g: 32 different banks

  float sum[kDown][kAcross][4] = {};

  __device__ static float number(float x) { return kFactors == Factors::kWhole ? round_to_tf32(x) : x; }

  // x becomes the large half of each, `rest` what it leaves; none of what is not finite. An infinite factor
  // times a rest that is 0 makes NaN of a sum that is infinite without tensor cores.
  template <int N>
  __device__ static void halve(float (&x)[N], float (&rest)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float large = round_to_tf32(x[i]);
      rest[i] = std::fabs(large) < kInfinity<float> ? round_to_tf32(x[i] - large) : 0.0f;
      x[i] = large;
    }
  }

  __device__ static int group() { return static_cast<int>(threadIdx.x) % kWarp / 4; }
  __device__ static int place() { return static_cast<int>(threadIdx.x) % 4; }
  __device__ static int row() { return static_cast<int>(threadIdx.x) / kWarp / kWarpsAcross * kWarpRows; }
  __device__ static int col() { return static_cast<int>(threadIdx.x) / kWarp % kWarpsAcross * kWarpCols; }

  template <int kPitchA, int kPitchB>
  __device__ void multiply(const float (&a)[kDepth][kPitchA], const float (&b)[kDepth][kPitchB]) {
#pragma unroll
    for (int k = 0; k < kDepth; k += 8) {
      float left[kDown][4], left_rest[kDown][4];
#pragma unroll
      for (int r = 0; r < kDown; ++r) {
        const int i = row() + 16 * r + group();
        left[r][0] = a[k + place()][i];
        left[r][1] = a[k + place()][i + 8];
        left[r][2] = a[k + place() + 4][i];
        left[r][3] = a[k + place() + 4][i + 8];
        if constexpr (kFactors == Factors::kHalves) halve(left[r], left_rest[r]);
      }
#pragma unroll
      for (int c = 0; c < kAcross; ++c) {
        const int j = col() + 8 * c + group();
        float right[2] = {b[k + place()][j], b[k + place() + 4][j]}, right_rest[2];
        if constexpr (kFactors == Factors::kHalves) {
          halve(right, right_rest);
#pragma unroll
          for (int r = 0; r < kDown; ++r) {
            float part[4] = {};
            multiply_add_tf32(part, left_rest[r], right);
            multiply_add_tf32(part, left[r], right_rest);
            multiply_add_tf32(part, left[r], right);
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[r][c][i] += part[i];
          }
        } else {
#pragma unroll
          for (int r = 0; r < kDown; ++r) multiply_add_tf32(sum[r][c], left[r], right);
        }
      }
    }
  }

  template <class Write>
  __device__ void results(Write write) const {
#pragma unroll
    for (int r = 0; r < kDown; ++r) {
#pragma unroll
      for (int c = 0; c < kAcross; ++c) {
        const int i = row() + 16 * r + group(), j = col() + 8 * c + 2 * place();
        write(i, j, Vector<float, 2>{{sum[r][c][0], sum[r][c][1]}});
        write(i + 8, j, Vector<float, 2>{{sum[r][c][2], sum[r][c][3]}});
      }
    }
  }
};

}  // namespace minivae
