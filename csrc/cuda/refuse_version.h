// The error of a kernel that is asked for a version it does not have.
#pragma once

#include <stdexcept>
#include <string>

namespace minivae {

[[noreturn]] inline void refuse_version(int last, int version) {
  throw std::invalid_argument("version: expected 1.." + std::to_string(last) + ", got " +
                              std::to_string(version));
}

}  // namespace minivae
