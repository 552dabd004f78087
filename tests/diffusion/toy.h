/*
 * A denoiser that is a formula, the same as class Toy in tools/reference/diffusion.py, operation by operation in float32: what
 * is left to differ between ComfyUI's samples and ours is the sampling itself.
 */
#ifndef RG_TESTS_DIFFUSION_TOY_H
#define RG_TESTS_DIFFUSION_TOY_H

#include "engine/diffusion/guidance.h"
#include "engine/diffusion/model.h"
#include "engine/ops/backend.h"
#include "tests/test.h"

typedef struct toy {
    rg_denoiser base;
    float time_scale;
    bool uses_pooled;
    int n_forwards, largest_batch;      /* what the test may ask afterwards */
} toy;

static void toy_free(void *self)
{
    rg_unref(((toy *)self)->base.sampling);
    rg_free(self);
}

/* One number per picture, as [B, 1, 1, 1]. */
static rg_tensor *toy_column(rg_ctx *c, const rg_tensor *t, int64_t token, int64_t i)
{
    if (t && t->n_dims == 3)
        t = rg_slice(c, t, 1, token < 0 ? rg_dim(t, 1) - 1 : token, token < 0 ? rg_dim(t, 1) : token + 1);
    if (t && t->n_dims > 1)
        t = rg_slice(c, t, t->n_dims - 1, i, i + 1);
    return t ? rg_view4(c, rg_contiguous(c, t), -1, 1, 1, 1) : NULL;
}

/* 0, 1/W, 2/W, ... along the width */
static rg_tensor *toy_ramp(rg_ctx *c, int64_t W)
{
    float *values = malloc((size_t)W * sizeof *values);

    for (int64_t i = 0; i < W; i++)
        values[i] = (float)i / (float)W;
    rg_tensor *host = rg_tensor_adopt(c, rg_tensor_wrap(values, RG_F32, 4, (const int64_t[]){ 1, 1, 1, W }, false, NULL));
    rg_tensor *ramp = rg_clone(c, rg_to_device(c, host, c->device));
    if (c->ops->synchronize)
        c->ops->synchronize(c);
    free(values);
    return ramp;
}

static rg_tensor *toy_forward(rg_ctx *c, const rg_denoiser *m, const rg_tensor *x, const rg_tensor *timestep, const rg_denoiser_inputs *in)
{
    toy *t = (toy *)m;
    const int64_t B = rg_dim(x, 0);
    const rg_tensor *first = rg_affine(c, toy_column(c, in->context, 0, 0), 1, 1);
    rg_tensor *out = rg_div(c, x, rg_affine(c, rg_mul(c, x, x), 1, 1));

    t->n_forwards++;
    t->largest_batch = B > t->largest_batch ? (int)B : t->largest_batch;
    out = rg_mul(c, out, first);
    out = rg_add_scaled(c, out, x, 0.25f);
    out = rg_add(c, out, rg_mul(c, toy_ramp(c, rg_dim(x, 3)), toy_column(c, in->context, -1, 1)));
    if (in->pooled && t->uses_pooled) {
        const rg_tensor *time = rg_view4(c, rg_affine(c, timestep, t->time_scale, 0), -1, 1, 1, 1);
        out = rg_add(c, out, rg_mul(c, time, toy_column(c, in->pooled, 0, 0)));
    }
    if (in->guidance)
        out = rg_sub(c, out, rg_affine(c, toy_column(c, in->guidance, 0, 0), 0.0625f, 0));
    return out;
}

/* "flux", "flow", "eps" or "v"; one holder */
static toy *toy_new(const char *kind)
{
    toy *t = rg_calloc(1, sizeof *t);
    const bool is_flux = !strcmp(kind, "flux"), is_flow = !strcmp(kind, "flow");

    rg_object_init(t, toy_free);
    t->base.family = kind;
    t->base.forward = toy_forward;
    t->base.uses_guidance = is_flux;
    t->base.repeats_context = !is_flux;
    t->uses_pooled = is_flux;
    t->base.latent_format = is_flux ? &rg_latent_format_flux : is_flow ? &rg_latent_format_sd3 : &rg_latent_format_sd15;
    t->time_scale = is_flux ? 1.0f : 0.001f;
    t->base.sampling = is_flux ? rg_model_sampling_new(RG_SAMPLING_FLUX, RG_PREDICT_FLOW, 1.15, 1)
                     : is_flow ? rg_model_sampling_new(RG_SAMPLING_FLOW, RG_PREDICT_FLOW, 3.0, 1000)
                               : rg_model_sampling_new(RG_SAMPLING_DISCRETE, kind[0] == 'v' ? RG_PREDICT_V : RG_PREDICT_EPS, 1, 1000);
    return t;
}

/* Sampling wants these rows of a device; a GPU whose backend has not got them all yet is passed over. */
static inline bool toy_runs_on(const rg_ctx *c)
{
    const rg_backend *b = c->ops;

    return b->copy && b->binary && b->affine && b->div_scalar && b->add_scaled && b->unary && b->clamp && b->sum && b->interpolate;
}

/* A conditioning of one entry, from the fixture's text/NAME and pooled/NAME; one holder. */
static rg_cond *toy_text(test_fixture *f, rg_ctx *c, const char *name)
{
    char key[64];
    rg_cond *cond = rg_cond_new(1);

    snprintf(key, sizeof key, "input/text/%s", name);
    rg_cond_set(&cond->entries[0].cross, test_get(f, c, key));
    snprintf(key, sizeof key, "input/pooled/%s", name);
    rg_cond_set(&cond->entries[0].pooled, test_get(f, c, key));
    return cond;
}

#endif
