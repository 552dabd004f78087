/*
 * Rotary embedding with several axes, and the norm before it. Source: Su et al. 2021, arXiv:2104.09864; ComfyUI
 * ldm/flux/math.py. Easy to get wrong: angles are float64 products, the table is float32, pairs are adjacent.
 */
#include "engine/ops/define.h"

void rg_def_rope_table(rg_ctx *c, rg_tensor *out, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta)
{
    const int64_t B = ids->shape[0], N = ids->shape[1];
    int64_t at = 0;

    for (int64_t n = 0; n < B * N; n++)
        for (int a = 0; a < n_axes; a++) {
            const int half = axes_dim[a] / 2;
            const double position = rg_get(ids, n * n_axes + a);

            for (int i = 0; i < half; i++) {
                const double angle = position * (1.0 / pow(theta, (double)(2 * i) / axes_dim[a]));
                rg_set(out, at++, cos(angle));
                rg_set(out, at++, -sin(angle));
                rg_set(out, at++, sin(angle));
                rg_set(out, at++, cos(angle));
            }
        }
}

rg_tensor *rg_rope_table(rg_ctx *c, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta)
{
    char text[128];
    int64_t D = 0;

    if (!RG_READY(c, "rope_table", 1, ids))
        return NULL;
    for (int a = 0; a < n_axes; a++) {
        if (axes_dim[a] <= 0 || axes_dim[a] % 2) {
            rg_fail(c, RG_ERR_SHAPE, "rope_table got axis size %d, wanted an even number", axes_dim[a]);
            return NULL;
        }
        D += axes_dim[a];
    }
    if (ids->n_dims != 3 || ids->shape[2] != n_axes) {
        rg_fail(c, RG_ERR_SHAPE, "rope_table got ids of shape %s, wanted [B, N, %d]", rg_shape_text(ids, text, sizeof text), n_axes);
        return NULL;
    }

    rg_tensor *out = rg_tensor_new(c, RG_F32, 6, (const int64_t[]){ ids->shape[0], 1, ids->shape[1], D / 2, 2, 2 });
    if (!out)
        return NULL;
    RG_RUN(c, rope_table, out, ids, axes_dim, n_axes, theta);
    return c->error ? NULL : out;
}

void rg_def_norm_rope(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe)
{
    const int64_t H = x->shape[1], N = x->shape[2], D = x->shape[3], n_rows = x->shape[0] * H * N;

    for (int64_t row = 0; row < n_rows; row++) {
        const int64_t b = row / (H * N), n = row % N;
        double r = 1.0;

        if (weight) {
            double sum = 0.0;
            for (int64_t i = 0; i < D; i++)
                sum += rg_get(x, row * D + i) * rg_get(x, row * D + i);
            r = 1.0 / sqrt(sum / (double)D + eps);
        }
        for (int64_t i = 0; i < D; i += pe ? 2 : 1) {
            const double a = rg_get(x, row * D + i) * r * (weight ? rg_get(weight, i) : 1.0);
            if (!pe) {
                rg_set(out, row * D + i, a);
                continue;
            }
            const double a2 = rg_get(x, row * D + i + 1) * r * (weight ? rg_get(weight, i + 1) : 1.0);
            const int64_t m = (((pe->shape[0] == 1 ? 0 : b) * N + n) * (D / 2) + i / 2) * 4;    /* 2 x 2 matrix */
            rg_set(out, row * D + i, rg_get(pe, m) * a + rg_get(pe, m + 1) * a2);
            rg_set(out, row * D + i + 1, rg_get(pe, m + 2) * a + rg_get(pe, m + 3) * a2);
        }
    }
}

/* into dst, or (NULL) into a new tensor */
static rg_tensor *norm_rope(rg_ctx *c, rg_tensor *dst, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe)
{
    if (!RG_READY(c, "norm_rope", 1, x, weight, pe, dst) || !rg_op_float(c, "norm_rope", x))
        return NULL;
    if (x->n_dims != 4)
        return rg_op_mismatch(c, "norm_rope", x, x);
    if (!rg_op_vector(c, "norm_rope", "weight", weight, x->shape[3]))
        return NULL;
    if (pe && (pe->n_dims != 6 || (pe->shape[0] != 1 && pe->shape[0] != x->shape[0]) || pe->shape[1] != 1 ||
               pe->shape[2] != x->shape[2] || pe->shape[3] * 2 != x->shape[3] || pe->shape[4] != 2 || pe->shape[5] != 2))
        return rg_op_mismatch(c, "norm_rope", x, pe);
    if (pe && pe->dtype != RG_F32) {
        rg_fail(c, RG_ERR_DTYPE, "norm_rope got a rotary table of %s, wanted F32", rg_dtype_name(pe->dtype));
        return NULL;
    }
    if (dst && !rg_into_fits(c, "norm_rope", dst, x->dtype, 4, x->shape))
        return NULL;

    const int s = rg_scope_begin(c);
    rg_tensor *out = dst ? rg_into_begin(c, dst, dst->data == x->data) : rg_tensor_new(c, x->dtype, 4, x->shape);
    if (out)
        RG_RUN(c, norm_rope, out, x, weight, eps, pe);
    if (dst) {
        rg_into_end(c, dst, out);
        out = NULL;
    }
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_norm_rope(rg_ctx *c, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe)
{
    return norm_rope(c, NULL, x, weight, eps, pe);
}

void rg_norm_rope_into(rg_ctx *c, rg_tensor *dst, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe)
{
    if (dst)
        norm_rope(c, dst, x, weight, eps, pe);
}
