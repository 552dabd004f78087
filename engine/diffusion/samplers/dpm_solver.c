/*
 * DPM-Solver of orders 1 to 3 in t = -log(sigma): "fast" spends a fixed number of evaluations on even steps in t, "adaptive"
 * chooses its steps by comparing orders 2 and 3. Both go their own way from the first sigma to the smallest above 0, so each is
 * a whole run instead of a step.
 * Source: Lu et al. 2022, arXiv:2206.00927; ComfyUI k_diffusion/sampling.py: DPMSolver, sample_dpm_fast, sample_dpm_adaptive.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"
#include "engine/ops/backend.h"

static float sigma_of(float t) { return rg_exp_f32(-t); }

/* The noise in x at t. */
static rg_tensor *eps_at(rg_sampler_run *r, const rg_tensor *x, float t)
{
    return rg_sampler_direction(r->c, x, sigma_of(t), rg_sampler_denoise(r, x, sigma_of(t)));
}

/* x - a * eps */
static rg_tensor *away(rg_ctx *c, const rg_tensor *x, float a, const rg_tensor *eps)
{
    return rg_add_scaled(c, x, eps, -a);
}

static rg_tensor *order_1(rg_sampler_run *r, const rg_tensor *x, float t, float to, const rg_tensor *eps)
{
    return away(r->c, x, sigma_of(to) * rg_expm1_f32(to - t), eps);
}

/* eps_r1 is the noise at the inner point, made here if *eps_r1 is NULL and left there for order 3. */
static rg_tensor *order_2(rg_sampler_run *r, const rg_tensor *x, float t, float to, double r1, const rg_tensor *eps, const rg_tensor **eps_r1)
{
    rg_ctx *c = r->c;
    const float h = to - t, s1 = t + (float)r1 * h, whole = rg_expm1_f32(h);
    const rg_tensor *u1 = away(c, x, sigma_of(s1) * rg_expm1_f32((float)r1 * h), eps);

    *eps_r1 = eps_at(r, u1, s1);
    rg_tensor *x2 = away(c, x, sigma_of(to) * whole, eps);
    return away(c, x2, sigma_of(to) / (float)(2 * r1) * whole, rg_sub(c, *eps_r1, eps));
}

static rg_tensor *order_3(rg_sampler_run *r, const rg_tensor *x, float t, float to, const rg_tensor *eps, const rg_tensor *eps_r1)
{
    rg_ctx *c = r->c;
    const double r1 = 1.0 / 3, r2 = 2.0 / 3;
    const float h = to - t, s1 = t + (float)r1 * h, s2 = t + (float)r2 * h, h2 = (float)r2 * h;

    if (!eps_r1)
        eps_r1 = eps_at(r, away(c, x, sigma_of(s1) * rg_expm1_f32((float)r1 * h), eps), s1);
    rg_tensor *u2 = away(c, x, sigma_of(s2) * rg_expm1_f32(h2), eps);
    u2 = away(c, u2, sigma_of(s2) * (float)(r2 / r1) * (rg_expm1_f32(h2) / h2 - 1.0f), rg_sub(c, eps_r1, eps));
    const rg_tensor *eps_r2 = eps_at(r, u2, s2);
    rg_tensor *x3 = away(c, x, sigma_of(to) * rg_expm1_f32(h), eps);
    return away(c, x3, sigma_of(to) / (float)r2 * (rg_expm1_f32(h) / h - 1.0f), rg_sub(c, eps_r2, eps));
}

/* The smallest sigma to go to: the last, or the one before a last 0. */
static float last_sigma(const rg_sampler_run *r)
{
    return r->sigma[r->n_steps] == 0 ? r->sigma[r->n_steps - 1] : r->sigma[r->n_steps];
}

rg_tensor *rg_run_dpm_fast(rg_sampler_run *r, rg_tensor *x)
{
    const int n = r->n_steps, m = n / 3 + 1;
    const float start = -rg_log_f32(r->sigma[0]), end = -rg_log_f32(last_sigma(r)), step = (end - start) / (float)m;

    for (int i = 0; i < m && rg_sampler_begin_step(r); i++) {
        const float t = i < (m + 1) / 2 ? fmaf(step, (float)i, start) : fmaf(-step, (float)(m - i), end);
        const float to = i + 1 < (m + 1) / 2 ? fmaf(step, (float)(i + 1), start) : fmaf(-step, (float)(m - i - 1), end);
        const int order = n % 3 != 0 ? (i < m - 1 ? 3 : n % 3) : i < m - 2 ? 3 : i == m - 2 ? 2 : 1;
        const rg_tensor *eps = eps_at(r, x, t), *eps_r1 = NULL;
        rg_tensor *next = order == 1 ? order_1(r, x, t, to, eps)
                        : order == 2 ? order_2(r, x, t, to, 0.5, eps, &eps_r1) : order_3(r, x, t, to, eps, NULL);
        rg_sampler_end_step(r, i, &x, next);
    }
    return x;
}

/* sqrt(mean(((low - high) / max(atol, rtol * max(|low|, |last|)))^2)) */
static float step_error(rg_ctx *c, const rg_tensor *low, const rg_tensor *high, const rg_tensor *last)
{
    const float atol = 0.0078f, rtol = 0.05f;
    const rg_tensor *size = rg_maximum(c, rg_unary(c, low, RG_ABS), rg_unary(c, last, RG_ABS));
    const rg_tensor *delta = rg_clamp(c, rg_affine(c, size, rtol, 0), atol, INFINITY);
    const rg_tensor *ratio = rg_div(c, rg_sub(c, low, high), delta);
    const rg_tensor *sum = ratio ? rg_sum(c, rg_view1(c, rg_contiguous(c, rg_mul(c, ratio, ratio)), -1), 0, true) : NULL;

    if (sum && sum->device.type != RG_CPU) {
        sum = rg_to_device(c, sum, (rg_device){ RG_CPU, 0 });
        if (sum)
            c->ops->synchronize(c);
    }
    return sum ? sqrtf((float)rg_get(sum, 0)) / (float)sqrt((double)rg_numel(low)) : NAN;
}

rg_tensor *rg_run_dpm_adaptive(rg_sampler_run *r, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const float end = -rg_log_f32(last_sigma(r));
    float s = -rg_log_f32(r->sigma[0]);
    double h = 0.05;

    rg_sampler_keep(r, 0, x);           /* the last accepted result of the lower order */
    for (int i = 0; s < end - (float)1e-5 && rg_sampler_begin_step(r); i++) {
        const float ahead = s + (float)h, t = ahead < end ? ahead : end;
        const rg_tensor *eps = eps_at(r, x, s), *eps_r1 = NULL;
        rg_tensor *low = order_2(r, x, s, t, 1.0 / 3, eps, &eps_r1), *high = order_3(r, x, s, t, eps, eps_r1);
        /* a controller with integral term only: the step grows as the third root of the inverse error */
        const double inverse = 1.0 / ((double)step_error(c, low, high, r->kept[0]) + 1e-8);
        const double factor = 1 + atan(pow(inverse, 1.0 / 3) - 1);
        const bool is_accepted = factor >= 0.81;

        if (!(factor > 0) || i >= 10000) {      /* NaN, or no way forward */
            if (!c->error)
                rg_fail(c, RG_ERR_INVALID, "dpm_adaptive finds no step: its latent is not a number, or it has taken %d steps", i);
        }
        if (is_accepted) {
            rg_sampler_keep(r, 0, low);
            s = t;
        }
        h *= factor;
        rg_sampler_end_step(r, i, &x, is_accepted ? high : x);
    }
    return x;
}
