// The memory of a tape (tape.h): blocks that are reused while a step is recorded.
#include "cpu/tape.h"

#include <cstdint>
#include <new>

namespace minivae {
namespace {

constexpr std::size_t kLine = 64;  // bytes

// The first address at or after `raw` where a cache line begins.
char* aligned(void* raw) {
  return reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(raw) + kLine - 1) / kLine * kLine);
}

}  // namespace

TapeMemory::~TapeMemory() {
  for (const auto& [data, block] : blocks_) ::operator delete(block.raw);
}

void* TapeMemory::take(std::size_t bytes) {
  const std::size_t size = (bytes / kLine + 1) * kLine;  // never 0
  const std::lock_guard<std::mutex> lock(mutex_);
  auto best = blocks_.end();  // the smallest free block that is large enough, but not by much
  for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
    const Block& block = it->second;
    const bool fits = !block.taken && size <= block.size && block.size <= size + size / 4;
    if (fits && (best == blocks_.end() || block.size < best->second.size)) best = it;
  }
  if (best == blocks_.end()) {
    // Aligned by hand: glibc does not give an aligned request the very block that one like it gave back.
    void* raw = ::operator new(size + kLine);
    best = blocks_.emplace(aligned(raw), Block{size, false, raw}).first;
  }
  best->second.taken = true;
  return const_cast<char*>(best->first);
}

void TapeMemory::give(void* block) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  blocks_.find(static_cast<const char*>(block))->second.taken = false;
}

bool TapeMemory::owns(const void* data) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto* address = static_cast<const char*>(data);
  auto block = blocks_.upper_bound(address);
  return block != blocks_.begin() && address < (--block)->first + block->second.size;
}

std::size_t TapeMemory::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::size_t sum = 0;
  for (const auto& [data, block] : blocks_) sum += block.size;
  return sum;
}

}  // namespace minivae
