// The current device, its properties and the device of a pointer, from the CUDA runtime.
#include "cuda/device.h"

#include "cuda/launch.h"

namespace minivae {

int current_device() {
  int device;
  check(cudaGetDevice(&device), "asking for the current device");
  return device;
}

DeviceInfo device_info(int device) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "asking for the properties of device " + std::to_string(device));
  return {device,
          p.name,
          p.major,
          p.minor,
          p.multiProcessorCount,
          p.totalGlobalMem,
          static_cast<std::size_t>(p.l2CacheSize)};
}

std::string compiler() {
  return "CUDA " + std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
}

std::string architectures() {
#if defined(MINIVAE_CUDA_ARCHITECTURES)
  return MINIVAE_CUDA_ARCHITECTURES;
#else
  return "unknown";
#endif
}

int device_of(const void* pointer) {
  cudaPointerAttributes attributes;
  check(cudaPointerGetAttributes(&attributes, pointer), "asking where an array lives");
  const bool on_device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return on_device ? attributes.device : -1;
}

}  // namespace minivae
