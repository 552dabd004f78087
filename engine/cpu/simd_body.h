/*
 * The body of simd_*.c: GCC's and clang's portable vectors of VECTOR_BYTES, so that one text serves SSE2, AVX2, AVX-512 and
 * NEON. A row's tail goes through a zero-padded vector. exp() follows Cody & Waite: x = n ln 2 + r, a polynomial for
 * e^r, n added to the exponent; error under 2 ulp. Everything else here is built on it but softmax, which works in base 2.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/core/convert.h"
#include "engine/cpu/simd.h"

enum { VL = VECTOR_BYTES / 4 };         /* floats of a vector */
typedef float vf __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t vh __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint8_t vb __attribute__((vector_size(VECTOR_BYTES / 4)));

static inline vf load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
static inline void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf all(float x) { return x - (vf){ 0 }; }
static inline vf pick(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
static inline vf vmax(vf a, vf b)       /* b if either is NaN */
{
#ifdef VECTOR_MAX
    return VECTOR_MAX(a, b);
#else
    return pick(a > b, a, b);
#endif
}

static inline vf load_part(const float *p, int64_t n)
{
    vf v = { 0 };

    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static inline void store_part(float *p, vf v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof *p); }

/* Run `body` for vectors of x (and whatever else it loads at i with LOAD), store what it leaves in r. */
#define LOAD(p) (n - i >= VL ? load((p) + i) : load_part((p) + i, n - i))
#define STORE(p, v) (n - i >= VL ? store((p) + i, (v)) : store_part((p) + i, (v), n - i))
#define EACH for (int64_t i = 0; i < n; i += VL)

/* A fixed tree: lane sums are added pairwise, so the result depends on the row alone. */
static inline float reduce_add(vf v)
{
    float lanes[VL];

    memcpy(lanes, &v, sizeof v);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

static inline vf exp_vector(vf x)
{
    const vf magic = all(12582912.0f);                          /* 1.5 * 2^23: adding it rounds to an integer */
    const vf t = x * all(1.44269504088896341f) + magic;
    const vf n = t - magic;
    vf r = x - n * all(0.693145751953125f);                     /* ln 2 in two parts, the first with trailing zeros */
    r = r - n * all(1.42860682030941723e-6f);

    vf p = all(1.9875691500e-4f);
    p = p * r + all(1.3981999507e-3f);
    p = p * r + all(8.3334519073e-3f);
    p = p * r + all(4.1665795894e-2f);
    p = p * r + all(1.6666665459e-1f);
    p = p * r + all(5.0000001201e-1f);
    p = p * r * r + r + all(1.0f);

    /* 2^n in two factors, so that n = 128 and n below -126 still come out right */
    const vi k = (vi)t - (vi)magic, k1 = k >> 1, k2 = k - k1;
    vf y = p * (vf)((k1 + 127) << 23) * (vf)((k2 + 127) << 23);
    y = pick(x < all(-103.97f), all(0.0f), y);
    return pick(x > all(88.7228394f), all(INFINITY), y);
}

/*
 * 2^t for softmax, t about 0 or less: 2^n times a polynomial for 2^f, |f| <= 1/2 (minimax, relative error 7.5e-8; 7.5e-5 for
 * results that are rounded to bf16 at once, where half a unit is 2e-3). -inf gives (nearly) 0, NaN passes.
 */
static inline vf exp2_vector(vf t, bool is_coarse)
{
#if VECTOR_BYTES == 64
    t = (vf)_mm512_max_ps(_mm512_set1_ps(-200.0f), (__m512)t);
    const vf n = (vf)_mm512_roundscale_ps((__m512)t, 0);
#else
    t = pick(t < all(-126.0f), all(-126.0f), t);
    const vf magic = all(12582912.0f), shifted = t + magic, n = shifted - magic;
#endif
    const vf f = t - n;
    vf p;

    if (is_coarse) {
        p = all(0.0551716685f);
        p = p * f + all(0.242611125f);
        p = p * f + all(0.693260968f);
        p = p * f + all(0.999928057f);
    } else {
        p = all(0.00132764725f);
        p = p * f + all(0.00967554096f);
        p = p * f + all(0.0555071309f);
        p = p * f + all(0.240221202f);
        p = p * f + all(0.693146944f);
        p = p * f + all(1.00000012f);
    }
#if VECTOR_BYTES == 64
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return (vf)((vi)p + ((vi)shifted << 23));
#endif
}

static inline vf sigmoid_vector(vf x) { return all(1.0f) / (all(1.0f) + exp_vector(-x)); }

static inline vf tanh_vector(vf x)
{
    const vf a = (vf)((vi)x & 0x7fffffff), e = exp_vector(all(-2.0f) * a);
    const vf large = (all(1.0f) - e) / (all(1.0f) + e), s = x * x;
    vf p = all(-5.70498872745e-3f);                             /* below 0.625 the quotient would cancel: odd polynomial */

    p = p * s + all(2.06390887954e-2f);
    p = p * s + all(-5.37397155531e-2f);
    p = p * s + all(1.33314422036e-1f);
    p = p * s + all(-3.33332819422e-1f);
    p = p * s * x + x;
    return pick(a < all(0.625f), p, (vf)((vi)large | ((vi)x & (vi)all(-0.0f))));
}

/* erfc as t exp(-z^2 + P(t)), t = 1 / (1 + z / 2); relative error 1.2e-7. Source: Press et al., Numerical Recipes, 6.2. */
static inline vf gelu_vector(vf x)
{
    const vf z = (vf)((vi)(x * all(0.70710678118f)) & 0x7fffffff), t = all(1.0f) / (all(1.0f) + all(0.5f) * z);
    vf p = all(0.17087277f);

    p = p * t + all(-0.82215223f);
    p = p * t + all(1.48851587f);
    p = p * t + all(-1.13520398f);
    p = p * t + all(0.27886807f);
    p = p * t + all(-0.18628806f);
    p = p * t + all(0.09678418f);
    p = p * t + all(0.37409196f);
    p = p * t + all(1.00002368f);
    p = p * t + all(-1.26551223f);
    const vf e = t * exp_vector(p - z * z);                     /* erfc(|x| / sqrt 2) */
    return all(0.5f) * x * pick(x > all(0.0f), all(2.0f) - e, e);
}

static inline vf unary_vector(vf x, rg_unary_kind kind)
{
    switch (kind) {
    case RG_EXP: return exp_vector(x);
    case RG_TANH: return tanh_vector(x);
    case RG_SIGMOID: return sigmoid_vector(x);
    case RG_ABS: return (vf)((vi)x & 0x7fffffff);
    case RG_NEG: return -x;
    case RG_RECIPROCAL: return all(1.0f) / x;
    case RG_RELU: return pick(x < all(0.0f), all(0.0f), x);
    case RG_SILU: return x / (all(1.0f) + exp_vector(-x));
    case RG_GELU: return gelu_vector(x);
    case RG_GELU_TANH: {                                        /* 0.5 (1 + tanh u) is sigmoid(2 u) */
        const vf u = x * (all(0.7978845608028654f) + all(0.7978845608028654f * 0.044715f) * x * x);
        return x / (all(1.0f) + exp_vector(all(-2.0f) * u));
    }
    case RG_QUICK_GELU: return x / (all(1.0f) + exp_vector(all(-1.702f) * x));
    case RG_NAN_TO_NUM: {
        const vf bounded = pick(x > all(FLT_MAX), all(65504.0f), pick(x < all(-FLT_MAX), all(-65504.0f), x));
        return pick(x == x, bounded, all(0.0f));
    }
    default: return x;
    }
}

/* One loop per kind, so that the switch is outside it. */
#define UNARY_KINDS(X) X(RG_EXP) X(RG_TANH) X(RG_SIGMOID) X(RG_ABS) X(RG_NEG) X(RG_RECIPROCAL) X(RG_RELU) X(RG_SILU) X(RG_GELU) \
    X(RG_GELU_TANH) X(RG_QUICK_GELU) X(RG_NAN_TO_NUM)

static void unary(float *out, const float *x, int64_t n, rg_unary_kind kind)
{
    switch (kind) {
#define X(KIND) case KIND: EACH STORE(out, unary_vector(LOAD(x), KIND)); break;
    UNARY_KINDS(X)
#undef X
    case RG_LOG: for (int64_t i = 0; i < n; i++) out[i] = logf(x[i]); break;
    case RG_SQRT: for (int64_t i = 0; i < n; i++) out[i] = sqrtf(x[i]); break;
    case RG_SIN: for (int64_t i = 0; i < n; i++) out[i] = sinf(x[i]); break;
    case RG_COS: for (int64_t i = 0; i < n; i++) out[i] = cosf(x[i]); break;
    case RG_ROUND: for (int64_t i = 0; i < n; i++) out[i] = nearbyintf(x[i]); break;
    case RG_FLOOR: for (int64_t i = 0; i < n; i++) out[i] = floorf(x[i]); break;
    case RG_N_UNARY: break;
    }
}

static void gated_unary(float *out, const float *gate, const float *up, int64_t n, rg_unary_kind kind)
{
    switch (kind) {
#define X(KIND) case KIND: EACH STORE(out, unary_vector(LOAD(gate), KIND) * LOAD(up)); break;
    UNARY_KINDS(X)
#undef X
    default:
        for (int64_t i = 0; i < n; i++) {
            float v;
            unary(&v, gate + i, 1, kind);
            out[i] = v * up[i];
        }
    }
}

/* ---- element types ------------------------------------------------------------------------------------------------ */

/* f16 or fp8 whose exponent and fraction were shifted into place: multiplying by 2^bias puts the exponent right, subnormals too. */
static inline vf rebias(vu magnitude, vu sign, float two_to_bias, vi is_special, vu special)
{
    const vu v = (vu)((vf)magnitude * all(two_to_bias));

    return (vf)((v & ~(vu)is_special) | (special & (vu)is_special) | sign);
}

static inline vf from_half(const uint16_t *p)
{
#ifdef HALF_TO_FLOAT
    return HALF_TO_FLOAT(p);
#else
    vh h;
    memcpy(&h, p, sizeof h);
    const vu w = __builtin_convertvector(h, vu), m = (w & 0x7fff) << 13;
    return rebias(m, (w & 0x8000) << 16, 0x1p112f, (vi)(m >= (0x1fu << 23)), m | 0x7f800000);
#endif
}

static inline vf from_bf16(const uint16_t *p)
{
    vh h;

    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

static inline vf from_e4m3(const uint8_t *p)
{
    vb b;

    memcpy(&b, p, sizeof b);
    const vu w = __builtin_convertvector(b, vu), m = w & 0x7f;
    return rebias(m << 20, (w & 0x80) << 24, 0x1p120f, (vi)(m == 0x7f), (vu){ 0 } + 0x7fc00000u);
}

static inline vf from_e5m2(const uint8_t *p)
{
    vb b;

    memcpy(&b, p, sizeof b);
    const vu w = __builtin_convertvector(b, vu), m = (w & 0x7f) << 21;
    return rebias(m, (w & 0x80) << 24, 0x1p112f, (vi)(m >= (0x1fu << 23)), m | 0x7f800000);
}

static inline void to_bf16(uint16_t *p, vf v)
{
    const vu u = (vu)v, rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16, is_nan = (vu)(v != v);
    const vh h = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), vh);

    memcpy(p, &h, sizeof h);
}

/* Finite numbers only: probabilities. */
static inline void to_bf16_finite(uint16_t *p, vf v)
{
#ifdef FLOAT_TO_BF16
    FLOAT_TO_BF16(p, v);
#else
    const vu u = (vu)v;
    const vh h = __builtin_convertvector((u + 0x7fff + (u >> 16 & 1)) >> 16, vh);

    memcpy(p, &h, sizeof h);
#endif
}

static void widen(float *out, const void *x, rg_dtype dtype, int64_t n)
{
    const int64_t whole = n - n % VL;
    const uint16_t *h = x;
    const uint8_t *b = x;

    switch (dtype) {
    case RG_F32:
        memcpy(out, x, (size_t)n * sizeof *out);
        break;
    case RG_F16:
        for (int64_t i = 0; i < whole; i += VL)
            store(out + i, from_half(h + i));
        for (int64_t i = whole; i < n; i++)
            out[i] = rg_f16_to_f32(h[i]);
        break;
    case RG_BF16:
        for (int64_t i = 0; i < whole; i += VL)
            store(out + i, from_bf16(h + i));
        for (int64_t i = whole; i < n; i++)
            out[i] = rg_bf16_to_f32(h[i]);
        break;
    case RG_F8_E4M3:
        for (int64_t i = 0; i < whole; i += VL)
            store(out + i, from_e4m3(b + i));
        for (int64_t i = whole; i < n; i++)
            out[i] = rg_f8_e4m3_to_f32(b[i]);
        break;
    case RG_F8_E5M2:
        for (int64_t i = 0; i < whole; i += VL)
            store(out + i, from_e5m2(b + i));
        for (int64_t i = whole; i < n; i++)
            out[i] = rg_f8_e5m2_to_f32(b[i]);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)rg_element_get(x, i, dtype);
    }
}

static void narrow(void *out, const float *x, rg_dtype dtype, int64_t n)
{
    const int64_t whole = n - n % VL;
    uint16_t *h = out;

    switch (dtype) {
    case RG_F32:
        if (out != x)
            memcpy(out, x, (size_t)n * sizeof *x);
        break;
    case RG_BF16:
        for (int64_t i = 0; i < whole; i += VL)
            to_bf16(h + i, load(x + i));
        for (int64_t i = whole; i < n; i++)
            h[i] = rg_f32_to_bf16(x[i]);
        break;
#ifdef FLOAT_TO_HALF
    case RG_F16:
        for (int64_t i = 0; i < whole; i += VL)
            FLOAT_TO_HALF(h + i, load(x + i));
        for (int64_t i = whole; i < n; i++)
            h[i] = rg_f32_to_f16(x[i]);
        break;
#endif
    default:
        for (int64_t i = 0; i < n; i++)
            rg_element_set(out, i, dtype, (double)x[i]);
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

/* Four sums per lane hide the latency of the adder and keep rounding errors small. */
#define FOUR_SUMS(name, PARAMS, TERM)                                                       \
    static float name PARAMS                                                                \
    {                                                                                       \
        vf s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };                                  \
        int64_t i = 0;                                                                      \
        for (; i + 4 * VL <= n; i += 4 * VL) {                                              \
            s0 += TERM(0);                                                                  \
            s1 += TERM(VL);                                                                 \
            s2 += TERM(2 * VL);                                                             \
            s3 += TERM(3 * VL);                                                             \
        }                                                                                   \
        for (; i + VL <= n; i += VL)                                                        \
            s0 += TERM(0);                                                                  \
        float tail = 0.0f;                                                                  \
        for (; i < n; i++)                                                                  \
            tail += TAIL;                                                                   \
        return reduce_add((s0 + s1) + (s2 + s3)) + tail;                                    \
    }

#define TERM(o) load(x + i + (o))
#define TAIL x[i]
FOUR_SUMS(sum, (const float *x, int64_t n), TERM)
#undef TERM
#undef TAIL

static inline vf square(vf v) { return v * v; }
#define TERM(o) square(load(x + i + (o)) - all(mean))
#define TAIL (x[i] - mean) * (x[i] - mean)
FOUR_SUMS(sum_squares, (const float *x, float mean, int64_t n), TERM)
#undef TERM
#undef TAIL

#define TERM(o) load(x + i + (o)) * load(y + i + (o))
#define TAIL x[i] * y[i]
FOUR_SUMS(dot, (const float *x, const float *y, int64_t n), TERM)
#undef TERM
#undef TAIL

static float row_max(const float *x, int64_t n)
{
    vf m0 = all(-INFINITY), m1 = m0, m2 = m0, m3 = m0;
    float lanes[VL], max = -INFINITY;
    int64_t i = 0;

    for (; i + 4 * VL <= n; i += 4 * VL) {
        m0 = vmax(load(x + i), m0);
        m1 = vmax(load(x + i + VL), m1);
        m2 = vmax(load(x + i + 2 * VL), m2);
        m3 = vmax(load(x + i + 3 * VL), m3);
    }
    store(lanes, vmax(vmax(m0, m1), vmax(m2, m3)));
    for (int l = 0; l < VL; l++)
        max = lanes[l] > max ? lanes[l] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void scale_shift(float *out, const float *x, const float *a, const float *b, int64_t n_rows, int64_t n, bool has_silu)
{
    for (int64_t r = 0; r < n_rows; r++, out += n, x += n) {
        if (has_silu)
            EACH STORE(out, unary_vector(LOAD(x) * LOAD(a) + LOAD(b), RG_SILU));
        else
            EACH STORE(out, LOAD(x) * LOAD(a) + LOAD(b));
    }
}

static void layer_norm(float *out, const float *x, int64_t n, const float *weight, const float *bias, float eps)
{
    const float mean = sum(x, n) / (float)n;
    const vf r = all(1.0f / sqrtf(sum_squares(x, mean, n) / (float)n + eps)), m = all(mean);

    if (weight && bias)
        EACH STORE(out, (LOAD(x) - m) * r * LOAD(weight) + LOAD(bias));
    else if (weight)
        EACH STORE(out, (LOAD(x) - m) * r * LOAD(weight));
    else if (bias)
        EACH STORE(out, (LOAD(x) - m) * r + LOAD(bias));
    else
        EACH STORE(out, (LOAD(x) - m) * r);
}

static void rms_norm(float *out, const float *x, int64_t n, const float *weight, float eps)
{
    const vf r = all(1.0f / sqrtf(sum_squares(x, 0.0f, n) / (float)n + eps));

    if (weight)
        EACH STORE(out, LOAD(x) * r * LOAD(weight));
    else
        EACH STORE(out, LOAD(x) * r);
}

static void gated_add(float *out, const float *x, const float *g, const float *y, int64_t n)
{
    EACH STORE(out, LOAD(x) + LOAD(g) * LOAD(y));
}

static inline vf swap_pairs(vf v)
{
#if VECTOR_BYTES == 64
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif VECTOR_BYTES == 32
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
    return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

static void rotate(float *out, const float *x, const float *a, const float *b, int64_t n)
{
    EACH {
        const vf v = LOAD(x);
        STORE(out, v * LOAD(a) + swap_pairs(v) * LOAD(b));
    }
}

#define NORM_ROTATE(name, TYPE, FROM, TO)                                                   \
    static void name(TYPE *out, const TYPE *x, int64_t n, const float *weight, float eps, const float *a, const float *b) \
    {                                                                                       \
        vf r = all(1.0f);                                                                   \
        if (weight) {                                                                       \
            vf squares = { 0 };                                                             \
            for (int64_t i = 0; i < n; i += VL)                                             \
                squares += square(FROM(x + i));                                             \
            r = all(1.0f / sqrtf(reduce_add(squares) / (float)n + eps));                    \
        }                                                                                   \
        for (int64_t i = 0; i < n; i += VL) {                                               \
            vf v = FROM(x + i);                                                             \
            if (weight)                                                                     \
                v = v * r * load(weight + i);                                               \
            if (a)                                                                          \
                v = v * load(a + i) + swap_pairs(v) * load(b + i);                          \
            TO(out + i, v);                                                                 \
        }                                                                                   \
    }
NORM_ROTATE(norm_rotate_f32, float, load, store)
NORM_ROTATE(norm_rotate_bf16, uint16_t, from_bf16, to_bf16)

static bool norm_rotate(void *out, const void *x, rg_dtype dtype, int64_t n, const float *weight, float eps, const float *a, const float *b)
{
    if (n % VL || (dtype != RG_F32 && dtype != RG_BF16))
        return false;
    if (dtype == RG_F32)
        norm_rotate_f32(out, x, n, weight, eps, a, b);
    else
        norm_rotate_bf16(out, x, n, weight, eps, a, b);
    return true;
}

static void split_rotations(float *a, float *b, const float *pe, int64_t n)
{
    int64_t i = 0;

    for (; i + VL <= n; i += VL) {      /* VL / 2 matrices of 4 */
        const vf m0 = load(pe + 2 * i), m1 = load(pe + 2 * i + VL);
#if VECTOR_BYTES == 64
        store(a + i, __builtin_shufflevector(m0, m1, 0, 3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 23, 24, 27, 28, 31));
        store(b + i, __builtin_shufflevector(m0, m1, 1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22, 25, 26, 29, 30));
#elif VECTOR_BYTES == 32
        store(a + i, __builtin_shufflevector(m0, m1, 0, 3, 4, 7, 8, 11, 12, 15));
        store(b + i, __builtin_shufflevector(m0, m1, 1, 2, 5, 6, 9, 10, 13, 14));
#else
        store(a + i, __builtin_shufflevector(m0, m1, 0, 3, 4, 7));
        store(b + i, __builtin_shufflevector(m0, m1, 1, 2, 5, 6));
#endif
    }
    for (; i + 2 <= n; i += 2) {
        a[i] = pe[2 * i];
        b[i] = pe[2 * i + 1];
        b[i + 1] = pe[2 * i + 2];
        a[i + 1] = pe[2 * i + 3];
    }
}

/* Four columns of vectors at a time, kept in registers down all rows. */
#define COLUMNS(name, PARAMS, TERM, STEP)                                                   \
    static void name PARAMS                                                                 \
    {                                                                                       \
        int64_t i = 0;                                                                      \
        for (; i + 4 * VL <= n; i += 4 * VL) {                                              \
            vf s0 = load(to + i), s1 = load(to + i + VL), s2 = load(to + i + 2 * VL), s3 = load(to + i + 3 * VL); \
            for (int64_t r = 0; r < n_rows; r++) {                                          \
                const float *row = x + r * n + i;                                           \
                s0 += TERM(load(row), 0);                                                   \
                s1 += TERM(load(row + VL), VL);                                             \
                s2 += TERM(load(row + 2 * VL), 2 * VL);                                     \
                s3 += TERM(load(row + 3 * VL), 3 * VL);                                     \
            }                                                                               \
            store(to + i, s0);                                                              \
            store(to + i + VL, s1);                                                         \
            store(to + i + 2 * VL, s2);                                                     \
            store(to + i + 3 * VL, s3);                                                     \
        }                                                                                   \
        for (; i + VL <= n; i += VL) {                                                      \
            vf s0 = load(to + i);                                                           \
            for (int64_t r = 0; r < n_rows; r++)                                            \
                s0 += TERM(load(x + r * n + i), 0);                                         \
            store(to + i, s0);                                                              \
        }                                                                                   \
        for (; i < n; i++)                                                                  \
            for (int64_t r = 0; r < n_rows; r++)                                            \
                to[i] += STEP;                                                              \
    }
#define TERM(v, o) (v)
COLUMNS(add_rows, (float *to, const float *x, int64_t n_rows, int64_t n), TERM, x[r * n + i])
#undef TERM
#define TERM(v, o) square((v) - load(mean + i + (o)))
COLUMNS(add_squares, (float *to, const float *x, const float *mean, int64_t n_rows, int64_t n), TERM,
        (x[r * n + i] - mean[i]) * (x[r * n + i] - mean[i]))
#undef TERM

static void scale_row(float *x, float s, int64_t n)
{
    EACH STORE(x, LOAD(x) * all(s));
}

/* The exponentials of a row, two vectors at a time for the sake of the pipelines; NARROW(to, v) puts one vector away. */
#define EXP_ROW(name, TYPE, NARROW, IS_COARSE)                                                         \
    static float name(TYPE *out, const float *x, float scale, float max, int64_t n)         \
    {                                                                                       \
        const vf s = all(scale), m = all(max);                                              \
        vf s0 = { 0 }, s1 = { 0 };                                                          \
        int64_t i = 0;                                                                      \
        for (; i + 2 * VL <= n; i += 2 * VL) {                                              \
            const vf e0 = exp2_vector(load(x + i) * s - m, IS_COARSE), e1 = exp2_vector(load(x + i + VL) * s - m, IS_COARSE); \
            s0 += e0;                                                                       \
            s1 += e1;                                                                       \
            NARROW(out + i, e0);                                                            \
            NARROW(out + i + VL, e1);                                                       \
        }                                                                                   \
        float tail = 0.0f;                                                                  \
        for (; i < n; i += VL) {                                                            \
            const int64_t left = n - i < VL ? n - i : VL;                                   \
            float lanes[VL];                                                                \
            store(lanes, exp2_vector(load_part(x + i, left) * s - m, IS_COARSE));                    \
            for (int64_t l = 0; l < left; l++)                                              \
                tail += lanes[l];                                                           \
            narrow(out + i, lanes, sizeof(TYPE) == 4 ? RG_F32 : RG_BF16, left);             \
        }                                                                                   \
        return reduce_add(s0 + s1) + tail;                                                  \
    }
EXP_ROW(exp2_row_f32, float, store, false)
EXP_ROW(exp2_row_bf16, uint16_t, to_bf16_finite, true)

static float exp2_row(void *out, rg_dtype dtype, const float *x, float scale, float max, int64_t n)
{
    return dtype == RG_BF16 ? exp2_row_bf16(out, x, scale, max, n) : exp2_row_f32(out, x, scale, max, n);
}

/* ---- matrix times vector ----------------------------------------------------------------------------------------------------- */

/* Bound by reading the weights: two sums per row are enough. */
#define GEMV(name, TYPE, FROM, ONE)                                                         \
    static void name(float *out, const TYPE *w, const float *x, int64_t n_in, int64_t n_rows) \
    {                                                                                       \
        for (int64_t r = 0; r < n_rows; r++, w += n_in) {                                   \
            vf s0 = { 0 }, s1 = { 0 };                                                      \
            int64_t i = 0;                                                                  \
            for (; i + 2 * VL <= n_in; i += 2 * VL) {                                       \
                s0 += FROM(w + i) * load(x + i);                                            \
                s1 += FROM(w + i + VL) * load(x + i + VL);                                  \
            }                                                                               \
            float tail = 0.0f;                                                              \
            for (; i < n_in; i++)                                                           \
                tail += ONE(w[i]) * x[i];                                                   \
            out[r] = reduce_add(s0 + s1) + tail;                                            \
        }                                                                                   \
    }
GEMV(gemv_f32, float, load, (float))
GEMV(gemv_f16, uint16_t, from_half, rg_f16_to_f32)
GEMV(gemv_bf16, uint16_t, from_bf16, rg_bf16_to_f32)
GEMV(gemv_e4m3, uint8_t, from_e4m3, rg_f8_e4m3_to_f32)
GEMV(gemv_e5m2, uint8_t, from_e5m2, rg_f8_e5m2_to_f32)

static void gemv(float *out, const void *weight, rg_dtype dtype, const float *x, int64_t n_in, int64_t n_rows)
{
    switch (dtype) {
    case RG_F32: gemv_f32(out, weight, x, n_in, n_rows); break;
    case RG_F16: gemv_f16(out, weight, x, n_in, n_rows); break;
    case RG_BF16: gemv_bf16(out, weight, x, n_in, n_rows); break;
    case RG_F8_E4M3: gemv_e4m3(out, weight, x, n_in, n_rows); break;
    case RG_F8_E5M2: gemv_e5m2(out, weight, x, n_in, n_rows); break;
    default: RG_BUG("no matrix-vector product for %s", rg_dtype_name(dtype));
    }
}

const rg_simd SIMD_TABLE = {
    .name = SIMD_NAME,
    .widen = widen,
    .narrow = narrow,
    .unary = unary,
    .gated_unary = gated_unary,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .scale_shift = scale_shift,
    .gated_add = gated_add,
    .rotate = rotate,
    .split_rotations = split_rotations,
    .norm_rotate = norm_rotate,
    .add_rows = add_rows,
    .add_squares = add_squares,
    .sum = sum,
    .sum_squares = sum_squares,
    .max = row_max,
    .dot = dot,
    .exp2_row = exp2_row,
    .scale = scale_row,
    .gemv = gemv,
};
