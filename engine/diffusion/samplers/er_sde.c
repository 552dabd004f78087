/*
 * ER-SDE-Solver-3: the extended reverse-time equation in lambda = sigma / alpha, up to third order.
 * Source: Cui et al. 2023, arXiv:2309.06169; ComfyUI k_diffusion/sampling.py: sample_er_sde.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

enum { N_POINTS = 200 };                /* of the numeric integrals */

static float noise_scale(float x)
{
    return x * (rg_exp_f32(rg_pow_f32(x, 0.3)) + 10.0f);
}

static float er_lambda(const rg_sampler_run *r, float sigma)
{
    return rg_exp_f32(-rg_sampler_lambda(r, sigma));
}

/* history[0] is the last denoised, history[1] the last first difference, once there are both */
rg_tensor *rg_step_er_sde(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);

    if (next == 0)
        return denoised;
    const float from = er_lambda(r, sigma), to = er_lambda(r, next);
    const float alpha_from = sigma / from, alpha_to = next / to, scale_to = noise_scale(to), ratio = scale_to / noise_scale(from);
    const rg_tensor *old_denoised = i > 0 ? r->history[i > 1 ? 1 : 0] : NULL, *old_slope = i > 1 ? r->history[0] : NULL;
    const rg_tensor *slope = NULL;

    x = rg_sampler_mix(c, alpha_to / alpha_from * ratio, x, alpha_to * (1.0f - ratio), denoised);
    if (old_denoised) {
        const float dt = to - from, width = -dt / (float)N_POINTS;
        double sum = 0, moment = 0;
        for (int k = 0; k < N_POINTS; k++) {
            const float at = to + (float)k * width, scale = noise_scale(at);
            sum += 1.0f / scale;
            moment += (at - from) / scale;
        }
        const float s = (float)sum * width;
        slope = rg_div_scalar(c, rg_sub(c, denoised, old_denoised), from - er_lambda(r, r->sigma[i - 1]));
        x = rg_add_scaled(c, x, slope, alpha_to * (dt + s * scale_to));
        if (old_slope) {
            const float s_u = (float)moment * width;
            const rg_tensor *bend = rg_div_scalar(c, rg_sub(c, slope, old_slope), (from - er_lambda(r, r->sigma[i - 2])) / 2.0f);
            x = rg_add_scaled(c, x, bend, alpha_to * (dt * dt / 2.0f + s_u * scale_to));
        }
    }
    if (r->sampler->s_noise > 0) {
        const float up = rg_sqrt_f32(to * to - from * from * (ratio * ratio));
        const rg_tensor *noise = rg_affine(c, rg_sampler_noise(r, x, sigma, next), alpha_to, 0);
        x = rg_add_scaled(c, x, rg_affine(c, noise, (float)r->sampler->s_noise, 0), isnan(up) ? 0 : up);
    }
    rg_sampler_push(r, denoised);
    if (slope)
        rg_sampler_push(r, slope);
    return x;
}
