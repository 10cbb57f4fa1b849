// Matrix products with a fused epilogue: matmul.cu has the kernels, matmul_cublaslt.cu the library.
#pragma once

#include <cstddef>
#include <string>

#include "common/matrix.h"
#include "cuda/stream.h"

namespace minivae {

// out (M, N), in C order, becomes a (M, K) b (K, N), plus bias (N,) in every row unless it is null,
// then max(., 0) if `rectify`.
template <class T>
struct Product {
  Index M, N, K;
  Matrix<T> a, b;
  const T* bias;
  bool rectify;
  T* out;
};

constexpr int kMatmulVersions = 5;  // of which the last, tensor cores, is for float32 alone
constexpr int kMatmulBest = 4;      // the best with the full precision of its dtype

// `scratch` has matmul_scratch(M, N, K) elements of T; versions 1 to 3 leave it alone.
template <class T>
void matmul(int version, const Product<T>& product, T* scratch, Stream stream);

Index matmul_scratch(Index M, Index N, Index K);

// ---- the library ---------------------------------------------------------------------------------

// Bytes for each stream; what NVIDIA recommends on Hopper.
constexpr std::size_t kCublasLtWorkspace = std::size_t(32) << 20;

struct CublasLtInfo {
  bool found;
  std::string path, reason;  // where it is, or why it is not
  std::size_t version;
  bool tf32;
  int refused;  // kinds of products so far that it has no algorithm for
};

// Opens the library at the first call; `path` is then tried first.
CublasLtInfo cublaslt_info(const std::string& path);

// Whether the library may round factors of float32 to TF32, as version 5 does; at first it may not.
void set_tf32(bool allow);

// The product by cuBLASLt; false, with nothing done, if there is no library or it cannot do this one.
template <class T>
bool matmul_cublaslt(const Product<T>& product, Stream stream);

}  // namespace minivae
