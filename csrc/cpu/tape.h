// A recorded step: kernel calls that are made again and again, in one order and on the same memory.
//
// While a thread records, each kernel that it calls is written on the tape and not run, and its results lie in the
// tape's own memory. A block that is freed during the recording is reused for a later result, as by
// malloc, but never outside the tape. A replay makes the calls again; they read what the arrays from outside the
// tape hold at that time.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

namespace minivae {

// The blocks of one tape. Arrays may outlive the tape, so each of them shares the ownership.
class TapeMemory {
 public:
  TapeMemory() = default;
  TapeMemory(const TapeMemory&) = delete;
  TapeMemory& operator=(const TapeMemory&) = delete;
  ~TapeMemory();
  // A block of at least this size, aligned to a cache line. Throws std::bad_alloc.
  void* take(std::size_t bytes);
  // Marks a block as free for a later take.
  void give(void* block) noexcept;
  bool owns(const void* data) const;
  std::size_t bytes() const;

 private:
  struct Block {
    std::size_t size;
    bool taken;
    void* raw;  // as it was allocated
  };
  mutable std::mutex mutex_;
  std::map<const char*, Block> blocks_;
};

// Calls in the order in which they were recorded.
class Tape {
 public:
  void add(std::function<void()> call) { calls_.push_back(std::move(call)); }
  std::size_t size() const { return calls_.size(); }
  // Makes calls number `first` to before `last` again.
  void replay(std::size_t first, std::size_t last) const {
    for (std::size_t i = first; i < last; ++i) calls_[i]();
  }

 private:
  std::vector<std::function<void()>> calls_;
};

}  // namespace minivae
