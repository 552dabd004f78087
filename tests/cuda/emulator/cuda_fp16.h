/* float16 for the emulated device: bits and conversions, rounding to nearest even. */
#ifndef EMULATOR_CUDA_FP16_H
#define EMULATOR_CUDA_FP16_H

#include "cuda_runtime.h"

struct __half { uint16_t bits; };

extern "C" float rg_f16_to_f32(uint16_t h);     /* engine/core/convert.h */
extern "C" uint16_t rg_f32_to_f16(float f);

static inline __half __float2half_rn(float f) { return { rg_f32_to_f16(f) }; }
static inline float __half2float(__half v) { return rg_f16_to_f32(v.bits); }
#endif
