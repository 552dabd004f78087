/* Checks, dispatch and profiling that all ops share. */
#include "engine/ops/define.h"

#include <string.h>


bool rg_is_float(rg_dtype t)
{
    return t == RG_F32 || t == RG_F16 || t == RG_BF16 || t == RG_F64 || t == RG_F8_E4M3 || t == RG_F8_E5M2;
}

bool rg_op_ready(rg_ctx *c, const char *op, int n_needed, int n, const rg_tensor *const *operands)
{
    if (!c || c->error)
        return false;
    for (int i = 0; i < n; i++) {
        const rg_tensor *t = operands[i];

        if (!t && i < n_needed)
            return false;
        if (t && (t->device.type != c->device.type || t->device.index != c->device.index)) {
            rg_fail(c, RG_ERR_DEVICE, "%s got operand %d on %s %d, wanted %s %d", op, i,
                    t->device.type == RG_CPU ? "cpu" : "cuda", t->device.index,
                    c->device.type == RG_CPU ? "cpu" : "cuda", c->device.index);
            return false;
        }
    }
    return true;
}

rg_tensor *rg_op_mismatch(rg_ctx *c, const char *op, const rg_tensor *a, const rg_tensor *b)
{
    char ta[128], tb[128];

    rg_fail(c, RG_ERR_SHAPE, "%s got shapes %s and %s, which do not fit", op,
            rg_shape_text(a, ta, sizeof ta), rg_shape_text(b, tb, sizeof tb));
    return NULL;
}

bool rg_op_float(rg_ctx *c, const char *op, const rg_tensor *t)
{
    if (rg_is_float(t->dtype))
        return true;
    rg_fail(c, RG_ERR_DTYPE, "%s got %s, wanted a floating-point type", op, rg_dtype_name(t->dtype));
    return false;
}

bool rg_op_vector(rg_ctx *c, const char *op, const char *what, const rg_tensor *t, int64_t n)
{
    char text[128];

    if (!t || (t->n_dims == 1 && t->shape[0] == n))
        return true;
    rg_fail(c, RG_ERR_SHAPE, "%s got %s of shape %s, wanted [%lld]", op, what, rg_shape_text(t, text, sizeof text), (long long)n);
    return false;
}

rg_tensor *rg_new_like(rg_ctx *c, const rg_tensor *x, rg_dtype dtype)
{
    rg_tensor *t = rg_tensor_new(c, dtype, x->n_dims, x->shape);

    if (t && rg_is_dense(x))
        memcpy(t->stride, x->stride, sizeof t->stride);     /* same number of elements, another order */
    return t;
}

rg_tensor *rg_new_picture_like(rg_ctx *c, const rg_tensor *x, int64_t H, int64_t W)
{
    if (rg_is_channels_last(x) && !rg_is_contiguous(x))
        return rg_tensor_new_channels_last(c, x->dtype, x->shape[0], x->shape[1], H, W);

    int64_t shape[RG_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->n_dims - 2] = H;
    shape[x->n_dims - 1] = W;
    return rg_tensor_new(c, x->dtype, x->n_dims, shape);
}

bool rg_into_fits(rg_ctx *c, const char *op, const rg_tensor *dst, rg_dtype dtype, int n_dims, const int64_t *shape)
{
    char text[128];
    bool is_same = dst->n_dims == n_dims && dst->dtype == dtype;

    for (int i = 0; i < n_dims && is_same; i++)
        is_same = dst->shape[i] == shape[i];
    if (is_same && (dst->stride[n_dims - 1] == 1 || shape[n_dims - 1] <= 1) && !(dst->storage && dst->storage->is_read_only))
        return true;
    rg_fail(c, RG_ERR_SHAPE, "%s cannot write into %s of %s: another shape or type, gaps in the last dim, or read-only", op,
            rg_shape_text(dst, text, sizeof text), rg_dtype_name(dst->dtype));
    return false;
}

rg_tensor *rg_into_begin(rg_ctx *c, rg_tensor *dst, bool is_operand)
{
    if (c->ops->writes_strided || (rg_is_contiguous(dst) && !is_operand))
        return dst;
    return rg_tensor_new(c, dst->dtype, dst->n_dims, dst->shape);
}

void rg_into_end(rg_ctx *c, rg_tensor *dst, rg_tensor *out)
{
    if (out && out != dst)
        rg_copy_into(c, dst, out);
}

int rg_broadcast_shape(const rg_tensor *a, const rg_tensor *b, int64_t *shape)
{
    const int n = a->n_dims > b->n_dims ? a->n_dims : b->n_dims;

    for (int i = 0; i < n; i++) {
        const int ia = i - (n - a->n_dims), ib = i - (n - b->n_dims);
        const int64_t sa = ia < 0 ? 1 : a->shape[ia], sb = ib < 0 ? 1 : b->shape[ib];

        if (sa != sb && sa != 1 && sb != 1)
            return -1;
        shape[i] = sa == 1 ? sb : sa;
    }
    return n;
}

void rg_op_missing(rg_ctx *c, const char *op, const rg_tensor *out)
{
    rg_fail(c, RG_ERR_UNSUPPORTED, "%s of %s is not supported on %s", op, rg_dtype_name(out->dtype), c->ops->name);
}

double *rg_def_load(rg_ctx *c, const rg_tensor *t)
{
    if (!t)
        return NULL;
    const int64_t n = rg_numel(t);
    double *v = rg_malloc(sizeof *v * (size_t)(n ? n : 1));

    if (!v) {
        rg_fail(c, RG_ERR_NOMEM, "no memory for %lld doubles", (long long)n);
        return NULL;
    }
#pragma omp parallel for if (n > 1 << 14)
    for (int64_t i = 0; i < n; i++)
        v[i] = rg_get(t, i);
    return v;
}

void rg_def_store(rg_tensor *out, const double *values)
{
    const int64_t n = rg_numel(out);

#pragma omp parallel for if (n > 1 << 14)
    for (int64_t i = 0; i < n; i++)
        rg_set(out, i, values[i]);
}
