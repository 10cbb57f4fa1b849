// Work space of each thread (scratch.h): one buffer per purpose, which only grows.
#include "cpu/scratch.h"

#include <array>
#include <new>

namespace minivae {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::align_val_t kAligned{kLine};

struct Buffer {
  void* data = nullptr;
  std::size_t size = 0;
  ~Buffer() { ::operator delete(data, kAligned); }
};

thread_local std::array<Buffer, static_cast<std::size_t>(Scratch::kCount)> buffers;

}  // namespace

void* scratch_bytes(Scratch purpose, std::size_t bytes) {
  Buffer& buffer = buffers[static_cast<std::size_t>(purpose)];
  if (buffer.size < bytes) {
    ::operator delete(buffer.data, kAligned);
    buffer.data = nullptr;
    buffer.size = 0;
    const std::size_t size = (bytes + bytes / 4 + kLine - 1) / kLine * kLine;
    buffer.data = ::operator new(size, kAligned);
    buffer.size = size;
  }
  return buffer.data;
}

}  // namespace minivae
