// Memory that the process keeps (heap.h): malloc's thresholds, and a list of freed large blocks.
#include "cpu/heap.h"

#include <cstdlib>
#include <iterator>
#include <mutex>
#include <new>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace minivae {
namespace {

constexpr std::size_t kHeader = 64;  // before a block, with its size: a cache line, which keeps the alignment
constexpr std::align_val_t kAligned{kHeader};

struct Kept {
  std::mutex mutex;
  std::vector<void*> blocks;  // oldest first
  std::size_t bytes = 0;
};

// Never destroyed: arrays may outlive every static object.
Kept& kept() {
  static Kept& the_one = *new Kept;
  return the_one;
}

void* memory_of(void* block) {
  return static_cast<char*>(block) - kHeader;
}

std::size_t size_of(void* block) {
  return *static_cast<std::size_t*>(memory_of(block));
}

}  // namespace

void keep_freed_memory() {
#if defined(__GLIBC__)
  if (std::getenv("MALLOC_TRIM_THRESHOLD_") || std::getenv("MALLOC_MMAP_THRESHOLD_")) return;
  mallopt(M_MMAP_THRESHOLD, kLargeBlock);
  mallopt(M_TRIM_THRESHOLD, kKeptMemory);
#endif
}

void* take_large_block(std::size_t bytes) {
  Kept& k = kept();
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    for (auto block = k.blocks.rbegin(); block != k.blocks.rend(); ++block) {
      if (bytes <= size_of(*block) && size_of(*block) <= bytes + bytes / 4) {
        void* found = *block;
        k.bytes -= size_of(found);
        k.blocks.erase(std::next(block).base());
        return found;
      }
    }
  }
  const std::size_t size = (bytes + kHeader - 1) / kHeader * kHeader;
  void* memory = ::operator new(kHeader + size, kAligned);
  *static_cast<std::size_t*>(memory) = size;
  return static_cast<char*>(memory) + kHeader;
}

void give_large_block(void* block) noexcept {
  Kept& k = kept();
  const std::lock_guard<std::mutex> lock(k.mutex);
  try {
    k.blocks.push_back(block);
  } catch (const std::bad_alloc&) {
    ::operator delete(memory_of(block), kAligned);
    return;
  }
  k.bytes += size_of(block);
  while (k.bytes > kKeptMemory) {
    void* oldest = k.blocks.front();
    k.bytes -= size_of(oldest);
    k.blocks.erase(k.blocks.begin());
    ::operator delete(memory_of(oldest), kAligned);
  }
}

}  // namespace minivae
