// The kernels for any machine: what the compiler assumes by default (SSE2 on x86-64).
#include "cpu/table.h"

#define MV_ISA plain
#include "cpu/isa_body.inl"
