/*
 * SEEDS-2 and SEEDS-3: exponential integrators of the stochastic equation with two and three evaluations per step; the noise of
 * a step is one path, drawn piece by piece.
 * Source: Gonzalez et al. 2023, arXiv:2305.14267; ComfyUI k_diffusion/sampling.py: sample_seeds_2, sample_seeds_3.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

static float phi_2(float h) { return (rg_expm1_f32(h) - h) / h; }

static bool has_noise(const rg_sampler_run *r) { return r->sampler->eta > 0 && r->sampler->s_noise > 0; }

/* Where a stage ends: part of the way in lambda. */
typedef struct stage {
    float part, sigma, alpha;
} stage;

static stage stage_at(const rg_sampler_run *r, double part, float lambda, float lambda_next)
{
    const float l = rg_lerp_f32(lambda, lambda_next, (float)part), sigma = rg_sampler_sigma_of_lambda(r, l);

    return (stage){ (float)part, sigma, sigma * rg_exp_f32(l) };
}

/* x + noise * sigma * s_noise */
static rg_tensor *with_noise(rg_sampler_run *r, const rg_tensor *x, const rg_tensor *noise, float sigma)
{
    return rg_add_scaled(r->c, x, rg_affine(r->c, noise, sigma, 0), (float)r->sampler->s_noise);
}

/* The step's noise so far, faded over `segment` (negative), and the next piece of it. */
static rg_tensor *next_noise(rg_sampler_run *r, const rg_tensor *x, const rg_tensor *noise, float segment, float from, float to)
{
    const rg_tensor *piece = rg_sampler_noise(r, x, from, to);

    return rg_sampler_mix(r->c, rg_exp_f32(segment), noise, rg_sqrt_f32(-rg_expm1_f32(segment * 2.0f)), piece);
}

/* The first stage, alike in both: x at s, and the noise of the way there in *noise. */
static rg_tensor *first_stage(rg_sampler_run *r, const rg_tensor *x, float sigma, const stage *s, float h, const rg_tensor *denoised,
                              const rg_tensor **noise)
{
    const float eta = (float)r->sampler->eta, h_eta = h * (float)(r->sampler->eta + 1);
    rg_tensor *x2 = rg_sampler_mix(r->c, s->sigma / sigma * rg_exp_f32(-s->part * h * eta), x, -(s->alpha * rg_expm1_f32(-s->part * h_eta)), denoised);

    if (!has_noise(r))
        return x2;
    *noise = rg_affine(r->c, rg_sampler_noise(r, x, sigma, s->sigma), rg_sqrt_f32(-rg_expm1_f32(-2.0f * s->part * h * eta)), 0);
    return with_noise(r, x2, *noise, s->sigma);
}

rg_tensor *rg_step_seeds_2(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1], eta = (float)r->sampler->eta;
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    const rg_tensor *noise = NULL;

    if (next == 0)
        return denoised;
    const float lambda = rg_sampler_lambda(r, sigma), lambda_next = rg_sampler_lambda(r, next), h = lambda_next - lambda;
    const float h_eta = h * (float)(r->sampler->eta + 1), alpha_next = next * rg_exp_f32(lambda_next);
    const stage s = stage_at(r, 0.5, lambda, lambda_next);
    const rg_tensor *x2 = first_stage(r, x, sigma, &s, h, denoised, &noise);
    const rg_tensor *denoised_2 = rg_sampler_denoise(r, x2, s.sigma);   /* halfway: it alone carries the whole step */

    x = rg_sampler_mix(r->c, next / sigma * rg_exp_f32(-h * eta), x, -(alpha_next * rg_expm1_f32(-h_eta)), denoised_2);
    if (has_noise(r))
        x = with_noise(r, x, next_noise(r, x, noise, (s.part - 1.0f) * h * eta, s.sigma, next), next);
    return x;
}

rg_tensor *rg_step_seeds_3(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1], eta = (float)r->sampler->eta;
    const double r1 = 1.0 / 3, r2 = 2.0 / 3;
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    const rg_tensor *noise = NULL;

    if (next == 0)
        return denoised;
    const float lambda = rg_sampler_lambda(r, sigma), lambda_next = rg_sampler_lambda(r, next), h = lambda_next - lambda;
    const float h_eta = h * (float)(r->sampler->eta + 1), alpha_next = next * rg_exp_f32(lambda_next);
    const stage a = stage_at(r, r1, lambda, lambda_next), b = stage_at(r, r2, lambda, lambda_next);
    const rg_tensor *x2 = first_stage(r, x, sigma, &a, h, denoised, &noise);
    const rg_tensor *denoised_2 = rg_sampler_denoise(r, x2, a.sigma);

    const float a32 = (float)(r2 / r1) * phi_2(-b.part * h_eta), a31 = rg_expm1_f32(-b.part * h_eta) - a32;
    rg_tensor *x3 = rg_affine(c, x, b.sigma / sigma * rg_exp_f32(-b.part * h * eta), 0);
    x3 = rg_add_scaled(c, x3, rg_sampler_mix(c, a31, denoised, a32, denoised_2), -b.alpha);
    if (has_noise(r)) {
        noise = next_noise(r, x, noise, (float)(r1 - r2) * h * eta, a.sigma, b.sigma);
        x3 = with_noise(r, x3, noise, b.sigma);
    }
    const rg_tensor *denoised_3 = rg_sampler_denoise(r, x3, b.sigma);

    const float b3 = phi_2(-h_eta) / (float)r2, b1 = rg_expm1_f32(-h_eta) - b3;
    x = rg_affine(c, x, next / sigma * rg_exp_f32(-h * eta), 0);
    x = rg_add_scaled(c, x, rg_sampler_mix(c, b1, denoised, b3, denoised_3), -alpha_next);
    if (has_noise(r))
        x = with_noise(r, x, next_noise(r, x, noise, (float)(r2 - 1) * h * eta, b.sigma, next), next);
    return x;
}
