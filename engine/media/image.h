/*
 * IMAGE [B, H, W, C] and MASK [B, H, W] values: float32 in 0..1, in main memory whatever the context computes on, as
 * ComfyUI keeps them. Ops (engine/ops) want their operands on the context's device; what is here works on pictures where they are.
 */
#ifndef RG_MEDIA_IMAGE_H
#define RG_MEDIA_IMAGE_H

#include "engine/core/ctx.h"

/* A new float32 tensor in main memory, contents undefined; owned by c's scope. Errors: RG_ERR_NOMEM, RG_ERR_SHAPE. */
rg_tensor *rg_image_new(rg_ctx *c, int n_dims, const int64_t *shape);

/* The same values in main memory as float32, row-major; t itself when it is so already. For loops over pixels. */
const rg_tensor *rg_image_host(rg_ctx *c, const rg_tensor *t);

/* 1 - t, for pictures and masks of any shape. */
rg_tensor *rg_image_inverted(rg_ctx *c, const rg_tensor *t);

/* Two IMAGE batches of one size after each other. Errors: RG_ERR_SHAPE. */
rg_tensor *rg_image_joined(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);

/* An IMAGE has 4 dims and one channel at least: RG_ERR_SHAPE naming `what` ("image1") otherwise. */
int rg_image_check(rg_ctx *c, const rg_tensor *image, const char *what);

/* 8 bits to float32: each value divided by 255 in float32, as numpy does it. */
rg_tensor *rg_image_from_u8(rg_ctx *c, const uint8_t *values, int n_dims, const int64_t *shape);

/* One frame of an IMAGE in main memory to 8 bits: 255 * x clipped to 0..255 and truncated, as ComfyUI's SaveImage. out holds H * W * C. */
void rg_image_to_u8(const rg_tensor *image, int64_t frame, uint8_t *out);

#endif
