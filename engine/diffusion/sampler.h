/*
 * What a sampler is made of. A sampler is one function that takes the latent from sigma[i] to sigma[i + 1]; sample.c walks it
 * along the schedule, reports progress, stops when asked to, and frees what a step leaves behind. To add one: write the step in
 * engine/diffusion/samplers/, name it in the table in sampler.c, add its name to the list in tools/reference/diffusion.py.
 *
 * Arithmetic follows ComfyUI's: a scalar is a float (a 0-dimensional float32 tensor there), one rounding per operation, and
 * a * x + b * y is three roundings. Options are float64 numbers and narrow where they meet a float.
 */
#ifndef RG_DIFFUSION_SAMPLER_H
#define RG_DIFFUSION_SAMPLER_H

#include "engine/diffusion/random.h"
#include "engine/diffusion/sampling.h"
#include "engine/ops/ops.h"

typedef struct rg_brownian rg_brownian; /* brownian.h */
typedef struct rg_guidance rg_guidance; /* guidance.h */

enum { RG_SAMPLER_HISTORY = 4, RG_SAMPLER_KEPT = 2, RG_SAMPLER_MEMORY = 8, RG_SAMPLER_ORDER = 4 };

/* One run of one sampler. A step reads the first group, and keeps what the next step needs in the second. */
typedef struct rg_sampler_run {
    rg_ctx *c;
    const rg_sampler *sampler;          /* options */
    const rg_model_sampling *sampling;
    const float *sigma;                 /* n_steps + 1, falling */
    int n_steps;

    rg_tensor *history[RG_SAMPLER_HISTORY];     /* newest first; rg_sampler_push(); held */
    int n_history;
    rg_tensor *kept[RG_SAMPLER_KEPT];   /* rg_sampler_keep(); held */
    float memory[RG_SAMPLER_MEMORY];    /* numbers, zero at first */

    rg_tensor *denoised;                /* of the step's first evaluation, for previews and "denoised_output"; held */
    rg_tensor *uncond;                  /* of the latest evaluation, for CFG++ samplers; held */

    /* sample.c's */
    int scope;                          /* of the current step */
    rg_guidance *guidance;
    bool wants_uncond;
    float first_sigma;                  /* before RG_OFFSETS_FIRST: where Brownian noise begins */
    const rg_tensor *mask, *data, *inpaint_noise;       /* latent noise mask [B, C, H, W], what it protects, or NULL */
    uint64_t seed;
    rg_generator generator;
    rg_philox philox;                   /* on a GPU, in place of generator */
    bool is_brownian, is_gpu_tree;
    rg_brownian *brownian;
} rg_sampler_run;

/* From x at sigma[i]: x at sigma[i + 1]. Results belong to the step's scope. NULL once c has failed. */
typedef rg_tensor *rg_sampler_step(rg_sampler_run *r, int i, rg_tensor *x);

/*
 * A sampler that chooses its own steps is a whole run instead. Its loop reads
 *     for (int i = 0; ... && rg_sampler_begin_step(r); i++) { next = ...; rg_sampler_end_step(r, i, &x, next); }
 * begin_step: false to stop (failed or cancelled). end_step: next takes x's place (it may be x), the rest of the step is freed,
 * progress is reported.
 */
typedef rg_tensor *rg_sampler_whole(rg_sampler_run *r, rg_tensor *x);
bool rg_sampler_begin_step(rg_sampler_run *r);
void rg_sampler_end_step(rg_sampler_run *r, int i, rg_tensor **x, rg_tensor *next);

/* The model's idea of the clean latent, guidance and noise mask applied. */
rg_tensor *rg_sampler_denoise(rg_sampler_run *r, const rg_tensor *x, float sigma);

/* Fresh standard normal noise in the shape of x for the way from one sigma to the next. */
rg_tensor *rg_sampler_noise(rg_sampler_run *r, const rg_tensor *x, float sigma, float sigma_next);

/* Remember a tensor for later steps; the oldest of RG_SAMPLER_HISTORY falls out. */
void rg_sampler_push(rg_sampler_run *r, const rg_tensor *t);

/* Replace the newest of them. */
void rg_sampler_set_newest(rg_sampler_run *r, const rg_tensor *t);

/* Keep one tensor in a slot of run->kept, in place of what was there. */
void rg_sampler_keep(rg_sampler_run *r, int slot, const rg_tensor *t);

/* Replace what previews and "denoised_output" show for this step. */
void rg_sampler_show(rg_sampler_run *r, const rg_tensor *denoised);

/* True for flow models ("CONST"), whose noisy latent is (1 - sigma) data + sigma noise. */
static inline bool rg_sampler_is_flow(const rg_sampler_run *r)
{
    return r->sampling->prediction == RG_PREDICT_FLOW;
}

/* Samplers for which KSampler drops the last sigma but one. */
bool rg_sampler_drops_penultimate(int index);

/* ---- small steps that samplers share (sampler.c) --------------------------------------------------------------------- */

/* a * x + b * y */
rg_tensor *rg_sampler_mix(rg_ctx *c, float a, const rg_tensor *x, float b, const rg_tensor *y);

/* (x - denoised) / sigma: the direction of the probability flow */
rg_tensor *rg_sampler_direction(rg_ctx *c, const rg_tensor *x, float sigma, const rg_tensor *denoised);

/* x + noise * s_noise * scale, noise drawn for sigma to sigma_next */
rg_tensor *rg_sampler_add_noise(rg_sampler_run *r, const rg_tensor *x, float sigma, float sigma_next, float scale);

/* How far an ancestral step goes down (*down) and how much noise it puts back (*up); eta 0 puts back none. */
void rg_sampler_ancestral(float sigma, float sigma_next, double eta, float *down, float *up);

/* Solve the n x n system a y = b by elimination with row exchange, in float32; y replaces b, a is overwritten. */
void rg_sampler_solve(float a[RG_SAMPLER_ORDER][RG_SAMPLER_ORDER], float *b, int n);

/* Half the logarithm of the signal-to-noise ratio of a sigma, and back; flow and other models differ. */
float rg_sampler_lambda(const rg_sampler_run *r, float sigma);
float rg_sampler_sigma_of_lambda(const rg_sampler_run *r, float lambda);

#endif
