// A CUDA stream by the name the driver gives it, so that headers which only pass one on need no
// CUDA header: Stream is cudaStream_t.
#pragma once

struct CUstream_st;

namespace minivae {

using Stream = CUstream_st*;

}  // namespace minivae
