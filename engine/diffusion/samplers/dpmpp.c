/*
 * DPM-Solver++: steps in t = -log(sigma), exact in the linear part; multistep (2M) and single-step ancestral (2S).
 * Source: Lu et al. 2022, arXiv:2211.01095; ComfyUI k_diffusion/sampling.py: sample_dpmpp_2m, sample_dpmpp_2m_cfg_pp,
 * sample_dpmpp_2s_ancestral, its _RF and its _cfg_pp.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

static float t_of(float sigma)
{
    return -rg_log_f32(sigma);          /* infinite for sigma 0: then everything below comes out as `denoised` */
}

static float sigma_of(float t)
{
    return rg_exp_f32(-t);
}

rg_tensor *rg_step_dpmpp_2m(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);
    const float t = t_of(r->sigma[i]), t_next = t_of(r->sigma[i + 1]), h = t_next - t;
    const rg_tensor *target = denoised;

    if (r->n_history > 0 && r->sigma[i + 1] != 0) {
        const float ratio = (t - t_of(r->sigma[i - 1])) / h, w = 1.0f / (2.0f * ratio);
        target = rg_sampler_mix(c, 1.0f + w, denoised, -w, r->history[0]);
    }
    x = rg_sampler_mix(c, sigma_of(t_next) / sigma_of(t), x, -rg_expm1_f32(-h), target);
    rg_sampler_push(r, denoised);
    return x;
}

rg_tensor *rg_step_dpmpp_2m_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);
    const float t = t_of(r->sigma[i]), t_next = t_of(r->sigma[i + 1]), h = t_next - t;
    const float decay = rg_exp_f32(-h);
    rg_tensor *mix = rg_affine(c, r->uncond, -decay, 0);

    if (r->n_history > 0 && r->sigma[i + 1] != 0) {
        const float ratio = (t - t_of(r->sigma[i - 1])) / h;
        mix = rg_add_scaled(c, mix, rg_sub(c, denoised, r->history[0]), -(rg_expm1_f32(-h) * (1.0f / (2.0f * ratio))));
    }
    x = rg_add_scaled(c, rg_add(c, denoised, mix), x, decay);
    rg_sampler_push(r, r->uncond);
    return x;
}

/* Flow models: halfway in log((1 - sigma) / sigma), in straight lines, then noise as in Euler ancestral. */
static rg_tensor *ancestral_flow(rg_sampler_run *r, rg_tensor *x, float sigma, float next, const rg_tensor *denoised)
{
    const float eta = (float)r->sampler->eta;
    const float down = next * (1.0f + (next / sigma - 1.0f) * eta);
    const float alpha = 1.0f - next, alpha_down = 1.0f - down;
    const float up = rg_sqrt_f32(next * next - down * down * (alpha * alpha) / (alpha_down * alpha_down));
    float middle = 0.9999f;

    if (next == 0)
        return rg_add_scaled(r->c, x, rg_sampler_direction(r->c, x, sigma, denoised), down - sigma);
    if (sigma != 1.0f) {
        const float l = rg_log_f32((1.0f - sigma) / sigma), l_down = rg_log_f32((1.0f - down) / down);
        middle = 1.0f / (rg_exp_f32(l + 0.5f * (l_down - l)) + 1.0f);
    }
    const float to_middle = middle / sigma, to_down = down / sigma;
    const rg_tensor *u = rg_sampler_mix(r->c, to_middle, x, 1.0f - to_middle, denoised);
    const rg_tensor *denoised_2 = rg_sampler_denoise(r, u, middle);

    x = rg_sampler_mix(r->c, to_down, x, 1.0f - to_down, denoised_2);
    if (next > 0 && r->sampler->eta > 0)
        x = rg_sampler_add_noise(r, rg_affine(r->c, x, alpha / alpha_down, 0), sigma, next, up);
    return x;
}

rg_tensor *rg_step_dpmpp_2s_ancestral(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);
    float down, up;

    if (rg_sampler_is_flow(r))
        return ancestral_flow(r, x, sigma, next, denoised);
    rg_sampler_ancestral(sigma, next, r->sampler->eta, &down, &up);
    if (down == 0) {
        x = rg_add_scaled(r->c, x, rg_sampler_direction(r->c, x, sigma, denoised), down - sigma);
    } else {
        const float t = t_of(sigma), t_down = t_of(down), h = t_down - t, middle = sigma_of(t + 0.5f * h);
        const rg_tensor *x2 = rg_sampler_mix(r->c, middle / sigma_of(t), x, -rg_expm1_f32(-h * 0.5f), denoised);
        const rg_tensor *denoised_2 = rg_sampler_denoise(r, x2, middle);
        x = rg_sampler_mix(r->c, sigma_of(t_down) / sigma_of(t), x, -rg_expm1_f32(-h), denoised_2);
    }
    return next > 0 ? rg_sampler_add_noise(r, x, sigma, next, up) : x;
}

rg_tensor *rg_step_dpmpp_2s_ancestral_cfg_pp(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma), *uncond = r->uncond;
    float down, up;

    rg_sampler_ancestral(sigma, next, r->sampler->eta, &down, &up);
    if (down == 0) {
        x = rg_add_scaled(c, denoised, rg_sampler_direction(c, x, sigma, uncond), down);
    } else {
        const float t = t_of(sigma), t_down = t_of(down), h = t_down - t, middle = sigma_of(t + 0.5f * h);
        const rg_tensor *shifted = rg_add(c, x, rg_sub(c, denoised, uncond));
        const rg_tensor *x2 = rg_sampler_mix(c, middle / sigma_of(t), shifted, -rg_expm1_f32(-h * 0.5f), denoised);
        const rg_tensor *denoised_2 = rg_sampler_denoise(r, x2, middle);
        /* the second evaluation has replaced the negative side */
        shifted = rg_add(c, x, rg_sub(c, denoised, r->uncond));
        x = rg_sampler_mix(c, sigma_of(t_down) / sigma_of(t), shifted, -rg_expm1_f32(-h), denoised_2);
    }
    return next > 0 ? rg_sampler_add_noise(r, x, sigma, next, up) : x;
}
