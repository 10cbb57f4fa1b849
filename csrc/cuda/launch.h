// The one way a kernel is launched: on a given stream, every launch checked, nothing for an empty
// grid. Compiled by nvcc, or by g++ for the CPU stand-in.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "cuda/launch_geometry.h"
#include "cuda/platform.h"
#include "cuda/stream.h"
#if defined(MINIVAE_EMULATED)
#include "cuda/emulated/runtime.h"
#endif

namespace minivae {

#if defined(MINIVAE_EMULATED)

template <class... P, class... A>
void launch(void (*kernel)(P...), const Grid& grid, Stream stream, A&&... args) {
  if (grid.blocks == 0) return;
  const emulated::Dim blocks{static_cast<unsigned>(grid.blocks)},
      threads{static_cast<unsigned>(grid.threads)};
  emulated::enqueue(stream, [=, bound = std::tuple<P...>(std::forward<A>(args)...)] {
    emulated::run_grid(blocks, threads, grid.shared_bytes, [&] { std::apply(kernel, bound); });
  });
}

inline void clear(void* memory, std::size_t bytes, Stream stream) {
  if (bytes) emulated::enqueue(stream, [=] { std::memset(memory, 0, bytes); });
}

#else

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

#endif

}  // namespace minivae
