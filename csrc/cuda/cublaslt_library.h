// Where cuBLASLt comes from, and the memory it works in.
#pragma once

#include <string>

#include "cuda/cublaslt_api.h"
#include "cuda/stream.h"

namespace minivae::cublaslt {

struct Library {
  Api api{};
  std::string path;    // empty when there is none,
  std::string reason;  // and this says why
};

// Opened at the first call, and kept. `path` is tried first, before the names a system knows it by.
const Library& library(const std::string& path = "");

// Device memory that is never freed. Allowed while a stream of this thread is being captured.
void* lasting_memory(std::size_t bytes);

}  // namespace minivae::cublaslt
