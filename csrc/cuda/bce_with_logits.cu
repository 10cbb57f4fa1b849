// Row sums of the Bernoulli cross-entropy, and its gradient from the same exponential.
//
// Idea: the loss needs exp(-|l|) and so does the gradient, sigmoid(l) - t; made together they read
// logits and target once. Bytes per element in float32: 12 with the gradient, 8 without. Limit: memory
// from a few million elements on; below, as in a batch of 128 images, the launch.
#include "cuda/row_loss.cuh"

#include "math/bce_with_logits.h"

namespace minivae {
namespace {

struct CrossEntropy {
  template <class T>
  static __device__ void terms(T logit, T target, T& loss, T& gradient) {
    const T e = logistic_exponential(logit);
    loss = bce_loss(logit, target, e);
    gradient = bce_gradient(logit, target, e);
  }
};

}  // namespace

template <class T>
void bce_with_logits(const T* logits, const T* target, T* loss, T* dlogits, T scale, double* scratch, Index N,
                     Index M, Stream stream) {
  row_loss<CrossEntropy>(logits, target, loss, dlogits, scale, scratch, N, M, stream);
}

template void bce_with_logits(const float*, const float*, float*, float*, float, double*, Index, Index,
                              Stream);
template void bce_with_logits(const double*, const double*, double*, double*, double, double*, Index, Index,
                              Stream);

}  // namespace minivae
