#include "emulated/block.h"

#if defined(MINIVAE_EMULATED_THREADS) && defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include <csetjmp>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace minivae::emulated {

thread_local Thread* current = nullptr;

namespace {

constexpr unsigned kWarp = 32, kMaxThreads = 1024;
constexpr std::size_t kStackBytes = 128 << 10;

Order order = Order::kForward;
std::uint64_t order_seed = 0;
constexpr std::int64_t kNoLimit = INT64_MAX;
std::int64_t first_block = 0, block_limit = kNoLimit;

std::vector<std::size_t>& site_bytes() {
  static std::vector<std::size_t> bytes;
  return bytes;
}

std::unique_ptr<unsigned char[]> poisoned(std::size_t bytes) {
  std::unique_ptr<unsigned char[]> memory(new unsigned char[bytes]);
  std::fill_n(memory.get(), bytes, static_cast<unsigned char>(0xff));
  return memory;
}

// A place where `expected` threads wait for one another. Atomics, because the threads may be OS
// threads; a meeting orders what its own participants did, and nothing else.
struct Meeting {
  std::atomic<unsigned> arrived{0}, generation{0};
  std::atomic<const char*> site{nullptr};
};

struct Warp {
  std::uint64_t slot[kWarp];
  std::array<Meeting, kWarp> meeting;  // by the lowest lane of the mask
  std::atomic<unsigned> exited{0};     // lanes, a bit each
};

// Let other threads go on until the generation may have changed; and tell them that it has.
void pause(const std::atomic<unsigned>& generation, unsigned seen);
void wake(const std::atomic<unsigned>& generation);

}  // namespace

struct Block {
  Dim index, size, grid;
  unsigned threads;
  std::vector<Warp> warps;
  Meeting everyone;
  std::atomic<unsigned> exited{0};
  std::atomic<std::uint64_t> progress{0};  // changes when a thread ends or a meeting is complete
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::vector<std::unique_ptr<unsigned char[]>> shared;
  std::unique_ptr<unsigned char[]> dynamic;

  Block(Dim index, Dim size, Dim grid, std::size_t dynamic_bytes)
      : index(index),
        size(size),
        grid(grid),
        threads(size.x * size.y * size.z),
        warps((threads + kWarp - 1) / kWarp),
        shared(site_bytes().size()),
        dynamic(poisoned(dynamic_bytes)) {
#if defined(MINIVAE_EMULATED_THREADS)
    // All of it now: allocating on first use would make one thread wait for another.
    for (std::size_t i = 0; i < shared.size(); ++i) shared[i] = poisoned(site_bytes()[i]);
#endif
    const unsigned odd = threads % kWarp;
    if (odd) warps.back().exited = ~0u << odd;  // lanes that were never there
  }

  Thread thread(unsigned rank) {
    Thread t;
    t.thread = {rank % size.x, rank / size.x % size.y, rank / (size.x * size.y)};
    t.block_index = index;
    t.block_size = size;
    t.grid_size = grid;
    t.block = this;
    t.lane = rank % kWarp;
    t.warp = rank / kWarp;
    return t;
  }

  // The body for one thread; an exception ends the block.
  void run(Thread& thread, const std::function<void()>& body) {
    current = &thread;
    try {
      body();
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
    warps[thread.warp].exited.fetch_or(1u << thread.lane, std::memory_order_relaxed);
    exited.fetch_add(1, std::memory_order_relaxed);
    progress.fetch_add(1, std::memory_order_relaxed);
  }

  // Waits until `expected` threads are here; `missing` says that one of them has ended.
  template <class Missing>
  void meet(Meeting& meeting, unsigned expected, const char* site, Missing missing) {
    const char* met = nullptr;
    if (!meeting.site.compare_exchange_strong(met, site, std::memory_order_relaxed) &&
        std::strcmp(met, site)) {
      fail(std::string("threads wait for one another at different places: ") + met + " and " + site);
    }
    const unsigned generation = meeting.generation.load(std::memory_order_relaxed);
    if (meeting.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == expected) {
      meeting.arrived.store(0, std::memory_order_relaxed);
      meeting.site.store(nullptr, std::memory_order_relaxed);
      progress.fetch_add(1, std::memory_order_relaxed);
      meeting.generation.fetch_add(1, std::memory_order_release);
      wake(meeting.generation);
      return;
    }
    const auto start = std::chrono::steady_clock::now();
    while (meeting.generation.load(std::memory_order_acquire) == generation) {
      if (failed.load(std::memory_order_relaxed)) throw EmulationError("another thread of the block failed");
      const bool ended = missing();
      pause(meeting.generation, generation);
      // Looked at again, because who met the others may have gone on and ended since.
      if (ended && meeting.generation.load(std::memory_order_acquire) == generation) {
        fail(std::string(site) + " is not reached by every thread that it waits for");
      }
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(300)) {
        fail(std::string(site) + ": threads wait for one another in a circle");
      }
    }
  }
};

namespace {

#if defined(MINIVAE_EMULATED_THREADS)

// Sleeping in the kernel: hundreds of threads that spin would keep the one they wait for from
// running. The sleep ends by itself, because a thread that fails or ends wakes nobody. The system
// call, unlike a condition variable, orders nothing that a sanitizer would take for a barrier.
void pause(const std::atomic<unsigned>& generation, unsigned seen) {
#if defined(__linux__)
  const timespec limit{0, 20'000'000};
  syscall(SYS_futex, &generation, FUTEX_WAIT_PRIVATE, seen, &limit, nullptr, 0);
#else
  (void)generation, (void)seen;
  std::this_thread::yield();
#endif
}

void wake(const std::atomic<unsigned>& generation) {
#if defined(__linux__)
  syscall(SYS_futex, &generation, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
  (void)generation;
#endif
}

// All threads of several blocks at once, so that two blocks are as unordered as two threads.
void run_blocks(std::vector<Block*> blocks, const std::function<void()>& body) {
  std::vector<std::thread> threads;
  for (Block* block : blocks) {
    for (unsigned rank = 0; rank < block->threads; ++rank) {
      threads.emplace_back([block, rank, &body] {
        Thread thread = block->thread(rank);
        block->run(thread, body);
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}
constexpr std::size_t kThreadsAtOnce = kMaxThreads;

#else

// A fiber runs one CUDA thread after another until one has to wait; then the scheduler goes on to
// the next fiber, or makes one for the threads not yet begun. swapcontext enters a fiber for the
// first time only: it saves the signal mask by a system call, which a jump does not.
struct Fiber {
  std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
  ucontext_t entry;
  std::jmp_buf resume;
  bool begun = false, idle = true;
  Thread thread;
};

struct Scheduler {
  std::vector<std::unique_ptr<Fiber>> fibers;
  ucontext_t entry;
  std::jmp_buf resume;
  Fiber* running = nullptr;
  Block* block = nullptr;
  const std::function<void()>* body = nullptr;
  std::vector<unsigned> waiting_to_begin;  // ranks, last first

  void leave() {
    Fiber* fiber = running;
    if (_setjmp(fiber->resume) == 0) _longjmp(resume, 1);
    current = &fiber->thread;
  }

  static void fiber_main();

  void enter(Fiber& fiber) {
    running = &fiber;
    if (_setjmp(resume) != 0) return;
    if (fiber.begun) _longjmp(fiber.resume, 1);
    fiber.begun = true;
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = kStackBytes;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, &Scheduler::fiber_main, 0);
    swapcontext(&entry, &fiber.entry);
  }

  void run(Block& work, const std::function<void()>& kernel) {
    block = &work;
    body = &kernel;
    waiting_to_begin.resize(work.threads);
    std::iota(waiting_to_begin.rbegin(), waiting_to_begin.rend(), 0u);
    std::mt19937_64 random(order_seed);
    if (order == Order::kBackward) std::reverse(waiting_to_begin.begin(), waiting_to_begin.end());
    if (order == Order::kShuffled) std::shuffle(waiting_to_begin.begin(), waiting_to_begin.end(), random);

    std::vector<Fiber*> busy;
    for (std::size_t made = 0; !waiting_to_begin.empty(); ++made) {
      if (made == fibers.size()) fibers.push_back(std::make_unique<Fiber>());
      fibers[made]->idle = false;
      enter(*fibers[made]);
      if (!fibers[made]->idle) busy.push_back(fibers[made].get());
      if (work.failed) break;
    }
    while (!busy.empty() && !work.failed) {
      const std::uint64_t before = work.progress;
      if (order == Order::kShuffled) std::shuffle(busy.begin(), busy.end(), random);
      for (Fiber* fiber : busy) enter(*fiber);
      busy.erase(std::remove_if(busy.begin(), busy.end(), [](Fiber* f) { return f->idle; }), busy.end());
      if (work.progress == before && !busy.empty()) {
        work.error = std::make_exception_ptr(EmulationError("threads wait for one another in a circle"));
        work.failed = true;
      }
    }
    if (work.failed) fibers.clear();  // some are left in the middle of a kernel
  }
};

thread_local Scheduler scheduler;

void Scheduler::fiber_main() {
  Scheduler& s = scheduler;
  Fiber* fiber = s.running;
  for (;;) {
    while (!s.waiting_to_begin.empty() && !s.block->failed) {
      const unsigned rank = s.waiting_to_begin.back();
      s.waiting_to_begin.pop_back();
      fiber->thread = s.block->thread(rank);
      s.block->run(fiber->thread, *s.body);
    }
    fiber->idle = true;
    s.leave();
  }
}

void pause(const std::atomic<unsigned>&, unsigned) {
  scheduler.leave();
}

void wake(const std::atomic<unsigned>&) {}

void run_blocks(std::vector<Block*> blocks, const std::function<void()>& body) {
  for (Block* block : blocks) scheduler.run(*block, body);
}
constexpr std::size_t kThreadsAtOnce = 1;

#endif

}  // namespace

void run_grid(Dim grid, Dim size, std::size_t dynamic_bytes, const std::function<void()>& body) {
  const unsigned threads = size.x * size.y * size.z;
  if (threads == 0 || threads > kMaxThreads) fail("a block has " + std::to_string(threads) + " threads");
  const std::int64_t blocks = std::int64_t(grid.x) * grid.y * grid.z;
  const std::int64_t first =
      std::clamp<std::int64_t>(first_block < 0 ? blocks + first_block : first_block, 0, blocks);
  const std::int64_t end = first + std::min(block_limit, blocks - first);
  for (std::int64_t number = first; number < end;) {
    std::vector<std::unique_ptr<Block>> wave;
    do {
      const Dim index{static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                      static_cast<unsigned>(number / grid.x / grid.y)};
      wave.push_back(std::make_unique<Block>(index, size, grid, dynamic_bytes));
    } while (++number < end && (wave.size() + 1) * threads <= kThreadsAtOnce);
    std::vector<Block*> together;
    for (const auto& block : wave) together.push_back(block.get());
    run_blocks(together, body);
    current = nullptr;
    for (const auto& block : wave) {
      if (block->error) std::rethrow_exception(block->error);
    }
  }
}

void set_order(Order value, std::uint64_t seed) {
  order = value;
  order_seed = seed;
}

void only_blocks(std::int64_t first, std::int64_t count) {
  first_block = first;
  block_limit = count;
}

void all_blocks() {
  only_blocks(0, kNoLimit);
}

void fail(const std::string& message) {
  const auto text = [](Dim d) {
    return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
  };
  throw EmulationError(current ? message + " [block " + text(self().block_index) + ", thread " +
                                     text(self().thread) + "]"
                               : message);
}

void sync_threads(const char* site) {
  Block& block = *self().block;
  block.meet(block.everyone, block.threads, site,
             [&] { return block.exited.load(std::memory_order_relaxed) > 0; });
}

void sync_warp(const char* site, unsigned mask) {
  Block& block = *self().block;
  Warp& warp = block.warps[self().warp];
  if (!(mask >> self().lane & 1)) fail(std::string(site) + ": the lane is not in its own mask");
  block.meet(warp.meeting[__builtin_ctz(mask)], __builtin_popcount(mask), site,
             [&] { return (warp.exited.load(std::memory_order_relaxed) & mask) != 0; });
}

std::uint64_t exchange(const char* site, unsigned mask, std::uint64_t bits, unsigned source) {
  Warp& warp = self().block->warps[self().warp];
  if (!(mask >> self().lane & 1)) fail(std::string(site) + ": the lane is not in its own mask");
  if (source >= kWarp || !(mask >> source & 1)) fail(std::string(site) + ": reads a lane outside the mask");
  warp.slot[self().lane] = bits;
  sync_warp(site, mask);
  const std::uint64_t result = warp.slot[source];
  sync_warp(site, mask);  // nobody's slot is written again before all have read
  return result;
}

unsigned ballot(const char* site, unsigned mask, int predicate) {
  unsigned votes = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (mask >> lane & 1) votes |= static_cast<unsigned>(exchange(site, mask, predicate != 0, lane)) << lane;
  }
  return votes;
}

std::size_t new_shared_site(std::size_t bytes) {
  site_bytes().push_back(bytes);
  return site_bytes().size() - 1;
}

void* shared_memory(std::size_t site) {
  auto& memory = self().block->shared[site];
  if (!memory) memory = poisoned(site_bytes()[site]);
  return memory.get();
}

void* shared_dynamic() {
  return self().block->dynamic.get();
}

}  // namespace minivae::emulated
