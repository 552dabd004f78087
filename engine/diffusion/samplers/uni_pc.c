/*
 * UniPC: a predictor and a corrector of the same order (up to 3) over past denoised latents; B(h) = h or exp(h) - 1.
 *
 * It works in the variance-preserving frame, x / sqrt(1 + sigma^2), and takes one model evaluation per step: the corrector's
 * is the next predictor's. Step 0 only evaluates; the last step does two updates, the second without corrector. A last sigma
 * of 0 counts as 0.001 (ComfyUI overwrites its own list, so a flow's inverse scaling sees it too).
 *
 * Source: Zhao et al. 2023, arXiv:2302.04867; ComfyUI comfy/extra_samplers/uni_pc.py.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

enum { MAX_ORDER = 3 };

static float log_alpha_of(float t) { return 0.5f * rg_log_f32(1.0f / (t * t + 1.0f)); }
static float alpha_of(float t) { return rg_exp_f32(log_alpha_of(t)); }
static float std_of(float t) { return rg_sqrt_f32(1.0f - rg_exp_f32(2.0f * log_alpha_of(t))); }

static float lambda_of(float t)
{
    const float log_alpha = log_alpha_of(t);

    return log_alpha - 0.5f * rg_log_f32(1.0f - rg_exp_f32(2.0f * log_alpha));
}

/* The denoised latent at t from x in the variance-preserving frame, by way of the noise, as ComfyUI goes. */
static rg_tensor *predict(rg_sampler_run *r, const rg_tensor *x, float t)
{
    rg_ctx *c = r->c;
    const rg_tensor *input = rg_affine(c, x, rg_sqrt_f32(t * t + 1.0f), 0);
    const rg_tensor *noise = rg_sampler_direction(c, input, t, rg_sampler_denoise(r, input, t));

    return rg_div_scalar(c, rg_add_scaled(c, x, noise, -std_of(t)), alpha_of(t));
}

/* Weights of the differences: R y = b with rows of powers of rk. n = 1 and, for the predictor, order 2 have fixed answers. */
static void weights(const float *rk, const float *b, int n, float *out)
{
    float m[RG_SAMPLER_ORDER][RG_SAMPLER_ORDER];

    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            m[i][j] = i == 0 ? 1.0f : i == 1 ? rk[j] : rk[j] * rk[j];
        out[i] = b[i];
    }
    if (n == 1)
        out[0] = 0.5f;
    else
        rg_sampler_solve(m, out, n);
}

/*
 * One update of x to t with `order` past denoised latents (history, newest first; their times in memory). *model becomes the
 * denoised latent at t if there is a corrector.
 */
static rg_tensor *update(rg_sampler_run *r, const rg_tensor *x, float t, int order, bool has_corrector, bool is_bh2, rg_tensor **model)
{
    rg_ctx *c = r->c;
    const float t0 = r->memory[0], lambda0 = lambda_of(t0), h = lambda_of(t) - lambda0, hh = -h;
    const float h_phi_1 = rg_expm1_f32(hh), b_h = is_bh2 ? h_phi_1 : hh, alpha = alpha_of(t);
    const rg_tensor *m0 = r->history[0], *d1[MAX_ORDER] = { NULL };
    float rk[MAX_ORDER], b[MAX_ORDER], w[MAX_ORDER], h_phi_k = h_phi_1 / hh - 1.0f, factorial = 1;

    for (int i = 1; i < order; i++) {
        rk[i - 1] = (lambda_of(r->memory[i]) - lambda0) / h;
        d1[i - 1] = rg_div_scalar(c, rg_sub(c, r->history[i], m0), rk[i - 1]);
    }
    rk[order - 1] = 1.0f;
    for (int i = 1; i <= order; i++) {
        b[i - 1] = h_phi_k * factorial / b_h;
        factorial *= (float)(i + 1);
        h_phi_k = h_phi_k / hh - 1.0f / factorial;
    }

    rg_tensor *base = rg_sampler_mix(c, std_of(t) / std_of(t0), x, -(alpha * h_phi_1), m0), *x_t = base;
    const float scale = -(alpha * b_h);
    if (order > 1) {                    /* predictor */
        weights(rk, b, order - 1, w);
        const rg_tensor *sum = order == 2 ? rg_affine(c, d1[0], w[0], 0) : rg_sampler_mix(c, w[0], d1[0], w[1], d1[1]);
        x_t = rg_add_scaled(c, base, sum, scale);
    }
    if (!has_corrector)
        return x_t;

    *model = predict(r, x_t, t);
    weights(rk, b, order, w);
    const rg_tensor *sum = rg_affine(c, rg_sub(c, *model, m0), w[order - 1], 0);
    if (order > 1) {
        const rg_tensor *past = order == 2 ? rg_affine(c, d1[0], w[0], 0) : rg_sampler_mix(c, w[0], d1[0], w[1], d1[1]);
        sum = rg_add(c, past, sum);
    }
    return rg_add_scaled(c, base, sum, scale);
}

static void remember(rg_sampler_run *r, const rg_tensor *model, float t)
{
    rg_sampler_push(r, model);
    r->memory[2] = r->memory[1];
    r->memory[1] = r->memory[0];
    r->memory[0] = t;
}

static rg_tensor *uni_pc(rg_sampler_run *r, int i, rg_tensor *x, bool is_bh2)
{
    rg_ctx *c = r->c;
    const int n = r->n_steps, order = n - 1 < MAX_ORDER ? n - 1 : MAX_ORDER;
    const float last = r->sigma[n];
    rg_tensor *model = NULL;

    if (i == 0) {
        x = rg_div_scalar(c, x, rg_sqrt_f32(1.0f + r->sigma[0] * r->sigma[0]));
        remember(r, predict(r, x, r->sigma[0]), r->sigma[0]);
    } else {
        x = update(r, x, r->sigma[i], i < order ? i : order < n + 1 - i ? order : n + 1 - i, true, is_bh2, &model);
        remember(r, model, r->sigma[i]);
    }
    if (i == n - 1 && order > 0)
        x = update(r, x, last, 1, false, is_bh2, &model);
    rg_sampler_show(r, r->history[0]);
    return i == n - 1 ? rg_div_scalar(c, x, alpha_of(last)) : x;
}

rg_tensor *rg_step_uni_pc(rg_sampler_run *r, int i, rg_tensor *x)
{
    return uni_pc(r, i, x, false);
}

rg_tensor *rg_step_uni_pc_bh2(rg_sampler_run *r, int i, rg_tensor *x)
{
    return uni_pc(r, i, x, true);
}
