/*
 * Pictures from and to bytes: PNG (libpng), JPEG (libjpeg-turbo), WebP (libwebp). An IMAGE value is a tensor
 * [B, H, W, C] float32 in 0..1, a MASK [B, H, W]; here pictures are 8-bit and turned upright by their EXIF orientation.
 */
#ifndef RG_MEDIA_PICTURE_H
#define RG_MEDIA_PICTURE_H

#include "engine/core/ctx.h"

/* Decoded frames: all of one size. */
typedef struct rg_picture {
    int n_frames;
    int64_t width, height;
    uint8_t *rgb;                       /* [n_frames, height, width, 3] */
    uint8_t *alpha;                     /* [n_frames, height, width], or NULL when the file has no alpha */
} rg_picture;

/*
 * Decode as ComfyUI's LoadImage does through Pillow: palette, grey, 16-bit, CMYK to RGB; alpha kept apart; orientation applied.
 *   errors   RG_ERR_FORMAT (not a picture, broken), RG_ERR_INVALID (larger than RG_MAX_PIXELS: names the size), RG_ERR_NOMEM
 */
#define RG_MAX_PIXELS (178956970LL * 2) /* where Pillow refuses a "decompression bomb" */
int rg_picture_decode(rg_ctx *c, const void *bytes, size_t n_bytes, rg_picture **out);
void rg_picture_free(rg_picture *p);

/* One text item that goes into the file: PNG tEXt keyword and text, WebP EXIF tag. */
typedef struct rg_picture_text {
    const char *key, *text;
} rg_picture_text;

/*
 * Encode 8-bit RGB or RGBA [height, width, channels] into *bytes (rg_free() it).
 *   level    PNG: zlib level 0..9      quality  JPEG, WebP: 0..100; WebP 100 with is_lossless
 */
int rg_png_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int channels, int level,
                  const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes);
int rg_jpeg_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int quality, uint8_t **bytes, size_t *n_bytes);
int rg_webp_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int channels, int quality, bool is_lossless,
                   const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes);

/* IMAGE tensor frame to 8 bits: clip(255 * x, 0, 255) truncated, as ComfyUI's SaveImage. out has H * W * C bytes. */
void rg_image_to_u8(const rg_tensor *image, int64_t frame, uint8_t *out);

#endif
