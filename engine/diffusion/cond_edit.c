/*
 * What the Conditioning nodes do to texts. Source: ComfyUI nodes.py, ConditioningZeroOut, ConditioningConcat, ConditioningAverage.
 */
#include "engine/diffusion/cond.h"
#include "engine/ops/ops.h"

/* A copy to edit; fails c if there is none. */
static rg_cond *clone(rg_ctx *c, const rg_cond *cond)
{
    rg_cond *copy = c->error ? NULL : rg_cond_clone(cond);

    if (!copy && !c->error)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for conditioning");
    return copy;
}

static rg_cond *finish(rg_ctx *c, int scope, rg_cond *cond)
{
    rg_scope_end(c, scope, NULL);       /* entries hold what they keep */
    if (!c->error)
        return cond;
    rg_unref(cond);
    return NULL;
}

static rg_tensor *here(rg_ctx *c, const rg_tensor *t)
{
    return rg_to_device(c, t, c->device);
}

/* The first entry of `from`, whose text the others take in; NULL, with c failed, if it has none. */
static const rg_cond_entry *first_text(rg_ctx *c, const rg_cond *from, const char *what)
{
    if (from->n_entries > 0 && from->entries[0].cross)
        return &from->entries[0];
    rg_fail(c, RG_ERR_INVALID, "%s: conditioning_from holds no text", what);
    return NULL;
}

rg_cond *rg_cond_zero_out(rg_ctx *c, const rg_cond *cond)
{
    rg_cond *out = clone(c, cond);
    const int s = rg_scope_begin(c);

    for (int i = 0; out && i < out->n_entries; i++) {
        rg_cond_entry *e = &out->entries[i];
        if (e->cross)
            rg_cond_set(&e->cross, rg_tensor_zeros(c, e->cross->dtype, e->cross->n_dims, e->cross->shape));
        if (e->pooled)
            rg_cond_set(&e->pooled, rg_tensor_zeros(c, e->pooled->dtype, e->pooled->n_dims, e->pooled->shape));
    }
    return finish(c, s, out);
}

rg_cond *rg_cond_concat(rg_ctx *c, const rg_cond *to, const rg_cond *from)
{
    const rg_cond_entry *tail = first_text(c, from, "ConditioningConcat");
    rg_cond *out = clone(c, to);
    const int s = rg_scope_begin(c);

    for (int i = 0; out && tail && i < out->n_entries; i++) {
        rg_cond_entry *e = &out->entries[i];
        if (e->cross)
            rg_cond_set(&e->cross, rg_concat(c, here(c, e->cross), here(c, tail->cross), 1));
    }
    return finish(c, s, out);
}

/* a * w + b * (1 - w) */
static rg_tensor *mix(rg_ctx *c, const rg_tensor *a, const rg_tensor *b, double w)
{
    return rg_add_scaled(c, rg_affine(c, a, (float)w, 0), b, (float)(1.0 - w));
}

/* t [1, N, D] cut or padded with zeros to n tokens. */
static rg_tensor *fit_tokens(rg_ctx *c, const rg_tensor *t, int64_t n)
{
    if (!t || rg_dim(t, 1) >= n)
        return rg_slice(c, t, 1, 0, n);
    rg_tensor *rest = rg_tensor_zeros(c, t->dtype, 3, (const int64_t[]){ rg_dim(t, 0), n - rg_dim(t, 1), rg_dim(t, 2) });
    return rg_concat(c, t, rest, 1);
}

rg_cond *rg_cond_average(rg_ctx *c, const rg_cond *to, const rg_cond *from, double strength)
{
    const rg_cond_entry *other = first_text(c, from, "ConditioningAverage");
    rg_cond *out = clone(c, to);
    const int s = rg_scope_begin(c);

    for (int i = 0; out && other && i < out->n_entries && !c->error; i++) {
        rg_cond_entry *e = &out->entries[i];
        if (e->cross && (e->cross->n_dims != 3 || other->cross->n_dims != 3))
            rg_fail(c, RG_ERR_SHAPE, "ConditioningAverage wants texts of 3 dimensions, got %d and %d", e->cross->n_dims, other->cross->n_dims);
        else if (e->cross)
            rg_cond_set(&e->cross, mix(c, here(c, e->cross), fit_tokens(c, here(c, other->cross), rg_dim(e->cross, 1)), strength));
        if (other->pooled)              /* an entry without takes the other's */
            rg_cond_set(&e->pooled, mix(c, here(c, e->pooled ? e->pooled : other->pooled), here(c, other->pooled), strength));
    }
    return finish(c, s, out);
}
