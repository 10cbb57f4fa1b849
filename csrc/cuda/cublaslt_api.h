// The part of cuBLASLt that matmul_cublaslt.cu calls, declared here because the library is opened when it
// is first needed: the extension is built and runs without it. Names are the library's, values those of
// its header, with which cublaslt_check.h compares them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/stream.h"

namespace minivae::cublaslt {

using Handle = struct OpaqueHandle*;
using MatmulDesc = struct OpaqueMatmulDesc*;
using MatrixLayout = struct OpaqueMatrixLayout*;
using Preference = struct OpaquePreference*;
using Status = int;  // 0 is success

struct Algorithm {
  std::uint64_t data[8];
};

struct Heuristic {
  Algorithm algorithm;
  std::size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

// cudaDataType, cublasComputeType_t, cublasOperation_t
constexpr int kReal32 = 0, kReal64 = 1;
constexpr int kCompute32 = 68, kCompute64 = 70, kComputeTf32 = 77;
constexpr int kPlain = 0, kTransposed = 1;
// cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t, cublasLtEpilogue_t
constexpr int kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8;
constexpr int kMaxWorkspace = 1, kAlignmentA = 5, kAlignmentB = 6, kAlignmentC = 7, kAlignmentD = 8;
constexpr int kDefault = 1, kRelu = 2, kBias = 4;

// The functions, by their names without "cublasLt".
struct Api {
  Status (*Create)(Handle*);
  std::size_t (*GetVersion)();
  const char* (*GetStatusString)(Status);
  Status (*MatmulDescCreate)(MatmulDesc*, int compute, int scale);
  Status (*MatmulDescSetAttribute)(MatmulDesc, int attribute, const void* value, std::size_t bytes);
  Status (*MatrixLayoutCreate)(MatrixLayout*, int type, std::uint64_t rows, std::uint64_t cols,
                               std::int64_t ld);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, int attribute, const void* value, std::size_t bytes);
  Status (*MatmulAlgoGetHeuristic)(Handle, MatmulDesc, MatrixLayout a, MatrixLayout b, MatrixLayout c,
                                   MatrixLayout d, Preference, int wanted, Heuristic*, int* found);
  Status (*Matmul)(Handle, MatmulDesc, const void* alpha, const void* a, MatrixLayout, const void* b,
                   MatrixLayout, const void* beta, const void* c, MatrixLayout, void* d, MatrixLayout,
                   const Algorithm*, void* workspace, std::size_t bytes, Stream);
};

}  // namespace minivae::cublaslt
