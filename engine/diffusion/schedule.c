/*
 * Schedules: the falling sigmas of a run, by nine rules. Where ComfyUI computes on float32 tensors this is float32, where it
 * computes on Python or numpy numbers it is float64, in the same order.
 *
 * Source: ComfyUI comfy/samplers.py (schedulers, calculate_sigmas, KSampler.set_steps), k_diffusion/sampling.py (karras,
 * exponential); Karras et al. 2022, arXiv:2206.00364; Lee et al. 2024, arXiv:2407.12173 (beta); Genmo's Mochi (linear_quadratic);
 * Sabour et al. 2024, arXiv:2404.14507 (kl_optimal).
 */
#include <math.h>
#include <string.h>

#include "engine/diffusion/sampler.h"
#include "engine/diffusion/scalar.h"
#include "engine/diffusion/tensors.h"

/* Sigmas being collected. Grows; NULL data after a failed allocation. */
typedef struct sigma_list {
    float *data;
    int64_t n, capacity;
    bool has_failed;
} sigma_list;

static void push(sigma_list *l, float sigma)
{
    if (l->n == l->capacity) {
        const int64_t capacity = l->capacity ? 2 * l->capacity : 64;
        float *data = rg_realloc(l->data, (size_t)capacity * sizeof *data);
        if (!data) {
            l->has_failed = true;
            return;
        }
        l->data = data;
        l->capacity = capacity;
    }
    l->data[l->n++] = sigma;
}

static bool is_nearly_zero(float sigma)
{
    return fabsf(sigma) <= 0.00001;
}

/* Element i of torch.linspace(start, end, n) in float32: counted from the nearer end, with a fused multiply-add. */
static float linspace_f32(float start, float end, int64_t n, int64_t i)
{
    if (n == 1)
        return start;
    const float step = (end - start) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, start) : fmaf(-step, (float)(n - 1 - i), end);
}

static void simple(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const double stride = (double)s->n_sigmas / (double)steps;

    for (int64_t i = 0; i < steps; i++)
        push(l, s->sigmas[s->n_sigmas - 1 - (int64_t)((double)i * stride)]);
    push(l, 0);
}

static void normal_or_sgm(sigma_list *l, const rg_model_sampling *s, int64_t steps, bool is_sgm)
{
    const float start = rg_model_sampling_timestep(s, rg_model_sampling_max(s));
    const float end = rg_model_sampling_timestep(s, s->sigmas[0]);
    int64_t n = is_sgm ? steps + 1 : steps;
    bool has_zero = true;

    if (!is_sgm && is_nearly_zero(rg_model_sampling_sigma(s, end))) {
        n++;
        has_zero = false;
    }
    for (int64_t i = 0; i < (is_sgm ? steps : n); i++)
        push(l, rg_model_sampling_sigma(s, linspace_f32(start, end, n, i)));
    if (has_zero)
        push(l, 0);
}

static void sgm_uniform(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    normal_or_sgm(l, s, steps, true);
}

static void normal(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    normal_or_sgm(l, s, steps, false);
}

static void karras(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const double rho = 7.0;
    const double min = pow((double)s->sigmas[0], 1.0 / rho), max = pow((double)rg_model_sampling_max(s), 1.0 / rho);

    for (int64_t i = 0; i < steps; i++)
        push(l, rg_pow_f32(linspace_f32(0, 1, steps, i) * (float)(min - max) + (float)max, rho));
    push(l, 0);
}

static void exponential(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const float start = (float)log((double)rg_model_sampling_max(s)), end = (float)log((double)s->sigmas[0]);

    for (int64_t i = 0; i < steps; i++)
        push(l, rg_exp_f32(linspace_f32(start, end, steps, i)));
    push(l, 0);
}

static void ddim_uniform(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const bool has_zero = !is_nearly_zero(s->sigmas[1]);

    if (!has_zero)
        steps++;
    const int64_t stride = s->n_sigmas / steps > 1 ? s->n_sigmas / steps : 1;
    for (int64_t i = 1 + (s->n_sigmas - 2) / stride * stride; i >= 1; i -= stride)
        push(l, s->sigmas[i]);
    if (has_zero)
        push(l, 0);
}

/* Regularised incomplete beta function by its continued fraction (Lentz's method), for x below the mean's reach. */
static double beta_cdf(double x, double a, double b)
{
    const double tiny = 1e-300;

    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2))      /* converges fast only below */
        return 1 - beta_cdf(1 - x, b, a);

    const double front = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double fraction = d;
    for (int m = 1; m <= 300; m++) {
        for (int odd = 0; odd < 2; odd++) {
            const double k = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                 : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + k * d;
            c = 1 + k / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            fraction *= d * c;
        }
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return front * fraction;
}

/* The x at which the beta distribution's cdf is p (scipy.stats.beta.ppf): bisection, good to the last bits of float64. */
static double beta_ppf(double p, double a, double b)
{
    double low = 0, high = 1;

    if (p <= 0 || p >= 1)
        return p <= 0 ? 0 : 1;
    for (int i = 0; i < 200 && low < high; i++) {
        const double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high)
            break;
        if (beta_cdf(middle, a, b) < p)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

static void beta(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const double stride = 1.0 / (double)steps;
    int64_t last = -1;

    for (int64_t i = 0; i < steps; i++) {
        const int64_t t = (int64_t)rint(beta_ppf(1.0 - (double)i * stride, 0.6, 0.6) * (s->n_sigmas - 1));
        if (t != last)                  /* many steps fall on the same table entry: it counts once */
            push(l, s->sigmas[t]);
        last = t;
    }
    push(l, 0);
}

/* The first half of the steps goes down by `threshold` in all, the second half along a parabola that joins smoothly. */
static void linear_quadratic(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const double threshold = 0.025;
    const float max = rg_model_sampling_max(s);
    const int64_t n_linear = steps / 2, n_quadratic = steps - n_linear;

    if (steps == 1) {
        push(l, max);
        push(l, 0 * max);
        return;
    }
    const double linear = (double)n_linear;
    const double difference = linear - threshold * (double)steps;
    const double squared = (double)(n_quadratic * n_quadratic);
    const double a = difference / (double)(n_linear * n_quadratic * n_quadratic);
    const double b = threshold / linear - 2 * difference / squared;
    const double constant = a * (double)(n_linear * n_linear);
    for (int64_t i = 0; i <= steps; i++) {
        const double x = i == steps ? 1.0 : i < n_linear ? (double)i * threshold / linear
                                                         : a * (double)(i * i) + b * (double)i + constant;
        push(l, (float)(1.0 - x) * max);
    }
}

static void kl_optimal(sigma_list *l, const rg_model_sampling *s, int64_t steps)
{
    const float at_min = (float)atan((double)s->sigmas[0]), at_max = (float)atan((double)rg_model_sampling_max(s));

    for (int64_t i = 0; i < steps; i++) {
        const float w = (float)i / (float)(steps - 1);
        push(l, rg_tan_f32(w * at_min + (1.0f - w) * at_max));
    }
    push(l, 0);
}

typedef void scheduler(sigma_list *l, const rg_model_sampling *s, int64_t steps);

/* in ComfyUI's order */
#define SCHEDULER_LIST(X) \
    X(simple) X(sgm_uniform) X(karras) X(exponential) X(ddim_uniform) X(beta) X(normal) X(linear_quadratic) X(kl_optimal)

#define X(name) #name,
const char *const rg_scheduler_names[] = { SCHEDULER_LIST(X) NULL };
#undef X
#define X(name) name,
static scheduler *const schedulers[] = { SCHEDULER_LIST(X) };
#undef X

/* The last n sigmas of a list as a tensor; takes over the list. */
static rg_tensor *list_end(rg_ctx *c, sigma_list *l, int64_t n)
{
    rg_tensor *t = NULL;

    if (l->has_failed)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a schedule of %lld steps", (long long)l->n);
    if (n > l->n)
        n = l->n;
    if (!c->error && (t = rg_host_tensor(c, RG_F32, 1, (const int64_t[]){ n })) && n > 0)
        memcpy(t->data, l->data + l->n - n, (size_t)n * sizeof *l->data);
    rg_free(l->data);
    return t;
}

/* What both schedules share. total: steps of the whole way, of which this run is the end. */
static int schedule_list(rg_ctx *c, const rg_model_sampling *s, int scheduler_index, int64_t total, sigma_list *l)
{
    const int64_t most = 10 * 1000 * 1000;

    if (c->error)
        return c->error;
    if (scheduler_index < 0 || scheduler_index >= (int)(sizeof schedulers / sizeof *schedulers))
        return rg_fail(c, RG_ERR_INVALID, "no scheduler has the number %d", scheduler_index);
    if (total < 1 || total > most)
        return rg_fail(c, RG_ERR_INVALID, "a schedule of %lld steps was asked for, 1 to %lld are possible (steps divided by denoise)",
                       (long long)total, (long long)most);
    if (schedulers[scheduler_index] == kl_optimal && total < 2)
        return rg_fail(c, RG_ERR_INVALID, "the scheduler kl_optimal needs 2 steps or more, got 1");
    schedulers[scheduler_index](l, s, total);
    return 0;
}

/* Python's int(steps / denoise), kept in range. */
static int64_t total_steps(int64_t steps, double denoise)
{
    const double total = (double)steps / denoise;

    return total < 1e18 ? (int64_t)total : INT64_MAX;
}

rg_tensor *rg_schedule(rg_ctx *c, const rg_model_sampling *s, int scheduler_index, int64_t steps, double denoise)
{
    sigma_list l = { 0 };

    if (denoise <= 0)
        return rg_host_tensor(c, RG_F32, 1, (const int64_t[]){ 0 });
    if (schedule_list(c, s, scheduler_index, denoise < 1 ? total_steps(steps, denoise) : steps, &l) < 0)
        return NULL;
    return list_end(c, &l, steps + 1);
}

rg_tensor *rg_ksampler_schedule(rg_ctx *c, const rg_model_sampling *s, int sampler, int scheduler_index, int64_t steps, double denoise)
{
    const bool is_whole = denoise > 0.9999, drops_one = rg_sampler_drops_penultimate(sampler);
    sigma_list l = { 0 };

    if (denoise <= 0)
        return rg_host_tensor(c, RG_F32, 1, (const int64_t[]){ 0 });
    const int64_t total = is_whole ? steps : total_steps(steps, denoise);
    if (schedule_list(c, s, scheduler_index, drops_one && total < INT64_MAX ? total + 1 : total, &l) < 0)
        return NULL;
    if (drops_one && l.n >= 2) {
        l.data[l.n - 2] = l.data[l.n - 1];
        l.n--;
    }
    return list_end(c, &l, is_whole ? l.n : steps + 1);
}
