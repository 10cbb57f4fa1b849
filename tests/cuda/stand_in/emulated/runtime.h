// Streams and graphs on the CPU. Work given to a stream is done at once, in the caller's thread;
// while the stream is captured it is recorded instead, and a graph does it each time it is launched.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "cuda/stream.h"

namespace minivae::emulated {

struct Graph {
  std::vector<std::function<void()>> nodes;
};

Stream create_stream();
void destroy_stream(Stream stream);
void begin_capture(Stream stream);
Graph end_capture(Stream stream);
void launch_graph(const Graph& graph, Stream stream);

void enqueue(Stream stream, std::function<void()> work);

}  // namespace minivae::emulated
