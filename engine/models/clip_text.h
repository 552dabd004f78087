/*
 * CLIP's text transformer (CLIP-L and its kin of other sizes): pre-norm blocks, causal attention, quick GELU.
 * Activations are float32 whatever the weights are stored in: ComfyUI computes its text encoders so. docs/models/text_encoders.md
 * Source: Radford et al. 2021, arXiv:2103.00020; ComfyUI clip_model.py.
 */
#ifndef RG_MODELS_CLIP_TEXT_H
#define RG_MODELS_CLIP_TEXT_H

#include "engine/weights/weights.h"

typedef struct rg_clip_text rg_clip_text;   /* an rg_object */

typedef struct rg_clip_text_config {
    int64_t width;                      /* D, 768 */
    int64_t n_heads;                    /* width / 64 */
    int64_t mlp;                        /* 3072 */
    int64_t n_layers;                   /* 12 */
    int64_t n_positions;                /* 77; 248 in LongCLIP: the length of a chunk */
    int64_t vocab;                      /* 49408 */
    int64_t end_token;                  /* vocab - 1: 49407, also the padding; start is the one before */
    bool has_projection;                /* text_projection: Flux does not use it */
} rg_clip_text_config;

int rg_clip_text_load(rg_ctx *c, rg_weights *w, rg_clip_text **out);
const rg_clip_text_config *rg_clip_text_config_of(const rg_clip_text *m);

/* Rows of the token table, float32: ids [B, N] I32 or I64 -> [B, N, D]. Replace rows of the result for textual inversion. */
rg_tensor *rg_clip_text_embed(rg_ctx *c, const rg_clip_text *m, const rg_tensor *ids);

typedef struct rg_clip_text_out {
    rg_tensor *last;                    /* [B, N, D] float32, after the final layer norm */
    rg_tensor *hidden;                  /* [B, N, D]: the layer asked for, or NULL */
    rg_tensor *pooled;                  /* [B, D]: `last` at each row's end token */
    rg_tensor *projected;               /* [B, D]: pooled through text_projection; pooled itself when the file has none */
} rg_clip_text_out;

/*
 * One run from embedded tokens.
 *   embeds     [B, N, D] float32 without positions; N <= n_positions
 *   mask       [B, N], 0 where a token must not be seen; NULL: all are seen (Flux, SD)
 *   n_tokens   B counts; row b's pooled state is at n_tokens[b] - 1: the first end token (padding repeats it)
 *   layer      RG_CLIP_LAST, or the hidden state after a block: 0.. from the first, -1 from the last
 *   has_final_norm   the final layer norm also goes over `hidden` (SD 1.5, Flux: yes; SDXL, SD3: no)
 */
#define RG_CLIP_LAST INT32_MIN
int rg_clip_text_forward(rg_ctx *c, const rg_clip_text *m, const rg_tensor *embeds, const rg_tensor *mask, const int64_t *n_tokens,
                         int layer, bool has_final_norm, rg_clip_text_out *out);

#endif
