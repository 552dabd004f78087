/*
 * DPM-Solver++ for the stochastic equation, in lambda = half the log signal-to-noise ratio, with Brownian noise.
 * Source: Lu et al. 2022, arXiv:2211.01095; ComfyUI k_diffusion/sampling.py: sample_dpmpp_sde, sample_dpmpp_2m_sde,
 * sample_dpmpp_2m_sde_heun, sample_dpmpp_3m_sde. The last sigma is 0: the step to it is the denoised latent itself.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

/* One exponential step from lambda over the ancestral part of the way to lambda_to, towards `target`, then noise. */
static rg_tensor *sde_step(rg_sampler_run *r, rg_tensor *x, float sigma, float sigma_to, float lambda, float lambda_to,
                           const rg_tensor *target)
{
    rg_ctx *c = r->c;
    const float alpha = sigma * rg_exp_f32(lambda), alpha_to = sigma_to * rg_exp_f32(lambda_to);
    float down, up;

    rg_sampler_ancestral(rg_exp_f32(-lambda), rg_exp_f32(-lambda_to), r->sampler->eta, &down, &up);
    const float h = -rg_log_f32(down) - lambda;
    x = rg_sampler_mix(c, alpha_to / alpha * rg_exp_f32(-h), x, -(alpha_to * rg_expm1_f32(-h)), target);
    if (r->sampler->eta > 0 && r->sampler->s_noise > 0) {
        const rg_tensor *noise = rg_affine(c, rg_sampler_noise(r, x, sigma, sigma_to), alpha_to, 0);
        x = rg_add_scaled(c, x, rg_affine(c, noise, (float)r->sampler->s_noise, 0), up);
    }
    return x;
}

rg_tensor *rg_step_dpmpp_sde(rg_sampler_run *r, int i, rg_tensor *x)
{
    const float sigma = r->sigma[i], next = r->sigma[i + 1];
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma);

    if (next == 0)
        return denoised;
    const double ratio = r->sampler->r, fac = 1 / (2 * ratio);
    const float lambda = rg_sampler_lambda(r, sigma), lambda_next = rg_sampler_lambda(r, next);
    const float lambda_mid = lambda + (float)ratio * (lambda_next - lambda), sigma_mid = rg_sampler_sigma_of_lambda(r, lambda_mid);
    const rg_tensor *x2 = sde_step(r, x, sigma, sigma_mid, lambda, lambda_mid, denoised);
    const rg_tensor *denoised_2 = rg_sampler_denoise(r, x2, sigma_mid);

    return sde_step(r, x, sigma, next, lambda, lambda_next,
                    rg_sampler_mix(r->c, (float)(1 - fac), denoised, (float)fac, denoised_2));
}

/* What the multistep samplers share: the first-order part of a step, and the noise at its end. */
typedef struct multistep {
    float h, h_eta, alpha_next, fade;   /* fade: -expm1(-h_eta) */
} multistep;

static multistep multistep_begin(const rg_sampler_run *r, int i)
{
    const float lambda = rg_sampler_lambda(r, r->sigma[i]), lambda_next = rg_sampler_lambda(r, r->sigma[i + 1]);
    multistep m = { .h = lambda_next - lambda };

    m.h_eta = m.h * (float)(r->sampler->eta + 1);
    m.alpha_next = r->sigma[i + 1] * rg_exp_f32(lambda_next);
    m.fade = -rg_expm1_f32(-m.h_eta);
    return m;
}

static rg_tensor *first_order(rg_sampler_run *r, int i, const multistep *m, rg_tensor *x, const rg_tensor *denoised)
{
    const float decay = r->sigma[i + 1] / r->sigma[i] * rg_exp_f32(-m->h * (float)r->sampler->eta);

    return rg_sampler_mix(r->c, decay, x, m->alpha_next * m->fade, denoised);
}

static rg_tensor *multistep_noise(rg_sampler_run *r, int i, const multistep *m, rg_tensor *x)
{
    const float eta = (float)r->sampler->eta, next = r->sigma[i + 1];

    if (!(r->sampler->eta > 0 && r->sampler->s_noise > 0))
        return x;
    const rg_tensor *noise = rg_affine(r->c, rg_sampler_noise(r, x, r->sigma[i], next), next, 0);
    noise = rg_affine(r->c, noise, rg_sqrt_f32(-rg_expm1_f32(-2.0f * m->h * eta)), 0);
    return rg_add_scaled(r->c, x, noise, (float)r->sampler->s_noise);
}

static rg_tensor *dpmpp_2m_sde(rg_sampler_run *r, int i, rg_tensor *x, bool is_heun)
{
    rg_ctx *c = r->c;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);

    if (r->sigma[i + 1] == 0)
        return denoised;
    const multistep m = multistep_begin(r, i);
    x = first_order(r, i, &m, x, denoised);
    if (r->n_history > 0) {
        const float inverse = 1.0f / (r->memory[0] / m.h);
        const float w = is_heun ? m.alpha_next * (m.fade / -m.h_eta + 1.0f) * inverse : 0.5f * m.alpha_next * m.fade * inverse;
        x = rg_add_scaled(c, x, rg_sub(c, denoised, r->history[0]), w);
    }
    x = multistep_noise(r, i, &m, x);
    rg_sampler_push(r, denoised);
    r->memory[0] = m.h;
    return x;
}

rg_tensor *rg_step_dpmpp_2m_sde(rg_sampler_run *r, int i, rg_tensor *x)
{
    return dpmpp_2m_sde(r, i, x, false);
}

rg_tensor *rg_step_dpmpp_2m_sde_heun(rg_sampler_run *r, int i, rg_tensor *x)
{
    return dpmpp_2m_sde(r, i, x, true);
}

rg_tensor *rg_step_dpmpp_3m_sde(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);

    if (r->sigma[i + 1] == 0)
        return denoised;
    const multistep m = multistep_begin(r, i);
    x = first_order(r, i, &m, x, denoised);
    if (r->n_history > 0) {
        const float r0 = r->memory[0] / m.h, phi_2 = rg_expm1_f32(-m.h_eta) / m.h_eta + 1.0f;
        const rg_tensor *d = rg_div_scalar(c, rg_sub(c, denoised, r->history[0]), r0);
        if (r->n_history > 1) {
            const float r1 = r->memory[1] / m.h, phi_3 = phi_2 / m.h_eta - 0.5f;
            const rg_tensor *d_old = rg_div_scalar(c, rg_sub(c, r->history[0], r->history[1]), r1);
            const rg_tensor *change = rg_sub(c, d, d_old);
            const rg_tensor *d1 = rg_add(c, d, rg_div_scalar(c, rg_affine(c, change, r0, 0), r0 + r1));
            x = rg_add_scaled(c, x, d1, m.alpha_next * phi_2);
            x = rg_add_scaled(c, x, rg_div_scalar(c, change, r0 + r1), -(m.alpha_next * phi_3));
        } else {
            x = rg_add_scaled(c, x, d, m.alpha_next * phi_2);
        }
    }
    x = multistep_noise(r, i, &m, x);
    rg_sampler_push(r, denoised);
    r->memory[1] = r->memory[0];
    r->memory[0] = m.h;
    return x;
}
