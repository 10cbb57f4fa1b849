// The terms of a step's loss: negative_elbo.cu.
#pragma once

#include "common/host_device.h"
#include "cuda/stream.h"

namespace minivae {

// terms = (rec + beta kl, rec, kl), where rec and kl are the means of R and K numbers; each of the K shares
// is beta / K, the derivative of the first term by a number of kl.
template <class T>
void negative_elbo(const T* rec, Index R, const T* kl, Index K, const T* beta, T* terms, T* share,
                   Stream stream);

}  // namespace minivae
