#include "cuda/device.h"

#include <thread>

namespace minivae {

int current_device() {
  return 0;
}

DeviceInfo device_info(int device) {
  return {
      device, "the CPU, in place of a GPU", 0, 0, static_cast<int>(std::thread::hardware_concurrency()), 0,
      0};
}

std::string compiler() {
  return "g++ " __VERSION__;
}

std::string architectures() {
  return "the CPU, in place of a GPU";
}

int device_of(const void*) {
  return 0;
}

}  // namespace minivae
