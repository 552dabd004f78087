/*
 * DPM-Solver-2: the slope in the middle (of log sigma) carries the whole step. Plain and ancestral.
 * Source: Lu et al. 2022, arXiv:2206.00927; ComfyUI k_diffusion/sampling.py: sample_dpm_2, sample_dpm_2_ancestral and its _RF.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

/* From x at sigma down to `down` by the slope d_x at sigma and the one in the middle. */
static rg_tensor *midpoint(rg_sampler_run *r, rg_tensor *x, float sigma, float down, const rg_tensor *d)
{
    const float middle = rg_exp_f32(rg_lerp_f32(rg_log_f32(sigma), rg_log_f32(down), 0.5f));
    const rg_tensor *x2 = rg_add_scaled(r->c, x, d, middle - sigma);
    const rg_tensor *d2 = rg_sampler_direction(r->c, x2, middle, rg_sampler_denoise(r, x2, middle));

    return rg_add_scaled(r->c, x, d2, down - sigma);
}

rg_tensor *rg_step_dpm_2(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    const rg_tensor *d = rg_sampler_direction(r->c, x, sigma, rg_sampler_denoise(r, x, sigma));

    if (next == 0)
        return rg_add_scaled(r->c, x, d, next - sigma);
    return midpoint(r, x, sigma, next, d);
}

rg_tensor *rg_step_dpm_2_ancestral(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1], eta = (float)r->sampler->eta;
    const rg_tensor *d = rg_sampler_direction(r->c, x, sigma, rg_sampler_denoise(r, x, sigma));
    float down, up, keep = 1;

    if (rg_sampler_is_flow(r)) {
        down = next * (1.0f + (next / sigma - 1.0f) * eta);
        const float alpha = 1.0f - next, alpha_down = 1.0f - down;
        up = rg_sqrt_f32(next * next - down * down * (alpha * alpha) / (alpha_down * alpha_down));
        keep = alpha / alpha_down;
    } else {
        rg_sampler_ancestral(sigma, next, r->sampler->eta, &down, &up);
    }
    if (down == 0)
        return rg_add_scaled(r->c, x, d, down - sigma);
    x = midpoint(r, x, sigma, down, d);
    return rg_sampler_add_noise(r, rg_affine(r->c, x, keep, 0), sigma, next, up);
}
