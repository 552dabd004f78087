/* Which format a file is, frames that grow as they are decoded, and turning them upright. The formats are in png.c, jpeg.c, webp.c. */
#include "engine/media/picture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/media/codec.h"

/* What a file begins with. Formats without a decoder are named, so that the message helps. */
struct format {
    const char *name;
    int at, n;                          /* the signature's place and length */
    const char *signature;
    bool (*size)(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height);
    int (*decode)(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation);
};

static const struct format formats[] = {
    { "PNG",       0, 8, "\x89PNG\r\n\x1a\n", rg_png_size, rg_png_decode },
    { "JPEG",      0, 3, "\xff\xd8\xff", rg_jpeg_size, rg_jpeg_decode },
    { "WebP",      8, 4, "WEBP", rg_webp_size, rg_webp_decode },
    { "GIF",       0, 4, "GIF8", NULL, NULL },
    { "BMP",       0, 2, "BM", NULL, NULL },
    { "TIFF",      0, 4, "II*\0", NULL, NULL },
    { "TIFF",      0, 4, "MM\0*", NULL, NULL },
    { "AVIF",      4, 8, "ftypavif", NULL, NULL },
    { "HEIC",      4, 7, "ftyphei", NULL, NULL },
    { "JPEG XL",   0, 2, "\xff\x0a", NULL, NULL },
    { "JPEG XL",   4, 8, "JXL \r\n\x87\n", NULL, NULL },
    { "JPEG 2000", 4, 4, "jP  ", NULL, NULL },
    { "PSD",       0, 4, "8BPS", NULL, NULL },
    { "ICO",       0, 4, "\0\0\1\0", NULL, NULL },
    { "SVG",       0, 4, "<svg", NULL, NULL },
};

/* The format with a decoder, or NULL after rg_fail(). */
static const struct format *find_format(rg_ctx *c, const uint8_t *bytes, size_t n_bytes)
{
    if (n_bytes == 0) {
        rg_fail(c, RG_ERR_FORMAT, "the picture file is empty (0 bytes)");
        return NULL;
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct format *f = &formats[i];

        if (n_bytes < (size_t)(f->at + f->n) || memcmp(bytes + f->at, f->signature, (size_t)f->n))
            continue;
        if (f->decode)
            return f;
        rg_fail(c, RG_ERR_FORMAT, "%s pictures are not supported: PNG, JPEG and WebP are", f->name);
        return NULL;
    }
    rg_fail(c, RG_ERR_FORMAT, "not a picture: %zu bytes that begin like no PNG, JPEG or WebP file", n_bytes);
    return NULL;
}

static const struct format *find_size(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height)
{
    const struct format *f = find_format(c, bytes, n_bytes);

    if (!f)
        return NULL;
    if (!f->size(bytes, n_bytes, width, height)) {
        rg_fail(c, RG_ERR_FORMAT, "broken %s file: its %zu bytes end before the header does, or the header is damaged", f->name, n_bytes);
        return NULL;
    }
    if (*width < 1 || *height < 1) {
        rg_fail(c, RG_ERR_FORMAT, "broken %s file: it claims to be %lld x %lld pixels", f->name, (long long)*width, (long long)*height);
        return NULL;
    }
    return f;
}

int rg_picture_size(rg_ctx *c, const void *bytes, size_t n_bytes, int64_t *width, int64_t *height)
{
    int64_t w, h;

    if (!find_size(c, bytes, n_bytes, &w, &h))
        return c->error;
    *width = w;
    *height = h;
    return 0;
}

int rg_picture_grow(rg_ctx *c, rg_picture *p, int n_frames, bool has_alpha)
{
    const int64_t total = (p->n_frames + (int64_t)n_frames) * p->width * p->height;
    uint8_t *rgb, *alpha;

    if (total > RG_MAX_TOTAL_PIXELS)
        return rg_fail(c, RG_ERR_INVALID, "the animation is too large: frame %d of %lld x %lld pixels passes %lld pixels in all",
                       p->n_frames + n_frames, (long long)p->width, (long long)p->height, (long long)RG_MAX_TOTAL_PIXELS);
    if (!(rgb = rg_realloc(p->rgb, (size_t)total * 3)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a picture of %lld x %lld pixels", (long long)p->width, (long long)p->height);
    p->rgb = rgb;
    if (has_alpha) {
        if (!(alpha = rg_realloc(p->alpha, (size_t)total)))
            return rg_fail(c, RG_ERR_NOMEM, "out of memory for a picture of %lld x %lld pixels", (long long)p->width, (long long)p->height);
        p->alpha = alpha;
    }
    p->n_frames += n_frames;
    return 0;
}

/*
 * The eight orientations as steps through the stored picture: where upright pixel (0, 0) is, and how far apart in memory
 * the next column and row are. Source: EXIF 2.32, tag 0x0112 (1 is upright, 6 needs a quarter turn clockwise).
 */
struct walk {
    int64_t start, step_x, step_y, width, height;   /* in pixels of the stored picture; width, height upright */
};

static struct walk upright(int orientation, int64_t w, int64_t h)
{
    const int64_t right = w - 1, bottom = (h - 1) * w;

    switch (orientation) {
    case 2:  return (struct walk){ right,          -1,  w, w, h };
    case 3:  return (struct walk){ bottom + right, -1, -w, w, h };
    case 4:  return (struct walk){ bottom,          1, -w, w, h };
    case 5:  return (struct walk){ 0,               w,  1, h, w };
    case 6:  return (struct walk){ bottom,         -w,  1, h, w };
    case 7:  return (struct walk){ bottom + right, -w, -1, h, w };
    case 8:  return (struct walk){ right,           w, -1, h, w };
    default: return (struct walk){ 0,               1,  w, w, h };
    }
}

static void turn_plane(uint8_t *out, const uint8_t *in, const struct walk *k, int n_bytes)
{
    for (int64_t y = 0; y < k->height; y++) {
        const uint8_t *p = in + (k->start + y * k->step_y) * n_bytes;
        for (int64_t x = 0; x < k->width; x++, p += k->step_x * n_bytes, out += n_bytes)
            memcpy(out, p, (size_t)n_bytes);
    }
}

static int turn(rg_ctx *c, rg_picture *p, int orientation)
{
    const struct walk k = upright(orientation, p->width, p->height);
    const int64_t n = p->width * p->height;
    uint8_t *rgb, *alpha = NULL;

    rgb = rg_malloc((size_t)(n * p->n_frames) * 3);
    if (p->alpha)
        alpha = rg_malloc((size_t)(n * p->n_frames));
    if (!rgb || (p->alpha && !alpha)) {
        rg_free(rgb);
        rg_free(alpha);
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a picture of %lld x %lld pixels", (long long)p->width, (long long)p->height);
    }
    for (int i = 0; i < p->n_frames; i++) {
        turn_plane(rgb + n * i * 3, p->rgb + n * i * 3, &k, 3);
        if (alpha)
            turn_plane(alpha + n * i, p->alpha + n * i, &k, 1);
    }
    rg_free(p->rgb);
    rg_free(p->alpha);
    p->rgb = rgb;
    p->alpha = alpha;
    p->width = k.width;
    p->height = k.height;
    return 0;
}

int rg_picture_decode(rg_ctx *c, const void *bytes, size_t n_bytes, rg_picture **out)
{
    int64_t w, h;
    const struct format *f = find_size(c, bytes, n_bytes, &w, &h);
    int orientation = 1, ret;
    rg_picture *p;

    if (!f)
        return c->error;
    if (h > RG_MAX_PIXELS / w)
        return rg_fail(c, RG_ERR_INVALID, "the picture is too large: %lld x %lld pixels, at most %lld are allowed",
                       (long long)w, (long long)h, RG_MAX_PIXELS);
    if (!(p = rg_calloc(1, sizeof *p)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a picture");
    p->width = w;
    p->height = h;
    if ((ret = f->decode(c, bytes, n_bytes, p, &orientation)) < 0)
        goto done;
    if (orientation >= 2 && orientation <= 8 && (ret = turn(c, p, orientation)) < 0)
        goto done;
    *out = p;
    p = NULL;                           /* moved to the caller */
done:
    rg_picture_free(p);
    return ret;
}

/* Put the file's name before the message of a failure that knew only bytes. */
static int name_failure(rg_ctx *c, const char *path)
{
    const char *slash = strrchr(path, '/');
    char text[sizeof c->message];

    snprintf(text, sizeof text, "%s", c->message);
    snprintf(c->message, sizeof c->message, "%.200s: %.800s", slash ? slash + 1 : path, text);
    return c->error;
}

static int read_whole(rg_ctx *c, const char *path, uint8_t **bytes, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL, *larger;
    size_t n = 0, room = 0, got;

    if (!file)
        return rg_fail(c, errno == ENOENT ? RG_ERR_NOT_FOUND : RG_ERR_IO, "opening the picture failed: %s", strerror(errno));
    do {
        if (room - n < 4096) {
            room = room ? 2 * room : 65536;
            if (!(larger = rg_realloc(data, room))) {
                rg_fail(c, RG_ERR_NOMEM, "out of memory for a picture file of more than %zu bytes", n);
                break;
            }
            data = larger;
        }
        n += got = fread(data + n, 1, room - n, file);
    } while (got);
    if (!c->error && ferror(file))
        rg_fail(c, RG_ERR_IO, "reading the picture failed: %s", strerror(errno));
    fclose(file);
    if (c->error) {
        rg_free(data);
        return c->error;
    }
    *bytes = data;
    *n_bytes = n;
    return 0;
}

int rg_picture_load(rg_ctx *c, const char *path, rg_picture **out)
{
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;

    if (read_whole(c, path, &bytes, &n_bytes) < 0)
        return name_failure(c, path);
    if (rg_picture_decode(c, bytes, n_bytes, out) < 0)
        name_failure(c, path);
    rg_free(bytes);
    return c->error;
}

void rg_picture_free(rg_picture *p)
{
    if (!p)
        return;
    rg_free(p->rgb);
    rg_free(p->alpha);
    rg_free(p);
}
