/* Moving, converting and joining: everything here is the copy row, from any strides and dtype to any. */
#include "engine/ops/define.h"

#include <string.h>

static bool is_integer(rg_dtype t)
{
    return !rg_is_float(t);
}

/* The integer at a row-major index: doubles cannot carry every int64. */
static void *element(const rg_tensor *t, int64_t index)
{
    int64_t offset = 0;

    for (int d = t->n_dims - 1; d >= 0; d--) {
        offset += index % t->shape[d] * t->stride[d];
        index /= t->shape[d];
    }
    return (char *)t->data + offset * (int64_t)rg_dtype_size(t->dtype);
}

void rg_def_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++) {
        if (out->dtype == x->dtype)
            memcpy(element(out, i), element(x, i), rg_dtype_size(x->dtype));
        else if (x->dtype == RG_I64 && is_integer(out->dtype))
            rg_set(out, i, out->dtype == RG_BOOL ? *(int64_t *)element(x, i) != 0 : (double)(int32_t)*(int64_t *)element(x, i));
        else
            rg_set(out, i, rg_get(x, i));
    }
}

rg_tensor *rg_to(rg_ctx *c, const rg_tensor *t, rg_dtype dtype)
{
    if (!RG_READY(c, "to", 1, t))
        return NULL;
    if (t->dtype == dtype)
        return (rg_tensor *)t;

    rg_tensor *out = rg_new_like(c, t, dtype);
    if (!out)
        return NULL;
    RG_RUN(c, copy, out, t);
    return c->error ? NULL : out;
}

rg_tensor *rg_clone(rg_ctx *c, const rg_tensor *t)
{
    if (!RG_READY(c, "clone", 1, t))
        return NULL;

    rg_tensor *out = rg_tensor_new(c, t->dtype, t->n_dims, t->shape);
    if (!out)
        return NULL;
    RG_RUN(c, copy, out, t);
    return c->error ? NULL : out;
}

rg_tensor *rg_contiguous(rg_ctx *c, const rg_tensor *t)
{
    if (!RG_READY(c, "contiguous", 1, t))
        return NULL;
    return rg_is_contiguous(t) ? (rg_tensor *)t : rg_clone(c, t);
}

/* Host bytes of a tensor fetched from a GPU: no pool of the GPU's context may own them. */
typedef struct host_bytes {
    rg_object base;
    void *data;
} host_bytes;

static void host_bytes_free(void *self)
{
    host_bytes *h = self;
    rg_free(h->data);
    rg_free(h);
}

static rg_tensor *new_on_host(rg_ctx *c, const rg_tensor *like)
{
    host_bytes *h = rg_calloc(1, sizeof *h);
    rg_tensor *t = NULL;

    if (h) {
        rg_object_init(h, host_bytes_free);
        h->data = rg_malloc(rg_nbytes(like) ? rg_nbytes(like) : 1);
        if (h->data)
            t = rg_tensor_wrap(h->data, like->dtype, like->n_dims, like->shape, false, h);
        rg_unref(h);                    /* the tensor holds it now */
    }
    if (!t) {
        rg_fail(c, RG_ERR_NOMEM, "no memory for %zu bytes on the host", rg_nbytes(like));
        return NULL;
    }
    return rg_tensor_adopt(c, t);
}

rg_tensor *rg_to_device(rg_ctx *c, const rg_tensor *t, rg_device device)
{
    rg_tensor *out;

    if (!c || c->error || !t)
        return NULL;
    if (t->device.type == device.type && t->device.index == device.index)
        return (rg_tensor *)t;
    if (c->device.type == device.type && c->device.index == device.index)
        out = rg_tensor_new(c, t->dtype, t->n_dims, t->shape);
    else if (device.type == RG_CPU)
        out = new_on_host(c, t);
    else {
        rg_fail(c, RG_ERR_DEVICE, "to_device wants a context on cuda %d", device.index);
        return NULL;
    }
    if (!out)
        return NULL;
    if (rg_is_dense(t))
        memcpy(out->stride, t->stride, sizeof out->stride);
    RG_RUN(c, copy, out, t);
    return c->error ? NULL : out;
}

void rg_copy_into(rg_ctx *c, rg_tensor *dst, const rg_tensor *src)
{
    if (!RG_READY(c, "copy_into", 2, dst, src))
        return;
    if (dst->storage && dst->storage->is_read_only) {
        rg_fail(c, RG_ERR_INVALID, "copy_into got a destination that is read-only");
        return;
    }

    const int s = rg_scope_begin(c);
    const rg_tensor *x = rg_same_shape(dst, src) ? src : rg_expand(c, src, dst->n_dims, dst->shape);
    if (x)
        RG_RUN(c, copy, dst, x);
    rg_scope_end(c, s, NULL);
}

rg_tensor *rg_concat_n(rg_ctx *c, const rg_tensor *const *parts, int n, int dim)
{
    if (n < 1) {
        rg_fail(c, RG_ERR_SHAPE, "concat got no tensors");
        return NULL;
    }
    if (!rg_op_ready(c, "concat", n, n, parts))
        return NULL;

    const int n_dims = parts[0]->n_dims, d = dim < 0 ? dim + n_dims : dim;
    int64_t shape[RG_MAX_DIMS];

    if (d < 0 || d >= n_dims) {
        rg_fail(c, RG_ERR_SHAPE, "concat got dim %d for %d dims", dim, n_dims);
        return NULL;
    }
    memcpy(shape, parts[0]->shape, sizeof shape);
    shape[d] = 0;
    for (int i = 0; i < n; i++) {
        if (parts[i]->n_dims != n_dims)
            return rg_op_mismatch(c, "concat", parts[0], parts[i]);
        for (int j = 0; j < n_dims; j++)
            if (j != d && parts[i]->shape[j] != shape[j])
                return rg_op_mismatch(c, "concat", parts[0], parts[i]);
        shape[d] += parts[i]->shape[d];
    }

    /* pictures that are channels-last stay so */
    rg_tensor *out = n_dims == 4 && rg_is_channels_last(parts[0]) && !rg_is_contiguous(parts[0])
        ? rg_tensor_new_channels_last(c, parts[0]->dtype, shape[0], shape[1], shape[2], shape[3])
        : rg_tensor_new(c, parts[0]->dtype, n_dims, shape);
    const int s = rg_scope_begin(c);
    int64_t at = 0;

    for (int i = 0; i < n && out; i++) {
        rg_tensor *place = rg_slice(c, out, d, at, at + parts[i]->shape[d]);
        if (place)
            RG_RUN(c, copy, place, parts[i]);
        at += parts[i]->shape[d];
    }
    rg_scope_end(c, s, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_concat(rg_ctx *c, const rg_tensor *a, const rg_tensor *b, int dim)
{
    return rg_concat_n(c, (const rg_tensor *const[]){ a, b }, 2, dim);
}
