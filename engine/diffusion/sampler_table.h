/* A row of the sampler table: between sampler.c, which holds it, and sample.c, which runs it. */
#ifndef RG_DIFFUSION_SAMPLER_TABLE_H
#define RG_DIFFUSION_SAMPLER_TABLE_H

#include "engine/diffusion/sampler.h"

enum {
    RG_WANTS_UNCOND = 1,                /* reads run->uncond: the negative side is computed even at cfg 1 */
    RG_DROPS_PENULTIMATE = 2,           /* KSampler gives it a schedule without the last sigma but one */
    RG_BROWNIAN = 4,                    /* its noise is a Brownian path's, not fresh at every draw */
    RG_OFFSETS_FIRST = 8,               /* works in log signal-to-noise: a flow's sigma 1 is moved just below 1 */
    RG_FRESH_INPAINT_NOISE = 16,        /* outside a latent noise mask it mixes noise of its own (seed + 1) */
    RG_ENDS_ABOVE_ZERO = 32,            /* a last sigma of 0 becomes 0.001 */
    RG_GPU_TREE = 64                    /* its Brownian noise is drawn on the GPU, if there is one */
};

typedef struct rg_sampler_row {
    rg_sampler_step *step;
    unsigned traits;
    rg_sampler_whole *whole;            /* instead of step */
} rg_sampler_row;

/* The row of a sampler; NULL and RG_ERR_INVALID if there is none with that number. */
const rg_sampler_row *rg_sampler_find(rg_ctx *c, int index);

#endif
