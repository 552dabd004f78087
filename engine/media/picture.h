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
    uint8_t *alpha;                     /* [n_frames, height, width], or NULL when nothing is transparent by design of the file */
    bool is_alpha_key;                  /* alpha comes from a PNG colour key: LoadImageMask sees it, LoadImage does not */
} rg_picture;

/* Where Pillow refuses a "decompression bomb", for one frame; and the most that all frames of an animation may have. */
#define RG_MAX_PIXELS       178956970LL
#define RG_MAX_TOTAL_PIXELS (1LL << 30)

/*
 * Decode as ComfyUI's LoadImage does through Pillow 11.3: palette, grey, 16-bit, CMYK to RGB; alpha kept apart; every frame
 * of an animation as it shows; orientation applied. A truncated or damaged file is loaded as far as it goes, if at least one
 * row of its first frame is there.
 *   errors   RG_ERR_FORMAT (not a picture, broken, or a format we do not read: names it), RG_ERR_INVALID (larger than
 *            RG_MAX_PIXELS: names the size), RG_ERR_NOMEM
 */
int rg_picture_decode(rg_ctx *c, const void *bytes, size_t n_bytes, rg_picture **out);
void rg_picture_free(rg_picture *p);

/* The same for a whole file; the message begins with the file's name. Also RG_ERR_NOT_FOUND, RG_ERR_IO. */
int rg_picture_load(rg_ctx *c, const char *path, rg_picture **out);

/* Size as stored (before orientation) from the header alone; same errors, except that no limit is checked. */
int rg_picture_size(rg_ctx *c, const void *bytes, size_t n_bytes, int64_t *width, int64_t *height);

/* One text item that goes into the file: PNG tEXt keyword and text, WebP EXIF tag. UTF-8. */
typedef struct rg_picture_text {
    const char *key, *text;
} rg_picture_text;

/* Does it begin as a PNG, WebP or JPEG file? */
bool rg_picture_is(const void *bytes, size_t n_bytes);

/*
 * A text that the file carries under this key (metadata.c): PNG text chunks, packed or not; EXIF as written below. Pixels are not looked at.
 *   *text    UTF-8 as far as the file keeps to it, rg_free() it; NULL: none, or it is damaged
 *   errors   RG_ERR_FORMAT (no such picture)
 */
int rg_picture_text_find(rg_ctx *c, const void *bytes, size_t n_bytes, const char *key, char **text);

/*
 * Every text of a PNG in the file's order, the last of those with one keyword; n 0 for other formats and damaged ones. Free with
 * rg_picture_texts_free().   errors   RG_ERR_NOMEM (latched)
 */
int rg_picture_texts(rg_ctx *c, const void *bytes, size_t n_bytes, rg_picture_text **texts, int *n);
void rg_picture_texts_free(rg_picture_text *texts, int n);

/*
 * Encode 8-bit pixels [height, width, channels]: 1 (grey), 3 (RGB) or 4 (RGBA) channels; PNG also 2 (grey and alpha), JPEG RGB alone.
 * *bytes is the caller's: rg_free() it. Same input, same bytes, every time.
 *   level    PNG: zlib level 0..9; ComfyUI uses 4 to save and 1 for previews
 *   quality  JPEG, WebP: 0..100; for lossless WebP the effort
 *   texts    PNG: chunks right after IHDR, tEXt where Latin-1 suffices and iTXt else. WebP and JPEG: ASCII tags of EXIF,
 *            "prompt" as Model (0x0110), the others from Make (0x010F) downwards, each as "key:text"; 65,527 bytes in a JPEG
 *   errors   RG_ERR_NOMEM, RG_ERR_SHAPE (size or channels that the format cannot hold), RG_ERR_INVALID (texts that it cannot)
 */
int rg_png_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int channels, int level,
                  const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes);
int rg_jpeg_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int quality,
                   const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes);
int rg_webp_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int channels, int quality, bool is_lossless,
                   const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes);

#endif
