// The one way a kernel is launched: on a given stream, every launch checked, nothing for an empty grid.
// Tests that compile kernels for the CPU replace this header by one of the same name (tests/cuda/stand_in).
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "cuda/launch_geometry.h"
#include "cuda/platform.h"
#include "cuda/stream.h"

namespace minivae {

inline void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(what + " failed: " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

template <class... P, class... A>
void launch(void (*kernel)(P...), const Grid& grid, Stream stream, A&&... args) {
  if (grid.blocks == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<A>(args)...),
        "the launch of " + std::to_string(grid.blocks) + " blocks of " + std::to_string(grid.threads) +
            " threads");
}

// Fills memory with zero bytes.
inline void clear(void* memory, std::size_t bytes, Stream stream) {
  if (bytes) check(cudaMemsetAsync(memory, 0, bytes, stream), "clearing " + std::to_string(bytes) + " bytes");
}

}  // namespace minivae
