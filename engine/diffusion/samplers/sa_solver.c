/*
 * SA-Solver: a stochastic Adams predictor (order 3) and corrector (order 4). Noise is added only in the middle of the schedule,
 * between 20% and 80% of it. The PECE variant evaluates the corrected latent once more.
 * Source: Xue et al. 2023, arXiv:2309.05019; ComfyUI k_diffusion/sampling.py: sample_sa_solver, and sa_solver.py.
 *
 * history: past denoised latents, newest first. kept[0]: the corrected latent; kept[1]: the noise in the predicted one.
 * memory[0], memory[1]: tau and step of the last prediction. The step's x is the predicted latent.
 */
#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/scalar.h"

enum { PREDICTOR_ORDER = 3, CORRECTOR_ORDER = 4, MAX_ORDER = 4 };

static float power(float x, int p)
{
    return p == 0 ? 1.0f : rg_pow_f32(x, p);
}

/*
 * Weights of the `order` denoised latents at lambda[0..order-1] (oldest first) for the way from lambda_s to lambda_t: integrals
 * of their Lagrange polynomials times an exponential.
 */
static void adams_weights(const float *lambda, int order, float lambda_s, float lambda_t, float sigma_t, float tau, float *w)
{
    const float tau_mul = 1.0f + tau * tau, h = lambda_t - lambda_s, decay = rg_exp_f32(-tau_mul * h);
    const float alpha = sigma_t * rg_exp_f32(lambda_t);
    float term[MAX_ORDER], m[RG_SAMPLER_ORDER][RG_SAMPLER_ORDER];

    for (int p = 0; p < order; p++)
        term[p] = power(lambda_t, p) - power(lambda_s, p) * decay;
    for (int p = 0; p < order; p++) {   /* integration by parts, p times */
        float factor = 1;
        w[p] = 0;
        for (int q = p; q >= 0; q--) {
            w[p] += factor * term[q];
            factor *= -(float)q / tau_mul;
        }
    }
    for (int p = 0; p < order; p++) {
        for (int k = 0; k < order; k++)
            m[p][k] = power(lambda[k], p);
    }
    rg_sampler_solve(m, w, order);
    for (int k = 0; k < order; k++)
        w[k] *= alpha;
}

/* The `order` newest denoised latents, weighed; lambda and w go oldest first. */
static rg_tensor *weighed(rg_sampler_run *r, const float *w, int order)
{
    rg_tensor *sum = rg_affine(r->c, r->history[order - 1], w[0], 0);

    for (int k = 1; k < order; k++)
        sum = rg_add_scaled(r->c, sum, r->history[order - 1 - k], w[k]);
    return sum;
}

static float tau_of(const rg_sampler_run *r, float sigma)
{
    return sigma <= rg_model_sampling_percent_to_sigma(r->sampling, 0.2) && sigma >= rg_model_sampling_percent_to_sigma(r->sampling, 0.8);
}

static int min(int a, int b) { return a < b ? a : b; }

static rg_tensor *sa_solver(rg_sampler_run *r, int i, rg_tensor *x, bool is_pece)
{
    rg_ctx *c = r->c;
    const float *sigma = r->sigma, next = sigma[i + 1], s_noise = (float)r->sampler->s_noise;
    rg_tensor *denoised = rg_sampler_denoise(r, x, sigma[i]);
    float lambda[MAX_ORDER], w[MAX_ORDER];

    rg_sampler_push(r, denoised);
    int predictor = min(PREDICTOR_ORDER, r->n_history), corrector = min(CORRECTOR_ORDER, r->n_history);
    if (i == 0 || (next == 0 && !is_pece))
        corrector = 0;
    if (sigma[r->n_steps] == 0) {       /* lower orders near the end */
        predictor = min(predictor, r->n_steps - 1 - i);
        corrector = min(corrector, r->n_steps - i);
    }

    if (corrector > 0) {
        const float tau = r->memory[0], h = r->memory[1];
        for (int k = 0; k < corrector; k++)
            lambda[k] = rg_sampler_lambda(r, sigma[i - corrector + 1 + k]);
        adams_weights(lambda, corrector, rg_sampler_lambda(r, sigma[i - 1]), lambda[corrector - 1], sigma[i], tau, w);
        x = rg_affine(c, r->kept[0], sigma[i] / sigma[i - 1] * rg_exp_f32(-(tau * tau) * h), 0);
        x = rg_add(c, x, weighed(r, w, corrector));
        if (tau > 0 && s_noise > 0)
            x = rg_add(c, x, r->kept[1]);
        if (is_pece) {
            denoised = rg_sampler_denoise(r, x, sigma[i]);
            rg_sampler_set_newest(r, denoised);
        }
    }
    rg_sampler_keep(r, 0, x);
    if (next == 0)
        return denoised;

    const float tau = tau_of(r, next);
    for (int k = 0; k < predictor; k++)
        lambda[k] = rg_sampler_lambda(r, sigma[i - predictor + 1 + k]);
    const float lambda_next = rg_sampler_lambda(r, next), h = lambda_next - lambda[predictor - 1];
    adams_weights(lambda, predictor, lambda[predictor - 1], lambda_next, next, tau, w);
    rg_tensor *predicted = rg_affine(c, x, next / sigma[i] * rg_exp_f32(-(tau * tau) * h), 0);
    predicted = rg_add(c, predicted, weighed(r, w, predictor));
    if (tau > 0 && s_noise > 0) {
        const rg_tensor *noise = rg_affine(c, rg_sampler_noise(r, x, sigma[i], next), next, 0);
        noise = rg_affine(c, rg_affine(c, noise, rg_sqrt_f32(-rg_expm1_f32(-2.0f * (tau * tau) * h)), 0), s_noise, 0);
        predicted = rg_add(c, predicted, noise);
        rg_sampler_keep(r, 1, noise);
    }
    r->memory[0] = tau;
    r->memory[1] = h;
    return i == r->n_steps - 1 ? x : predicted;     /* a schedule that stops above 0 gives the corrected latent back */
}

rg_tensor *rg_step_sa_solver(rg_sampler_run *r, int i, rg_tensor *x)
{
    return sa_solver(r, i, x, false);
}

rg_tensor *rg_step_sa_solver_pece(rg_sampler_run *r, int i, rg_tensor *x)
{
    return sa_solver(r, i, x, true);
}
