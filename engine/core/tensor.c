/* Tensors: making, describing, and the element access of definitions and tests. Views are in view.c. */
#include "engine/core/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/core/convert.h"
#include "engine/core/pool.h"
#include "engine/core/scope.h"
#include "engine/ops/backend.h"

size_t rg_dtype_size(rg_dtype t)
{
    switch (t) {
#define X(name, bytes, text) case RG_##name: return bytes;
    RG_DTYPE_LIST(X)
#undef X
    default: RG_BUG("no dtype %d", (int)t);
    }
}

const char *rg_dtype_name(rg_dtype t)
{
    switch (t) {
#define X(name, bytes, text) case RG_##name: return text;
    RG_DTYPE_LIST(X)
#undef X
    default: RG_BUG("no dtype %d", (int)t);
    }
}

int64_t rg_dim(const rg_tensor *t, int dim)
{
    if (dim < -t->n_dims || dim >= t->n_dims)
        RG_BUG("dim %d of a tensor with %d dims", dim, t->n_dims);
    return t->shape[dim < 0 ? dim + t->n_dims : dim];
}

int64_t rg_numel(const rg_tensor *t)
{
    int64_t n = 1;

    for (int i = 0; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

size_t rg_nbytes(const rg_tensor *t)
{
    return (size_t)rg_numel(t) * rg_dtype_size(t->dtype);
}

/* Dims in `order`, outermost first, lie without gaps. Dims of size 1 may have any stride. */
static bool is_packed(const rg_tensor *t, const int *order)
{
    int64_t expected = 1;

    if (rg_numel(t) == 0)
        return true;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        const int dim = order ? order[i] : i;
        if (t->shape[dim] == 1)
            continue;
        if (t->stride[dim] != expected)
            return false;
        expected *= t->shape[dim];
    }
    return true;
}

bool rg_is_contiguous(const rg_tensor *t)
{
    return is_packed(t, NULL);
}

bool rg_is_channels_last(const rg_tensor *t)
{
    static const int order[] = { 0, 2, 3, 1 };

    return t->n_dims == 4 && is_packed(t, order);
}

bool rg_is_dense(const rg_tensor *t)
{
    int order[RG_MAX_DIMS];

    for (int i = 0; i < t->n_dims; i++) {   /* insertion sort by stride, largest first */
        int j = i;
        for (; j > 0 && t->stride[order[j - 1]] < t->stride[i]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    return is_packed(t, order);
}

bool rg_same_shape(const rg_tensor *a, const rg_tensor *b)
{
    if (a->n_dims != b->n_dims)
        return false;
    for (int i = 0; i < a->n_dims; i++) {
        if (a->shape[i] != b->shape[i])
            return false;
    }
    return true;
}

const char *rg_shape_text(const rg_tensor *t, char *buffer, size_t size)
{
    size_t used = (size_t)snprintf(buffer, size, "[");

    for (int i = 0; i < t->n_dims && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, i ? ", %lld" : "%lld", (long long)t->shape[i]);
    if (used < size)
        snprintf(buffer + used, size - used, "]");
    return buffer;
}

static void tensor_free(void *self)
{
    rg_tensor *t = self;

    rg_unref(t->storage);
    rg_free(t);
}

/* A header over storage (whose hold it takes over) at data, with row-major strides. NULL if no memory. */
static rg_tensor *tensor_make(rg_storage *storage, void *data, rg_dtype dtype, int n_dims, const int64_t *shape)
{
    rg_tensor *t = rg_calloc(1, sizeof *t);
    int64_t stride = 1;

    if (!t)
        return NULL;
    rg_object_init(t, tensor_free);
    t->dtype = dtype;
    t->device = storage->device;
    t->n_dims = n_dims;
    t->data = data;
    t->storage = storage;
    for (int i = n_dims - 1; i >= 0; i--) {
        t->shape[i] = shape[i];
        t->stride[i] = stride;
        stride *= shape[i];
    }
    return t;
}

/* Bytes of a shape; -1 if it is no shape. */
static int64_t shape_bytes(rg_dtype dtype, int n_dims, const int64_t *shape)
{
    int64_t n = (int64_t)rg_dtype_size(dtype);

    if (n_dims < 0 || n_dims > RG_MAX_DIMS)
        return -1;
    for (int i = 0; i < n_dims; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(n, shape[i], &n))
            return -1;
    }
    return n;
}

rg_tensor *rg_tensor_new(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape)
{
    const int64_t nbytes = shape_bytes(dtype, n_dims, shape);
    rg_storage *storage;
    rg_tensor *t;

    if (c->error)
        return NULL;
    if (nbytes < 0) {
        rg_fail(c, RG_ERR_SHAPE, "no tensor can have this shape (%d dims, or a negative or too large size)", n_dims);
        return NULL;
    }
    if (!(storage = rg_pool_alloc(c, c->pool, (size_t)nbytes))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory: %.1f MiB wanted for one tensor, %.1f MiB in use on the %s",
                (double)nbytes / 1048576.0, (double)rg_ctx_bytes(c) / 1048576.0, c->device.type == RG_CPU ? "CPU" : "GPU");
        return NULL;
    }
    if (!(t = tensor_make(storage, storage->data, dtype, n_dims, shape))) {
        rg_unref(storage);
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a tensor header");
        return NULL;
    }
    return rg_scope_add(c, t) ? t : NULL;
}

rg_tensor *rg_tensor_full(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape, double value)
{
    static const int64_t zero_strides[RG_MAX_DIMS];
    rg_tensor *t = rg_tensor_new(c, dtype, n_dims, shape);
    _Alignas(8) unsigned char element[8];

    if (!t)
        return NULL;
    /* one element on the host, repeated by strides of 0 */
    rg_storage host = { .data = element, .nbytes = sizeof element };
    rg_tensor one = { .dtype = dtype, .n_dims = n_dims, .data = element, .storage = &host };
    memcpy(one.shape, t->shape, sizeof one.shape);
    memcpy(one.stride, zero_strides, sizeof one.stride);
    rg_element_set(element, 0, dtype, value);
    c->ops->copy(c, t, &one);
    return c->error ? NULL : t;
}

rg_tensor *rg_tensor_zeros(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape)
{
    rg_tensor *t;

    if (c->device.type != RG_CPU)
        return rg_tensor_full(c, dtype, n_dims, shape, 0.0);
    if ((t = rg_tensor_new(c, dtype, n_dims, shape)))
        memset(t->data, 0, rg_nbytes(t));
    return t;
}

rg_tensor *rg_tensor_new_channels_last(rg_ctx *c, rg_dtype dtype, int64_t B, int64_t C, int64_t H, int64_t W)
{
    rg_tensor *t = rg_new4(c, dtype, B, C, H, W);

    if (t) {
        t->stride[0] = H * W * C;
        t->stride[1] = 1;
        t->stride[2] = W * C;
        t->stride[3] = C;
    }
    return t;
}

static void wrapped_storage_free(void *self)
{
    rg_storage *s = self;

    rg_unref(s->owner);
    rg_free(s);
}

rg_tensor *rg_tensor_wrap(void *data, rg_dtype dtype, int n_dims, const int64_t *shape, bool is_read_only, void *owner)
{
    const int64_t nbytes = shape_bytes(dtype, n_dims, shape);
    rg_storage *s;
    rg_tensor *t;

    if (nbytes < 0)
        RG_BUG("bytes wrapped with an impossible shape: check it first");
    if (!(s = rg_calloc(1, sizeof *s)))
        return NULL;
    rg_object_init(s, wrapped_storage_free);
    s->data = data;
    s->nbytes = (size_t)nbytes;
    s->device = (rg_device){ RG_CPU, 0 };
    s->is_read_only = is_read_only;
    s->owner = rg_ref(owner);
    if (!(t = tensor_make(s, data, dtype, n_dims, shape)))
        rg_unref(s);
    return t;
}

rg_tensor *rg_tensor_adopt(rg_ctx *c, rg_tensor *t)
{
    if (t && !rg_scope_add(c, t))
        return NULL;
    return t;
}

/* Offset in elements of a row-major index. */
static int64_t element_offset(const rg_tensor *t, int64_t index)
{
    int64_t offset = 0;

    for (int i = t->n_dims - 1; i >= 0; i--) {
        offset += index % t->shape[i] * t->stride[i];
        index /= t->shape[i];
    }
    return offset;
}

double rg_get(const rg_tensor *t, int64_t index)
{
    if (t->device.type != RG_CPU)
        RG_BUG("element access to a tensor that is not on the CPU");
    return rg_element_get(t->data, element_offset(t, index), t->dtype);
}

void rg_set(rg_tensor *t, int64_t index, double value)
{
    if (t->device.type != RG_CPU || t->storage->is_read_only)
        RG_BUG("element written in a tensor that is read-only or not on the CPU");
    rg_element_set(t->data, element_offset(t, index), t->dtype, value);
}
