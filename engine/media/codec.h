/* What picture.c and the formats behind it share. Each decoder fills rgb, alpha and sizes as stored; picture.c turns them upright. */
#ifndef RG_MEDIA_CODEC_H
#define RG_MEDIA_CODEC_H

#include "engine/media/picture.h"

/*
 * Decode a file that begins as the format's do, its size already known to be allowed. p is empty at first, and the caller
 * releases what is in it on failure too.   *orientation  1..8 as EXIF tag 0x0112 has it; left alone when the file has none
 */
int rg_png_decode(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation);
int rg_jpeg_decode(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation);
int rg_webp_decode(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation);

/* Width and height from the header alone; false if they are not there. */
bool rg_png_size(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height);
bool rg_jpeg_size(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height);
bool rg_webp_size(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height);

/*
 * Make room for n_frames more frames at the end (contents undefined) and count them; width and height are set.
 *   errors   RG_ERR_NOMEM, RG_ERR_INVALID (more than RG_MAX_TOTAL_PIXELS)
 */
int rg_picture_grow(rg_ctx *c, rg_picture *p, int n_frames, bool has_alpha);

/*
 * Orientation from EXIF data (a TIFF file, with or without "Exif\0\0" before it) or an XMP packet. *orientation is written only
 * when the tag is there.   returns  true if it was, whatever its value
 */
bool rg_exif_orientation(const uint8_t *exif, size_t n_bytes, int *orientation);
bool rg_xmp_orientation(const uint8_t *xmp, size_t n_bytes, int *orientation);

/* The first ASCII tag of IFD0 that is "key:text", without the key; rg_free() it. NULL: none, or no memory. */
char *rg_exif_text(const uint8_t *exif, size_t n_bytes, const char *key);

/* An EXIF block (TIFF, big-endian, ASCII tags in IFD0) for texts as picture.h says; rg_free() it. */
int rg_exif_make(rg_ctx *c, const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes);

#endif
