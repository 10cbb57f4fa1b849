// The thread pool behind parallel_for: workers that wait for a job, and one job at a time.
#include "cpu/parallel.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace minivae {
namespace {

// How long an idle thread spins for work before it sleeps: the time that Python needs between two kernels of a
// training step after a matrix product has replaced what the caches held. A longer spin would keep the core from
// the next thread that wants it.
constexpr std::chrono::microseconds kSpin{100};

thread_local bool inside_parallel_for = false;

void pause_core() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until done() or until the time to spin is over; returns whether done() held.
template <class Done>
bool spin_until(Done done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause_core();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

// One parallel_for. It is on the caller's stack, so the caller returns only when no thread uses it any more.
struct Job {
  const Index n;
  const Index chunk;
  const detail::RangeFunction function;
  const void* const context;
  std::atomic<Index> next{0};
  std::atomic<int> helpers{0};
  std::mutex error_mutex{};
  std::exception_ptr error{};

  void work() {
    inside_parallel_for = true;
    for (Index begin; (begin = next.fetch_add(chunk)) < n;) {
      try {
        function(context, begin, min_index(begin + chunk, n));
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
        next = n;
      }
    }
    inside_parallel_for = false;
  }
};

class Pool {
 public:
  // Returns false, having done nothing, when another thread is using the pool.
  bool run(Job& job, int thread_count) {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn) return false;
    resize(thread_count - 1);
    publish(&job);
    job.work();
    publish(nullptr);  // no thread joins any more; the caller waits for those that have
    const auto alone = [&] { return job.helpers == 0; };
    if (!spin_until(alone)) {
      std::unique_lock<std::mutex> lock(mutex_);
      finished_.wait(lock, alone);
    }
    return true;
  }

 private:
  void publish(Job* job) {
    bool wake;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      if (job) ++generation_;
      wake = job && sleeping_ > 0;
    }
    if (wake) wake_.notify_all();
  }

  void resize(int count) {
    if (count == static_cast<int>(workers_.size())) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      ++generation_;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
    stopping_ = false;
    try {
      for (int i = 0; i < count; ++i) workers_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
      // The system grants no more threads: those that started, and the caller, do the work.
    }
  }

  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      const auto called = [&] { return generation_ != seen; };
      const bool awake = spin_until(called);
      std::unique_lock<std::mutex> lock(mutex_);
      if (!awake) {
        ++sleeping_;
        wake_.wait(lock, called);
        --sleeping_;
      }
      if (stopping_) return;
      seen = generation_;
      Job* job = job_;
      if (!job) continue;
      ++job->helpers;
      lock.unlock();
      job->work();
      lock.lock();
      if (--job->helpers == 0) finished_.notify_one();
    }
  }

  std::mutex turn_;   // held by the thread that runs a job
  std::mutex mutex_;  // guards what follows; generation_ is also read while spinning
  std::condition_variable wake_, finished_;
  std::atomic<std::uint64_t> generation_{0};
  Job* job_ = nullptr;
  int sleeping_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

std::atomic<int> thread_count{1};

// The pool is never destroyed: at exit its threads sleep and hold nothing. A forked child has the memory
// of the pool but not its threads, so it gets a pool of its own and leaves the old one alone.
std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    current_pool = new Pool;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { current_pool = new Pool; });
#endif
  });
  return *current_pool;
}

}  // namespace

int threads() {
  return thread_count;
}

void set_threads(int count) {
  if (count < 1 || count > kMostThreads) {
    throw std::invalid_argument("threads: expected at least 1 and at most " + std::to_string(kMostThreads) +
                                ", got " + std::to_string(count));
  }
  thread_count = count;
}

void detail::run_parallel(Index n, Index grain, RangeFunction function, const void* context) {
  if (n <= 0) return;
  grain = grain < 1 ? 1 : grain;
  const int count = threads();
  if (n > grain && count > 1 && !inside_parallel_for) {
    // A few ranges per thread even out threads of unequal speed.
    const Index chunk = ceil_div(n, 4 * count) > grain ? ceil_div(n, 4 * count) : grain;
    Job job{n, chunk, function, context};
    if (pool().run(job, count)) {
      if (job.error) std::rethrow_exception(job.error);
      return;
    }
  }
  function(context, 0, n);
}

}  // namespace minivae
