/* Small pictures for galleries. */
#ifndef RG_SERVER_THUMBNAIL_H
#define RG_SERVER_THUMBNAIL_H

#include "engine/core/ctx.h"

enum { RG_THUMBNAIL_MAX = 1024 };

/*
 * A picture file's bytes as a small one: no side longer than width (1 to RG_THUMBNAIL_MAX), never enlarged, the first frame of an
 * animation. JPEG, or WebP where there is transparency.
 *   *out     rg_free() it; *type its Content-Type, static
 *   returns  0, or RG_ERR_FORMAT, RG_ERR_INVALID, RG_ERR_NOMEM: no picture that we read, then send the file itself
 */
int rg_thumbnail(const void *bytes, size_t n_bytes, int width, uint8_t **out, size_t *n_out, const char **type);

#endif
