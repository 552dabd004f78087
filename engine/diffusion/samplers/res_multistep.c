/*
 * RES, a second-order exponential multistep method, plain, ancestral and with CFG++; and gradient estimation, Euler with its
 * slope pushed ahead by the change since the last step.
 * Source: Zhang et al. 2023, arXiv:2308.02157 (RES); Permenter & Yuan 2023, arXiv:2306.04848 (gradient estimation); ComfyUI
 * k_diffusion/sampling.py: res_multistep, sample_gradient_estimation.
 */
#include <float.h>

#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

/* torch.nan_to_num(v, nan=0): infinities become the largest numbers */
static float to_finite(float v)
{
    return isnan(v) ? 0 : isinf(v) ? copysignf(FLT_MAX, v) : v;
}

/* memory[0]: the sigma that the last step went down to. */
static rg_tensor *res_multistep(rg_sampler_run *r, int i, rg_tensor *x, double eta, bool is_cfg_pp)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    rg_tensor *base = is_cfg_pp ? r->uncond : denoised;
    float down, up;

    rg_sampler_ancestral(sigma, next, eta, &down, &up);
    if (down == 0 || r->n_history == 0) {
        const rg_tensor *d = rg_sampler_direction(c, x, sigma, base);
        x = is_cfg_pp ? rg_add_scaled(c, denoised, d, down) : rg_add_scaled(c, x, d, down - sigma);
    } else {
        const float t = -rg_log_f32(sigma), t_old = -rg_log_f32(r->memory[0]), t_next = -rg_log_f32(down);
        const float t_prev = -rg_log_f32(r->sigma[i - 1]), h = t_next - t, c2 = (t_prev - t_old) / h;
        const float phi_1 = rg_expm1_f32(-h) / -h, phi_2 = (phi_1 - 1.0f) / -h;
        const float b1 = to_finite(phi_1 - phi_2 / c2), b2 = to_finite(phi_2 / c2);

        if (is_cfg_pp)
            x = rg_add(c, x, rg_sub(c, denoised, base));
        x = rg_add_scaled(c, rg_affine(c, x, rg_exp_f32(-h), 0), rg_sampler_mix(c, b1, base, b2, r->history[0]), h);
    }
    if (next > 0 && up != 0)            /* up is 0 without eta: drawing noise would change nothing */
        x = rg_sampler_add_noise(r, x, sigma, next, up);
    rg_sampler_push(r, base);
    r->memory[0] = down;
    return x;
}

rg_tensor *rg_step_res_multistep(rg_sampler_run *r, int i, rg_tensor *x)
{
    return res_multistep(r, i, x, 0, false);
}

rg_tensor *rg_step_res_multistep_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    return res_multistep(r, i, x, 0, true);
}

rg_tensor *rg_step_res_multistep_ancestral(rg_sampler_run *r, int i, rg_tensor *x)
{
    return res_multistep(r, i, x, r->sampler->eta, false);
}

rg_tensor *rg_step_res_multistep_ancestral_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    return res_multistep(r, i, x, r->sampler->eta, true);
}

static rg_tensor *gradient_estimation(rg_sampler_run *r, int i, rg_tensor *x, bool is_cfg_pp)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1], gamma = 2.0f;
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    const rg_tensor *d = rg_sampler_direction(c, x, sigma, is_cfg_pp ? r->uncond : denoised);

    if (next == 0)
        return denoised;
    x = is_cfg_pp ? rg_add_scaled(c, denoised, d, next) : rg_add_scaled(c, x, d, next - sigma);
    if (r->n_history > 0)
        x = rg_add_scaled(c, x, rg_affine(c, rg_sub(c, d, r->history[0]), gamma - 1.0f, 0), next - sigma);
    rg_sampler_push(r, d);
    return x;
}

rg_tensor *rg_step_gradient_estimation(rg_sampler_run *r, int i, rg_tensor *x)
{
    return gradient_estimation(r, i, x, false);
}

rg_tensor *rg_step_gradient_estimation_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    return gradient_estimation(r, i, x, true);
}
