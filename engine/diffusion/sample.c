/*
 * The whole of sampling: noise and latent are scaled together, a sampler walks the schedule, the result is scaled back. And
 * what the KSampler and SamplerCustom nodes wrap around it.
 *
 * Source: ComfyUI comfy/samplers.py (CFGGuider.inner_sample, KSAMPLER.sample, KSamplerX0Inpaint, KSampler.sample),
 * comfy/sample.py (prepare_noise, fix_empty_latent_channels), nodes.py (common_ksampler), comfy/utils.py (reshape_mask).
 */
#include <math.h>
#include <string.h>

#include "engine/diffusion/brownian.h"
#include "engine/diffusion/guidance.h"
#include "engine/diffusion/sampler.h"
#include "engine/diffusion/sampler_table.h"
#include "engine/diffusion/scalar.h"
#include "engine/diffusion/tensors.h"
#include "engine/ops/backend.h"

/* ---- noise and latents ------------------------------------------------------------------------------------------------ */

/* Noise for a batch whose pictures carry noise numbers: picture i gets the noise number index[i] of the seed's sequence. */
static rg_tensor *indexed_noise(rg_ctx *c, rg_generator *g, const rg_tensor *samples, const int64_t *index, int n)
{
    int64_t shape[RG_MAX_DIMS], most = 0, size = 1;
    rg_tensor *out;
    float *one;

    memcpy(shape, samples->shape, sizeof shape);
    if (n != shape[0]) {
        rg_fail(c, RG_ERR_SHAPE, "a batch of %lld latents carries %d noise numbers", (long long)shape[0], n);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] > 1000000) {
            rg_fail(c, RG_ERR_INVALID, "noise number %lld of a latent is not in 0 to 1000000", (long long)index[i]);
            return NULL;
        }
        most = index[i] > most ? index[i] : most;
    }
    if (!(out = rg_host_tensor(c, RG_F32, samples->n_dims, shape)))
        return NULL;
    for (int i = 1; i < samples->n_dims; i++)
        size *= shape[i];
    if (!(one = rg_malloc((size_t)size * sizeof *one))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for noise");
        return NULL;
    }
    for (int64_t number = 0; number <= most; number++) {
        rg_randn_f32(g, one, size);
        for (int i = 0; i < n; i++) {
            if (index[i] == number)
                memcpy((float *)out->data + i * size, one, (size_t)size * sizeof *one);
        }
    }
    rg_free(one);
    return out;
}

static rg_tensor *noise_like(rg_ctx *c, const rg_latent *latent, const rg_tensor *samples, uint64_t seed)
{
    rg_generator g;

    if (c->error || !samples)
        return NULL;
    rg_generator_seed(&g, seed);
    if (latent->batch_index)
        return indexed_noise(c, &g, samples, latent->batch_index, latent->n_batch_index);
    return rg_randn(c, &g, samples->n_dims, samples->shape);
}

rg_tensor *rg_prepare_noise(rg_ctx *c, const rg_latent *latent, uint64_t seed)
{
    return noise_like(c, latent, latent->samples, seed);
}

/* True if every element is 0: an empty latent, which is not scaled and takes any number of channels. */
static bool is_all_zero(rg_ctx *c, const rg_tensor *t)
{
    const int s = rg_scope_begin(c);
    const rg_tensor *host = rg_contiguous(c, rg_to(c, t, RG_F32));
    bool is_zero = true;

    if (host && host->device.type != RG_CPU) {
        host = rg_to_device(c, host, (rg_device){ RG_CPU, 0 });
        if (host)
            c->ops->synchronize(c);
    }
    for (int64_t i = 0; host && is_zero && i < rg_numel(host); i++)
        is_zero = ((const float *)host->data)[i] == 0.0f;
    rg_scope_end(c, s, NULL);
    return is_zero;
}

/* The latent's samples on c's device, with the model's number of channels if they are all zero. */
static rg_tensor *fix_channels(rg_ctx *c, const rg_model *model, const rg_latent *latent)
{
    const rg_latent_format *f = model->denoiser->latent_format;
    rg_tensor *x = rg_to(c, rg_to_device(c, latent->samples, c->device), RG_F32);

    if (!x)
        return NULL;
    if (x->n_dims < 4) {
        char text[128];
        rg_fail(c, RG_ERR_SHAPE, "a latent has shape %s, [batch, channels, height, width] is wanted", rg_shape_text(x, text, sizeof text));
        return NULL;
    }
    if (rg_dim(x, 1) == f->n_channels)
        return x;
    if (!is_all_zero(c, x)) {
        if (!c->error)
            rg_fail(c, RG_ERR_SHAPE, "the latent has %lld channels, this %s model wants %d", (long long)rg_dim(x, 1),
                    model->denoiser->family, f->n_channels);
        return NULL;
    }
    return rg_repeat_to(c, x, f->n_channels, 1);
}

/* A latent noise mask as [B, C, H, W] on c's device. */
static rg_tensor *prepare_mask(rg_ctx *c, const rg_tensor *mask, const rg_tensor *x)
{
    rg_tensor *m = rg_contiguous(c, rg_to(c, rg_to_device(c, mask, c->device), RG_F32));

    if (!m)
        return NULL;
    if (m->n_dims < 2 || x->n_dims != 4) {
        rg_fail(c, m->n_dims < 2 ? RG_ERR_SHAPE : RG_ERR_UNSUPPORTED, "a noise mask with %d dimensions for a latent with %d",
                m->n_dims, x->n_dims);
        return NULL;
    }
    m = rg_view4(c, m, -1, 1, rg_dim(m, -2), rg_dim(m, -1));
    m = rg_interpolate(c, m, rg_dim(x, 2), rg_dim(x, 3), RG_BILINEAR);
    m = rg_repeat_to(c, m, rg_dim(x, 1), 1);
    return rg_repeat_to(c, m, rg_dim(x, 0), 0);
}

/* ---- what samplers call ---------------------------------------------------------------------------------------------------- */

static void hold(rg_tensor **slot, const rg_tensor *t)
{
    rg_tensor *old = *slot;

    *slot = rg_ref(t);
    rg_unref(old);
}

void rg_sampler_show(rg_sampler_run *r, const rg_tensor *denoised)
{
    hold(&r->denoised, denoised);
}

void rg_sampler_push(rg_sampler_run *r, const rg_tensor *t)
{
    if (!t)
        return;
    rg_unref(r->history[RG_SAMPLER_HISTORY - 1]);
    memmove(r->history + 1, r->history, (RG_SAMPLER_HISTORY - 1) * sizeof *r->history);
    r->history[0] = rg_ref(t);
    if (r->n_history < RG_SAMPLER_HISTORY)
        r->n_history++;
}

void rg_sampler_set_newest(rg_sampler_run *r, const rg_tensor *t)
{
    hold(&r->history[0], t);
}

void rg_sampler_keep(rg_sampler_run *r, int slot, const rg_tensor *t)
{
    hold(&r->kept[slot], t);
}

/* inside * mask + outside * (1 - mask) */
static rg_tensor *blend(rg_ctx *c, const rg_tensor *inside, const rg_tensor *outside, const rg_tensor *mask)
{
    const rg_tensor *rest = rg_affine(c, mask, -1, 1);

    return rg_add(c, rg_mul(c, inside, mask), rg_mul(c, outside, rest));
}

rg_tensor *rg_sampler_denoise(rg_sampler_run *r, const rg_tensor *x, float sigma)
{
    rg_ctx *c = r->c;
    rg_tensor *uncond = NULL, *out;

    if (rg_check(c) < 0 || !x)
        return NULL;
    const int s = rg_scope_begin(c);
    if (r->mask)                        /* outside the mask the model sees the latent, noised to this sigma */
        x = blend(c, x, rg_model_noise_scaling(c, r->sampling, sigma, r->inpaint_noise, r->data, false), r->mask);
    out = rg_guidance_denoise(c, r->guidance, x, sigma, r->wants_uncond ? &uncond : NULL);
    if (r->mask)
        out = blend(c, out, r->data, r->mask);
    rg_scope_end(c, s, &out, &uncond, NULL);
    if (r->wants_uncond)
        hold(&r->uncond, uncond);
    if (!r->denoised)
        rg_sampler_show(r, out);
    return c->error ? NULL : out;
}

/* The path of a stochastic run, from its smallest sigma above 0 to its largest. */
static rg_brownian *brownian_path(rg_sampler_run *r, const rg_tensor *x)
{
    float min = INFINITY, max = 0;

    for (int i = 0; i <= r->n_steps; i++) {
        const float sigma = i == 0 ? r->first_sigma : r->sigma[i];
        min = sigma > 0 ? fminf(min, sigma) : min;
        max = fmaxf(max, sigma);
    }
    return rg_brownian_new(r->c, x->n_dims, x->shape, min, max, r->seed, r->is_gpu_tree ? r->philox.n_threads : -1);
}

/*
 * ComfyUI draws where the latent is: on the CPU from PyTorch's CPU generator, on a GPU from its CUDA generator, each seeded anew
 * with the run's seed. Only the Brownian samplers without _gpu draw on the CPU always.
 */
rg_tensor *rg_sampler_noise(rg_sampler_run *r, const rg_tensor *x, float sigma, float sigma_next)
{
    rg_ctx *c = r->c;
    rg_tensor *noise = NULL;

    if (c->error || !x)
        return NULL;
    if (r->is_brownian) {
        if (!r->brownian)
            r->brownian = brownian_path(r, x);
        if (r->brownian)
            noise = rg_brownian_noise(c, r->brownian, sigma, sigma_next);
    } else if (c->device.type == RG_CUDA) {
        if ((noise = rg_host_tensor(c, RG_F32, x->n_dims, x->shape)))
            rg_randn_cuda_f32(&r->philox, noise->data, rg_numel(noise));
    } else {
        noise = rg_randn(c, &r->generator, x->n_dims, x->shape);
    }
    return noise ? rg_to_device(c, noise, c->device) : NULL;
}

/* ---- the walk ------------------------------------------------------------------------------------------------------------------ */

bool rg_sampler_begin_step(rg_sampler_run *r)
{
    if (rg_check(r->c) < 0)
        return false;
    r->scope = rg_scope_begin(r->c);
    hold(&r->denoised, NULL);
    return true;
}

void rg_sampler_end_step(rg_sampler_run *r, int i, rg_tensor **x, rg_tensor *next)
{
    const bool is_new = next != *x;

    rg_scope_end(r->c, r->scope, is_new ? &next : NULL, NULL);
    if (is_new)
        rg_replace(r->c, x, next);
    rg_report(r->c, i + 1 < r->n_steps ? i + 1 : r->n_steps, r->n_steps, r->denoised);
}

/* From scaled noisy x along the run's sigmas; returns the last x. Leaves the last step's denoised latent in r->denoised. */
static rg_tensor *walk(rg_sampler_run *r, const rg_sampler_row *row, rg_tensor *x)
{
    if (row->whole && r->n_steps > 0)
        x = row->whole(r, x);
    for (int i = 0; row->step && i < r->n_steps && rg_sampler_begin_step(r); i++)
        rg_sampler_end_step(r, i, &x, row->step(r, i, x));
    return rg_check(r->c) == 0 ? x : NULL;
}

static void run_release(rg_sampler_run *r)
{
    for (int i = 0; i < RG_SAMPLER_HISTORY; i++)
        rg_unref(r->history[i]);
    for (int i = 0; i < RG_SAMPLER_KEPT; i++)
        rg_unref(r->kept[i]);
    rg_unref(r->denoised);
    rg_unref(r->uncond);
    rg_guidance_free(r->guidance);
    rg_brownian_free(r->brownian);
}

/* True when sigma is the model's largest, within 1e-5: the picture starts from pure noise. */
static bool is_max_sigma(const rg_model_sampling *s, float sigma)
{
    const double max = rg_model_sampling_max(s), value = sigma;

    return fabs(max - value) <= 1e-5 * fmax(fabs(max), fabs(value)) || value > max;
}

/* samples [B, C, H, W] on c's device, channels right; sigma has n > 0 entries. */
static rg_tensor *sample(rg_ctx *c, const rg_guider *guider, const rg_sampler *sampler, const float *given_sigma, int n,
                         const rg_tensor *samples, const rg_tensor *noise_mask, const rg_tensor *noise, uint64_t seed,
                         rg_tensor **out_denoised)
{
    const rg_latent_format *f = guider->model->denoiser->latent_format;
    const rg_sampler_row *row = rg_sampler_find(c, sampler->index);
    float *sigma = rg_calloc((size_t)n, sizeof *sigma);
    rg_tensor *out = NULL, *denoised = NULL;
    const int s = rg_scope_begin(c);

    if (!sigma)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for %d sigmas", n);
    if (c->error)
        goto done;
    memcpy(sigma, given_sigma, (size_t)n * sizeof *sigma);
    if ((row->traits & RG_ENDS_ABOVE_ZERO) && sigma[n - 1] == 0)
        sigma[n - 1] = 0.001f;
    if ((row->traits & RG_OFFSETS_FIRST) && n > 1 && guider->model->sampling->prediction == RG_PREDICT_FLOW && sigma[0] >= 1)
        sigma[0] = (float)rg_model_sampling_percent_to_sigma(guider->model->sampling, 1e-4);

    const rg_tensor *data = is_all_zero(c, samples) ? samples : rg_latent_process_in(c, f, samples);
    rg_sampler_run r = {
        .c = c, .sampler = sampler, .sampling = guider->model->sampling, .sigma = sigma, .n_steps = n - 1,
        .first_sigma = given_sigma[0], .data = data, .inpaint_noise = noise, .seed = seed,
        .wants_uncond = row->traits & RG_WANTS_UNCOND, .is_brownian = row->traits & RG_BROWNIAN,
        .is_gpu_tree = (row->traits & RG_GPU_TREE) && c->device.type == RG_CUDA,
        .philox = { .seed = seed, .n_threads = c->ops->resident_threads ? c->ops->resident_threads(c) : 0 },
    };
    rg_generator_seed(&r.generator, seed);
    r.guidance = rg_guidance_new(c, guider, samples);
    if (noise_mask)
        r.mask = prepare_mask(c, noise_mask, samples);
    if (r.mask && (row->traits & RG_FRESH_INPAINT_NOISE)) {
        rg_generator g;
        rg_generator_seed(&g, seed + 1);
        const rg_tensor *fresh = rg_randn(c, &g, noise->n_dims, noise->shape);
        r.inpaint_noise = fresh ? rg_to_device(c, fresh, c->device) : NULL;
    }
    rg_tensor *x = rg_model_noise_scaling(c, r.sampling, given_sigma[0], noise, data, is_max_sigma(r.sampling, given_sigma[0]));
    if (!c->error)
        x = walk(&r, row, x);
    if (x && !c->error) {
        out = rg_latent_process_out(c, f, rg_model_inverse_noise_scaling(c, r.sampling, sigma[n - 1], x));
        denoised = r.denoised ? rg_latent_process_out(c, f, r.denoised) : out;
    }
    run_release(&r);
done:
    rg_scope_end(c, s, &out, &denoised, NULL);
    rg_free(sigma);
    if (c->error)
        return NULL;
    if (out_denoised)
        *out_denoised = denoised;
    return out;
}

/* A copy of a 1-dimensional float32 host or device tensor of sigmas, n of them; *n 0 and NULL for an empty one. */
static float *read_sigmas(rg_ctx *c, const rg_tensor *sigmas, int *n)
{
    const rg_tensor *t = sigmas->device.type == RG_CPU ? sigmas : rg_to_device(c, sigmas, (rg_device){ RG_CPU, 0 });
    float *out;

    *n = 0;
    if (!t)
        return NULL;
    if (t->n_dims != 1 || t->dtype != RG_F32 || rg_numel(t) > INT32_MAX) {
        rg_fail(c, RG_ERR_SHAPE, "sigmas are one row of float32 numbers, got %d dimensions of %s", t->n_dims, rg_dtype_name(t->dtype));
        return NULL;
    }
    if (t->device.type != sigmas->device.type)
        c->ops->synchronize(c);
    if (!(out = rg_calloc((size_t)rg_numel(t) + 1, sizeof *out))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for sigmas");
        return NULL;
    }
    *n = (int)rg_numel(t);
    for (int i = 0; i < *n; i++)
        out[i] = ((const float *)t->data)[i * t->stride[0]];
    return out;
}

static rg_tensor *sample_samples(rg_ctx *c, const rg_guider *guider, const rg_sampler *sampler, const float *sigma, int n,
                                 const rg_tensor *samples, const rg_latent *latent, const rg_tensor *noise, uint64_t seed,
                                 rg_tensor **out_denoised)
{
    char a[128], b[128];

    if (c->error || !samples || !noise)
        return NULL;
    if (n == 0) {                       /* nothing to do: denoise 0 */
        if (out_denoised)
            *out_denoised = (rg_tensor *)samples;
        return (rg_tensor *)samples;
    }
    if (!rg_same_shape(noise, samples)) {
        rg_fail(c, RG_ERR_SHAPE, "noise of shape %s for a latent of shape %s", rg_shape_text(noise, a, sizeof a),
                rg_shape_text(samples, b, sizeof b));
        return NULL;
    }
    return sample(c, guider, sampler, sigma, n, samples, latent->noise_mask, rg_to_device(c, noise, c->device), seed, out_denoised);
}

rg_tensor *rg_sample_custom(rg_ctx *c, const rg_guider *guider, const rg_sampler *sampler, const rg_tensor *sigmas,
                            const rg_latent *latent, const rg_tensor *noise, uint64_t seed, rg_tensor **out_denoised)
{
    int n;

    if (c->error || !sigmas || !noise)
        return NULL;
    float *sigma = read_sigmas(c, sigmas, &n);
    rg_tensor *out = sample_samples(c, guider, sampler, sigma, n, fix_channels(c, guider->model, latent), latent, noise, seed, out_denoised);
    rg_free(sigma);
    return out;
}

/* ---- nodes' worth ------------------------------------------------------------------------------------------------------------------ */

/* Noise for a node: the seed's, or zeros. */
static rg_tensor *node_noise(rg_ctx *c, const rg_latent *latent, const rg_tensor *samples, bool is_disabled, uint64_t seed)
{
    if (!samples)
        return NULL;
    return is_disabled ? rg_tensor_zeros(c, RG_F32, samples->n_dims, samples->shape) : noise_like(c, latent, samples, seed);
}

static int to_latent(rg_ctx *c, const rg_latent *like, const rg_tensor *samples, rg_latent **out)
{
    if (c->error)
        return c->error;
    if (!(*out = rg_latent_with_samples(like, samples)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a latent");
    return 0;
}

int rg_sampler_custom_advanced(rg_ctx *c, const rg_noise *noise, const rg_guider *guider, const rg_sampler *sampler,
                               const rg_tensor *sigmas, const rg_latent *latent, rg_latent **out, rg_latent **out_denoised)
{
    const int s = rg_scope_begin(c);
    rg_latent *result = NULL;
    rg_tensor *denoised = NULL;
    int n, ret;

    float *sigma = read_sigmas(c, sigmas, &n);
    const rg_tensor *samples = fix_channels(c, guider->model, latent);
    const rg_tensor *start = node_noise(c, latent, samples, noise->is_disabled, noise->seed);
    const rg_tensor *x = sample_samples(c, guider, sampler, sigma, n, samples, latent, start, noise->seed, &denoised);
    rg_free(sigma);
    ret = to_latent(c, latent, x, &result);
    if (ret == 0 && out_denoised)
        ret = to_latent(c, latent, denoised, out_denoised);
    rg_scope_end(c, s, NULL);
    if (ret < 0)
        rg_unref(result);
    else
        *out = result;
    return ret;
}

int rg_ksampler(rg_ctx *c, const rg_model *model, const rg_cond *positive, const rg_cond *negative,
                const rg_latent *latent, const rg_ksampler_args *args, rg_latent **out)
{
    const int s = rg_scope_begin(c);
    rg_guider *guider = rg_guider_new(model, positive, negative, args->cfg);
    rg_sampler *sampler = rg_sampler_new(args->sampler);
    const rg_tensor *samples = fix_channels(c, model, latent);
    const rg_tensor *schedule = rg_ksampler_schedule(c, model->sampling, args->sampler, args->scheduler, args->steps, args->denoise);
    int first = 0, n = 0, ret;
    float *sigma = schedule ? read_sigmas(c, schedule, &n) : NULL;

    if (!guider || !sampler)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for sampling");
    if (args->last_step >= 0 && args->last_step < n - 1) {
        n = (int)args->last_step + 1;
        if (args->force_full_denoise)
            sigma[n - 1] = 0;
    }
    if (args->start_step >= 0) {
        if (args->start_step < n - 1) {
            first = (int)args->start_step;
            n -= first;
        } else {
            n = 0;                      /* all steps lie before the start: the latent as it came */
        }
    }
    const rg_tensor *noise = node_noise(c, latent, samples, args->disable_noise, args->seed);
    const rg_tensor *x = c->error ? NULL : sample_samples(c, guider, sampler, sigma + first, n, samples, latent, noise, args->seed, NULL);
    rg_free(sigma);
    ret = to_latent(c, latent, x, out);
    rg_scope_end(c, s, NULL);
    rg_unref(guider);
    rg_unref(sampler);
    return ret;
}
