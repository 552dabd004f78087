/*
 * Heun's method: an Euler step, the slope at its end, and the step again with the mean slope; Heun++ looks two sigmas ahead.
 * Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2; ComfyUI k_diffusion/sampling.py: sample_heun, sample_heunpp2.
 */
#include "engine/diffusion/samplers/samplers.h"

rg_tensor *rg_step_heun(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1], dt = next - sigma;
    const rg_tensor *d = rg_sampler_direction(c, x, sigma, rg_sampler_denoise(r, x, sigma));
    rg_tensor *there = rg_add_scaled(c, x, d, dt);

    if (next == 0)
        return there;
    const rg_tensor *d_there = rg_sampler_direction(c, there, next, rg_sampler_denoise(r, there, next));
    return rg_add_scaled(c, x, rg_div_scalar(c, rg_add(c, d, d_there), 2), dt);
}

/* Slopes at up to three sigmas, weighed by those sigmas; the ends of the schedule use fewer. */
rg_tensor *rg_step_heunpp2(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float *sigma = r->sigma + i, end = r->sigma[r->n_steps], dt = sigma[1] - sigma[0];
    const rg_tensor *d1 = rg_sampler_direction(c, x, sigma[0], rg_sampler_denoise(r, x, sigma[0]));
    rg_tensor *x2 = rg_add_scaled(c, x, d1, dt);

    if (sigma[1] == end)
        return x2;
    const rg_tensor *d2 = rg_sampler_direction(c, x2, sigma[1], rg_sampler_denoise(r, x2, sigma[1]));
    if (sigma[2] == end) {
        const float w2 = sigma[1] / (2.0f * r->sigma[0]);
        return rg_add_scaled(c, x, rg_sampler_mix(c, 1.0f - w2, d1, w2, d2), dt);
    }
    const rg_tensor *x3 = rg_add_scaled(c, x2, d2, sigma[2] - sigma[1]);
    const rg_tensor *d3 = rg_sampler_direction(c, x3, sigma[2], rg_sampler_denoise(r, x3, sigma[2]));
    const float whole = 3.0f * r->sigma[0], w2 = sigma[1] / whole, w3 = sigma[2] / whole;

    return rg_add_scaled(c, x, rg_add_scaled(c, rg_sampler_mix(c, 1.0f - w2 - w3, d1, w2, d2), d3, w3), dt);
}
