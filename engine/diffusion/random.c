/*
 * PyTorch's CPU generator: mt19937 (Matsumoto & Nishimura 1998), its uniform mappings and its Box-Muller transforms.
 *
 * Float32 tensors of 16 or more elements take a path of their own in PyTorch (AVX2 builds, that is every x86 machine in
 * use): uniforms are drawn for the whole tensor, then each 16 of them become 16 normals, logarithm and sine coming from the
 * single-precision Cephes polynomials. normal_pair() evaluates the same polynomials in the same order with the same fused
 * multiply-adds, so that the last bit agrees on any machine. A ragged end draws its last 16 once more.
 * Everything else (fewer elements, float64) uses float64 and the C library.
 *
 * Source: ATen/core/MT19937RNGEngine.h, TransformationHelper.h, DistributionsHelper.h, native/cpu/DistributionTemplates.h;
 * Moshier's Cephes library (logf.c, sinf.c) for the polynomials.
 */
#include "engine/diffusion/random.h"

#include <math.h>
#include <string.h>

#include "engine/diffusion/tensors.h"

enum { MT_N = 624, MT_M = 397, CHUNK = 16 };

void rg_generator_seed(rg_generator *g, uint64_t seed)
{
    *g = (rg_generator){ 0 };
    g->state[0] = (uint32_t)seed;       /* the high half of the seed does not count, in PyTorch neither */
    for (uint32_t i = 1; i < MT_N; i++)
        g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
    g->next = MT_N;
}

static uint32_t twist(uint32_t upper, uint32_t lower)
{
    const uint32_t y = (upper & 0x80000000u) | (lower & 0x7fffffffu);

    return (y >> 1) ^ ((lower & 1) ? 0x9908b0dfu : 0);
}

static void refill(rg_generator *g)
{
    uint32_t *s = g->state;

    for (int i = 0; i < MT_N - MT_M; i++)
        s[i] = s[i + MT_M] ^ twist(s[i], s[i + 1]);
    for (int i = MT_N - MT_M; i < MT_N - 1; i++)
        s[i] = s[i + MT_M - MT_N] ^ twist(s[i], s[i + 1]);
    s[MT_N - 1] = s[MT_M - 1] ^ twist(s[MT_N - 1], s[0]);
    g->next = 0;
}

uint32_t rg_generator_u32(rg_generator *g)
{
    if (g->next >= MT_N)
        refill(g);
    uint32_t y = g->state[g->next++];

    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

uint64_t rg_generator_u64(rg_generator *g)
{
    const uint64_t high = rg_generator_u32(g);

    return high << 32 | rg_generator_u32(g);
}

/* [0, 1): as many random bits as the mantissa holds */
static float uniform_f32(rg_generator *g)
{
    return (float)(rg_generator_u32(g) & 0xffffffu) * 0x1p-24f;
}

static double uniform_f64(rg_generator *g)
{
    return (double)(rg_generator_u64(g) & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

/* One float64 normal; they come in pairs, the second waits in the generator. */
static double normal_f64(rg_generator *g)
{
    if (g->has_normal) {
        g->has_normal = false;
        return g->normal;
    }
    const double u1 = uniform_f64(g), u2 = uniform_f64(g);
    const double radius = sqrt(-2.0 * log1p(-u2)), theta = 2.0 * M_PI * u1;

    g->normal = radius * sin(theta);
    g->has_normal = true;
    return radius * cos(theta);
}

/* ---- 16 float32 at a time -------------------------------------------------------------------------------------- */

static float as_float(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t as_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Cephes logf for x in (0, 1], normal: ln(mantissa) by a degree-8 polynomial around 1, plus exponent * ln 2 in two parts. */
static inline float log_cephes(float x)
{
    const uint32_t bits = as_bits(x);
    float e = (float)((int)(bits >> 23) - 126);
    float m = as_float((bits & 0x007fffffu) | 0x3f000000u);     /* [0.5, 1) */

    if (m < 0.707106781186547524f) {
        e -= 1.0f;
        m = (m - 1.0f) + m;
    } else {
        m -= 1.0f;
    }
    const float z = m * m;
    float p = 7.0376836292E-2f;
    p = fmaf(p, m, -1.1514610310E-1f);
    p = fmaf(p, m, 1.1676998740E-1f);
    p = fmaf(p, m, -1.2420140846E-1f);
    p = fmaf(p, m, 1.4249322787E-1f);
    p = fmaf(p, m, -1.6668057665E-1f);
    p = fmaf(p, m, 2.0000714765E-1f);
    p = fmaf(p, m, -2.4999993993E-1f);
    p = fmaf(p, m, 3.3333331174E-1f);
    p = fmaf(p * m, z, e * -2.12194440e-4f);
    p = fmaf(-0.5f, z, p);
    return fmaf(e, 0.693359375f, m + p);
}

/* Cephes sinf and cosf of x in [0, 2 pi): octant, reduction by pi/4 in three parts, a polynomial each. */
static inline void sincos_cephes(float x, float *sine, float *cosine)
{
    const int octant = ((int)(x * 1.27323954473516f) + 1) & ~1;
    const float n = (float)octant;

    x = fmaf(n, -0.78515625f, x);
    x = fmaf(n, -2.4187564849853515625e-4f, x);
    x = fmaf(n, -3.77489497744594108e-8f, x);

    const float z = x * x;
    float c = 2.443315711809948E-005f;
    c = fmaf(c, z, -1.388731625493765E-003f);
    c = fmaf(c, z, 4.166664568298827E-002f);
    c = fmaf(c * z, z, -(z * 0.5f)) + 1.0f;
    float s = -1.9515295891E-4f;
    s = fmaf(s, z, 8.3321608736E-3f);
    s = fmaf(s, z, -1.6666654611E-1f);
    s = fmaf(s * z, x, x);

    const float sin_value = octant & 2 ? c : s, cos_value = octant & 2 ? s : c;
    *sine = octant & 4 ? -sin_value : sin_value;
    *cosine = (octant - 2) & 4 ? cos_value : -cos_value;
}

/* 16 uniforms become 16 normals in place: the first eight give the radius, the other eight the angle. */
static void normal_chunk(float *data)
{
    for (int i = 0; i < CHUNK / 2; i++) {
        const float radius = sqrtf(-2.0f * log_cephes(1.0f - data[i]));
        float s, c;

        sincos_cephes(6.28318530717958647692f * data[i + 8], &s, &c);
        data[i] = radius * c + 0.0f;    /* times 1 plus 0 in PyTorch: no negative zero comes out */
        data[i + 8] = radius * s + 0.0f;
    }
}

static void normal_chunk_f64(double *data)
{
    for (int i = 0; i < CHUNK / 2; i++) {
        const double radius = sqrt(-2.0 * log(1.0 - data[i])), theta = 2.0 * M_PI * data[i + 8];

        data[i] = radius * cos(theta) + 0.0;
        data[i + 8] = radius * sin(theta) + 0.0;
    }
}

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

void rg_rand_f32(rg_generator *g, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = uniform_f32(g);
}

void rg_randn_f32(rg_generator *g, float *out, int64_t n)
{
    if (n < CHUNK) {
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)normal_f64(g);
        return;
    }
    rg_rand_f32(g, out, n);
    for (int64_t i = 0; i + CHUNK <= n; i += CHUNK)
        normal_chunk(out + i);
    if (n % CHUNK != 0) {               /* the last 16, part of them for the second time */
        rg_rand_f32(g, out + n - CHUNK, CHUNK);
        normal_chunk(out + n - CHUNK);
    }
}

void rg_randn_f64(rg_generator *g, double *out, int64_t n)
{
    if (n < CHUNK) {
        for (int64_t i = 0; i < n; i++)
            out[i] = normal_f64(g);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = uniform_f64(g);
    for (int64_t i = 0; i + CHUNK <= n; i += CHUNK)
        normal_chunk_f64(out + i);
    if (n % CHUNK != 0) {
        for (int i = 0; i < CHUNK; i++)
            out[n - CHUNK + i] = uniform_f64(g);
        normal_chunk_f64(out + n - CHUNK);
    }
}

rg_tensor *rg_randn(rg_ctx *c, rg_generator *g, int n_dims, const int64_t *shape)
{
    rg_tensor *t = rg_host_tensor(c, RG_F32, n_dims, shape);

    if (t)
        rg_randn_f32(g, t->data, rg_numel(t));
    return t;
}
