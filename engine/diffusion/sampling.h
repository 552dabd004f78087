/*
 * From noise to a latent: schedules, samplers, guiders and the whole of ComfyUI's common_ksampler.
 * Names, order and arithmetic (float32 on float32 tensors) are those of ComfyUI samplers.py and k_diffusion/sampling.py.
 */
#ifndef RG_DIFFUSION_SAMPLING_H
#define RG_DIFFUSION_SAMPLING_H

#include "engine/diffusion/cond.h"
#include "engine/diffusion/model.h"

/* NULL-terminated, in ComfyUI's order; combos index them. */
extern const char *const rg_sampler_names[];
extern const char *const rg_scheduler_names[];

/* A SAMPLER value: which one and its options. */
typedef struct rg_sampler {
    rg_object base;
    int index;                          /* into rg_sampler_names */
    double eta, s_noise, r;             /* what SamplerXxx nodes set; 1, 1, 0.5 otherwise */
} rg_sampler;
rg_sampler *rg_sampler_new(int index);  /* with default options; NULL if no memory */

/* A NOISE value: RandomNoise(seed) or DisableNoise. */
typedef struct rg_noise {
    rg_object base;
    bool is_disabled;                   /* zeros */
    uint64_t seed;
} rg_noise;
rg_noise *rg_noise_new(bool is_disabled, uint64_t seed);

/* A GUIDER value: a model and what steers it. */
typedef struct rg_guider {
    rg_object base;
    rg_model *model;                    /* held */
    rg_cond *positive;                  /* held */
    rg_cond *negative;                  /* held; NULL for BasicGuider */
    double cfg;                         /* 1 for BasicGuider */
} rg_guider;
rg_guider *rg_guider_new(const rg_model *model, const rg_cond *positive, const rg_cond *negative, double cfg);

/*
 * The sigmas of a run: [steps + 1] (fewer when denoise < 1), falling, the last one 0; float32, equal to ComfyUI's bit for bit.
 * On the CPU, owned by c's scope. BasicScheduler and KSampler use it.
 */
rg_tensor *rg_schedule(rg_ctx *c, const rg_model_sampling *s, int scheduler, int64_t steps, double denoise);

/* KSampler's own choice: as rg_schedule, but dpm_2 and its kin drop the last sigma but one (ComfyUI KSampler.calculate_sigmas). */
rg_tensor *rg_ksampler_schedule(rg_ctx *c, const rg_model_sampling *s, int sampler, int scheduler, int64_t steps, double denoise);

/*
 * Initial noise for a latent: PyTorch's CPU generator, prepare_noise() with batch_index. Float32, on the CPU.
 */
rg_tensor *rg_prepare_noise(rg_ctx *c, const rg_latent *latent, uint64_t seed);

/*
 * Denoise. Guider, sampler and sigmas as in SamplerCustomAdvanced; progress goes to c.
 *   noise    shape of latent->samples    seed  for samplers that draw noise on the way
 *   out_denoised  NULL, or receives the last step's denoised latent ("denoised_output")
 *   returns  the samples, unscaled, float32, in c's scope; NULL once c has failed (RG_ERR_CANCELLED when stopped)
 */
rg_tensor *rg_sample_custom(rg_ctx *c, const rg_guider *guider, const rg_sampler *sampler, const rg_tensor *sigmas,
                            const rg_latent *latent, const rg_tensor *noise, uint64_t seed, rg_tensor **out_denoised);

/* KSampler and KSamplerAdvanced. */
typedef struct rg_ksampler_args {
    uint64_t seed;
    int64_t steps;
    double cfg;
    int sampler, scheduler;             /* into the name lists */
    double denoise;
    bool disable_noise;
    int64_t start_step, last_step;      /* RG_STEP_UNSET when not given */
    bool force_full_denoise;
} rg_ksampler_args;
#define RG_STEP_UNSET (-1)

/* ComfyUI nodes.py, common_ksampler: a new latent with the denoised samples in *out (one hold for the caller). */
int rg_ksampler(rg_ctx *c, const rg_model *model, const rg_cond *positive, const rg_cond *negative,
                const rg_latent *latent, const rg_ksampler_args *args, rg_latent **out);

/* SamplerCustomAdvanced: like rg_sample_custom, but makes LATENT values; out_denoised may be NULL. */
int rg_sampler_custom_advanced(rg_ctx *c, const rg_noise *noise, const rg_guider *guider, const rg_sampler *sampler,
                               const rg_tensor *sigmas, const rg_latent *latent, rg_latent **out, rg_latent **out_denoised);

#endif
