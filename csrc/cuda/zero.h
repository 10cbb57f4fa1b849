// Fills memory with zeros: gradients, before the first backward pass that adds to them.
#pragma once

#include <cstddef>

#include "cuda/stream.h"

namespace minivae {

void zero(void* memory, std::size_t bytes, Stream stream);

}  // namespace minivae
