// Opens cuBLASLt when it is first asked for: a machine without it builds and runs all but this.
#include "cuda/cublaslt_library.h"

#include <dlfcn.h>

#include "cuda/cublaslt_check.h"
#include "cuda/launch.h"

namespace minivae::cublaslt {
namespace {

// Each function by its name in the library, or the name of the first that is missing.
const char* find_functions(void* handle, Api& api) {
#define MV_FIND(name)                                                               \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(handle, "cublasLt" #name)); \
  if (!api.name) return "cublasLt" #name
  MV_FIND(Create);
  MV_FIND(GetVersion);
  MV_FIND(GetStatusString);
  MV_FIND(MatmulDescCreate);
  MV_FIND(MatmulDescSetAttribute);
  MV_FIND(MatrixLayoutCreate);
  MV_FIND(MatmulPreferenceCreate);
  MV_FIND(MatmulPreferenceDestroy);
  MV_FIND(MatmulPreferenceSetAttribute);
  MV_FIND(MatmulAlgoGetHeuristic);
  MV_FIND(Matmul);
#undef MV_FIND
  return nullptr;
}

Library open_library(const std::string& path) {
  Library found;
  for (const std::string& name : {path, std::string("libcublasLt.so.13"), std::string("libcublasLt.so.12")}) {
    if (name.empty()) continue;
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      found.reason += (found.reason.empty() ? "" : "; ") + std::string(dlerror());
      continue;
    }
    if (const char* missing = find_functions(handle, found.api)) {
      found.reason = name + " has no " + missing;
      continue;
    }
    Dl_info info;
    const bool known = dladdr(reinterpret_cast<void*>(found.api.Matmul), &info) != 0;
    found.path = known ? info.dli_fname : name;
    found.reason.clear();
    return found;
  }
  return found;
}

}  // namespace

const Library& library(const std::string& path) {
  static const Library opened = open_library(path);
  return opened;
}

void* lasting_memory(std::size_t bytes) {
  void* memory;
  // CUDA refuses cudaMalloc to a thread that captures a stream, except in the relaxed mode.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  check(cudaThreadExchangeStreamCaptureMode(&mode), "relaxing the capture mode");
  const cudaError_t status = cudaMalloc(&memory, bytes);
  check(cudaThreadExchangeStreamCaptureMode(&mode), "restoring the capture mode");
  check(status, "allocating " + std::to_string(bytes) + " bytes");
  return memory;
}

}  // namespace minivae::cublaslt
