#include "cpu/heap.h"

#include <cstdlib>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace minivae {

void keep_freed_memory() {
#if defined(__GLIBC__)
  if (std::getenv("MALLOC_TRIM_THRESHOLD_") || std::getenv("MALLOC_MMAP_THRESHOLD_")) return;
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that every glibc accepts; larger blocks stay apart
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

}  // namespace minivae
