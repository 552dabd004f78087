/* Pictures for WebSockets. */
#ifndef RG_SERVER_PREVIEW_H
#define RG_SERVER_PREVIEW_H

#include "engine/core/tensor.h"

/*
 * A latent's first sample as a JPEG (quality 95), by the linear latent-to-RGB factors of its model family, no larger than size
 * squared; *bytes is the caller's (rg_free()). False when the latent is of no family that has factors.
 */
bool rg_preview_jpeg(const rg_tensor *latent, int size, uint8_t **bytes, size_t *n_bytes);

/* One frame of an IMAGE [B, H, W, C] in main memory as a PNG, as it is; else as above. */
bool rg_picture_png(const rg_tensor *images, int64_t frame, uint8_t **bytes, size_t *n_bytes);

#endif
