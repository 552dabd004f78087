/*
 * Small floats. All of them are sign, exponent, mantissa: one routine widens, one rounds, for given widths.
 * Source: IEEE 754 (f16); Micikevicius et al. 2022, arXiv:2209.05433 (fp8).
 */
#include "engine/core/convert.h"

#include <math.h>

#include "engine/core/error.h"

/* Widen a format with n_exp exponent and n_man mantissa bits whose top exponent may hold infinity and NaN. */
static float widen(uint32_t v, int n_exp, int n_man, bool has_inf)
{
    const uint32_t sign = v >> (n_exp + n_man) & 1, exp = v >> n_man & ((1u << n_exp) - 1), man = v & ((1u << n_man) - 1);
    const int bias = (1 << (n_exp - 1)) - 1;
    float f;

    if (has_inf && exp == (1u << n_exp) - 1)
        f = man ? NAN : INFINITY;
    else if (!has_inf && exp == (1u << n_exp) - 1 && man == (1u << n_man) - 1)
        f = NAN;                        /* e4m3fn: only all ones is NaN */
    else if (exp == 0)
        f = ldexpf((float)man, 1 - bias - n_man);
    else
        f = ldexpf((float)(man | 1u << n_man), (int)exp - bias - n_man);
    return sign ? -f : f;
}

/* Round to nearest even. Beyond the largest finite value: infinity, or NaN in a format without one. */
static uint32_t narrow(float f, int n_exp, int n_man, bool has_inf)
{
    uint32_t bits;
    const int bias = (1 << (n_exp - 1)) - 1;
    const uint32_t top = (1u << n_exp) - 1;

    memcpy(&bits, &f, sizeof bits);
    const uint32_t sign = (bits >> 31) << (n_exp + n_man);
    const uint32_t nan = sign | top << n_man | (has_inf ? 1u << (n_man - 1) : (1u << n_man) - 1);
    const uint32_t inf = has_inf ? sign | top << n_man : nan;

    if (f != f)
        return nan;
    if (isinf(f))
        return inf;
    bits &= 0x7fffffff;
    if (bits == 0)
        return sign;
    int exp = (int)(bits >> 23) - 127;
    uint32_t man = bits & 0x7fffff;
    if (bits >> 23)
        man |= 1u << 23;
    else
        exp = -126;
    int drop = 23 - n_man;              /* bits of the mantissa that go */
    int out_exp = exp + bias;
    if (out_exp < 1) {                  /* subnormal in the small format */
        drop += 1 - out_exp;
        out_exp = 0;
        if (drop > 24)
            return sign;
    }
    uint32_t kept = man >> drop;
    const uint32_t rest = man & ((1u << drop) - 1), half = 1u << (drop - 1);
    if (rest > half || (rest == half && (kept & 1)))
        kept++;
    /* adding lets a carry move into the exponent, and a subnormal become the smallest normal */
    const uint32_t value = out_exp ? ((uint32_t)(out_exp - 1) << n_man) + kept : kept;
    const uint32_t largest = has_inf ? (top << n_man) - 1 : (top << n_man | ((1u << n_man) - 1)) - 1;
    return value > largest ? inf : sign | value;
}

float rg_f16_to_f32(uint16_t h)         { return widen(h, 5, 10, true); }
uint16_t rg_f32_to_f16(float f)         { return (uint16_t)narrow(f, 5, 10, true); }
float rg_f8_e4m3_to_f32(uint8_t v)      { return widen(v, 4, 3, false); }
uint8_t rg_f32_to_f8_e4m3(float f)      { return (uint8_t)narrow(f, 4, 3, false); }
float rg_f8_e5m2_to_f32(uint8_t v)      { return widen(v, 5, 2, true); }
uint8_t rg_f32_to_f8_e5m2(float f)      { return (uint8_t)narrow(f, 5, 2, true); }

double rg_element_get(const void *data, int64_t i, rg_dtype dtype)
{
    switch (dtype) {
    case RG_F32:     return ((const float *)data)[i];
    case RG_F64:     return ((const double *)data)[i];
    case RG_BF16:    return rg_bf16_to_f32(((const uint16_t *)data)[i]);
    case RG_F16:     return rg_f16_to_f32(((const uint16_t *)data)[i]);
    case RG_F8_E4M3: return rg_f8_e4m3_to_f32(((const uint8_t *)data)[i]);
    case RG_F8_E5M2: return rg_f8_e5m2_to_f32(((const uint8_t *)data)[i]);
    case RG_I8:      return ((const int8_t *)data)[i];
    case RG_U8:      return ((const uint8_t *)data)[i];
    case RG_I16:     return ((const int16_t *)data)[i];
    case RG_I32:     return ((const int32_t *)data)[i];
    case RG_I64:     return (double)((const int64_t *)data)[i];
    case RG_BOOL:    return ((const uint8_t *)data)[i] != 0;
    default:         RG_BUG("no dtype %d", (int)dtype);
    }
}

void rg_element_set(void *data, int64_t i, rg_dtype dtype, double value)
{
    switch (dtype) {
    case RG_F32:     ((float *)data)[i] = (float)value; break;
    case RG_F64:     ((double *)data)[i] = value; break;
    case RG_BF16:    ((uint16_t *)data)[i] = rg_f32_to_bf16((float)value); break;
    case RG_F16:     ((uint16_t *)data)[i] = rg_f32_to_f16((float)value); break;
    case RG_F8_E4M3: ((uint8_t *)data)[i] = rg_f32_to_f8_e4m3((float)value); break;
    case RG_F8_E5M2: ((uint8_t *)data)[i] = rg_f32_to_f8_e5m2((float)value); break;
    case RG_I8:      ((int8_t *)data)[i] = (int8_t)(int64_t)value; break;
    case RG_U8:      ((uint8_t *)data)[i] = (uint8_t)(int64_t)value; break;
    case RG_I16:     ((int16_t *)data)[i] = (int16_t)(int64_t)value; break;
    case RG_I32:     ((int32_t *)data)[i] = (int32_t)(int64_t)value; break;
    case RG_I64:     ((int64_t *)data)[i] = (int64_t)value; break;
    case RG_BOOL:    ((uint8_t *)data)[i] = value != 0.0; break;
    default:         RG_BUG("no dtype %d", (int)dtype);
    }
}
