#include "emulated/runtime.h"

#include <memory>
#include <utility>

#include "emulated/block.h"

struct CUstream_st {
  std::unique_ptr<minivae::emulated::Graph> capture;
};

namespace minivae::emulated {

Stream create_stream() {
  return new CUstream_st;
}

void destroy_stream(Stream stream) {
  delete stream;
}

void begin_capture(Stream stream) {
  if (!stream) fail("the default stream cannot be captured");
  if (stream->capture) fail("the stream is being captured already");
  stream->capture = std::make_unique<Graph>();
}

Graph end_capture(Stream stream) {
  if (!stream || !stream->capture) fail("the stream is not being captured");
  return *std::exchange(stream->capture, nullptr);
}

void launch_graph(const Graph& graph, Stream stream) {
  for (const auto& node : graph.nodes) enqueue(stream, node);
}

void enqueue(Stream stream, std::function<void()> work) {
  if (stream && stream->capture) {
    stream->capture->nodes.push_back(std::move(work));
  } else {
    work();
  }
}

}  // namespace minivae::emulated
