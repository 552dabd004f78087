/*
 * A VAE value: the autoencoder of Flux and Stable Diffusion (AutoencoderKL), between pictures and latents.
 * Source: ComfyUI sd.py (class VAE) and ldm/modules/diffusionmodules/model.py; Rombach et al. 2022, arXiv:2112.10752.
 */
#ifndef RG_MODELS_VAE_H
#define RG_MODELS_VAE_H

#include "engine/core/ctx.h"

typedef struct rg_vae rg_vae;           /* an rg_object */

/* Latent [B, Cz, H, W] -> picture [B, 8H, 8W, 3] float32 in 0..1. Falls back to tiles when memory is short. */
rg_tensor *rg_vae_decode(rg_ctx *c, const rg_vae *vae, const rg_tensor *samples);

/* Picture [B, H, W, 3 or more] in 0..1 -> latent [B, Cz, H/8, W/8]; sizes are cropped to multiples of 8 about the centre. */
rg_tensor *rg_vae_encode(rg_ctx *c, const rg_vae *vae, const rg_tensor *pixels);

/*
 * The same in overlapping tiles, blended as ComfyUI's tiled_scale does: the mean of three passes, with tiles as given, twice as
 * wide and half as high, and the other way round. Sizes in latent (decode) or picture (encode) pixels. Progress goes to c,
 * one step a tile. RG_ERR_INVALID when more than one tile is needed and half a tile is not larger than the overlap.
 */
rg_tensor *rg_vae_decode_tiled(rg_ctx *c, const rg_vae *vae, const rg_tensor *samples, int64_t tile_x, int64_t tile_y,
                               int64_t overlap);
rg_tensor *rg_vae_encode_tiled(rg_ctx *c, const rg_vae *vae, const rg_tensor *pixels, int64_t tile_x, int64_t tile_y,
                               int64_t overlap);

int rg_vae_latent_channels(const rg_vae *vae);     /* Cz: 16 for Flux, 4 for Stable Diffusion */
int rg_vae_scale(const rg_vae *vae);                /* picture pixels per latent pixel: 8 */

/* Load an autoencoder: one hold in *out. Keeps a hold on w. Sizes come from the tensors; one without an encoder only decodes. */
struct rg_weights;
int rg_vae_load(rg_ctx *c, struct rg_weights *w, rg_vae **out);

#endif
