// Blocks of CUDA threads on the CPU: what a thread knows of itself, barriers, warps, shared memory.
//
// Two ways to run them, chosen when emulated/block.cpp is compiled. Fibers (the default): the
// threads of a block take turns on one OS thread, switching where they wait; quick, and the order
// of the turns can be chosen. OS threads (MINIVAE_EMULATED_THREADS): one for every CUDA thread of
// several blocks at once, for -fsanitize=thread; then a barrier is all that orders two threads, as
// on a GPU, because nothing else here makes one OS thread wait for another.
//
// Stricter than a GPU where CUDA leaves the outcome undefined: a barrier or shuffle that some of
// its threads do not reach, or reach at another line of the source, is an EmulationError that names
// the lines. Shared memory starts as bytes 0xff (NaN), not as zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace minivae::emulated {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

struct Block;

struct Thread {
  Dim thread{0, 0, 0}, block_index{0, 0, 0}, block_size, grid_size;
  Block* block = nullptr;
  unsigned lane = 0, warp = 0;
  std::deque<std::vector<std::function<void()>>> copies{1};  // groups of those yet to be made
};

struct EmulationError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

extern thread_local Thread* current;
inline Thread& self() {
  return *current;
}

// Runs the body once for every thread of every block.
void run_grid(Dim grid, Dim block, std::size_t dynamic_shared_bytes, const std::function<void()>& body);

// The order in which fibers take turns, for everything run later by this process.
enum class Order { kForward, kBackward, kShuffled };
void set_order(Order order, std::uint64_t seed);

// Run only these blocks of every grid, for arrays too large to be walked through; a negative first
// counts from the end.
void only_blocks(std::int64_t first, std::int64_t count);
void all_blocks();

// ---- what threads do together ------------------------------------------------------------------

[[noreturn]] void fail(const std::string& message);

void sync_threads(const char* site);
void sync_warp(const char* site, unsigned mask = 0xffffffffu);

// Every lane of the mask gives `bits` and gets what lane `source` gave.
std::uint64_t exchange(const char* site, unsigned mask, std::uint64_t bits, unsigned source);

// CUDA's rule for `width`: the warp falls into groups, and a lane outside the group reads itself.
template <class T>
T shuffle_from(const char* site, unsigned mask, T value, unsigned source, bool inside) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a shuffle moves up to 64 bits");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(site, mask, bits, inside ? source : self().lane);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
T shuffle(const char* site, unsigned mask, T value, int source, int width = 32) {
  const unsigned base = self().lane & ~(width - 1u);
  return shuffle_from(site, mask, value, base + (static_cast<unsigned>(source) & (width - 1u)), true);
}
template <class T>
T shuffle_xor(const char* site, unsigned mask, T value, int bits, int width = 32) {
  const unsigned source = self().lane ^ static_cast<unsigned>(bits);
  return shuffle_from(site, mask, value, source, source < (self().lane & ~(width - 1u)) + width);
}
template <class T>
T shuffle_down(const char* site, unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned place = (self().lane & (width - 1u)) + delta;
  return shuffle_from(site, mask, value, self().lane + delta, place < static_cast<unsigned>(width));
}
template <class T>
T shuffle_up(const char* site, unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned place = self().lane & (width - 1u);
  return shuffle_from(site, mask, value, self().lane - delta, place >= delta);
}
unsigned ballot(const char* site, unsigned mask, int predicate);

// ---- shared memory -----------------------------------------------------------------------------

std::size_t new_shared_site(std::size_t bytes);
void* shared_memory(std::size_t site);
void* shared_dynamic();

// The block's own object for a declaration; each declaration has its own type, and so its own site.
template <class Declaration>
struct SharedSite {
  static inline const std::size_t number = new_shared_site(sizeof(Declaration));
};
template <class Declaration>
Declaration& shared() {
  return *static_cast<Declaration*>(shared_memory(SharedSite<Declaration>::number));
}

}  // namespace minivae::emulated
