// Stands before csrc/cuda/launch.h: a launch is handed to the stream, which does or records it.
#pragma once

#include <cstring>
#include <tuple>
#include <utility>

#include "cuda/launch_geometry.h"
#include "cuda/platform.h"
#include "cuda/stream.h"
#include "emulated/runtime.h"

namespace minivae {

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

}  // namespace minivae
