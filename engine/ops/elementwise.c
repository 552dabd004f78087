/*
 * Arithmetic element by element. In float32 (bf16 and f16 widen, then round once), each operation rounded by itself:
 * samplers rely on getting torch's bits. float64 stays in float64.
 */
#include "engine/ops/define.h"

static double binary_value(double a, double b, rg_binary_kind kind, bool is_f64)
{
    const float fa = (float)a, fb = (float)b;

    switch (kind) {
    case RG_ADD: return is_f64 ? a + b : fa + fb;
    case RG_SUB: return is_f64 ? a - b : fa - fb;
    case RG_MUL: return is_f64 ? a * b : fa * fb;
    case RG_DIV: return is_f64 ? a / b : fa / fb;
    case RG_MAXIMUM: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;     /* torch lets NaN through */
    case RG_MINIMUM: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
    case RG_N_BINARY: break;
    }
    RG_BUG("binary kind %d", kind);
}

void rg_def_binary(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind)
{
    const int64_t n = rg_numel(out);
    const bool is_f64 = out->dtype == RG_F64 || !rg_is_float(out->dtype);

    for (int64_t i = 0; i < n; i++)
        rg_set(out, i, binary_value(rg_get(a, i), rg_get(b, i), kind, is_f64));
}

static rg_tensor *binary(rg_ctx *c, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind, const char *name)
{
    int64_t shape[RG_MAX_DIMS];

    if (!RG_READY(c, name, 2, a, b))
        return NULL;
    const int n_dims = rg_broadcast_shape(a, b, shape);
    if (n_dims < 0)
        return rg_op_mismatch(c, name, a, b);

    rg_tensor *out;
    const int s = rg_scope_begin(c);
    const rg_tensor *ea = rg_expand(c, a, n_dims, shape), *eb = rg_expand(c, b, n_dims, shape);

    if (!ea || !eb)
        out = NULL;
    else                                /* the memory order of an operand that is not broadcast */
        out = rg_new_like(c, rg_same_shape(a, ea) ? a : rg_same_shape(b, ea) ? b : ea, a->dtype);
    if (out)
        RG_RUN(c, binary, out, ea, eb, kind);
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_add(rg_ctx *c, const rg_tensor *a, const rg_tensor *b) { return binary(c, a, b, RG_ADD, "add"); }
rg_tensor *rg_sub(rg_ctx *c, const rg_tensor *a, const rg_tensor *b) { return binary(c, a, b, RG_SUB, "sub"); }
rg_tensor *rg_mul(rg_ctx *c, const rg_tensor *a, const rg_tensor *b) { return binary(c, a, b, RG_MUL, "mul"); }
rg_tensor *rg_div(rg_ctx *c, const rg_tensor *a, const rg_tensor *b) { return binary(c, a, b, RG_DIV, "div"); }
rg_tensor *rg_maximum(rg_ctx *c, const rg_tensor *a, const rg_tensor *b) { return binary(c, a, b, RG_MAXIMUM, "maximum"); }
rg_tensor *rg_minimum(rg_ctx *c, const rg_tensor *a, const rg_tensor *b) { return binary(c, a, b, RG_MINIMUM, "minimum"); }

void rg_def_affine(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++) {
        if (out->dtype == RG_F64) {
            rg_set(out, i, rg_get(x, i) * (double)scale + (double)shift);
            continue;
        }
        const float product = (float)rg_get(x, i) * scale;      /* exact when scale is 1 */
        rg_set(out, i, shift == 0.0f ? product : product + shift);  /* -0 stays -0 */
    }
}

rg_tensor *rg_affine(rg_ctx *c, const rg_tensor *x, float scale, float shift)
{
    if (!RG_READY(c, "affine", 1, x) || !rg_op_float(c, "affine", x))
        return NULL;
    rg_tensor *out = rg_new_like(c, x, x->dtype);
    if (!out)
        return NULL;
    RG_RUN(c, affine, out, x, scale, shift);
    return c->error ? NULL : out;
}

void rg_def_div_scalar(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++)
        rg_set(out, i, out->dtype == RG_F64 ? rg_get(x, i) / (double)divisor : (float)rg_get(x, i) / divisor);
}

rg_tensor *rg_div_scalar(rg_ctx *c, const rg_tensor *x, float divisor)
{
    if (!RG_READY(c, "div_scalar", 1, x) || !rg_op_float(c, "div_scalar", x))
        return NULL;
    rg_tensor *out = rg_new_like(c, x, x->dtype);
    if (!out)
        return NULL;
    RG_RUN(c, div_scalar, out, x, divisor);
    return c->error ? NULL : out;
}

void rg_def_add_scaled(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++) {
        if (out->dtype == RG_F64) {
            rg_set(out, i, rg_get(a, i) + (double)s * rg_get(b, i));
            continue;
        }
        const float product = s * (float)rg_get(b, i);
        rg_set(out, i, (float)rg_get(a, i) + product);
    }
}

rg_tensor *rg_add_scaled(rg_ctx *c, const rg_tensor *a, const rg_tensor *b, float s)
{
    if (!RG_READY(c, "add_scaled", 2, a, b) || !rg_op_float(c, "add_scaled", a))
        return NULL;
    if (!rg_same_shape(a, b))
        return rg_op_mismatch(c, "add_scaled", a, b);
    rg_tensor *out = rg_new_like(c, a, a->dtype);
    if (!out)
        return NULL;
    RG_RUN(c, add_scaled, out, a, b, s);
    return c->error ? NULL : out;
}

void rg_def_clamp(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++) {
        double v = rg_get(x, i);
        if (v < min)                    /* both false for NaN, which passes */
            v = min;
        if (v > max)
            v = max;
        rg_set(out, i, v);
    }
}

rg_tensor *rg_clamp(rg_ctx *c, const rg_tensor *x, float min, float max)
{
    if (!RG_READY(c, "clamp", 1, x))
        return NULL;
    rg_tensor *out = rg_new_like(c, x, x->dtype);
    if (!out)
        return NULL;
    RG_RUN(c, clamp, out, x, min, max);
    return c->error ? NULL : out;
}
