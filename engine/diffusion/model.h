/*
 * A MODEL value: a cheap handle on shared base weights plus options. Changing the sampling shift or adding a patch makes a
 * new handle and touches no weight.
 *
 * A denoiser is one model family with its weights loaded; a family's file (engine/models/flux.c) makes them.
 */
#ifndef RG_DIFFUSION_MODEL_H
#define RG_DIFFUSION_MODEL_H

#include "engine/diffusion/latent.h"

/* What a denoiser's forward gets besides the noisy latent; all with the batch size of x, on c's device. */
typedef struct rg_denoiser_inputs {
    const rg_tensor *context;           /* [B, N, D] text states */
    const rg_tensor *pooled;            /* [B, P] or NULL: a family that wants it takes zeros */
    const rg_tensor *guidance;          /* [B] float32 or NULL */
    const rg_tensor *attention_mask;    /* [B, N] or NULL */
} rg_denoiser_inputs;

/* How the raw output of a model relates to noise and data, and which sigma a timestep is. ComfyUI model_sampling.py. */
typedef enum rg_prediction {
    RG_PREDICT_EPS,                     /* output is the noise: SD 1.5, SDXL */
    RG_PREDICT_V,
    RG_PREDICT_FLOW                     /* "CONST": output is noise - data: Flux, SD3 */
} rg_prediction;

typedef enum rg_sampling_kind {
    RG_SAMPLING_DISCRETE,               /* betas, 1000 steps (SD 1.5, SDXL) */
    RG_SAMPLING_FLOW,                   /* ModelSamplingDiscreteFlow: 1000 sigmas, time_snr_shift(shift, t) */
    RG_SAMPLING_FLUX                    /* ModelSamplingFlux: 10000 sigmas, flux_time_shift(shift, 1, t) */
} rg_sampling_kind;

typedef struct rg_model_sampling {
    rg_object base;
    rg_sampling_kind kind;
    rg_prediction prediction;
    double shift;
    double multiplier;                  /* timestep = sigma * multiplier: 1000 (SD3), 1 (AuraFlow, Flux ignores it) */
    int n_sigmas;
    float *sigmas;                      /* n_sigmas, rising; float32 as ComfyUI computes them */
    float *log_sigmas;                  /* RG_SAMPLING_DISCRETE: n_sigmas natural logarithms; else NULL */
} rg_model_sampling;

typedef struct rg_denoiser rg_denoiser;
struct rg_denoiser {
    rg_object base;                     /* its free() ends the family's own struct, of which this is the first member */
    const char *family;                 /* "flux", ... */
    const rg_latent_format *latent_format;
    rg_model_sampling *sampling;        /* the family's default; held */
    bool uses_guidance;                 /* takes distilled guidance */
    bool repeats_context;               /* texts of different lengths may share a batch, repeated to one length (ComfyUI
                                           CONDCrossAttn); false: only equal lengths do (Flux) */
    size_t weight_bytes;                /* bytes of weights in use */

    /*
     * One evaluation.  x [B, C, H, W] float32 scaled noisy latent    timestep [B] float32, as the sampling gives it
     *   returns [B, C, H, W] float32, the raw prediction; owned by c's scope; NULL once c has failed
     */
    rg_tensor *(*forward)(rg_ctx *c, const rg_denoiser *m, const rg_tensor *x, const rg_tensor *timestep,
                          const rg_denoiser_inputs *in);
};

typedef struct rg_model {
    rg_object base;
    rg_denoiser *denoiser;              /* shared; held */
    rg_model_sampling *sampling;        /* the denoiser's, or an override; held */
} rg_model;

/* A handle with the family's defaults. Holds the denoiser. NULL if no memory. */
rg_model *rg_model_new(const rg_denoiser *denoiser);

/* The same model with another sampling (ModelSamplingFlux, ...). Holds both. NULL if no memory. */
rg_model *rg_model_with_sampling(const rg_model *model, const rg_model_sampling *sampling);

/* Make a sampling and its float32 sigma table. NULL if no memory. */
rg_model_sampling *rg_model_sampling_new(rg_sampling_kind kind, rg_prediction prediction, double shift, double multiplier);

/* The sigma of a (fractional) timestep, the timestep that a model is told for a sigma, and back; all in float32. */
float rg_model_sampling_sigma(const rg_model_sampling *s, float timestep);
float rg_model_sampling_timestep(const rg_model_sampling *s, float sigma);

/* Where a fraction of the sampling lies: 0 is the start (for RG_SAMPLING_DISCRETE above every sigma), 1 is sigma 0. */
double rg_model_sampling_percent_to_sigma(const rg_model_sampling *s, double percent);

/* Flux's shift for a picture size: linear in the number of tokens, base_shift at 256 of them, max_shift at 4096. */
double rg_flux_shift(double max_shift, double base_shift, int64_t width, int64_t height);

/* sigma_max, the last of the table; sigma_min is sigmas[0] */
float rg_model_sampling_max(const rg_model_sampling *s);

/*
 * One evaluation of a model: scale the input, forward, and turn its prediction into the denoised latent.
 *   x [B, C, H, W] noisy latent at sigma    inputs  with x's batch size
 */
rg_tensor *rg_model_denoise(rg_ctx *c, const rg_model *m, const rg_tensor *x, float sigma, const rg_denoiser_inputs *in);

/* What noise and data make together at a sigma. is_max: sigma is the schedule's largest; eps models then add pure noise. */
rg_tensor *rg_model_noise_scaling(rg_ctx *c, const rg_model_sampling *s, float sigma, const rg_tensor *noise,
                                  const rg_tensor *data, bool is_max);

/* Undo at the last sigma what a flow's noise scaling did to the data. */
rg_tensor *rg_model_inverse_noise_scaling(rg_ctx *c, const rg_model_sampling *s, float sigma, const rg_tensor *x);

#endif
