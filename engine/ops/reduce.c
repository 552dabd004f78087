/* Sum, mean and softmax along one dim. Source: torch.sum, torch.mean, torch.softmax. */
#include "engine/ops/define.h"

#include <string.h>

void rg_def_sum(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean)
{
    int64_t inner = 1, outer = 1;
    const int64_t n = x->shape[dim];

    for (int d = 0; d < dim; d++)
        outer *= x->shape[d];
    for (int d = dim + 1; d < x->n_dims; d++)
        inner *= x->shape[d];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            double sum = 0.0;
            for (int64_t k = 0; k < n; k++)
                sum += rg_get(x, (o * n + k) * inner + i);
            rg_set(out, o * inner + i, is_mean ? sum / (double)n : sum);
        }
}

/* dim counted from the front, or -1 with RG_ERR_SHAPE. */
static int front_dim(rg_ctx *c, const char *op, const rg_tensor *x, int dim)
{
    const int d = dim < 0 ? dim + x->n_dims : dim;

    if (d >= 0 && d < x->n_dims)
        return d;
    rg_fail(c, RG_ERR_SHAPE, "%s got dim %d for %d dims", op, dim, x->n_dims);
    return -1;
}

static rg_tensor *reduce(rg_ctx *c, const rg_tensor *x, int dim, bool keep_dim, bool is_mean, const char *name)
{
    int64_t shape[RG_MAX_DIMS];

    if (!RG_READY(c, name, 1, x) || !rg_op_float(c, name, x))
        return NULL;
    const int d = front_dim(c, name, x, dim);
    if (d < 0)
        return NULL;
    memcpy(shape, x->shape, sizeof shape);
    shape[d] = 1;

    rg_tensor *out = rg_tensor_new(c, x->dtype, x->n_dims, shape);
    if (!out)
        return NULL;
    RG_RUN(c, sum, out, x, d, is_mean);
    if (c->error)
        return NULL;
    return keep_dim ? out : rg_squeeze(c, out, d);
}

rg_tensor *rg_sum(rg_ctx *c, const rg_tensor *x, int dim, bool keep_dim)
{
    return reduce(c, x, dim, keep_dim, false, "sum");
}

rg_tensor *rg_mean(rg_ctx *c, const rg_tensor *x, int dim, bool keep_dim)
{
    return reduce(c, x, dim, keep_dim, true, "mean");
}

void rg_def_softmax(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    const int64_t n = rg_dim(x, -1), total = rg_numel(x);

    for (int64_t row = 0; row < total; row += n) {
        double max = -INFINITY, sum = 0.0;
        for (int64_t i = 0; i < n; i++)
            max = fmax(max, rg_get(x, row + i));
        for (int64_t i = 0; i < n; i++)
            sum += exp(rg_get(x, row + i) - max);
        for (int64_t i = 0; i < n; i++)
            rg_set(out, row + i, exp(rg_get(x, row + i) - max) / sum);
    }
}

rg_tensor *rg_softmax(rg_ctx *c, const rg_tensor *x, int dim)
{
    if (!RG_READY(c, "softmax", 1, x) || !rg_op_float(c, "softmax", x))
        return NULL;
    const int d = front_dim(c, "softmax", x, dim);
    if (d < 0)
        return NULL;

    /* the row works along the last dim */
    const int last = x->n_dims - 1, s = rg_scope_begin(c);
    const rg_tensor *rows = rg_contiguous(c, d == last ? x : rg_transpose(c, x, d, last));
    rg_tensor *out = rows ? rg_tensor_new(c, x->dtype, rows->n_dims, rows->shape) : NULL;

    if (out)
        RG_RUN(c, softmax, out, rows);
    if (out && d != last)
        out = rg_transpose(c, out, d, last);
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}
