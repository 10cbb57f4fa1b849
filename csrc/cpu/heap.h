// Memory that the process keeps, so that a training step finds the same pages again a moment later: every
// page that comes anew from the system costs a fault and is zeroed first.
#pragma once

#include <cstddef>

namespace minivae {

constexpr std::size_t kLargeBlock = 32 << 20;   // bytes: the largest block that every glibc keeps
constexpr std::size_t kKeptMemory = 512 << 20;  // bytes of freed memory that are kept

// Lets malloc keep freed blocks below kLargeBlock instead of handing them back to the system. This holds for
// the whole process, with glibc; a process that is started with its own MALLOC_TRIM_THRESHOLD_ or
// MALLOC_MMAP_THRESHOLD_ keeps those.
void keep_freed_memory();

// A block of kLargeBlock bytes or more, with unspecified content. Throws std::bad_alloc.
void* take_large_block(std::size_t bytes);
// Returns a block for a later take_large_block. The blocks that were returned last are kept, up to
// kKeptMemory together; the others are freed.
void give_large_block(void* block) noexcept;

}  // namespace minivae
