#include "cpu/scratch.h"

#include <array>
#include <cstdlib>
#include <new>

namespace minivae {
namespace {

constexpr std::size_t kLine = 64;

struct Buffer {
  void* data = nullptr;
  std::size_t size = 0;
  ~Buffer() { std::free(data); }
};

thread_local std::array<Buffer, static_cast<std::size_t>(Scratch::kCount)> buffers;

}  // namespace

void* scratch_bytes(Scratch purpose, std::size_t bytes) {
  Buffer& buffer = buffers[static_cast<std::size_t>(purpose)];
  if (buffer.size < bytes) {
    std::free(buffer.data);
    buffer.size = 0;
    const std::size_t size = (bytes + bytes / 4 + kLine - 1) / kLine * kLine;
    buffer.data = std::aligned_alloc(kLine, size);
    if (!buffer.data) throw std::bad_alloc();
    buffer.size = size;
  }
  return buffer.data;
}

}  // namespace minivae
