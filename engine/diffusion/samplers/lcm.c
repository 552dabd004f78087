/*
 * Samplers that throw the noise away at each step and add fresh noise: consistency models, and DDPM's posterior mean.
 * Source: Luo et al. 2023, arXiv:2310.04378 (LCM); Ho et al. 2020, arXiv:2006.11239 (DDPM); ComfyUI
 * k_diffusion/sampling.py: sample_lcm, sample_ddpm, DDPMSampler_step.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

rg_tensor *rg_step_lcm(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);

    if (!(next > 0))
        return denoised;
    return rg_model_noise_scaling(r->c, r->sampling, next, rg_sampler_noise(r, x, sigma, next), denoised, false);
}

rg_tensor *rg_step_ddpm(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    const rg_tensor *eps = rg_sampler_direction(c, x, sigma, rg_sampler_denoise(r, x, sigma));
    const float product = 1.0f / (sigma * sigma + 1.0f), product_next = 1.0f / (next * next + 1.0f);
    const float alpha = product / product_next;

    /* in the variance-preserving frame, where x is divided by sqrt(1 + sigma^2) */
    x = rg_div_scalar(c, x, rg_sqrt_f32(1.0f + sigma * sigma));
    const rg_tensor *away = rg_div_scalar(c, rg_affine(c, eps, 1.0f - alpha, 0), rg_sqrt_f32(1.0f - product));
    x = rg_affine(c, rg_sub(c, x, away), rg_sqrt_f32(1.0f / alpha), 0);
    if (next > 0) {
        const float up = rg_sqrt_f32((1.0f - alpha) * (1.0f - product_next) / (1.0f - product));
        x = rg_add_scaled(c, x, rg_sampler_noise(r, x, sigma, next), up);
    }
    return next != 0 ? rg_affine(c, x, rg_sqrt_f32(1.0f + next * next), 0) : x;
}
