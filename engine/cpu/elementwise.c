/*
 * Copies and elementwise arithmetic on rows. The arithmetic is compiled without fused multiply-add, like everything
 * outside simd_*.c: samplers get torch's bits. Arithmetic on other dtypes than f32, f16, bf16 and fp8 goes to the
 * definitions.
 */
#include <string.h>

#include "engine/core/convert.h"
#include "engine/cpu/fast.h"
#include "engine/cpu/rows.h"
#include "engine/ops/define.h"

/* ---- copy --------------------------------------------------------------------------------------------------------- */

#define COPY_ELEMENTS(TYPE)                                                                 \
    for (int64_t i = 0; i < n; i++)                                                         \
        ((TYPE *)at[0])[i * r->step[0]] = ((const TYPE *)at[1])[i * r->step[1]]

static void copy_same(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    const size_t size = rg_dtype_size(r->dtype[0]);

    if (r->step[0] == 1 && r->step[1] == 1)
        memcpy(at[0], at[1], (size_t)n * size);
    else if (size == 4)
        COPY_ELEMENTS(uint32_t);
    else if (size == 2)
        COPY_ELEMENTS(uint16_t);
    else if (size == 1)
        COPY_ELEMENTS(uint8_t);
    else
        COPY_ELEMENTS(uint64_t);
}

static void copy_floats(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float buffer[ROWS_PIECE];

    if (r->step[1] == 1) {              /* widen straight into the output where that is possible */
        float *to = rg_rows_target(r, at[0], buffer);
        rg_simd_get()->widen(to, at[1], r->dtype[1], n);
        rg_rows_store(r, at[0], to, n);
        return;
    }
    rg_rows_store(r, at[0], rg_rows_load(r, 1, at[1], n, buffer), n);
}

static void copy_elements(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    for (int64_t i = 0; i < n; i++)
        rg_element_set(at[0], i * r->step[0], r->dtype[0], rg_element_get(at[1], i * r->step[1], r->dtype[1]));
}

void rg_cpu_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    rg_rows r;

    if (out->dtype != x->dtype && x->dtype == RG_I64 && !rg_is_float(out->dtype)) {
        rg_def_copy(c, out, x);         /* a double cannot carry every int64 */
        return;
    }
    rg_rows_init(&r, 2, (const rg_tensor *const[]){ out, x });
    rg_rows_run(&r, out->dtype == x->dtype ? copy_same : rg_rows_as_float(out) && rg_rows_as_float(x) ? copy_floats : copy_elements, NULL);
}

/* ---- arithmetic ------------------------------------------------------------------------------------------------------ */

static void binary_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float ba[ROWS_PIECE], bb[ROWS_PIECE], bo[ROWS_PIECE];
    const float *restrict a = rg_rows_load(r, 1, at[1], n, ba), *restrict b = rg_rows_load(r, 2, at[2], n, bb);
    float *restrict o = rg_rows_target(r, at[0], bo);

    switch (*(const rg_binary_kind *)user) {
    case RG_ADD: for (int64_t i = 0; i < n; i++) o[i] = a[i] + b[i]; break;
    case RG_SUB: for (int64_t i = 0; i < n; i++) o[i] = a[i] - b[i]; break;
    case RG_MUL: for (int64_t i = 0; i < n; i++) o[i] = a[i] * b[i]; break;
    case RG_DIV: for (int64_t i = 0; i < n; i++) o[i] = a[i] / b[i]; break;
    case RG_MAXIMUM: for (int64_t i = 0; i < n; i++) o[i] = a[i] != a[i] || a[i] > b[i] ? a[i] : b[i]; break;   /* NaN wins */
    case RG_MINIMUM: for (int64_t i = 0; i < n; i++) o[i] = a[i] != a[i] || a[i] < b[i] ? a[i] : b[i]; break;
    case RG_N_BINARY: break;
    }
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_binary(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind)
{
    rg_rows r;

    if (!rg_rows_as_float(out) || !rg_rows_as_float(a) || !rg_rows_as_float(b)) {
        rg_def_binary(c, out, a, b, kind);
        return;
    }
    rg_rows_init(&r, 3, (const rg_tensor *const[]){ out, a, b });
    rg_rows_run(&r, binary_piece, &kind);
}

typedef struct scalars {
    float a, b;
} scalars;

static void affine_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float bx[ROWS_PIECE], bo[ROWS_PIECE];
    const float *restrict x = rg_rows_load(r, 1, at[1], n, bx);
    float *restrict o = rg_rows_target(r, at[0], bo);
    const scalars s = *(const scalars *)user;

    if (s.b == 0.0f)                    /* adding 0 would turn -0 into 0 */
        for (int64_t i = 0; i < n; i++)
            o[i] = x[i] * s.a;
    else
        for (int64_t i = 0; i < n; i++) {
            const float product = x[i] * s.a;
            o[i] = product + s.b;
        }
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_affine(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift)
{
    rg_rows r;
    scalars s = { scale, shift };

    if (!rg_rows_as_float(x)) {
        rg_def_affine(c, out, x, scale, shift);
        return;
    }
    rg_rows_init(&r, 2, (const rg_tensor *const[]){ out, x });
    rg_rows_run(&r, affine_piece, &s);
}

static void div_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float bx[ROWS_PIECE], bo[ROWS_PIECE];
    const float *restrict x = rg_rows_load(r, 1, at[1], n, bx);
    float *restrict o = rg_rows_target(r, at[0], bo);
    const float d = *(const float *)user;

    for (int64_t i = 0; i < n; i++)
        o[i] = x[i] / d;
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_div_scalar(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor)
{
    rg_rows r;

    if (!rg_rows_as_float(x)) {
        rg_def_div_scalar(c, out, x, divisor);
        return;
    }
    rg_rows_init(&r, 2, (const rg_tensor *const[]){ out, x });
    rg_rows_run(&r, div_piece, &divisor);
}

static void add_scaled_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float ba[ROWS_PIECE], bb[ROWS_PIECE], bo[ROWS_PIECE];
    const float *restrict a = rg_rows_load(r, 1, at[1], n, ba), *restrict b = rg_rows_load(r, 2, at[2], n, bb);
    float *restrict o = rg_rows_target(r, at[0], bo);
    const float s = *(const float *)user;

    for (int64_t i = 0; i < n; i++) {
        const float product = s * b[i];
        o[i] = a[i] + product;
    }
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_add_scaled(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s)
{
    rg_rows r;

    if (!rg_rows_as_float(a) || !rg_rows_as_float(b)) {
        rg_def_add_scaled(c, out, a, b, s);
        return;
    }
    rg_rows_init(&r, 3, (const rg_tensor *const[]){ out, a, b });
    rg_rows_run(&r, add_scaled_piece, &s);
}

static void clamp_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float bx[ROWS_PIECE], bo[ROWS_PIECE];
    const float *restrict x = rg_rows_load(r, 1, at[1], n, bx);
    float *restrict o = rg_rows_target(r, at[0], bo);
    const scalars s = *(const scalars *)user;

    for (int64_t i = 0; i < n; i++) {
        const float low = x[i] < s.a ? s.a : x[i];
        o[i] = low > s.b ? s.b : low;
    }
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_clamp(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max)
{
    rg_rows r;
    scalars s = { min, max };

    if (!rg_rows_as_float(x)) {
        rg_def_clamp(c, out, x, min, max);
        return;
    }
    rg_rows_init(&r, 2, (const rg_tensor *const[]){ out, x });
    rg_rows_run(&r, clamp_piece, &s);
}

/* ---- functions ---------------------------------------------------------------------------------------------------------- */

static void unary_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float bx[ROWS_PIECE], bo[ROWS_PIECE];
    float *o = rg_rows_target(r, at[0], bo);

    rg_simd_get()->unary(o, rg_rows_load(r, 1, at[1], n, bx), n, *(const rg_unary_kind *)user);
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind)
{
    rg_rows r;

    if (!rg_rows_as_float(x)) {
        rg_def_unary(c, out, x, kind);
        return;
    }
    rg_rows_init(&r, 2, (const rg_tensor *const[]){ out, x });
    rg_rows_run(&r, unary_piece, &kind);
}

static void gated_piece(const rg_rows *r, char *const *at, int64_t n, void *user)
{
    float ba[ROWS_PIECE], bb[ROWS_PIECE], bo[ROWS_PIECE];
    const float *gate = rg_rows_load(r, 1, at[1], n, ba), *up = rg_rows_load(r, 2, at[2], n, bb);
    float *o = rg_rows_target(r, at[0], bo);

    rg_simd_get()->gated_unary(o, gate, up, n, *(const rg_unary_kind *)user);
    rg_rows_store(r, at[0], o, n);
}

void rg_cpu_gated_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind)
{
    rg_rows r;

    if (!rg_rows_as_float(gate) || !rg_rows_as_float(up)) {
        rg_def_gated_unary(c, out, gate, up, kind);
        return;
    }
    rg_rows_init(&r, 3, (const rg_tensor *const[]){ out, gate, up });
    rg_rows_run(&r, gated_piece, &kind);
}
