// Chooses the instruction set: the best that the machine has, unless MINIVAE_ISA names another.
#include "cpu/table.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace minivae {
namespace {

const std::vector<const Table*>& usable() {
  static const std::vector<const Table*> tables = [] {
    std::vector<const Table*> found{&plain_table};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back(&avx2_table);
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        found.push_back(&avx512_table);
      }
    }
#elif defined(__aarch64__)
    found.push_back(&neon_table);
#endif
    return found;
  }();
  return tables;
}

const Table* find(const std::string& isa) {
  std::string names;
  for (const Table* t : usable()) {
    if (isa == t->isa) return t;
    names += (names.empty() ? "" : ", ") + std::string(t->isa);
  }
  throw std::invalid_argument("isa: expected one that this machine can run (" + names + "), got '" + isa +
                              "'");
}

std::atomic<const Table*>& current() {
  static std::atomic<const Table*> chosen{[] {
    const char* wanted = std::getenv("MINIVAE_ISA");
    return wanted && *wanted ? find(wanted) : usable().back();
  }()};
  return chosen;
}

}  // namespace

const Table& table() {
  return *current().load(std::memory_order_relaxed);
}

void use_table(const char* isa) {
  current().store(find(isa), std::memory_order_relaxed);
}

const Table* const* usable_tables(int* count) {
  *count = static_cast<int>(usable().size());
  return usable().data();
}

}  // namespace minivae
