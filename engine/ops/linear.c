/* A linear layer: x W^T + b, and an activation in the same pass. Source: torch.nn.functional.linear. */
#include "engine/ops/define.h"

#include <string.h>

void rg_def_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    const int64_t n_in = rg_dim(w->weight, 1), n_out = rg_dim(w->weight, 0), n_rows = n_out ? rg_numel(out) / n_out : 0;
    double *vx = rg_def_load(c, x), *vw = rg_def_load(c, w->weight), *vb = rg_def_load(c, w->bias);
    const double scale = w->scale ? rg_get(w->scale, 0) : 1.0;

    if (!c->error) {
#pragma omp parallel for collapse(2) if (n_rows * n_out * n_in > 1 << 14)
        for (int64_t r = 0; r < n_rows; r++)
            for (int64_t o = 0; o < n_out; o++) {
                double sum = 0.0;
                for (int64_t i = 0; i < n_in; i++)
                    sum += vx[r * n_in + i] * vw[o * n_in + i];
                sum = sum * scale + (vb ? vb[o] : 0.0);
                rg_set(out, r * n_out + o, unary_kind < 0 ? sum : rg_def_unary_value(sum, (rg_unary_kind)unary_kind));
            }
    }
    rg_free(vx);
    rg_free(vw);
    rg_free(vb);
}

static rg_tensor *linear(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    int64_t shape[RG_MAX_DIMS];

    if (!RG_READY(c, "linear", 2, x, w->weight, w->bias, w->scale) || !rg_op_float(c, "linear", x) ||
        !rg_op_float(c, "linear", w->weight))
        return NULL;
    if (w->weight->n_dims != 2 || x->n_dims < 1 || rg_dim(x, -1) != w->weight->shape[1])
        return rg_op_mismatch(c, "linear", x, w->weight);
    if (!rg_op_vector(c, "linear", "bias", w->bias, w->weight->shape[0]))
        return NULL;
    if (w->scale && rg_numel(w->scale) != 1)
        return rg_op_mismatch(c, "linear (scale)", w->scale, w->weight);
    memcpy(shape, x->shape, sizeof shape);
    shape[x->n_dims - 1] = w->weight->shape[0];

    const int s = rg_scope_begin(c);
    const rg_tensor *rows = rg_contiguous(c, x);
    rg_tensor *out = rg_tensor_new(c, x->dtype, x->n_dims, shape);

    if (rows && out)
        RG_RUN(c, linear, out, w, rows, unary_kind);
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_linear(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x)
{
    return linear(c, w, x, -1);
}

rg_tensor *rg_linear_unary(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x, rg_unary_kind kind)
{
    return linear(c, w, x, (int)kind);
}
