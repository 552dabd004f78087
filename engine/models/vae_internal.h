/* What the autoencoder's own files share: vae.c (the networks), vae_load.c (weights), vae_tiled.c (tiles). */
#ifndef RG_MODELS_VAE_INTERNAL_H
#define RG_MODELS_VAE_INTERNAL_H

#include "engine/models/vae.h"
#include "engine/ops/ops.h"
#include "engine/weights/weights.h"

enum { VAE_MAX_LEVELS = 8 };

typedef struct vae_resnet {
    rg_conv_weight norm1, norm2;        /* weight and bias [C] */
    rg_conv_weight conv1, conv2;
    rg_conv_weight nin_shortcut;        /* 1 x 1, where the channels change; else NULLs */
} vae_resnet;

typedef struct vae_attention {
    rg_conv_weight norm;
    rg_conv_weight q, k, v, proj_out;   /* [C, C, 1, 1], or [C, C] from diffusers */
} vae_attention;

typedef struct vae_level {
    int n_blocks;
    vae_resnet *blocks;
    rg_conv_weight resample;            /* downsample.conv or upsample.conv; NULLs at the last level */
} vae_level;

/* An encoder or a decoder. Levels are numbered as in the file: 0 is at picture size. */
typedef struct vae_half {
    rg_conv_weight conv_in, conv_out;
    vae_resnet mid1, mid2;
    vae_attention attn;
    rg_conv_weight norm_out;
    int n_levels;
    vae_level levels[VAE_MAX_LEVELS];
} vae_half;

struct rg_vae {
    rg_object base;
    rg_weights *weights;                /* owns every tensor below */
    bool has_encoder, has_quant;
    int latent_channels, scale;         /* picture pixels per latent pixel: 8 */
    vae_half encoder, decoder;
    rg_conv_weight quant_conv, post_quant_conv;     /* 1 x 1; Stable Diffusion has them, Flux has not */
};

/* The bare networks: latent [B, Cz, H, W] -> picture [B, 3, 8H, 8W] in -1..1, and back; float32. */
rg_tensor *rg_vae_run_decoder(rg_ctx *c, const rg_vae *vae, const rg_tensor *z);
rg_tensor *rg_vae_run_encoder(rg_ctx *c, const rg_vae *vae, const rg_tensor *x);

/* Picture [B, H, W, 3 or more] in 0..1 -> [B, 3, H', W'] in -1..1, which an encoder takes; sides cropped to multiples of the scale. */
rg_tensor *rg_vae_pixels_in(rg_ctx *c, const rg_vae *vae, const rg_tensor *pixels);

/* True for a latent that this model decodes; fails with RG_ERR_SHAPE otherwise. */
bool rg_vae_is_latent(rg_ctx *c, const rg_vae *vae, const rg_tensor *samples);

/* Decoded [B, 3, H, W] -> picture [B, H, W, 3] in 0..1. */
rg_tensor *rg_vae_pixels_out(rg_ctx *c, const rg_tensor *x);

#endif
