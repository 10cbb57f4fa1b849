// Zeros, by the driver's own fill: a node of a captured graph like any kernel, and none of ours.
// Bytes per element in float32: 4. Limit: memory.
#include "cuda/zero.h"

#include "cuda/launch.h"

namespace minivae {

void zero(void* memory, std::size_t bytes, Stream stream) {
  clear(memory, bytes, stream);
}

}  // namespace minivae
