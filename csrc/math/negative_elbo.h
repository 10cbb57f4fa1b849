// The loss of a batch from the means of its two terms, and its derivative by the KL of one of K images:
//
//   loss = rec + beta kl,   dloss / dkl_n = beta / K
#pragma once

#include "common/host_device.h"

namespace minivae {

template <class T>
MV_HD T weighted_loss(T rec, T kl, T beta) {
  return rec + beta * kl;
}

template <class T>
MV_HD T kl_share(T beta, Index K) {
  return beta / static_cast<T>(K);
}

}  // namespace minivae
