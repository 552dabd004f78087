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

/*
 * x [B, C, H, W] float32 (any strides) -> [B, C, height, width]; is_center_crop crops to the target's aspect first. Channels-last
 * in gives channels-last out, so a permuted IMAGE comes back as one without a copy.
 *   lanczos    clips to 0..1, truncates to 8 bits and wants 1 to 4 channels (2 and 4: the last is alpha, by which Pillow multiplies)
 *   device     computed where x is, if that is main memory or c's device; lanczos and bislerp always in main memory
 *   errors     RG_ERR_SHAPE (a size below 1, a crop that leaves nothing, channels that lanczos cannot take)
 */
rg_tensor *rg_common_upscale(rg_ctx *c, const rg_tensor *x, int64_t width, int64_t height, rg_resize_method method, bool is_center_crop);

/* The same for an IMAGE [B, H, W, C] -> [B, height, width, C], always in main memory. */
rg_tensor *rg_image_upscale(rg_ctx *c, const rg_tensor *image, int64_t width, int64_t height, rg_resize_method method, bool is_center_crop);

/*
 * One 8-bit picture [H, W, channels] to [height, width, channels] by Lanczos with three lobes, bit for bit as Pillow's
 * Image.resize. in and out do not overlap.   errors   RG_ERR_NOMEM (latched)
 */
int rg_lanczos_u8(rg_ctx *c, const uint8_t *in, int64_t W, int64_t H, uint8_t *out, int64_t width, int64_t height, int channels);

#endif
