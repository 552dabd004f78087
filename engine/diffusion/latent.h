/* A LATENT value, and the numeric format of latents that a model family is trained on. */
#ifndef RG_DIFFUSION_LATENT_H
#define RG_DIFFUSION_LATENT_H

#include "engine/core/ctx.h"

typedef struct rg_latent {
    rg_object base;
    rg_tensor *samples;                 /* [B, C, H, W] (video: [B, C, T, H, W]) float32, unscaled: what an encoder gives; held */
    rg_tensor *noise_mask;              /* [B or 1, 1, h, w] or [b, h, w], 1 = denoise here; NULL: everywhere; held */
    int64_t *batch_index;               /* n_batch_index noise indices, or NULL: 0, 1, 2, ... */
    int n_batch_index;
} rg_latent;

/* New latent with one holder; takes its own hold on samples and mask (mask may be NULL). NULL if no memory. */
rg_latent *rg_latent_new(const rg_tensor *samples, const rg_tensor *noise_mask);

/* The same fields, other samples (batch_index copied). NULL if no memory. */
rg_latent *rg_latent_with_samples(const rg_latent *latent, const rg_tensor *samples);

/*
 * Edits that nodes offer; each gives a new value with one holder, NULL once c has failed.
 *   from_batch  `length` latents from `index` on, both brought into range, with their masks and noise numbers
 *   repeat      the whole batch `amount` times, each time with noise numbers of its own
 *   with_mask   the same latent with a noise mask, [..., h, w]
 */
rg_latent *rg_latent_from_batch(rg_ctx *c, const rg_latent *latent, int64_t index, int64_t length);
rg_latent *rg_latent_repeat(rg_ctx *c, const rg_latent *latent, int64_t amount);
rg_latent *rg_latent_with_mask(rg_ctx *c, const rg_latent *latent, const rg_tensor *mask);

/* Replace the noise indices by a copy of n of them, while the latent has one holder. False if no memory. */
bool rg_latent_set_batch_index(rg_latent *l, const int64_t *index, int n);

/* ComfyUI latent_formats.py: what the denoiser sees is (samples - shift) * scale. */
typedef struct rg_latent_format {
    const char *name;                   /* "sd15", "flux", ... */
    int n_channels;
    float scale_factor, shift_factor;
    int downscale;                      /* picture pixels per latent pixel: 8 */
    const float (*rgb_factors)[3];      /* n_channels rows for latent2rgb previews; NULL: none */
    const float *rgb_bias;              /* 3, or NULL */
} rg_latent_format;

extern const rg_latent_format rg_latent_format_sd15, rg_latent_format_sdxl, rg_latent_format_sd3, rg_latent_format_flux;

rg_tensor *rg_latent_process_in(rg_ctx *c, const rg_latent_format *f, const rg_tensor *samples);
rg_tensor *rg_latent_process_out(rg_ctx *c, const rg_latent_format *f, const rg_tensor *samples);

#endif
