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

/* True if the leading dims of t step evenly, so that it is a matrix of rows `pitch` apart. */
static bool is_matrix(const rg_tensor *t, int64_t *pitch)
{
    int64_t step = 0, rows = 1;

    for (int d = t->n_dims - 2; d >= 0; d--) {
        if (t->shape[d] == 1)
            continue;
        if (rows == 1)
            step = t->stride[d];
        else if (t->stride[d] != step * rows)
            return false;
        rows *= t->shape[d];
    }
    *pitch = rows > 1 ? step : rg_dim(t, -1);
    return true;
}

/* x row-major, out without gaps in its last dim. The row gets a row-major out, or a matrix with a pitch. */
static void run(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    int64_t pitch;

    if (!x || !out)
        return;
    if (rg_is_contiguous(out)) {
        rg_work(2.0 * (double)rg_numel(out) * (double)rg_dim(x, -1));
        RG_RUN(c, linear, out, w, x, unary_kind);
    } else if (is_matrix(out, &pitch)) {
        const int64_t n = rg_dim(out, -1);
        rg_tensor matrix = *out;        /* a header of this call alone: rows never keep their operands */
        matrix.n_dims = 2;
        matrix.shape[0] = n ? rg_numel(out) / n : 0;
        matrix.shape[1] = n;
        matrix.stride[0] = pitch;
        matrix.stride[1] = 1;
        rg_work(2.0 * (double)rg_numel(&matrix) * (double)rg_dim(x, -1));
        RG_RUN(c, linear, &matrix, w, x, unary_kind);
    } else {                            /* the batch of a slice: each by itself */
        for (int64_t b = 0; b < out->shape[0]; b++)
            run(c, rg_slice(c, out, 0, b, b + 1), w, rg_slice(c, x, 0, b, b + 1), unary_kind);
    }
}

/* into dst, or (NULL) into a new tensor */
static rg_tensor *linear(rg_ctx *c, rg_tensor *dst, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    int64_t shape[RG_MAX_DIMS];

    const bool is_streamed = c && w->weight && w->weight->device.type == RG_CPU && c->device.type != RG_CPU && c->ops->streams_weights &&
                             rg_is_contiguous(w->weight);

    if (!RG_READY(c, "linear", 2, x, is_streamed ? x : w->weight, w->bias, w->scale, dst) || !rg_op_float(c, "linear", x) ||
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
    if (dst && !rg_into_fits(c, "linear", dst, x->dtype, x->n_dims, shape))
        return NULL;

    const int s = rg_scope_begin(c);
    const rg_tensor *rows = rg_contiguous(c, x);
    rg_tensor *out = dst ? rg_into_begin(c, dst, false) : rg_tensor_new(c, x->dtype, x->n_dims, shape);

    run(c, out, w, rows, unary_kind);
    if (dst) {
        rg_into_end(c, dst, out);
        out = NULL;
    }
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_linear(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x)
{
    return linear(c, NULL, w, x, -1);
}

rg_tensor *rg_linear_unary(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x, rg_unary_kind kind)
{
    return linear(c, NULL, w, x, (int)kind);
}

void rg_linear_into(rg_ctx *c, rg_tensor *dst, const rg_linear_weight *w, const rg_tensor *x)
{
    if (dst)
        linear(c, dst, w, x, -1);
}

void rg_linear_unary_into(rg_ctx *c, rg_tensor *dst, const rg_linear_weight *w, const rg_tensor *x, rg_unary_kind kind)
{
    if (dst)
        linear(c, dst, w, x, (int)kind);
}
