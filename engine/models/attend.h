/* Shapes that attention layers of several families share. */
#ifndef RG_MODELS_ATTEND_H
#define RG_MODELS_ATTEND_H

#include "engine/ops/ops.h"

/* [B, N, D] -> [B, H, N, D/H], a view. */
rg_tensor *rg_split_heads(rg_ctx *c, const rg_tensor *x, int64_t H);

/* mask [B, N], 0 where a token must not be seen -> [B, 1, 1, N] float32 to add to the scores: 0, or the lowest float. */
rg_tensor *rg_mask_bias(rg_ctx *c, const rg_tensor *mask);

#endif
