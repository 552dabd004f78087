/*
 * Element types to and from float and double: bf16, f16, fp8 e4m3fn and e5m2, integers. Rounding is to nearest even, once,
 * from the double (float for the _f32 forms); e4m3fn has no infinity: beyond its range is NaN, as in torch.
 */
#ifndef RG_CORE_CONVERT_H
#define RG_CORE_CONVERT_H

#include <stdint.h>
#include <string.h>

#include "engine/core/tensor.h"

/* Element i of an array of this dtype. BOOL reads 0 or 1; integers are truncated towards zero and wrap as torch's casts do. */
double rg_element_get(const void *data, int64_t i, rg_dtype dtype);
void rg_element_set(void *data, int64_t i, rg_dtype dtype, double value);

static inline float rg_bf16_to_f32(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint16_t rg_f32_to_bf16(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    if (f != f)
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float rg_f16_to_f32(uint16_t h);
uint16_t rg_f32_to_f16(float f);
float rg_f8_e4m3_to_f32(uint8_t v);
uint8_t rg_f32_to_f8_e4m3(float f);
float rg_f8_e5m2_to_f32(uint8_t v);
uint8_t rg_f32_to_f8_e5m2(float f);

#endif
