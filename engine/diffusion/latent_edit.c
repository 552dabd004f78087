/*
 * What the latent nodes do to batches and masks. Source: ComfyUI nodes.py, LatentFromBatch, RepeatLatentBatch, SetLatentNoiseMask.
 */
#include "engine/diffusion/latent.h"
#include "engine/diffusion/tensors.h"
#include "engine/ops/ops.h"

static rg_tensor *here(rg_ctx *c, const rg_tensor *t)
{
    return rg_to_device(c, t, c->device);
}

/* A new latent of samples and mask with n noise numbers (none: NULL), which are let go of. */
static rg_latent *make(rg_ctx *c, const rg_tensor *samples, const rg_tensor *mask, int64_t *index, int64_t n)
{
    rg_latent *latent = c->error ? NULL : rg_latent_new(samples, mask);

    if (latent && index && !rg_latent_set_batch_index(latent, index, (int)n)) {
        rg_unref(latent);
        latent = NULL;
    }
    rg_free(index);
    if (!latent)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a latent");
    return latent;
}

rg_latent *rg_latent_from_batch(rg_ctx *c, const rg_latent *latent, int64_t index, int64_t length)
{
    const int64_t B = rg_dim(latent->samples, 0);
    const int s = rg_scope_begin(c);

    index = index < B - 1 ? index : B - 1;
    length = length < B - index ? length : B - index;
    const rg_tensor *samples = rg_clone(c, rg_slice(c, here(c, latent->samples), 0, index, index + length));
    const rg_tensor *mask = latent->noise_mask ? here(c, latent->noise_mask) : NULL;
    if (mask && rg_dim(mask, 0) > 1) {
        if (rg_dim(mask, 0) < B)
            mask = rg_repeat_to(c, mask, B, 0);
        mask = rg_clone(c, rg_slice(c, mask, 0, index, index + length));
    }

    int64_t n = length, *numbers = rg_calloc((size_t)length + 1, sizeof *numbers);
    if (latent->batch_index)            /* a slice of what is there, which may be shorter */
        n = latent->n_batch_index <= index ? 0 : latent->n_batch_index - index < length ? latent->n_batch_index - index : length;
    for (int64_t i = 0; numbers && i < n; i++)
        numbers[i] = latent->batch_index ? latent->batch_index[index + i] : index + i;
    if (!numbers)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for noise numbers");
    rg_latent *out = make(c, samples, mask, numbers, n);
    rg_scope_end(c, s, NULL);
    return out;
}

rg_latent *rg_latent_repeat(rg_ctx *c, const rg_latent *latent, int64_t amount)
{
    const int n = latent->n_batch_index;
    const int s = rg_scope_begin(c);
    const rg_tensor *samples = here(c, latent->samples), *mask = latent->noise_mask ? here(c, latent->noise_mask) : NULL;
    int64_t *numbers = NULL, min = INT64_MAX, max = INT64_MIN;

    if (samples)
        samples = rg_contiguous(c, rg_repeat_to(c, samples, amount * rg_dim(samples, 0), 0));
    if (mask && rg_dim(mask, 0) > 1)
        mask = rg_contiguous(c, rg_repeat_to(c, mask, amount * rg_dim(mask, 0), 0));
    if (latent->batch_index && !(numbers = rg_calloc((size_t)(n * amount) + 1, sizeof *numbers)))
        rg_fail(c, RG_ERR_NOMEM, "out of memory for noise numbers");
    for (int i = 0; numbers && i < n; i++) {
        min = latent->batch_index[i] < min ? latent->batch_index[i] : min;
        max = latent->batch_index[i] > max ? latent->batch_index[i] : max;
    }
    for (int64_t i = 0; numbers && i < n * amount; i++)     /* each repetition counts on where the one before ended */
        numbers[i] = latent->batch_index[i % n] + i / n * (max - min + 1);
    rg_latent *out = make(c, samples, mask, numbers, n * amount);
    rg_scope_end(c, s, NULL);
    return out;
}

rg_latent *rg_latent_with_mask(rg_ctx *c, const rg_latent *latent, const rg_tensor *mask)
{
    const int s = rg_scope_begin(c);
    const rg_tensor *m = rg_contiguous(c, here(c, mask));
    rg_latent *out = NULL;

    if (m && m->n_dims < 2)
        rg_fail(c, RG_ERR_SHAPE, "a mask has %d dimensions, 2 or more are wanted", m->n_dims);
    else if (m)
        m = rg_view4(c, m, -1, 1, rg_dim(m, -2), rg_dim(m, -1));
    if (!c->error && !(out = rg_latent_with_samples(latent, latent->samples)))
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a latent");
    if (out) {
        rg_unref(out->noise_mask);
        out->noise_mask = rg_ref(m);
    }
    rg_scope_end(c, s, NULL);
    return out;
}
