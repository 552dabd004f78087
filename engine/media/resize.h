/*
 * ComfyUI's common_upscale on IMAGE and LATENT tensors: nearest-exact, bilinear, area, bicubic (as torch's interpolate) and
 * lanczos (as Pillow's, through 8-bit pictures), bislerp; and the "center" crop.
 */
#ifndef RG_MEDIA_RESIZE_H
#define RG_MEDIA_RESIZE_H

#include "engine/core/ctx.h"

typedef enum rg_resize_method {
    RG_RESIZE_NEAREST_EXACT, RG_RESIZE_BILINEAR, RG_RESIZE_AREA, RG_RESIZE_BICUBIC, RG_RESIZE_LANCZOS, RG_RESIZE_BISLERP
} rg_resize_method;

/* x [B, C, H, W] float32 (any strides) -> [B, C, height, width]; is_center_crop crops to the target's aspect first. */
rg_tensor *rg_common_upscale(rg_ctx *c, const rg_tensor *x, int64_t width, int64_t height, rg_resize_method method, bool is_center_crop);

#endif
