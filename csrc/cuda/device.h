// What the bindings ask of the CUDA runtime; a plain header, so that no binding includes CUDA's.
#pragma once

#include <cstddef>
#include <string>

namespace minivae {

struct DeviceInfo {
  int number;
  std::string name;
  int major, minor;  // compute capability
  int multiprocessors;
  std::size_t memory;    // bytes
  std::size_t l2_cache;  // bytes
};

// Each throws std::runtime_error with CUDA's reason when there is no driver or no device.
int current_device();
DeviceInfo device_info(int device);

// The toolkit of this build, and what it was compiled for.
std::string compiler();
std::string architectures();

// The device whose memory a pointer is to, or -1 for memory of the host.
int device_of(const void* pointer);

}  // namespace minivae
