// Compares cublaslt_api.h with the library's header, in every build that finds it.
#pragma once

#include "cuda/cublaslt_api.h"

#if __has_include(<cublasLt.h>)
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
