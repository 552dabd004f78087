/*
 * Model handles and model sampling: the tables that say which sigma a timestep is, and how a model's raw output becomes the
 * denoised latent. Arithmetic is float32 step by step where ComfyUI computes on float32 tensors, float64 where it computes on
 * Python numbers: sigmas agree to the last bit.
 *
 * Source: ComfyUI comfy/model_sampling.py; Karras et al. 2022, arXiv:2206.00364 (eps, v); Esser et al. 2024, arXiv:2403.03206 (flow).
 */
#include "engine/diffusion/model.h"

#include <math.h>

#include "engine/diffusion/captured.h"
#include "engine/ops/ops.h"

/* ---- handles -------------------------------------------------------------------------------------------------------- */

static void model_free(void *self)
{
    rg_model *m = self;

    rg_unref(m->denoiser);
    rg_unref(m->sampling);
    rg_free(m);
}

static rg_model *model_make(const rg_denoiser *denoiser, const rg_model_sampling *sampling)
{
    rg_model *m = rg_calloc(1, sizeof *m);

    if (!m)
        return NULL;
    rg_object_init(m, model_free);
    m->denoiser = rg_ref(denoiser);
    m->sampling = rg_ref(sampling);
    return m;
}

rg_model *rg_model_new(const rg_denoiser *denoiser)
{
    return model_make(denoiser, denoiser->sampling);
}

rg_model *rg_model_with_sampling(const rg_model *model, const rg_model_sampling *sampling)
{
    return model_make(model->denoiser, sampling);
}

/* ---- sigma tables ----------------------------------------------------------------------------------------------------- */

static void sampling_free(void *self)
{
    rg_model_sampling *s = self;

    rg_free(s->sigmas);
    rg_free(s->log_sigmas);
    rg_free(s);
}

/* exp(mu) / (exp(mu) + (1/t - 1)), a number over a float32 tensor: PyTorch takes the reciprocal, then multiplies */
static float flux_time_shift(double mu, float t)
{
    const float e = (float)exp(mu);
    const float odds = 1.0f / t - 1.0f;

    return 1.0f / (odds + e) * e;
}

static float snr_time_shift(double alpha, float t)
{
    if (alpha == 1.0)
        return t;
    return (float)alpha * t / ((float)(alpha - 1.0) * t + 1.0f);
}

/* Stable Diffusion's betas, linear in their square root, in float64 throughout. */
static void discrete_table(rg_model_sampling *s)
{
    const double start = sqrt(0.00085), end = sqrt(0.012), step = (end - start) / (s->n_sigmas - 1);
    double alphas_cumprod = 1.0;

    for (int i = 0; i < s->n_sigmas; i++) {
        const double root = i < s->n_sigmas / 2 ? start + step * i : end - step * (s->n_sigmas - 1 - i);
        alphas_cumprod *= 1.0 - root * root;
        const double sigma = sqrt((1.0 - alphas_cumprod) / alphas_cumprod);
        s->sigmas[i] = (float)sigma;
        s->log_sigmas[i] = (float)log(sigma);
    }
}

rg_model_sampling *rg_model_sampling_new(rg_sampling_kind kind, rg_prediction prediction, double shift, double multiplier)
{
    rg_model_sampling *s = rg_calloc(1, sizeof *s);

    if (!s)
        return NULL;
    rg_object_init(s, sampling_free);
    s->kind = kind;
    s->prediction = prediction;
    s->shift = shift;
    s->multiplier = multiplier;
    s->n_sigmas = kind == RG_SAMPLING_FLUX ? 10000 : 1000;
    s->sigmas = rg_calloc((size_t)s->n_sigmas, sizeof *s->sigmas);
    if (kind == RG_SAMPLING_DISCRETE)
        s->log_sigmas = rg_calloc((size_t)s->n_sigmas, sizeof *s->log_sigmas);
    if (!s->sigmas || (kind == RG_SAMPLING_DISCRETE && !s->log_sigmas)) {
        rg_unref(s);
        return NULL;
    }
    if (kind == RG_SAMPLING_DISCRETE) {
        discrete_table(s);
        return s;
    }
    for (int i = 0; i < s->n_sigmas; i++) {
        const float t = (float)(i + 1) / (float)s->n_sigmas;
        s->sigmas[i] = rg_model_sampling_sigma(s, kind == RG_SAMPLING_FLOW ? t * (float)multiplier : t);
    }
    return s;
}

double rg_flux_shift(double max_shift, double base_shift, int64_t width, int64_t height)
{
    const double slope = (max_shift - base_shift) / (4096 - 256), n_tokens = (double)(width * height) / (8 * 8 * 2 * 2);

    return n_tokens * slope + (base_shift - slope * 256);
}

float rg_model_sampling_max(const rg_model_sampling *s)
{
    return s->sigmas[s->n_sigmas - 1];
}

float rg_model_sampling_sigma(const rg_model_sampling *s, float timestep)
{
    if (s->kind == RG_SAMPLING_FLUX)
        return flux_time_shift(s->shift, timestep);
    if (s->kind == RG_SAMPLING_FLOW)
        return snr_time_shift(s->shift, timestep / (float)s->multiplier);

    const float last = (float)(s->n_sigmas - 1);
    const float t = timestep < 0 ? 0 : timestep > last ? last : timestep;
    const float low = floorf(t), w = t - low;

    return expf((1.0f - w) * s->log_sigmas[(int)low] + w * s->log_sigmas[(int)ceilf(t)]);
}

float rg_model_sampling_timestep(const rg_model_sampling *s, float sigma)
{
    if (s->kind == RG_SAMPLING_FLUX)
        return sigma;
    if (s->kind == RG_SAMPLING_FLOW)
        return sigma * (float)s->multiplier;

    const float log_sigma = logf(sigma);
    int nearest = 0;
    for (int i = 1; i < s->n_sigmas; i++) {
        if (fabsf(log_sigma - s->log_sigmas[i]) < fabsf(log_sigma - s->log_sigmas[nearest]))
            nearest = i;
    }
    return (float)nearest;
}

double rg_model_sampling_percent_to_sigma(const rg_model_sampling *s, double percent)
{
    const bool is_discrete = s->kind == RG_SAMPLING_DISCRETE;

    if (percent <= 0.0)
        return is_discrete ? 999999999.9 : 1.0;
    if (percent >= 1.0)
        return 0.0;

    const double t = 1.0 - percent;
    if (is_discrete)
        return rg_model_sampling_sigma(s, (float)(t * 999.0));
    if (s->kind == RG_SAMPLING_FLUX)
        return exp(s->shift) / (exp(s->shift) + (1.0 / t - 1.0));
    return s->shift == 1.0 ? t : s->shift * t / (1.0 + (s->shift - 1.0) * t);
}

/* ---- from raw output to denoised -------------------------------------------------------------------------------------------- */

rg_tensor *rg_model_denoise(rg_ctx *c, const rg_model *m, const rg_tensor *x, float sigma, const rg_denoiser_inputs *in)
{
    const rg_model_sampling *s = m->sampling;
    const rg_tensor *input = x;
    const float variance = sigma * sigma + 1.0f;    /* of noisy data, as the data's is 1 */

    if (c->error || !x)
        return NULL;
    if (s->prediction != RG_PREDICT_FLOW)
        input = rg_div_scalar(c, x, sqrtf(variance));

    const rg_tensor *timestep = rg_tensor_full(c, RG_F32, 1, x->shape, rg_model_sampling_timestep(s, sigma));
    const rg_tensor *out = rg_denoiser_run(c, m->denoiser, input, timestep, in);

    if (s->prediction == RG_PREDICT_V) {
        const rg_tensor *skip = rg_div_scalar(c, x, variance);
        return rg_sub(c, skip, rg_div_scalar(c, rg_affine(c, out, sigma, 0), sqrtf(variance)));
    }
    return rg_add_scaled(c, x, out, -sigma);
}

rg_tensor *rg_model_noise_scaling(rg_ctx *c, const rg_model_sampling *s, float sigma, const rg_tensor *noise,
                                  const rg_tensor *data, bool is_max)
{
    if (s->prediction == RG_PREDICT_FLOW)
        return rg_add_scaled(c, rg_affine(c, noise, sigma, 0), data, 1.0f - sigma);
    return rg_add_scaled(c, data, noise, is_max ? sqrtf(1.0f + sigma * sigma) : sigma);
}

rg_tensor *rg_model_inverse_noise_scaling(rg_ctx *c, const rg_model_sampling *s, float sigma, const rg_tensor *x)
{
    if (s->prediction == RG_PREDICT_FLOW)
        return rg_div_scalar(c, x, 1.0f - sigma);
    return rg_affine(c, x, 1, 0);
}
