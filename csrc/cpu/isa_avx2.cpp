// The kernels for x86-64 with AVX2 and FMA.
#include "cpu/table.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define MV_ISA avx2
#define MV_VECTOR_BYTES 32
#include "cpu/isa_body.inl"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
