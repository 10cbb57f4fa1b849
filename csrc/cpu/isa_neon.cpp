// The kernels for 64-bit ARM with NEON, which all such processors have.
#include "cpu/table.h"

#if defined(__aarch64__)
#define MV_ISA neon
#define MV_VECTOR_BYTES 16
#define MV_NEON
#include "cpu/isa_body.inl"
#endif
