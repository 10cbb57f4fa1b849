// The kernels for any machine: what the compiler assumes by default (SSE2 on x86-64).
#include "cpu/table.h"

#define MV_ISA plain
#define MV_VECTOR_BYTES 16
#include "cpu/isa_body.inl"
