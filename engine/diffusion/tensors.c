/* Two helpers on tensors that the rest of engine/diffusion needs. */
#include "engine/diffusion/tensors.h"

#include <string.h>

#include "engine/ops/ops.h"

rg_tensor *rg_repeat_to(rg_ctx *c, const rg_tensor *t, int64_t n, int dim)
{
    if (c->error || !t)
        return NULL;
    const int64_t have = rg_dim(t, dim);
    int64_t shape[RG_MAX_DIMS];

    memcpy(shape, t->shape, sizeof shape);
    shape[dim] = n;
    if (have >= n)
        return rg_slice(c, t, dim, 0, n);
    if (have == 1)
        return rg_expand(c, t, t->n_dims, shape);
    if (have == 0) {
        rg_fail(c, RG_ERR_SHAPE, "a tensor with 0 entries along dimension %d cannot be repeated to %lld", dim, (long long)n);
        return NULL;
    }

    rg_tensor *out = rg_tensor_new(c, t->dtype, t->n_dims, shape);
    for (int64_t at = 0; out && at < n; at += have) {
        const int64_t end = at + have < n ? at + have : n;
        rg_copy_into(c, rg_slice(c, out, dim, at, end), rg_slice(c, t, dim, 0, end - at));
    }
    return c->error ? NULL : out;
}

rg_tensor *rg_host_tensor(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape)
{
    size_t n = rg_dtype_size(dtype);
    struct bytes { rg_object base; _Alignas(16) unsigned char data[]; } *owner;

    if (c->error)
        return NULL;
    for (int i = 0; i < n_dims; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(n, (size_t)shape[i], &n)) {
            rg_fail(c, RG_ERR_SHAPE, "a tensor's size is negative or too large");
            return NULL;
        }
    }
    if (n > PTRDIFF_MAX - sizeof *owner || !(owner = rg_malloc(sizeof *owner + n))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for %zu bytes of a host tensor", n);
        return NULL;
    }
    rg_object_init(owner, rg_free);

    rg_tensor *t = rg_tensor_wrap(owner->data, dtype, n_dims, shape, false, owner);
    rg_unref(owner);
    if (!t)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a host tensor");
    return t ? rg_tensor_adopt(c, t) : NULL;
}
