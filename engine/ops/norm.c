/*
 * Layer, RMS and group norm. Source: torch.nn.functional.layer_norm, rms_norm, group_norm; Zhang & Sennrich 2019,
 * arXiv:1910.07467; Wu & He 2018, arXiv:1803.08494.
 */
#include "engine/ops/define.h"

void rg_def_layer_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps)
{
    const int64_t D = rg_dim(x, -1), n = rg_numel(x);

    for (int64_t row = 0; row < n; row += D) {
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < D; i++)
            sum += rg_get(x, row + i);
        const double mean = sum / (double)D;
        for (int64_t i = 0; i < D; i++)
            squares += (rg_get(x, row + i) - mean) * (rg_get(x, row + i) - mean);
        const double r = 1.0 / sqrt(squares / (double)D + eps);
        for (int64_t i = 0; i < D; i++)
            rg_set(out, row + i, (rg_get(x, row + i) - mean) * r * (weight ? rg_get(weight, i) : 1.0) + (bias ? rg_get(bias, i) : 0.0));
    }
}

rg_tensor *rg_layer_norm(rg_ctx *c, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps)
{
    if (!RG_READY(c, "layer_norm", 1, x, weight, bias) || !rg_op_float(c, "layer_norm", x) ||
        !rg_op_vector(c, "layer_norm", "weight", weight, rg_dim(x, -1)) || !rg_op_vector(c, "layer_norm", "bias", bias, rg_dim(x, -1)))
        return NULL;
    rg_tensor *out = rg_tensor_new(c, x->dtype, x->n_dims, x->shape);
    if (!out)
        return NULL;
    RG_RUN(c, layer_norm, out, x, weight, bias, eps);
    return c->error ? NULL : out;
}

void rg_def_rms_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps)
{
    const int64_t D = rg_dim(x, -1), n = rg_numel(x);

    for (int64_t row = 0; row < n; row += D) {
        double sum = 0.0;               /* double: the reference must not be the noisy side */
        for (int64_t i = 0; i < D; i++)
            sum += rg_get(x, row + i) * rg_get(x, row + i);
        const double r = 1.0 / sqrt(sum / (double)D + eps);
        for (int64_t i = 0; i < D; i++)
            rg_set(out, row + i, rg_get(x, row + i) * r * (weight ? rg_get(weight, i) : 1.0));
    }
}

rg_tensor *rg_rms_norm(rg_ctx *c, const rg_tensor *x, const rg_tensor *weight, float eps)
{
    if (!RG_READY(c, "rms_norm", 1, x, weight) || !rg_op_float(c, "rms_norm", x) ||
        !rg_op_vector(c, "rms_norm", "weight", weight, rg_dim(x, -1)))
        return NULL;
    rg_tensor *out = rg_tensor_new(c, x->dtype, x->n_dims, x->shape);
    if (!out)
        return NULL;
    RG_RUN(c, rms_norm, out, x, weight, eps);
    return c->error ? NULL : out;
}

void rg_def_group_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight,
                       const rg_tensor *bias, float eps, bool has_silu)
{
    const int64_t C = x->shape[1], HW = x->shape[2] * x->shape[3], n = C / n_groups * HW;   /* n: elements of a group */

    for (int64_t g = 0; g < x->shape[0] * n_groups; g++) {      /* a group is contiguous in row-major order */
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < n; i++)
            sum += rg_get(x, g * n + i);
        const double mean = sum / (double)n;
        for (int64_t i = 0; i < n; i++)
            squares += (rg_get(x, g * n + i) - mean) * (rg_get(x, g * n + i) - mean);
        const double r = 1.0 / sqrt(squares / (double)n + eps);
        for (int64_t i = 0; i < n; i++) {
            const int64_t channel = g % n_groups * (C / n_groups) + i / HW;
            const double v = (rg_get(x, g * n + i) - mean) * r * (weight ? rg_get(weight, channel) : 1.0) +
                             (bias ? rg_get(bias, channel) : 0.0);
            rg_set(out, g * n + i, has_silu ? rg_def_unary_value(v, RG_SILU) : v);
        }
    }
}

rg_tensor *rg_group_norm(rg_ctx *c, const rg_tensor *x, int n_groups, const rg_tensor *weight, const rg_tensor *bias,
                         float eps, bool has_silu)
{
    char text[128];

    if (!RG_READY(c, "group_norm", 1, x, weight, bias) || !rg_op_float(c, "group_norm", x))
        return NULL;
    if (x->n_dims != 4 || n_groups < 1 || x->shape[1] % n_groups) {
        rg_fail(c, RG_ERR_SHAPE, "group_norm got shape %s and %d groups, wanted [B, C, H, W] with C a multiple of the groups",
                rg_shape_text(x, text, sizeof text), n_groups);
        return NULL;
    }
    if (!rg_op_vector(c, "group_norm", "weight", weight, x->shape[1]) || !rg_op_vector(c, "group_norm", "bias", bias, x->shape[1]))
        return NULL;
    rg_tensor *out = rg_new_picture_like(c, x, x->shape[2], x->shape[3]);
    if (!out)
        return NULL;
    RG_RUN(c, group_norm, out, x, n_groups, weight, bias, eps, has_silu);
    return c->error ? NULL : out;
}
