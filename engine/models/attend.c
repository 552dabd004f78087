/* Shapes that attention layers share. See attend.h. The lowest float, not -inf, as in ComfyUI: an all-masked row is no NaN. */
#include "engine/models/attend.h"

#include <float.h>

rg_tensor *rg_split_heads(rg_ctx *c, const rg_tensor *x, int64_t H)
{
    if (!x)
        return NULL;
    return rg_permute4(c, rg_view4(c, x, rg_dim(x, 0), rg_dim(x, 1), H, rg_dim(x, 2) / H), 0, 2, 1, 3);
}

rg_tensor *rg_mask_bias(rg_ctx *c, const rg_tensor *mask)
{
    rg_tensor *seen = rg_to(c, mask, RG_F32);

    if (!seen)
        return NULL;
    return rg_view4(c, rg_affine(c, rg_affine(c, seen, -1.0f, 1.0f), -FLT_MAX, 0.0f), rg_dim(mask, 0), 1, 1, rg_dim(mask, 1));
}
