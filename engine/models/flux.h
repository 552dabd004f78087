/*
 * Flux.1: its sizes, read off a checkpoint, and the denoiser made of it. docs/models/flux.md has the architecture.
 */
#ifndef RG_MODELS_FLUX_H
#define RG_MODELS_FLUX_H

#include "engine/diffusion/model.h"
#include "engine/weights/weights.h"

typedef struct rg_flux_config {
    int64_t hidden;                     /* D, 3072 */
    int64_t n_heads;                    /* 24 */
    int64_t mlp_hidden;                 /* 12288 */
    int64_t in_channels, out_channels;  /* of the latent, 16 */
    int64_t context_dim;                /* T5 states, 4096 */
    int64_t vector_dim;                 /* pooled CLIP text, 768 */
    int depth, depth_single;            /* double and single blocks, 19 and 38 */
    int axes_dim[3];                    /* rotary sizes of index, row, column; their sum is D / H: 16, 56, 56 */
    double theta;                       /* 10000 */
    bool has_guidance;                  /* dev has guidance_in, schnell has not */
} rg_flux_config;

/* Sizes from tensor names and shapes. RG_ERR_SHAPE when they make no Flux model. */
int rg_flux_detect(rg_ctx *c, const rg_weights *w, rg_flux_config *out);

/* How a head's rotary pairs are divided among the axes; a head of 128 gives 16, 56, 56. */
void rg_flux_axes(int64_t head_dim, int axes_dim[3]);

/* Load a Flux model: one hold in *out. Keeps a hold on w. Errors of rg_flux_detect() and rg_weights_load(). */
int rg_flux_load(rg_ctx *c, rg_weights *w, rg_denoiser **out);

/*
 * A model of any size with random weights stored as `dtype` on c's device, for benchmarks and memory tests; the same seed gives the
 * same weights. {RG_FLUX_DEV, .depth = 1, .depth_single = 1} is a bench of one double and one single block.
 */
int rg_flux_synthetic(rg_ctx *c, const rg_flux_config *config, uint64_t seed, rg_dtype dtype, rg_denoiser **out);

/* Initialisers of an rg_flux_config: Flux.1 dev but for its 19 double and 38 single blocks. */
#define RG_FLUX_DEV .hidden = 3072, .n_heads = 24, .mlp_hidden = 12288, .in_channels = 16, .out_channels = 16,     \
    .context_dim = 4096, .vector_dim = 768, .axes_dim = { 16, 56, 56 }, .theta = 10000.0, .has_guidance = true

#endif
