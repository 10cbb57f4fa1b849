// The process's heap.
#pragma once

namespace minivae {

// Lets malloc keep freed memory for the next allocation instead of handing it back to the system: a training
// step frees its activations, tens of megabytes, and wants the same ones again a moment later, and every page
// that comes anew from the system costs a fault and is zeroed first. This holds for the whole process, for
// blocks below 32 MiB, up to half a gigabyte of freed memory, with glibc; a process that is started with its
// own MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_ keeps those.
void keep_freed_memory();

}  // namespace minivae
