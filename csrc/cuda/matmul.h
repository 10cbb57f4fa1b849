// Matrix products with a fused epilogue: matmul.cu has the kernels, cublaslt.cu the library.
#pragma once

#include "common/host_device.h"
#include "cuda/stream.h"

namespace minivae {

// A matrix of any strides, counted in elements: element (i, j) is at p[i * row + j * col].
template <class T>
struct MatrixView {
  const T* p;
  Index row, col;
};

// out (M, N), in C order, becomes a (M, K) b (K, N), plus bias (N,) in every row unless it is null,
// then max(., 0) if `rectify`.
template <class T>
struct Product {
  Index M, N, K;
  MatrixView<T> a, b;
  const T* bias;
  bool rectify;
  T* out;
};

constexpr int kMatmulVersions = 5;  // of which the last, tensor cores, is for float32 alone
constexpr int kMatmulBest = 4;      // with every digit of its dtype

// `scratch` has matmul_scratch(M, N, K) elements of T; versions 1 to 3 leave it alone.
template <class T>
void matmul(int version, const Product<T>& product, T* scratch, Stream stream);

Index matmul_scratch(Index M, Index N, Index K);

}  // namespace minivae
