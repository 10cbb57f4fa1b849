// The two losses over rows of (N, M): bce_with_logits.cu, squared_error_with_logits.cu. `dlogits`, the
// gradient times `scale`, may be null; `scratch` has row_loss_scratch(N, M) elements.
#pragma once

#include "common/host_device.h"
#include "cuda/stream.h"

namespace minivae {

constexpr Index kShort = 256;   // the most elements of a row for which lanes of one warp are used
constexpr Index kPiece = 8192;  // elements of a longer row per block: 8 quads per thread

// A row that begins inside a quad touches one more than its length needs; the last piece takes it.
inline Index row_loss_pieces(Index M) {
  return ceil_div(M, kPiece);
}

inline Index row_loss_scratch(Index N, Index M) {
  const Index pieces = row_loss_pieces(M);
  return pieces > 1 ? N * pieces : 0;
}

template <class T>
void bce_with_logits(const T* logits, const T* target, T* loss, T* dlogits, T scale, double* scratch, Index N,
                     Index M, Stream stream);

template <class T>
void squared_error_with_logits(const T* logits, const T* target, T* loss, T* dlogits, T scale,
                               double* scratch, Index N, Index M, Stream stream);

}  // namespace minivae
