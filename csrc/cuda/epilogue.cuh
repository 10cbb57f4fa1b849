// Adds the bias to a finished sum, applies ReLU and stores it. Where a sum over k was cut into pieces, a
// second kernel adds the pieces and then does this.
#pragma once

#include "cuda/launch.h"
#include "cuda/platform.h"
#include "math/relu.h"

namespace minivae {

// `bias` belongs to the columns of a matrix product (bias_of_rows false), or to the rows of a
// convolution, which are its channels; null means none.
template <class T>
struct Epilogue {
  const T* bias;
  bool rectify;
};

template <class T>
__device__ __forceinline__ T finished(const Epilogue<T>& e, T sum, Index channel) {
  const T x = e.bias ? sum + e.bias[channel] : sum;
  return e.rectify ? relu_of(x) : x;
}

// out[i] = the sum over pieces of partial[piece * count + i], in the order of the pieces.
template <class T>
__global__ void add_products(const T* partial, Index pieces, Epilogue<T> epilogue, T* out, Index count,
                             Index N) {
  const Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  T sum = 0;
  for (Index piece = 0; piece < pieces; ++piece) sum += partial[piece * count + i];
  out[i] = finished(epilogue, sum, i % N);
}

}  // namespace minivae
