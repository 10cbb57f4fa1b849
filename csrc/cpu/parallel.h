// The one thread pool of the process.
//
// Everything that runs in parallel here goes through parallel_for, and nothing here calls a BLAS: two
// pools on the same cores take turns at spinning for work while the other one holds the core, which
// costs a training step several times its own length.
#pragma once

#include <type_traits>

#include "common/host_device.h"

namespace minivae {

// Number of threads parallel_for may use, the caller included. At first 1: minivae.kernels.cpu sets it.
int threads();
// Throws std::invalid_argument unless count is in [1, kMostThreads].
void set_threads(int count);
constexpr int kMostThreads = 1024;

namespace detail {
using RangeFunction = void (*)(const void* context, Index begin, Index end);
void run_parallel(Index n, Index grain, RangeFunction function, const void* context);
}  // namespace detail

// Calls fn(begin, end) on ranges that cover [0, n) exactly once, each at least `grain` long save the last,
// in any order, on several threads; returns when all are done. It runs on the caller alone when n is at
// most grain, inside another parallel_for, or while another thread of the program uses the pool. The first
// exception thrown by fn is rethrown here; ranges not yet begun are then left out.
template <class F>
void parallel_for(Index n, Index grain, F&& fn) {
  using Function = std::remove_reference_t<F>;
  detail::run_parallel(
      n, grain,
      [](const void* context, Index begin, Index end) {
        (*static_cast<Function*>(const_cast<void*>(context)))(begin, end);
      },
      &fn);
}

}  // namespace minivae
