/*
 * Guidance: from a noisy latent to one denoised latent, out of any number of conditioning entries. Entries that fit share one
 * forward of the model; areas, masks, strengths and timestep ranges weigh their results; positive and negative are then mixed.
 * Source: ComfyUI comfy/samplers.py (process_conds, calc_cond_batch, sampling_function); Ho & Salimans 2022, arXiv:2207.12598.
 */
#ifndef RG_DIFFUSION_GUIDANCE_H
#define RG_DIFFUSION_GUIDANCE_H

#include "engine/diffusion/sampling.h"

typedef struct rg_guidance rg_guidance;

/*
 * Prepare a guider for latents of x's shape: tensors to c's device, areas in latent pixels, masks at latent size, percents as
 * sigmas. Borrows the guider; its tensors belong to c's current scope, which must outlive it. NULL once c has failed.
 */
rg_guidance *rg_guidance_new(rg_ctx *c, const rg_guider *guider, const rg_tensor *x);
void rg_guidance_free(rg_guidance *g);

/*
 * The guided denoised latent.  x [B, C, H, W] noisy at sigma
 *   uncond   NULL, or receives the negative side's latent; then it is computed even at cfg 1 (CFG++ samplers)
 */
rg_tensor *rg_guidance_denoise(rg_ctx *c, rg_guidance *g, const rg_tensor *x, float sigma, rg_tensor **uncond);

#endif
