/*
 * Euler steps along the probability flow, plain and ancestral, with and without CFG++.
 * Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2; Chung et al. 2024, arXiv:2406.08070 (CFG++); ComfyUI
 * k_diffusion/sampling.py: sample_euler, sample_euler_ancestral, sample_euler_ancestral_RF, sample_euler_ancestral_cfg_pp.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

rg_tensor *rg_step_euler(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);

    return rg_add_scaled(r->c, x, rg_sampler_direction(r->c, x, sigma, denoised), next - sigma);
}

/* Flow models: go down past the next sigma in a straight line, then add noise while keeping signal + noise consistent. */
static rg_tensor *ancestral_flow(rg_sampler_run *r, rg_tensor *x, float sigma, float next, const rg_tensor *denoised)
{
    const float eta = (float)r->sampler->eta;
    const float down = next * (1.0f + (next / sigma - 1.0f) * eta);
    const float alpha = 1.0f - next, alpha_down = 1.0f - down, ratio = down / sigma;
    const float up = rg_sqrt_f32(next * next - down * down * (alpha * alpha) / (alpha_down * alpha_down));

    x = rg_sampler_mix(r->c, ratio, x, 1.0f - ratio, denoised);
    if (!(r->sampler->eta > 0))
        return x;
    return rg_sampler_add_noise(r, rg_affine(r->c, x, alpha / alpha_down, 0), sigma, next, up);
}

rg_tensor *rg_step_euler_ancestral(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    float down, up;

    if (rg_sampler_is_flow(r))
        return next == 0 ? denoised : ancestral_flow(r, x, sigma, next, denoised);
    rg_sampler_ancestral(sigma, next, r->sampler->eta, &down, &up);
    if (down == 0)
        return denoised;
    x = rg_add_scaled(r->c, x, rg_sampler_direction(r->c, x, sigma, denoised), down - sigma);
    return rg_sampler_add_noise(r, x, sigma, next, up);
}

/* CFG++: the direction comes from the negative side alone. eta 0: no noise, the plain sampler. */
static rg_tensor *cfg_pp(rg_sampler_run *r, int i, rg_tensor *x, double eta, double s_noise)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    float down, up;

    if (next == 0)
        return denoised;
    const float alpha = sigma * rg_exp_f32(rg_sampler_lambda(r, sigma)), alpha_next = next * rg_exp_f32(rg_sampler_lambda(r, next));
    const rg_tensor *d = rg_sampler_direction(r->c, x, sigma, rg_affine(r->c, r->uncond, alpha, 0));

    rg_sampler_ancestral(sigma / alpha, next / alpha_next, eta, &down, &up);
    x = rg_sampler_mix(r->c, alpha_next, denoised, alpha_next * down, d);
    if (eta > 0 && s_noise > 0) {
        const rg_tensor *noise = rg_affine(r->c, rg_sampler_noise(r, x, sigma, next), alpha_next, 0);
        x = rg_add_scaled(r->c, x, rg_affine(r->c, noise, (float)s_noise, 0), up);
    }
    return x;
}

rg_tensor *rg_step_euler_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    return cfg_pp(r, i, x, 0, 0);
}

rg_tensor *rg_step_euler_ancestral_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    return cfg_pp(r, i, x, r->sampler->eta, r->sampler->s_noise);
}
