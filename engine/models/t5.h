/*
 * The T5 v1.1 encoder (T5-XXL of Flux and its kin of other sizes): RMS norms, relative position bias shared by all blocks,
 * gated GELU, no attention scale. Activations are float32, as in ComfyUI. docs/models/text_encoders.md
 * Source: Raffel et al. 2019, arXiv:1910.10683; Shazeer 2020, arXiv:2002.05202; ComfyUI text_encoders/t5.py.
 */
#ifndef RG_MODELS_T5_H
#define RG_MODELS_T5_H

#include "engine/weights/weights.h"

typedef struct rg_t5 rg_t5;             /* an rg_object */

typedef struct rg_t5_config {
    int64_t width;                      /* D, 4096 */
    int64_t inner;                      /* H * Dk, 4096 */
    int64_t n_heads;                    /* H, 64 */
    int64_t mlp;                        /* 10240 */
    int64_t n_layers;                   /* 24 */
    int64_t vocab;                      /* 32128 */
    int64_t n_buckets;                  /* 32 */
    int64_t max_distance;               /* 128: no file says so */
    bool is_gated;                      /* wi_0, wi_1 (v1.1) instead of wi with ReLU */
    bool has_bias_per_layer;            /* UMT5 */
} rg_t5_config;

int rg_t5_load(rg_ctx *c, rg_weights *w, rg_t5 **out);
const rg_t5_config *rg_t5_config_of(const rg_t5 *m);

/* Rows of the token table, float32: ids [B, N] I32 or I64 -> [B, N, D]. */
rg_tensor *rg_t5_embed(rg_ctx *c, const rg_t5 *m, const rg_tensor *ids);

/*
 * One run from embedded tokens.
 *   embeds   [B, N, D] float32     mask  [B, N], 0 where a token must not be seen; NULL: all are seen, padding too (Flux)
 *   layer    RG_T5_LAST, or the state after a block: 0.. from the first, -1 from the last
 *   returns  [B, N, D] float32, after the final norm
 */
#define RG_T5_LAST INT32_MIN
rg_tensor *rg_t5_forward(rg_ctx *c, const rg_t5 *m, const rg_tensor *embeds, const rg_tensor *mask, int layer);

/* Which of n_buckets rows of the bias table a key `distance` tokens after the query uses. Float32, as PyTorch computes it. */
int64_t rg_t5_bucket(int64_t distance, int64_t n_buckets, int64_t max_distance);

#endif
