/* fp8 for the emulated device. Searching all 127 values is slow and obviously right. */
#ifndef EMULATOR_CUDA_FP8_H
#define EMULATOR_CUDA_FP8_H

#include "cuda_runtime.h"

typedef unsigned char __nv_fp8_storage_t;
typedef enum { __NV_NOSAT, __NV_SATFINITE } __nv_saturation_t;
typedef enum { __NV_E4M3, __NV_E5M2 } __nv_fp8_interpretation_t;

static inline float emu_fp8_value(__nv_fp8_storage_t b, __nv_fp8_interpretation_t kind)
{
    const int m_bits = kind == __NV_E4M3 ? 3 : 2, bias = kind == __NV_E4M3 ? 7 : 15;
    const int e = (b & 0x7f) >> m_bits, m = b & ((1 << m_bits) - 1);
    float v;
    if (kind == __NV_E4M3 && (b & 0x7f) == 0x7f)
        v = NAN;
    else if (kind == __NV_E5M2 && e == 31)
        v = m ? NAN : INFINITY;
    else
        v = e ? ldexpf(1.0f + (float)m / (float)(1 << m_bits), e - bias) : ldexpf((float)m / (float)(1 << m_bits), 1 - bias);
    return b & 0x80 ? -v : v;
}

static inline __nv_fp8_storage_t __nv_cvt_float_to_fp8(float f, __nv_saturation_t saturation, __nv_fp8_interpretation_t kind)
{
    const int last = kind == __NV_E4M3 ? 0x7e : 0x7b;       /* the largest number */
    const int sign = std::signbit(f) ? 0x80 : 0;
    const float a = fabsf(f), largest = emu_fp8_value((__nv_fp8_storage_t)last, kind);
    if (f != f)
        return (__nv_fp8_storage_t)(0x7f | sign);
    const float step = largest - emu_fp8_value((__nv_fp8_storage_t)(last - 1), kind);
    if (a >= largest + step / 2)
        return (__nv_fp8_storage_t)(sign | (saturation == __NV_SATFINITE ? last : kind == __NV_E4M3 ? 0x7f : 0x7c));
    int low = 0, high = last;           /* the largest value not above a, then the nearer of it and its neighbour */
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (emu_fp8_value((__nv_fp8_storage_t)middle, kind) <= a)
            low = middle;
        else
            high = middle - 1;
    }
    if (low < last) {
        const float below = a - emu_fp8_value((__nv_fp8_storage_t)low, kind), above = emu_fp8_value((__nv_fp8_storage_t)(low + 1), kind) - a;
        if (above < below || (above == below && (low & 1)))
            low++;
    }
    return (__nv_fp8_storage_t)(sign | low);
}

struct __nv_fp8_e4m3 {
    __nv_fp8_storage_t __x;
    explicit operator float() const { return emu_fp8_value(__x, __NV_E4M3); }
};
struct __nv_fp8_e5m2 {
    __nv_fp8_storage_t __x;
    explicit operator float() const { return emu_fp8_value(__x, __NV_E5M2); }
};
#endif
