/*
 * Linear multistep methods: the next latent from the slopes of up to four past steps. LMS and DEIS integrate the polynomial
 * through them, iPNDM has fixed (or, iPNDM-v, step-dependent) Adams-Bashforth weights.
 * Source: Karras's k-diffusion (LMS); Zhang & Chen 2022, arXiv:2204.13902 (DEIS, iPNDM); ComfyUI k_diffusion/sampling.py:
 * sample_lms, sample_ipndm, sample_ipndm_v, sample_deis, and deis.py. history holds past slopes, newest first.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

/* Integral from t[i] to t[i+1] of the Lagrange polynomial that is 1 at t[i-j] and 0 at the other `order` points. */
static double lagrange_integral(const float *t, int i, int order, int j)
{
    static const double node = 0.57735026918962576451;      /* two Gauss points: exact for the cubic that order 4 has */
    const double middle = 0.5 * ((double)t[i] + t[i + 1]), half = 0.5 * ((double)t[i + 1] - t[i]);
    double sum = 0;

    for (int side = -1; side <= 1; side += 2) {
        const double tau = middle + side * node * half;
        double product = 1;
        for (int k = 0; k < order; k++)
            product *= k == j ? 1 : (tau - t[i - k]) / ((double)t[i - j] - t[i - k]);
        sum += product;
    }
    return sum * half;
}

rg_tensor *rg_step_lms(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);
    const rg_tensor *d = rg_sampler_direction(c, x, r->sigma[i], denoised);
    const int order = i + 1 < 4 ? i + 1 : 4;

    rg_sampler_push(r, d);
    if (r->sigma[i + 1] == 0)
        return denoised;
    rg_tensor *sum = rg_affine(c, d, (float)lagrange_integral(r->sigma, i, order, 0), 0);
    for (int j = 1; j < order; j++)
        sum = rg_add_scaled(c, sum, r->history[j], (float)lagrange_integral(r->sigma, i, order, j));
    return rg_add(c, x, sum);
}

rg_tensor *rg_step_ipndm(rg_sampler_run *r, int i, rg_tensor *x)
{
    static const float weights[4][4] = { { 1, 0, 0, 0 }, { 3, -1, 0, 0 }, { 23, -16, 5, 0 }, { 55, -59, 37, -9 } };
    static const float divisors[] = { 1, 2, 12, 24 };
    rg_ctx *c = r->c;
    const int order = i < 3 ? i : 3;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);
    const rg_tensor *d = rg_sampler_direction(c, x, r->sigma[i], denoised);

    if (r->sigma[i + 1] == 0)
        return denoised;
    rg_tensor *sum = rg_affine(c, d, weights[order][0], 0);
    for (int j = 0; j < order; j++)
        sum = rg_add_scaled(c, sum, r->history[j], weights[order][j + 1]);
    sum = rg_affine(c, sum, r->sigma[i + 1] - r->sigma[i], 0);
    rg_sampler_push(r, d);
    return rg_add(c, x, rg_div_scalar(c, sum, divisors[order]));
}

/* Weights of iPNDM-v from the lengths of this step and the ones before, h[0], h[1], ... */
static void variable_weights(const float *h, int order, float *w)
{
    float t1 = 0, t2 = 0, ratio = 0, tail = 0;

    w[0] = 1;
    if (order > 1) {
        ratio = h[0] / h[1];
        w[0] = (2.0f + ratio) / 2.0f;
        w[1] = -ratio / 2.0f;
    }
    if (order > 2) {
        const float h01 = h[0] + h[1];
        t1 = (1.0f - h[0] / (3.0f * h01) * (h[0] * h01) / (h[1] * (h[1] + h[2]))) / 2.0f;
        if (order > 3) {
            const float h012 = h01 + h[2];
            t2 = ((1.0f - h[0] / (3.0f * h01)) / 2.0f + (1.0f - h[0] / (2.0f * h01)) * h[0] / (6.0f * h012)) * (h[0] * h01 * h012) /
                 (h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3]));
            tail = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]));
        }
        const float back = h[1] / h[2];
        w[0] = w[0] + t1 + t2;
        w[1] = w[1] - (1.0f + back) * t1 - (1.0f + back + tail) * t2;
        w[2] = t1 * h[1] / h[2] + (order > 3 ? (back + tail * (1.0f + h[2] / h[3])) * t2 : 0.0f);
        w[3] = -t2 * tail * h[1] / h[2];
    }
}

rg_tensor *rg_step_ipndm_v(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const int order = i + 1 < 4 ? i + 1 : 4;
    rg_tensor *denoised = rg_sampler_denoise(r, x, r->sigma[i]);
    const rg_tensor *d = rg_sampler_direction(c, x, r->sigma[i], denoised);
    float h[4] = { 0 }, w[4] = { 0 };

    if (r->sigma[i + 1] == 0)
        return denoised;
    for (int k = 0; k < order; k++)
        h[k] = r->sigma[i + 1 - k] - r->sigma[i - k];
    variable_weights(h, order, w);
    rg_tensor *sum = rg_affine(c, d, w[0], 0);
    for (int j = 1; j < order; j++)
        sum = rg_add_scaled(c, sum, r->history[j - 1], w[j]);
    rg_sampler_push(r, d);
    return rg_add_scaled(c, x, sum, h[0]);
}

/* ---- DEIS: weights integrated over the variance-preserving process, in float32 as ComfyUI's tables are ------------------- */

enum { N_POINTS = 10000, MAX_ORDER = 3 };

typedef struct vp_process {
    float beta_min, beta_max, beta_d;
} vp_process;

static vp_process vp(void)
{
    const float low = 0.002f, high = 80.0f, eps = 0.001f;
    const float log_low = rg_log_f32(low * low + 1.0f), log_high = rg_log_f32(high * high + 1.0f);
    vp_process p;

    p.beta_d = 2.0f * (log_low / eps - log_high) / (float)(0.001 - 1.0);
    p.beta_min = log_high - 0.5f * p.beta_d;
    p.beta_max = p.beta_d + p.beta_min;
    return p;
}

static float vp_time(const vp_process *p, float sigma)
{
    const float inside = p->beta_min * p->beta_min + 2.0f * p->beta_d * rg_log_f32(sigma * sigma + 1.0f);

    return (rg_sqrt_f32(inside) - p->beta_min) / p->beta_d;
}

static void deis_weights(const float *sigma, int i, int order, float *w)
{
    const vp_process p = vp();
    const float beta = p.beta_max - p.beta_min, from = vp_time(&p, sigma[i]), to = vp_time(&p, sigma[i + 1]);
    const float step = (to - from) / (float)(N_POINTS - 1);
    float t[MAX_ORDER];
    double sum[MAX_ORDER] = { 0 };

    for (int k = 0; k < order; k++)
        t[k] = vp_time(&p, sigma[i - k]);
    for (int n = 0; n < N_POINTS; n++) {
        const float tau = n < N_POINTS / 2 ? fmaf(step, (float)n, from) : fmaf(-step, (float)(N_POINTS - 1 - n), to);
        const float alpha = rg_exp_f32(-0.5f * (tau * tau) * beta - tau * p.beta_min);
        const float slope = -(tau * beta) - p.beta_min;         /* of log(alpha) */
        const float integrand = -0.5f * slope / rg_sqrt_f32(alpha * (1.0f - alpha));
        for (int j = 0; j < order; j++) {
            float poly = 1;
            for (int k = 0; k < order; k++)
                poly *= k == j ? 1.0f : (tau - t[k]) / (t[j] - t[k]);
            sum[j] += integrand * poly;
        }
    }
    for (int j = 0; j < order; j++)
        w[j] = (float)sum[j] * ((to - from) / (float)N_POINTS);
}

rg_tensor *rg_step_deis(rg_sampler_run *r, int i, rg_tensor *x)
{
    rg_ctx *c = r->c;
    const int order = r->sigma[i + 1] <= 0 ? 1 : i + 1 < MAX_ORDER ? i + 1 : MAX_ORDER;
    const rg_tensor *d = rg_sampler_direction(c, x, r->sigma[i], rg_sampler_denoise(r, x, r->sigma[i]));
    float w[MAX_ORDER] = { r->sigma[i + 1] - r->sigma[i] };

    if (order > 1)
        deis_weights(r->sigma, i, order, w);
    x = rg_add_scaled(c, x, d, w[0]);
    for (int j = 1; j < order; j++)
        x = rg_add_scaled(c, x, r->history[j - 1], w[j]);
    rg_sampler_push(r, d);
    return x;
}
