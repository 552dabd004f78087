/* bfloat16 for the emulated device. */
#ifndef EMULATOR_CUDA_BF16_H
#define EMULATOR_CUDA_BF16_H

#include "cuda_runtime.h"

struct __nv_bfloat16 { uint16_t bits; };

static inline float __bfloat162float(__nv_bfloat16 v) { const uint32_t u = (uint32_t)v.bits << 16; float f; memcpy(&f, &u, 4); return f; }
static inline __nv_bfloat16 __float2bfloat16_rn(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if (f != f)
        return { (uint16_t)(u >> 16 | 0x40) };
    return { (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16) };
}
#endif
