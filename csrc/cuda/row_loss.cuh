// A loss summed over the rows of (N, M) and its gradient in the same pass: the kernels that
// bce_with_logits.cu and squared_error_with_logits.cu share. A Loss says what an element gives:
//
//   struct Loss {
//     template <class T> static __device__ void terms(T logit, T target, T& loss, T& gradient);
//   };
//
// Rows of up to kShort elements get some lanes of a warp, others a block of threads for every
// kPiece elements. Where a row has several pieces their sums go through `scratch` and a second
// kernel adds them; the cuts depend on M alone, so a loss has the same bits on every GPU.
#pragma once

#include "cuda/launch.h"
#include "cuda/quad.cuh"
#include "cuda/reduce.cuh"
#include "cuda/row_loss.h"

namespace minivae {

// The terms of quads first, first + step, ... of a row, summed, and their gradients.
template <class Loss, bool kAligned, class T>
__device__ double loss_terms(const T* logits, const T* target, T* dlogits, T scale, Index row, Index M,
                             Index first, Index last, Index step) {
  double sum = 0;
  for (Index q = first; q < last; q += step) {
    const QuadPart part = part_in_row(q, row, M);
    const Quad<T> l = load_quad<kAligned>(logits, q, part), t = load_quad<kAligned>(target, q, part);
    Quad<T> loss, gradient;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Loss::terms(l.x[j], t.x[j], loss.x[j], gradient.x[j]);
      if (j >= part.begin && j < part.end) sum += loss.x[j];
    }
    if (dlogits) {
#pragma unroll
      for (int j = 0; j < 4; ++j) gradient.x[j] *= scale;
      store_quad<kAligned>(dlogits, q, part, gradient);
    }
  }
  return sum;
}

template <class Loss, bool kAligned, class T>
__global__ void short_row_loss(const T* logits, const T* target, T* loss, T* dlogits, T scale, Index N,
                               Index M, int lanes) {
  const Index row = (Index(blockIdx.x) * blockDim.x + threadIdx.x) / lanes;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  double sum = 0;
  if (row < N) {  // not a return: the other lanes of the warp need this one for their sum
    const Quads quads = quads_of_row(row, M);
    sum = loss_terms<Loss, kAligned>(logits, target, dlogits, scale, row, M, quads.first + lane, quads.last,
                                     lanes);
  }
  sum = lane_sum(sum, lanes);
  if (row < N && lane == 0) loss[row] = static_cast<T>(sum);
}

// One block per piece; `scratch` takes the pieces' sums where a row has more than one.
template <class Loss, bool kAligned, class T>
__global__ void long_row_loss(const T* logits, const T* target, T* loss, T* dlogits, T scale, double* scratch,
                              Index M, Index pieces) {
  const Index row = blockIdx.x / pieces, piece = blockIdx.x % pieces;
  const Quads quads = quads_of_row(row, M);
  const Index first = quads.first + piece * (kPiece / 4);
  const Index last = piece + 1 < pieces ? first + kPiece / 4 : quads.last;
  const double sum = block_sum(loss_terms<Loss, kAligned>(logits, target, dlogits, scale, row, M,
                                                          first + threadIdx.x, last, blockDim.x));
  if (threadIdx.x != 0) return;
  if (pieces == 1) {
    loss[row] = static_cast<T>(sum);
  } else {
    scratch[blockIdx.x] = sum;
  }
}

template <class T>
__global__ void add_pieces(const double* scratch, T* loss, Index N, Index pieces) {
  const Index row = (Index(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (row >= N) return;  // the whole warp
  double sum = 0;
  for (Index i = threadIdx.x % kWarp; i < pieces; i += kWarp) sum += scratch[row * pieces + i];
  sum = lane_sum(sum);
  if (threadIdx.x % kWarp == 0) loss[row] = static_cast<T>(sum);
}

template <class Loss, bool kAligned, class T>
void launch_row_loss(const T* logits, const T* target, T* loss, T* dlogits, T scale, double* scratch, Index N,
                     Index M, Stream stream) {
  if (M <= kShort) {
    const int lanes = lanes_for_quads(M);
    launch(short_row_loss<Loss, kAligned, T>, lanes_per_row(N, lanes), stream, logits, target, loss, dlogits,
           scale, N, M, lanes);
    return;
  }
  const Index pieces = row_loss_pieces(M);
  launch(long_row_loss<Loss, kAligned, T>, block_per_row(N * pieces), stream, logits, target, loss, dlogits,
         scale, scratch, M, pieces);
  if (pieces > 1) launch(add_pieces<T>, lanes_per_row(N, kWarp), stream, scratch, loss, N, pieces);
}

template <class Loss, class T>
void row_loss(const T* logits, const T* target, T* loss, T* dlogits, T scale, double* scratch, Index N,
              Index M, Stream stream) {
  if (quads_are_aligned(logits, target, dlogits)) {
    launch_row_loss<Loss, true>(logits, target, loss, dlogits, scale, scratch, N, M, stream);
  } else {
    launch_row_loss<Loss, false>(logits, target, loss, dlogits, scale, scratch, N, M, stream);
  }
}

}  // namespace minivae
