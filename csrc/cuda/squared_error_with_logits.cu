// Row sums of the squared error between sigmoid(logits) and a target, with the gradient.
//
// Idea, bytes and limit are those of bce_with_logits.cu: one exponential, 12 bytes per element in
// float32 (8 without the gradient), memory. A batch of 16 faces has rows of 196,608 elements, which
// are cut into pieces so that more than 16 multiprocessors work.
#include "cuda/row_loss.cuh"

#include "math/squared_error_with_logits.h"

namespace minivae {
namespace {

struct SquaredError {
  template <class T>
  static __device__ void terms(T logit, T target, T& loss, T& gradient) {
    const T e = logistic_exponential(logit), error = pixel_error(logit, target, e);
    loss = error * error;
    gradient = squared_error_gradient(error, e);
  }
};

}  // namespace

template <class T>
void squared_error_with_logits(const T* logits, const T* target, T* loss, T* dlogits, T scale,
                               double* scratch, Index N, Index M, Stream stream) {
  row_loss<SquaredError>(logits, target, loss, dlogits, scale, scratch, N, M, stream);
}

template void squared_error_with_logits(const float*, const float*, float*, float*, float, double*, Index,
                                        Index, Stream);
template void squared_error_with_logits(const double*, const double*, double*, double*, double, double*,
                                        Index, Index, Stream);

}  // namespace minivae
