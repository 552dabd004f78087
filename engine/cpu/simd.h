/*
 * Inner loops on rows of float32, compiled for the compiler's base instruction set, AVX2, AVX-512 and AVX-512 with bf16
 * (simd_body.h through simd_*.c). The best that the chip runs is chosen once. Arithmetic that must match torch bit for bit
 * is not here, because these files may fuse multiply and add.
 */
#ifndef RG_CPU_SIMD_H
#define RG_CPU_SIMD_H

#include "engine/ops/ops.h"

typedef struct rg_simd {
    const char *name;

    /* between a contiguous row of any of f32, f16, bf16, fp8 and floats; rounds to nearest even */
    void (*widen)(float *out, const void *x, rg_dtype dtype, int64_t n);
    void (*narrow)(void *out, const float *x, rg_dtype dtype, int64_t n);

    /* out may be x */
    void (*unary)(float *out, const float *x, int64_t n, rg_unary_kind kind);
    void (*gated_unary)(float *out, const float *gate, const float *up, int64_t n, rg_unary_kind kind);

    /* (x - mean) / sqrt(var + eps) * weight + bias, and x / sqrt(mean(x^2) + eps) * weight; weight and bias may be NULL */
    void (*layer_norm)(float *out, const float *x, int64_t n, const float *weight, const float *bias, float eps);
    void (*rms_norm)(float *out, const float *x, int64_t n, const float *weight, float eps);

    /* n_rows rows of n: x * a + b, then SiLU if has_silu */
    void (*scale_shift)(float *out, const float *x, const float *a, const float *b, int64_t n_rows, int64_t n, bool has_silu);

    /* x + g * y */
    void (*gated_add)(float *out, const float *x, const float *g, const float *y, int64_t n);

    /* out[i] = x[i] * a[i] + x[i ^ 1] * b[i]: rotations of adjacent pairs; n even */
    void (*rotate)(float *out, const float *x, const float *a, const float *b, int64_t n);

    /* n / 2 rotation matrices [[p, q], [r, s]], ... as what rotate() takes: a = p, s, ... and b = q, r, ... */
    void (*split_rotations)(float *a, float *b, const float *pe, int64_t n);

    /* over n_rows rows of n, for each column: sums += x, squares += (x - mean)^2 */
    void (*add_rows)(float *sums, const float *x, int64_t n_rows, int64_t n);
    void (*add_squares)(float *squares, const float *x, const float *mean, int64_t n_rows, int64_t n);

    /*
     * One row of n = 8, 16, ... numbers of dtype f32 or bf16 (false for other sizes and dtypes, which take several steps): divided by
     * its root mean square and times weight if that is not NULL, then rotated as rotate() does if a is not NULL. out may be x.
     */
    bool (*norm_rotate)(void *out, const void *x, rg_dtype dtype, int64_t n, const float *weight, float eps, const float *a, const float *b);

    /* whole-row reductions with a fixed order of sums */
    float (*sum)(const float *x, int64_t n);
    float (*sum_squares)(const float *x, float mean, int64_t n);
    float (*max)(const float *x, int64_t n);                    /* -inf for none; NaN may be dropped */
    float (*dot)(const float *x, const float *y, int64_t n);

    /*
     * out = 2^(x * scale - max) where that exponent is about 0 or less, returns the sum, taken before out is rounded to dtype:
     * f32, or bf16 (with less care in the power too). out may be x.
     */
    float (*exp2_row)(void *out, rg_dtype dtype, const float *x, float scale, float max, int64_t n);

    /* x *= s */
    void (*scale)(float *x, float s, int64_t n);

    /* dot products of n_in numbers x with n_rows consecutive rows of weights of dtype, each row n_in long */
    void (*gemv)(float *out, const void *weight, rg_dtype dtype, const float *x, int64_t n_in, int64_t n_rows);
} rg_simd;

/* The table for this chip. RG_CPU_ISA=base|avx2|avx512 in the environment chooses a lower one, for tests. */
const rg_simd *rg_simd_get(void);

extern const rg_simd rg_simd_base;
#if defined(__x86_64__)
extern const rg_simd rg_simd_avx2, rg_simd_avx512, rg_simd_avx512_bf16;
#endif

#endif
