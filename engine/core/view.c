/* Views: another header over the same storage. */
#include <stdio.h>

#include "engine/core/scope.h"
#include "engine/core/tensor.h"

static void view_free(void *self)
{
    rg_tensor *t = self;

    rg_unref(t->storage);
    rg_free(t);
}

/* A copy of t's header that the caller adjusts; owned by c's scope. NULL once c has failed or t is NULL. */
static rg_tensor *view_begin(rg_ctx *c, const rg_tensor *t)
{
    rg_tensor *v;

    if (c->error || !t)
        return NULL;
    if (!(v = rg_malloc(sizeof *v))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a view");
        return NULL;
    }
    *v = *t;
    rg_object_init(v, view_free);
    rg_ref(v->storage);
    return rg_scope_add(c, v) ? v : NULL;
}

/* -1 and beyond count from the end; a dim outside is our own mistake. */
static int normal_dim(int dim, int n_dims)
{
    if (dim < -n_dims || dim >= n_dims)
        RG_BUG("dim %d of a tensor with %d dims", dim, n_dims);
    return dim < 0 ? dim + n_dims : dim;
}

/*
 * Strides for the new shape over the old strides, torch's rule: merge old dims that lie without gaps into blocks, then cut each
 * block into new dims from the fastest. False when a new dim would span two blocks.
 */
static bool view_strides(const rg_tensor *t, int n_dims, const int64_t *shape, int64_t *stride)
{
    int new_dim = n_dims - 1;
    int64_t block = 1, base = t->n_dims ? t->stride[t->n_dims - 1] : 1, cut = 1;

    if (rg_numel(t) == 0 || t->n_dims == 0) {
        int64_t s = 1;
        for (int i = n_dims - 1; i >= 0; i--) {
            stride[i] = s;
            s *= shape[i];
        }
        return true;
    }
    for (int old = t->n_dims - 1; old >= 0; old--) {
        block *= t->shape[old];
        if (old > 0 && (t->shape[old - 1] == 1 || t->stride[old - 1] == block * base))
            continue;                   /* the next dim outwards belongs to the same block */
        while (new_dim >= 0 && (cut < block || shape[new_dim] == 1)) {
            stride[new_dim] = cut * base;
            cut *= shape[new_dim--];
        }
        if (cut != block)
            return false;
        if (old > 0) {
            base = t->stride[old - 1];
            block = cut = 1;
        }
    }
    return new_dim == -1;
}

rg_tensor *rg_view(rg_ctx *c, const rg_tensor *t, int n_dims, const int64_t *shape)
{
    int64_t wanted[RG_MAX_DIMS], stride[RG_MAX_DIMS], known = 1;
    int unknown = -1;
    char text[96];
    rg_tensor *v;

    if (c->error || !t)
        return NULL;
    if (n_dims > RG_MAX_DIMS)
        RG_BUG("a view with %d dims", n_dims);
    for (int i = 0; i < n_dims; i++) {
        wanted[i] = shape[i];
        if (shape[i] == -1 && unknown < 0)
            unknown = i;
        else
            known *= shape[i];
    }
    if (unknown >= 0)
        wanted[unknown] = known > 0 ? rg_numel(t) / known : 0;
    if ((unknown >= 0 ? known * wanted[unknown] : known) != rg_numel(t)) {
        rg_fail(c, RG_ERR_SHAPE, "%s has %lld elements, which do not fit a view of %d dims with %lld", rg_shape_text(t, text, sizeof text),
                (long long)rg_numel(t), n_dims, (long long)known);
        return NULL;
    }
    if (!view_strides(t, n_dims, wanted, stride)) {
        rg_fail(c, RG_ERR_SHAPE, "%s is strided so that no view of %d dims fits: make it contiguous first", rg_shape_text(t, text, sizeof text), n_dims);
        return NULL;
    }
    if (!(v = view_begin(c, t)))
        return NULL;
    v->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) {
        v->shape[i] = wanted[i];
        v->stride[i] = stride[i];
    }
    return v;
}

rg_tensor *rg_slice(rg_ctx *c, const rg_tensor *t, int dim, int64_t start, int64_t end)
{
    rg_tensor *v = view_begin(c, t);
    char text[96];

    if (!v)
        return NULL;
    dim = normal_dim(dim, v->n_dims);
    const int64_t n = v->shape[dim];
    if (start < 0)
        start += n;
    if (end == RG_TO_END)
        end = n;
    else if (end < 0)
        end += n;
    if (start < 0 || end > n || start > end) {
        rg_fail(c, RG_ERR_SHAPE, "slice %lld..%lld of dim %d of %s", (long long)start, (long long)end, dim, rg_shape_text(t, text, sizeof text));
        return NULL;
    }
    v->shape[dim] = end - start;
    v->data = (char *)v->data + (size_t)(start * v->stride[dim]) * rg_dtype_size(v->dtype);
    return v;
}

rg_tensor *rg_permute(rg_ctx *c, const rg_tensor *t, const int *order)
{
    rg_tensor *v = view_begin(c, t);
    unsigned seen = 0;

    if (!v)
        return NULL;
    for (int i = 0; i < v->n_dims; i++) {
        const int dim = normal_dim(order[i], v->n_dims);
        seen |= 1u << dim;
        v->shape[i] = t->shape[dim];
        v->stride[i] = t->stride[dim];
    }
    if (seen != (1u << v->n_dims) - 1)
        RG_BUG("a permutation names a dim twice");
    return v;
}

rg_tensor *rg_transpose(rg_ctx *c, const rg_tensor *t, int dim0, int dim1)
{
    rg_tensor *v = view_begin(c, t);

    if (!v)
        return NULL;
    dim0 = normal_dim(dim0, v->n_dims);
    dim1 = normal_dim(dim1, v->n_dims);
    v->shape[dim0] = t->shape[dim1];
    v->stride[dim0] = t->stride[dim1];
    v->shape[dim1] = t->shape[dim0];
    v->stride[dim1] = t->stride[dim0];
    return v;
}

rg_tensor *rg_unsqueeze(rg_ctx *c, const rg_tensor *t, int dim)
{
    rg_tensor *v = view_begin(c, t);

    if (!v)
        return NULL;
    if (v->n_dims == RG_MAX_DIMS)
        RG_BUG("unsqueeze of a tensor with %d dims", v->n_dims);
    dim = normal_dim(dim, v->n_dims + 1);
    for (int i = v->n_dims; i > dim; i--) {
        v->shape[i] = v->shape[i - 1];
        v->stride[i] = v->stride[i - 1];
    }
    v->stride[dim] = dim < v->n_dims ? v->shape[dim + 1] * v->stride[dim + 1] : 1;
    v->shape[dim] = 1;
    v->n_dims++;
    return v;
}

rg_tensor *rg_squeeze(rg_ctx *c, const rg_tensor *t, int dim)
{
    rg_tensor *v = view_begin(c, t);

    if (!v)
        return NULL;
    dim = normal_dim(dim, v->n_dims);
    if (v->shape[dim] != 1)
        return v;                       /* torch: nothing happens */
    for (int i = dim; i + 1 < v->n_dims; i++) {
        v->shape[i] = v->shape[i + 1];
        v->stride[i] = v->stride[i + 1];
    }
    v->n_dims--;
    return v;
}

rg_tensor *rg_expand(rg_ctx *c, const rg_tensor *t, int n_dims, const int64_t *shape)
{
    rg_tensor *v = view_begin(c, t);
    char text[96];

    if (!v)
        return NULL;
    if (n_dims < t->n_dims || n_dims > RG_MAX_DIMS)
        RG_BUG("expand from %d to %d dims", t->n_dims, n_dims);
    v->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) {
        const int old = i - (n_dims - t->n_dims);
        const int64_t size = old < 0 ? 1 : t->shape[old];
        const int64_t wanted = shape[i] == -1 ? size : shape[i];

        if (size != wanted && size != 1) {
            rg_fail(c, RG_ERR_SHAPE, "%s does not broadcast: dim %d is to become %lld", rg_shape_text(t, text, sizeof text), i, (long long)wanted);
            return NULL;
        }
        v->shape[i] = wanted;
        v->stride[i] = size == wanted && old >= 0 ? t->stride[old] : 0;
    }
    return v;
}
