// The part of cuBLASLt that cublaslt.cu calls, declared here because the library is opened when it is
// first needed: the extension is built and runs without it. Names are the library's, values those of
// its header, which every build that finds that header compares below.
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

#if !defined(MINIVAE_EMULATED) && __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include <type_traits>

namespace minivae::cublaslt {

static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(Heuristic, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(sizeof(Status) == sizeof(cublasStatus_t) && CUBLAS_STATUS_SUCCESS == 0);
static_assert(sizeof(int) == sizeof(cudaDataType) && sizeof(int) == sizeof(cublasComputeType_t) &&
              sizeof(int) == sizeof(cublasLtEpilogue_t) && sizeof(int) == sizeof(cublasOperation_t));
static_assert(kReal32 == CUDA_R_32F && kReal64 == CUDA_R_64F);
static_assert(kCompute32 == CUBLAS_COMPUTE_32F && kCompute64 == CUBLAS_COMPUTE_64F &&
              kComputeTf32 == CUBLAS_COMPUTE_32F_FAST_TF32);
static_assert(kPlain == CUBLAS_OP_N && kTransposed == CUBLAS_OP_T);
static_assert(kTransposeA == CUBLASLT_MATMUL_DESC_TRANSA && kTransposeB == CUBLASLT_MATMUL_DESC_TRANSB &&
              kEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE &&
              kBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(kMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              kAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              kAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              kAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              kAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(kDefault == CUBLASLT_EPILOGUE_DEFAULT && kRelu == CUBLASLT_EPILOGUE_RELU &&
              kBias == CUBLASLT_EPILOGUE_BIAS && (kRelu | kBias) == CUBLASLT_EPILOGUE_RELU_BIAS);

// Two signatures agree when their arguments take the same room, one by one.
template <class... A, class... B>
constexpr bool alike(int (*)(A...), cublasStatus_t (*)(B...)) {
  return sizeof...(A) == sizeof...(B) && ((sizeof(A) == sizeof(B)) && ...);
}
#define MV_ALIKE(name) static_assert(alike(decltype(Api::name)(nullptr), decltype (&cublasLt##name)(nullptr)))
MV_ALIKE(Create);
MV_ALIKE(MatmulDescCreate);
MV_ALIKE(MatmulDescSetAttribute);
MV_ALIKE(MatrixLayoutCreate);
MV_ALIKE(MatmulPreferenceCreate);
MV_ALIKE(MatmulPreferenceDestroy);
MV_ALIKE(MatmulPreferenceSetAttribute);
MV_ALIKE(MatmulAlgoGetHeuristic);
MV_ALIKE(Matmul);
#undef MV_ALIKE

}  // namespace minivae::cublaslt
#endif
