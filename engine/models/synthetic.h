/*
 * Model files with random weights, in memory: the names and sizes of the real ones, so that loading, detection and forward passes are
 * exercised as they are, and nothing is downloaded. For benchmarks and tests; what such a model computes means nothing.
 */
#ifndef RG_MODELS_SYNTHETIC_H
#define RG_MODELS_SYNTHETIC_H

#include "engine/core/ctx.h"

/* What rg_synthetic_open() knows: "flux-dev", "flux-schnell", "t5xxl", "clip_l", "vae"; NULL-terminated. */
extern const char *const rg_synthetic_models[];

typedef struct rg_synthetic {
    int fd;                             /* of the memory; -1: none */
    char path[64];                      /* opens as a safetensors file while fd is open */
    uint64_t n_bytes;
} rg_synthetic;

/*
 * Make one. dtype: RG_BF16, RG_F16, RG_F32, RG_F8_E4M3 of matrices; vectors are at least 16 bits wide. scale: 1 is the real size, 8 about an eighth
 * of its width and depth. The same arguments give the same bytes. Errors: RG_ERR_INVALID, RG_ERR_NOMEM, RG_ERR_IO.
 */
int rg_synthetic_open(rg_ctx *c, const char *model, int scale, rg_dtype dtype, rg_synthetic *out);
void rg_synthetic_close(rg_synthetic *s);

#endif
