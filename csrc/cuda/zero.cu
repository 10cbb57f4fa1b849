// Fills memory with zeros by cudaMemsetAsync, which a captured graph records as it does a kernel.
// Bytes per element in float32: 4. Limit: memory.
#include "cuda/zero.h"

#include "cuda/launch.h"

namespace minivae {

void zero(void* memory, std::size_t bytes, Stream stream) {
  clear(memory, bytes, stream);
}

}  // namespace minivae
