// A fully connected layer of a small model in one launch for each of its products: linear.cu.
#pragma once

#include "common/host_device.h"
#include "cuda/stream.h"

namespace minivae {

// One or two affine maps of one x (N, I): y_k = x w_k^T + b_k with w_k (O[k], I) and b_k (O[k],), which may
// be null. A second map is there where O[1] > 0.
template <class T>
struct Layer {
  Index N, I, O[2];
  const T* w[2];
  const T* b[2];
};

// What its backward pass is given: dy_k (N, O[k]); after a ReLU, which one map alone has, also its
// result y (N, O[0]), and dy counts as 0 where y <= 0.
template <class T>
struct Upstream {
  const T* dy[2];
  const T* y;
};

// Sums are cut into pieces where there are fewer tiles than multiprocessors. `scratch` has
// linear_scratch(rows, columns, depth) elements of T for the pieces, aligned to 16 bytes; `tickets` has
// kTickets numbers that are 0 before and after. No two launches that may run at once share either.
constexpr Index kTickets = 128;
Index linear_scratch(Index rows, Index columns, Index depth);

// out_k (N, O[k]) = y_k, or max(y_k, 0).
template <class T>
void linear(const Layer<T>& layer, const T* x, bool rectify, T* const out[2], T* scratch, unsigned* tickets,
            Stream stream);

// dx (N, I) = sum_k dy_k w_k.
template <class T>
void linear_grad_input(const Layer<T>& layer, const Upstream<T>& upstream, T* dx, T* scratch,
                       unsigned* tickets, Stream stream);

// dw_k (O[k], I) = dy_k^T x, and db_k (O[k],), the column sums of dy_k, unless db[k] is null.
template <class T>
void linear_grad_weight(const Layer<T>& layer, const Upstream<T>& upstream, const T* x, T* const dw[2],
                        T* const db[2], T* scratch, unsigned* tickets, Stream stream);

}  // namespace minivae
