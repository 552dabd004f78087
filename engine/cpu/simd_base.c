/* The inner loops in the instruction set that every supported chip has: SSE2 on x86-64, NEON on arm64. */
#define SIMD_TABLE rg_simd_base
#define SIMD_NAME "base"
#define VECTOR_BYTES 16
#include "engine/cpu/simd_body.h"
