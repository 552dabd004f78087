/*
 * The table of samplers, and the small steps they share. Order and names are ComfyUI's (comfy/samplers.py, SAMPLER_NAMES).
 * The suffix _gpu says where Brownian noise is drawn: on the CPU such a sampler is its namesake.
 */
#include "engine/diffusion/sampler.h"

#include "engine/diffusion/samplers/samplers.h"
#include "engine/diffusion/sampler_table.h"
#include "engine/diffusion/scalar.h"

/*    name                             step function                            traits, whole run instead of steps */
#define SAMPLER_LIST(X)                                                                                     \
    X("euler",                         rg_step_euler,                           0)                          \
    X("euler_cfg_pp",                  rg_step_euler_cfg_pp,                    RG_WANTS_UNCOND)            \
    X("euler_ancestral",               rg_step_euler_ancestral,                 0)                          \
    X("euler_ancestral_cfg_pp",        rg_step_euler_ancestral_cfg_pp,          RG_WANTS_UNCOND)            \
    X("heun",                          rg_step_heun,                            0)                          \
    X("heunpp2",                       rg_step_heunpp2,                         0)                          \
    X("dpm_2",                         rg_step_dpm_2,                           RG_DROPS_PENULTIMATE)       \
    X("dpm_2_ancestral",               rg_step_dpm_2_ancestral,                 RG_DROPS_PENULTIMATE)       \
    X("lms",                           rg_step_lms,                             0)                          \
    X("dpm_fast",                      NULL,                                    0, rg_run_dpm_fast)         \
    X("dpm_adaptive",                  NULL,                                    0, rg_run_dpm_adaptive)     \
    X("dpmpp_2s_ancestral",            rg_step_dpmpp_2s_ancestral,              0)                          \
    X("dpmpp_2s_ancestral_cfg_pp",     rg_step_dpmpp_2s_ancestral_cfg_pp,       RG_WANTS_UNCOND)            \
    X("dpmpp_sde",                     rg_step_dpmpp_sde,                       RG_BROWNIAN | RG_OFFSETS_FIRST) \
    X("dpmpp_sde_gpu",                 rg_step_dpmpp_sde,                       RG_BROWNIAN | RG_GPU_TREE | RG_OFFSETS_FIRST) \
    X("dpmpp_2m",                      rg_step_dpmpp_2m,                        0)                          \
    X("dpmpp_2m_cfg_pp",               rg_step_dpmpp_2m_cfg_pp,                 RG_WANTS_UNCOND)            \
    X("dpmpp_2m_sde",                  rg_step_dpmpp_2m_sde,                    RG_BROWNIAN | RG_OFFSETS_FIRST) \
    X("dpmpp_2m_sde_gpu",              rg_step_dpmpp_2m_sde,                    RG_BROWNIAN | RG_GPU_TREE | RG_OFFSETS_FIRST) \
    X("dpmpp_2m_sde_heun",             rg_step_dpmpp_2m_sde_heun,               RG_BROWNIAN | RG_OFFSETS_FIRST) \
    X("dpmpp_2m_sde_heun_gpu",         rg_step_dpmpp_2m_sde_heun,               RG_BROWNIAN | RG_GPU_TREE | RG_OFFSETS_FIRST) \
    X("dpmpp_3m_sde",                  rg_step_dpmpp_3m_sde,                    RG_BROWNIAN | RG_OFFSETS_FIRST) \
    X("dpmpp_3m_sde_gpu",              rg_step_dpmpp_3m_sde,                    RG_BROWNIAN | RG_GPU_TREE | RG_OFFSETS_FIRST) \
    X("ddpm",                          rg_step_ddpm,                            0)                          \
    X("lcm",                           rg_step_lcm,                             0)                          \
    X("ipndm",                         rg_step_ipndm,                           0)                          \
    X("ipndm_v",                       rg_step_ipndm_v,                         0)                          \
    X("deis",                          rg_step_deis,                            0)                          \
    X("res_multistep",                 rg_step_res_multistep,                   0)                          \
    X("res_multistep_cfg_pp",          rg_step_res_multistep_cfg_pp,            RG_WANTS_UNCOND)            \
    X("res_multistep_ancestral",       rg_step_res_multistep_ancestral,         0)                          \
    X("res_multistep_ancestral_cfg_pp", rg_step_res_multistep_ancestral_cfg_pp, RG_WANTS_UNCOND)            \
    X("gradient_estimation",           rg_step_gradient_estimation,             0)                          \
    X("gradient_estimation_cfg_pp",    rg_step_gradient_estimation_cfg_pp,      RG_WANTS_UNCOND)            \
    X("er_sde",                        rg_step_er_sde,                          RG_OFFSETS_FIRST)           \
    X("seeds_2",                       rg_step_seeds_2,                         RG_OFFSETS_FIRST)           \
    X("seeds_3",                       rg_step_seeds_3,                         RG_OFFSETS_FIRST)           \
    X("sa_solver",                     rg_step_sa_solver,                       RG_OFFSETS_FIRST)           \
    X("sa_solver_pece",                rg_step_sa_solver_pece,                  RG_OFFSETS_FIRST)           \
    X("ddim",                          rg_step_euler,                           RG_FRESH_INPAINT_NOISE)     \
    X("uni_pc",                        rg_step_uni_pc,                          RG_DROPS_PENULTIMATE | RG_ENDS_ABOVE_ZERO) \
    X("uni_pc_bh2",                    rg_step_uni_pc_bh2,                      RG_DROPS_PENULTIMATE | RG_ENDS_ABOVE_ZERO)

#define X(name, ...) name,
const char *const rg_sampler_names[] = { SAMPLER_LIST(X) NULL };
#undef X
#define X(name, ...) { __VA_ARGS__ },
static const rg_sampler_row rows[] = { SAMPLER_LIST(X) };
#undef X

enum { N_SAMPLERS = sizeof rows / sizeof *rows };

const rg_sampler_row *rg_sampler_find(rg_ctx *c, int index)
{
    if (index >= 0 && index < N_SAMPLERS)
        return &rows[index];
    rg_fail(c, RG_ERR_INVALID, "no sampler has the number %d", index);
    return NULL;
}

bool rg_sampler_drops_penultimate(int index)
{
    return index >= 0 && index < N_SAMPLERS && (rows[index].traits & RG_DROPS_PENULTIMATE);
}

static void plain_free(void *self)
{
    rg_free(self);
}

rg_sampler *rg_sampler_new(int index)
{
    rg_sampler *s = rg_calloc(1, sizeof *s);

    if (!s)
        return NULL;
    rg_object_init(s, plain_free);
    s->index = index;
    s->eta = 1;
    s->s_noise = 1;
    s->r = 0.5;
    return s;
}

rg_noise *rg_noise_new(bool is_disabled, uint64_t seed)
{
    rg_noise *n = rg_calloc(1, sizeof *n);

    if (!n)
        return NULL;
    rg_object_init(n, plain_free);
    n->is_disabled = is_disabled;
    n->seed = seed;
    return n;
}

static void guider_free(void *self)
{
    rg_guider *g = self;

    rg_unref(g->model);
    rg_unref(g->positive);
    rg_unref(g->negative);
    rg_free(g);
}

rg_guider *rg_guider_new(const rg_model *model, const rg_cond *positive, const rg_cond *negative, double cfg)
{
    rg_guider *g = rg_calloc(1, sizeof *g);

    if (!g)
        return NULL;
    rg_object_init(g, guider_free);
    g->model = rg_ref(model);
    g->positive = rg_ref(positive);
    g->negative = rg_ref(negative);
    g->cfg = cfg;
    return g;
}

/* ---- what samplers share ------------------------------------------------------------------------------------------------ */

rg_tensor *rg_sampler_mix(rg_ctx *c, float a, const rg_tensor *x, float b, const rg_tensor *y)
{
    return rg_add_scaled(c, rg_affine(c, x, a, 0), y, b);
}

rg_tensor *rg_sampler_direction(rg_ctx *c, const rg_tensor *x, float sigma, const rg_tensor *denoised)
{
    return rg_div_scalar(c, rg_sub(c, x, denoised), sigma);
}

rg_tensor *rg_sampler_add_noise(rg_sampler_run *r, const rg_tensor *x, float sigma, float sigma_next, float scale)
{
    const rg_tensor *noise = rg_sampler_noise(r, x, sigma, sigma_next);

    return rg_add_scaled(r->c, x, rg_affine(r->c, noise, (float)r->sampler->s_noise, 0), scale);
}

void rg_sampler_ancestral(float sigma, float sigma_next, double eta, float *down, float *up)
{
    const float from = sigma * sigma, to = sigma_next * sigma_next;

    *down = sigma_next;
    *up = 0;
    if (eta == 0)
        return;
    const float most = (float)eta * rg_sqrt_f32(to * (from - to) / from);
    *up = most < sigma_next ? most : sigma_next;
    *down = rg_sqrt_f32(to - *up * *up);
}

void rg_sampler_solve(float a[RG_SAMPLER_ORDER][RG_SAMPLER_ORDER], float *b, int n)
{
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++)
            best = fabsf(a[i][k]) > fabsf(a[best][k]) ? i : best;
        for (int j = 0; j < n; j++) {
            const float v = a[k][j];
            a[k][j] = a[best][j];
            a[best][j] = v;
        }
        const float v = b[k];
        b[k] = b[best];
        b[best] = v;
        for (int i = k + 1; i < n; i++) {
            const float f = a[i][k] / a[k][k];
            for (int j = k; j < n; j++)
                a[i][j] -= f * a[k][j];
            b[i] -= f * b[k];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++)
            b[i] -= a[i][j] * b[j];
        b[i] /= a[i][i];
    }
}

float rg_sampler_lambda(const rg_sampler_run *r, float sigma)
{
    return rg_sampler_is_flow(r) ? -rg_logit_f32(sigma) : -rg_log_f32(sigma);
}

float rg_sampler_sigma_of_lambda(const rg_sampler_run *r, float lambda)
{
    return rg_sampler_is_flow(r) ? rg_sigmoid_f32(-lambda) : rg_exp_f32(-lambda);
}
