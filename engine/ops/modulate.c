/*
 * Adaptive layer norm and gated residual of diffusion transformers. Source: Peebles & Xie 2022, arXiv:2212.09748;
 * ComfyUI ldm/flux/layers.py, DoubleStreamBlock.
 */
#include "engine/ops/define.h"

/* [B, 1, D] or [B, D] as [B, D]; a batch of 1 serves every B. */
static const rg_tensor *per_sample(rg_ctx *c, const char *op, const rg_tensor *t, const rg_tensor *x)
{
    const int64_t B = x->shape[0], D = x->shape[2];

    if (t->n_dims == 3 && t->shape[1] == 1)
        t = rg_squeeze(c, t, 1);
    if (!t)
        return NULL;
    if (t->n_dims != 2 || t->shape[1] != D || (t->shape[0] != B && t->shape[0] != 1))
        return rg_op_mismatch(c, op, x, t);
    return rg_expand(c, t, 2, (const int64_t[]){ B, D });
}

void rg_def_modulated_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps)
{
    const int64_t N = x->shape[1], D = x->shape[2], n_rows = x->shape[0] * N;

    for (int64_t row = 0; row < n_rows; row++) {
        const int64_t b = row / N;
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < D; i++)
            sum += rg_get(x, row * D + i);
        const double mean = sum / (double)D;
        for (int64_t i = 0; i < D; i++)
            squares += (rg_get(x, row * D + i) - mean) * (rg_get(x, row * D + i) - mean);
        const double r = 1.0 / sqrt(squares / (double)D + eps);
        for (int64_t i = 0; i < D; i++)
            rg_set(out, row * D + i, (rg_get(x, row * D + i) - mean) * r * (1.0 + rg_get(scale, b * D + i)) + rg_get(shift, b * D + i));
    }
}

rg_tensor *rg_modulated_norm(rg_ctx *c, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps)
{
    if (!RG_READY(c, "modulated_norm", 3, x, scale, shift) || !rg_op_float(c, "modulated_norm", x))
        return NULL;
    if (x->n_dims != 3)
        return rg_op_mismatch(c, "modulated_norm", x, scale);

    const int s = rg_scope_begin(c);
    const rg_tensor *a = per_sample(c, "modulated_norm", scale, x), *b = per_sample(c, "modulated_norm", shift, x);
    rg_tensor *out = a && b ? rg_tensor_new(c, x->dtype, 3, x->shape) : NULL;

    if (out)
        RG_RUN(c, modulated_norm, out, x, a, b, eps);
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

void rg_def_gated_add(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y)
{
    const int64_t N = x->shape[1], D = x->shape[2], n = rg_numel(x);

    for (int64_t i = 0; i < n; i++)
        rg_set(out, i, rg_get(x, i) + rg_get(gate, i / (N * D) * D + i % D) * rg_get(y, i));
}

rg_tensor *rg_gated_add(rg_ctx *c, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y)
{
    if (!RG_READY(c, "gated_add", 3, x, gate, y) || !rg_op_float(c, "gated_add", x))
        return NULL;
    if (x->n_dims != 3 || !rg_same_shape(x, y))
        return rg_op_mismatch(c, "gated_add", x, y);

    const int s = rg_scope_begin(c);
    const rg_tensor *g = per_sample(c, "gated_add", gate, x);
    rg_tensor *out = g ? rg_tensor_new(c, x->dtype, 3, x->shape) : NULL;

    if (out)
        RG_RUN(c, gated_add, out, x, g, y);
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}
