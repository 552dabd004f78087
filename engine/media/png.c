/*
 * PNG. Chunks are walked here, because libpng knows no animations and gives up where Pillow goes on; libpng gets a clean
 * stream of header and IDAT data per frame and does what is hard: inflate, filters, interlacing. Writing is in png_encode.c.
 *
 * Frames are composed in the form the file stores (grey, index, RGB, with or without alpha) and only then made RGB and alpha,
 * since that is where Pillow composes them: blending an indexed animation mixes indices.
 *
 * Sources: PNG specification, third edition (chunks, APNG); Pillow 11.3 PngImagePlugin for what counts where files leave it open:
 * 16 bits keep the high byte, except grey, which saturates at 255; colours past the palette are black; wrong check sums of
 * picture data are overlooked; a missing tail leaves zeros.
 */
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "engine/media/codec.h"

/* A piece of compressed picture data: the contents of one IDAT or fdAT chunk, cut short if the file is. */
struct piece {
    const uint8_t *data;
    uint32_t n_bytes;
};

enum { MAX_TEXT = 1 << 20 };            /* longer EXIF or XMP is not looked at */
enum { DISPOSE_NONE, DISPOSE_BACKGROUND, DISPOSE_PREVIOUS };

struct frame {
    int64_t x, y, width, height;
    int dispose;
    bool is_over;                       /* blended over what is there, not put in its place */
    int first_piece, n_pieces;
};

/* What walking the chunks finds. */
struct file {
    int64_t width, height;
    int depth, color, interlace;
    uint8_t palette[256][4];            /* RGB and alpha */
    bool has_alpha_table, has_key;
    uint8_t key[3];                     /* the colour that is transparent, low bytes as Pillow compares them */
    struct frame *frames;
    int n_frames, n_frames_claimed;     /* of acTL; 0: a still picture */
    struct piece *pieces;
    int n_pieces;
    const uint8_t *text;                /* a text chunk that may hold EXIF or XMP: zTXt, iTXt, tEXt */
    uint32_t n_text;
    const uint8_t *xmp;                 /* the same for XMP */
    uint32_t n_xmp;
};

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

bool rg_png_size(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height)
{
    if (n_bytes < 33 || memcmp(bytes + 12, "IHDR", 4) || get32(bytes + 8) != 13)
        return false;
    *width = get32(bytes + 16);
    *height = get32(bytes + 20);
    return true;
}

/* ---- walking the chunks --------------------------------------------------------------------------------------------- */

/* Room for one more element, doubling. */
static int grow(rg_ctx *c, void *array, int n, size_t size)
{
    void **p = array, *larger;

    if (n & (n - 1))                    /* full only at 0, 1, 2, 4, 8, ... */
        return 0;
    if (!(larger = rg_realloc(*p, (n ? 2 * (size_t)n : 1) * size)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for the index of a PNG file");
    *p = larger;
    return 0;
}

static int add_frame(rg_ctx *c, struct file *f, const struct frame *frame)
{
    if (grow(c, &f->frames, f->n_frames, sizeof *f->frames) < 0)
        return c->error;
    f->frames[f->n_frames] = *frame;
    f->frames[f->n_frames++].first_piece = f->n_pieces;
    return 0;
}

static int add_piece(rg_ctx *c, struct file *f, const uint8_t *data, uint32_t n_bytes)
{
    if (grow(c, &f->pieces, f->n_pieces, sizeof *f->pieces) < 0)
        return c->error;
    f->pieces[f->n_pieces++] = (struct piece){ data, n_bytes };
    f->frames[f->n_frames - 1].n_pieces++;
    return 0;
}

static void take_transparency(struct file *f, const uint8_t *data, uint32_t n)
{
    if (f->color == PNG_COLOR_TYPE_PALETTE) {
        f->has_alpha_table = true;
        for (uint32_t i = 0; i < n && i < 256; i++)
            f->palette[i][3] = data[i];
    } else if (f->color == PNG_COLOR_TYPE_GRAY && n >= 2) {
        f->has_key = true;
        memset(f->key, data[1], 3);
    } else if (f->color == PNG_COLOR_TYPE_RGB && n >= 6) {
        f->has_key = true;
        for (int i = 0; i < 3; i++)
            f->key[i] = data[2 * i + 1];
    }
}

/* A text chunk that begins with this keyword and its NUL. */
static bool has_keyword(const uint8_t *data, uint32_t n, const char *keyword)
{
    const size_t n_keyword = strlen(keyword) + 1;

    return n > n_keyword && !memcmp(data, keyword, n_keyword);
}

static int walk(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, struct file *f, int *orientation, bool *has_orientation)
{
    size_t at = 33;                     /* behind IHDR, which rg_png_size() has seen */
    bool is_open = false;               /* the newest frame has no data yet */
    bool has_still = false;             /* IDAT came before any fcTL */

    f->width = get32(bytes + 16);
    f->height = get32(bytes + 20);
    f->depth = bytes[24];
    f->color = bytes[25];
    f->interlace = bytes[28];
    for (int i = 0; i < 256; i++)
        f->palette[i][3] = 255;

    while (n_bytes - at >= 8) {
        const uint8_t *kind = bytes + at + 4, *data = bytes + at + 8;
        const size_t left = n_bytes - at - 8;
        const uint32_t claimed = get32(bytes + at), n = claimed < left ? claimed : (uint32_t)left;

        if (!memcmp(kind, "IEND", 4))
            break;
        if (!memcmp(kind, "PLTE", 4)) {
            for (uint32_t i = 0; i < n / 3 && i < 256; i++)
                memcpy(f->palette[i], data + 3 * i, 3);
        } else if (!memcmp(kind, "tRNS", 4)) {
            take_transparency(f, data, n);
        } else if (!memcmp(kind, "acTL", 4) && n >= 8 && !f->n_frames) {
            const uint32_t claim = get32(data);
            f->n_frames_claimed = claim < INT32_MAX ? (int)claim : INT32_MAX;
        } else if (!memcmp(kind, "fcTL", 4) && n >= 26 && f->n_frames_claimed) {
            const struct frame frame = {
                .width = get32(data + 4), .height = get32(data + 8), .x = get32(data + 12), .y = get32(data + 16),
                .dispose = data[24], .is_over = data[25] == 1,
            };
            if (frame.width < 1 || frame.height < 1 || frame.x + frame.width > f->width || frame.y + frame.height > f->height
                || is_open || f->n_frames - has_still >= f->n_frames_claimed)
                break;                  /* no sense in what follows: the frames so far stand */
            if (add_frame(c, f, &frame) < 0)
                return c->error;
            is_open = true;
        } else if (!memcmp(kind, "IDAT", 4)) {
            if (!f->n_frames) {
                const struct frame whole = { .width = f->width, .height = f->height };
                has_still = f->n_frames_claimed > 0;
                if (add_frame(c, f, &whole) < 0)
                    return c->error;
            }
            if (f->n_frames == 1 && add_piece(c, f, data, n) < 0)
                return c->error;
            is_open = false;
        } else if (!memcmp(kind, "fdAT", 4) && n >= 4 && f->n_frames > has_still) {
            if (add_piece(c, f, data + 4, n - 4) < 0)
                return c->error;
            is_open = false;
        } else if (!memcmp(kind, "eXIf", 4)) {
            *has_orientation |= rg_exif_orientation(data, n, orientation);
        } else if (!memcmp(kind + 1, "TXt", 3) && n < MAX_TEXT && has_keyword(data, n, "Raw profile type exif")) {
            f->text = kind;
            f->n_text = n;
        } else if (!memcmp(kind, "iTXt", 4) && n < MAX_TEXT && has_keyword(data, n, "XML:com.adobe.xmp")) {
            f->xmp = kind;
            f->n_xmp = n;
        }
        if (claimed > left || left - claimed < 4)
            break;
        at += 12 + (size_t)claimed;
    }
    if (is_open)
        f->n_frames--;
    return 0;
}

/* ---- libpng, fed with a clean stream ------------------------------------------------------------------------------------- */

struct feed {
    const struct file *file;
    const struct frame *frame;
    const uint8_t *at;                  /* what libpng reads next */
    size_t left;
    int step;                           /* which part of the stream that is */
    const uint8_t *extra[2];            /* text chunks to be read too: kind and data */
    uint32_t n_extra[2];
    uint8_t small[33 + 12 + 256 * 3];
    jmp_buf jump;
    char message[128];
};

static void on_error(png_structp png, png_const_charp message)
{
    struct feed *feed = png_get_error_ptr(png);

    strncpy(feed->message, message, sizeof feed->message - 1);
    longjmp(feed->jump, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t size)
{
    return rg_malloc(size);
}

static void on_free(png_structp png, png_voidp p)
{
    rg_free(p);
}

static size_t put_chunk(uint8_t *p, const char *kind, uint32_t n)
{
    put32(p, n);
    memcpy(p + 4, kind, 4);
    return 8;
}

/* The parts of the stream: 0 signature, IHDR, palette; 1..6 the text chunks; then header, data and check sum of each piece; IEND. */
static bool next_part(struct feed *feed)
{
    static const uint8_t zeros[4];      /* check sums are not looked at */
    const struct file *f = feed->file;
    const int step = feed->step++, text = (step - 1) / 3, piece = (step - 7) / 3;
    uint8_t *p = feed->small;

    feed->at = feed->small;
    feed->left = 0;
    if (step == 0) {
        memcpy(p, "\x89PNG\r\n\x1a\n", 8);
        put_chunk(p + 8, "IHDR", 13);
        put32(p + 16, (uint32_t)feed->frame->width);
        put32(p + 20, (uint32_t)feed->frame->height);
        p[24] = (uint8_t)f->depth;
        p[25] = (uint8_t)f->color;
        p[26] = p[27] = 0;
        p[28] = (uint8_t)f->interlace;
        memset(p + 29, 0, 4);
        feed->left = 33;
        if (f->color == PNG_COLOR_TYPE_PALETTE) {       /* libpng insists on one, but only indices are wanted */
            const uint32_t n = f->depth <= 8 ? 3u << f->depth : 3;
            put_chunk(p + 33, "PLTE", n);
            memset(p + 41, 0, n + 4);
            feed->left += n + 12;
        }
    } else if (step < 7) {
        if (!feed->extra[text])
            return true;
        if (step % 3 == 1) {
            feed->left = put_chunk(p, (const char *)feed->extra[text], feed->n_extra[text]);
        } else if (step % 3 == 2) {
            feed->at = feed->extra[text] + 4;
            feed->left = feed->n_extra[text];
        } else {
            feed->at = zeros;
            feed->left = 4;
        }
    } else if (piece < feed->frame->n_pieces) {
        const struct piece *k = &f->pieces[feed->frame->first_piece + piece];
        if (step % 3 == 1) {
            feed->left = put_chunk(p, "IDAT", k->n_bytes);
        } else if (step % 3 == 2) {
            feed->at = k->data;
            feed->left = k->n_bytes;
        } else {
            feed->at = zeros;
            feed->left = 4;
        }
    } else if (piece == feed->frame->n_pieces && step % 3 == 1) {
        put_chunk(p, "IEND", 0);
        memset(p + 8, 0, 4);
        feed->left = 12;
    } else {
        return false;
    }
    return true;
}

static void on_read(png_structp png, png_bytep out, size_t n)
{
    struct feed *feed = png_get_io_ptr(png);

    while (n) {
        size_t k = feed->left < n ? feed->left : n;
        if (k == 0 && !next_part(feed))
            png_error(png, "the data ends too early");
        memcpy(out, feed->at, k);
        feed->at += k;
        feed->left -= k;
        out += k;
        n -= k;
    }
}

/* EXIF as text: a name, a length, then hex digits. ImageMagick writes it so. */
static bool raw_profile(rg_ctx *c, const char *text, size_t n, int *orientation)
{
    uint8_t *bytes = rg_malloc(n / 2 + 1);
    size_t i = 0, n_bytes = 0;
    bool found;

    if (!bytes) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for the EXIF of a picture");
        return false;
    }
    for (int lines = 0; i < n && lines < 3; i++)
        lines += text[i] == '\n';
    for (int high = -1; i < n; i++) {
        const char ch = text[i];
        const int v = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;

        if (v < 0)
            continue;
        if (high < 0) {
            high = v;
        } else {
            bytes[n_bytes++] = (uint8_t)(high << 4 | v);
            high = -1;
        }
    }
    found = rg_exif_orientation(bytes, n_bytes, orientation);
    rg_free(bytes);
    return found;
}

static void read_texts(rg_ctx *c, png_structp png, png_infop info, int *orientation)
{
    png_textp texts;
    const int n = png_get_text(png, info, &texts, NULL);
    bool found = false;

    for (int i = 0; i < n && !found; i++) {
        const size_t length = texts[i].compression > 0 ? texts[i].itxt_length : texts[i].text_length;    /* iTXt has its own */

        if (!strcmp(texts[i].key, "Raw profile type exif"))
            found = raw_profile(c, texts[i].text, length, orientation);
        else if (!strcmp(texts[i].key, "XML:com.adobe.xmp"))
            found = rg_xmp_orientation((const uint8_t *)texts[i].text, length, orientation);
    }
}

/*
 * Decode one frame into the canvas at its place; what is missing leaves the canvas as it is.
 *   n        bytes per pixel of the canvas          orientation  read from text chunks when not NULL
 *   *n_rows  rows that came whole (of the first pass, if interlaced)
 */
static int decode_frame(rg_ctx *c, const struct file *f, const struct frame *frame, uint8_t *canvas, int n, int *orientation, int64_t *n_rows)
{
    struct feed *feed = rg_calloc(1, sizeof *feed);
    uint8_t *volatile first = canvas + (frame->y * f->width + frame->x) * n;
    volatile int64_t rows = 0;
    png_structp png;
    png_infop info;

    *n_rows = 0;
    if (!feed)
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a PNG decoder");
    feed->file = f;
    feed->frame = frame;
    if (orientation) {
        feed->extra[0] = f->text;
        feed->n_extra[0] = f->n_text;
        feed->extra[1] = f->xmp;
        feed->n_extra[1] = f->n_xmp;
    }
    png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, feed, on_error, on_warning, NULL, on_malloc, on_free);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        rg_free(feed);
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a PNG decoder");
    }
    if (!setjmp(feed->jump)) {
        png_set_read_fn(png, feed, on_read);
        png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
        png_set_option(png, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);     /* some writers claim too small a window */
        png_set_user_limits(png, INT32_MAX, INT32_MAX);                     /* the size has been checked */
        png_read_info(png, info);
        if (orientation)
            read_texts(c, png, info, orientation);
        if (f->color == PNG_COLOR_TYPE_GRAY && f->depth < 8)
            png_set_expand_gray_1_2_4_to_8(png);
        if (f->color == PNG_COLOR_TYPE_PALETTE && f->depth < 8)
            png_set_packing(png);
        if (f->color != PNG_COLOR_TYPE_GRAY && f->depth == 16)
            png_set_strip_16(png);
        const int n_passes = png_set_interlace_handling(png);
        png_read_update_info(png, info);
        if (png_get_rowbytes(png, info) != (size_t)(frame->width * n))
            RG_BUG("libpng makes rows of %zu bytes, %lld wanted", png_get_rowbytes(png, info), (long long)frame->width * n);
        for (int pass = 0; pass < n_passes; pass++) {
            for (int64_t y = 0; y < frame->height; y++) {
                png_read_row(png, first + y * f->width * n, NULL);
                rows += pass == 0;
            }
        }
    }
    png_destroy_read_struct(&png, &info, NULL);
    rg_free(feed);
    *n_rows = rows;
    return c->error;
}

/* ---- composing frames ------------------------------------------------------------------------------------------------------ */

/* a * (255 - alpha) + b * alpha over 255, rounded as Pillow does it: in 8.8 fixed point */
static uint8_t blend(uint8_t a, uint8_t b, int alpha)
{
    const int v = a * (255 - alpha) + b * alpha + 128;

    return (uint8_t)(((v >> 8) + v) >> 8);
}

/* Put the frame in `canvas` over `before`, the result in canvas. All bytes of a pixel mix alike, alpha and indices too. */
static void blend_region(const struct file *f, uint8_t *canvas, const uint8_t *before, const struct frame *r, int n)
{
    for (int64_t y = r->y; y < r->y + r->height; y++) {
        for (int64_t x = r->x; x < r->x + r->width; x++) {
            uint8_t *p = canvas + (y * f->width + x) * n;
            const uint8_t *q = before + (y * f->width + x) * n;
            int alpha = 255;

            if (f->color & PNG_COLOR_MASK_ALPHA)
                alpha = p[n - 1];
            else if (f->color == PNG_COLOR_TYPE_PALETTE)
                alpha = f->palette[p[0]][3];
            else if (f->color == PNG_COLOR_TYPE_RGB && f->has_key && !memcmp(p, f->key, 3))
                alpha = 0;
            for (int i = 0; i < n; i++)
                p[i] = blend(q[i], p[i], alpha);
        }
    }
}

/* Canvas pixels in the file's own form to RGB and alpha. */
static void emit(const struct file *f, const uint8_t *canvas, int n, uint8_t *rgb, uint8_t *alpha)
{
    const int64_t n_pixels = f->width * f->height;

    for (int64_t i = 0; i < n_pixels; i++, canvas += n, rgb += 3) {
        int a = 255;

        switch (f->color) {
        case PNG_COLOR_TYPE_PALETTE:
            memcpy(rgb, f->palette[canvas[0]], 3);
            a = f->palette[canvas[0]][3];
            break;
        case PNG_COLOR_TYPE_GRAY:       /* 16 bits: Pillow keeps small values and saturates the rest */
            memset(rgb, n == 1 ? canvas[0] : canvas[0] ? 255 : canvas[1], 3);
            break;
        case PNG_COLOR_TYPE_GRAY_ALPHA:
            memset(rgb, canvas[0], 3);
            a = canvas[1];
            break;
        case PNG_COLOR_TYPE_RGB_ALPHA:
            a = canvas[3];              /* fall through */
        default:
            memcpy(rgb, canvas, 3);
        }
        if (f->has_key && !memcmp(rgb, f->key, 3))
            a = 0;
        if (alpha)
            *alpha++ = (uint8_t)a;
    }
}

/* Bytes per pixel while composing; 0 for a colour type and depth that PNG does not have. */
static int pixel_bytes(int color, int depth)
{
    const bool is_small = depth == 1 || depth == 2 || depth == 4;

    switch (color) {
    case PNG_COLOR_TYPE_GRAY:       return depth == 16 ? 2 : depth == 8 || is_small;
    case PNG_COLOR_TYPE_PALETTE:    return depth == 8 || is_small;
    case PNG_COLOR_TYPE_RGB:        return depth == 8 || depth == 16 ? 3 : 0;
    case PNG_COLOR_TYPE_GRAY_ALPHA: return depth == 8 || depth == 16 ? 2 : 0;
    case PNG_COLOR_TYPE_RGB_ALPHA:  return depth == 8 || depth == 16 ? 4 : 0;
    default:                        return 0;
    }
}

static int compose(rg_ctx *c, const struct file *f, rg_picture *p, int *orientation, bool has_orientation)
{
    const int n = pixel_bytes(f->color, f->depth);
    const int64_t n_pixels = f->width * f->height;
    const bool is_animated = f->n_frames > 1;
    const bool has_alpha = (f->color & PNG_COLOR_MASK_ALPHA) || f->has_alpha_table || f->has_key;
    uint8_t *canvas = rg_calloc((size_t)n_pixels, (size_t)n);
    uint8_t *before = is_animated ? rg_malloc((size_t)(n_pixels * n)) : NULL;   /* the canvas before the newest frame */
    int ret = 0;

    if (!canvas || (is_animated && !before)) {
        ret = rg_fail(c, RG_ERR_NOMEM, "out of memory for a picture of %lld x %lld pixels", (long long)f->width, (long long)f->height);
        goto done;
    }
    p->is_alpha_key = f->has_key;
    for (int i = 0; i < f->n_frames; i++) {
        const struct frame *frame = &f->frames[i];
        const int dispose = i == 0 && frame->dispose == DISPOSE_PREVIOUS ? DISPOSE_BACKGROUND : frame->dispose;
        int64_t n_rows;

        if (is_animated)
            memcpy(before, canvas, (size_t)(n_pixels * n));
        if ((ret = decode_frame(c, f, frame, canvas, n, i == 0 && !has_orientation ? orientation : NULL, &n_rows)) < 0)
            goto done;
        if (n_rows == 0) {
            if (i == 0)
                ret = rg_fail(c, RG_ERR_FORMAT, "broken PNG file: no row of its picture data can be read");
            break;
        }
        if (i > 0 && frame->is_over)
            blend_region(f, canvas, before, frame, n);
        if ((ret = rg_picture_grow(c, p, 1, has_alpha)) < 0)
            goto done;
        emit(f, canvas, n, p->rgb + n_pixels * 3 * i, has_alpha ? p->alpha + n_pixels * i : NULL);
        if (dispose == DISPOSE_PREVIOUS) {
            for (int64_t y = frame->y; y < frame->y + frame->height; y++)
                memcpy(canvas + (y * f->width + frame->x) * n, before + (y * f->width + frame->x) * n, (size_t)(frame->width * n));
        } else if (dispose == DISPOSE_BACKGROUND) {
            for (int64_t y = frame->y; y < frame->y + frame->height; y++)
                memset(canvas + (y * f->width + frame->x) * n, 0, (size_t)(frame->width * n));
        }
    }
done:
    rg_free(canvas);
    rg_free(before);
    return ret;
}

int rg_png_decode(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation)
{
    struct file f = { 0 };
    bool has_orientation = false;
    int ret;

    if (pixel_bytes(bytes[25], bytes[24]) == 0 || bytes[26] || bytes[27] || bytes[28] > 1)
        return rg_fail(c, RG_ERR_FORMAT, "broken PNG file: its header names colour type %d with %d bits, compression %d, filter %d, interlacing %d",
                       bytes[25], bytes[24], bytes[26], bytes[27], bytes[28]);
    if ((ret = walk(c, bytes, n_bytes, &f, orientation, &has_orientation)) < 0)
        goto done;
    if (!f.n_frames) {
        ret = rg_fail(c, RG_ERR_FORMAT, "broken PNG file: its %zu bytes hold no picture data", n_bytes);
        goto done;
    }
    ret = compose(c, &f, p, orientation, has_orientation);
done:
    rg_free(f.frames);
    rg_free(f.pieces);
    return ret;
}
