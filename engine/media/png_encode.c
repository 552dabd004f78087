/*
 * PNG files written by libpng, with text right behind the header where ComfyUI's readers look for the workflow.
 * Source: PNG specification, third edition, 11.3.3 (tEXt holds Latin-1, iTXt UTF-8); Pillow's PngInfo.add_text chooses the same.
 */
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "engine/media/codec.h"

struct writer {
    uint8_t *bytes;
    size_t n, room;
    uint8_t *text;                      /* the text chunk being written; here, so that a jump does not lose it */
    jmp_buf jump;
};

static void on_write_error(png_structp png, png_const_charp message)
{
    struct writer *w = png_get_error_ptr(png);

    longjmp(w->jump, 1);
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

static void on_write(png_structp png, png_bytep data, size_t n)
{
    struct writer *w = png_get_io_ptr(png);

    if (w->room - w->n < n) {
        const size_t room = w->room + w->room / 2 + n;
        uint8_t *larger = rg_realloc(w->bytes, room);

        if (!larger)
            png_error(png, "out of memory");
        w->bytes = larger;
        w->room = room;
    }
    memcpy(w->bytes + w->n, data, n);
    w->n += n;
}

static void on_flush(png_structp png)
{
}

/* UTF-8 to Latin-1 in place of out (as long as text at most); -1 if a character has no place there. */
static int64_t to_latin1(const char *text, uint8_t *out)
{
    uint8_t *start = out;

    for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
        if (*p < 0x80) {
            *out++ = *p;
        } else if ((*p == 0xC2 || *p == 0xC3) && (p[1] & 0xC0) == 0x80) {
            *out++ = (uint8_t)(p[0] << 6 | (p[1] & 0x3F));
            p++;
        } else {
            return -1;
        }
    }
    return out - start;
}

static int write_text(rg_ctx *c, png_structp png, struct writer *w, const rg_picture_text *t)
{
    const size_t n_key = strlen(t->key), n_text = strlen(t->text);
    int64_t key, text;

    if (n_key + n_text > INT32_MAX - 8)
        return rg_fail(c, RG_ERR_INVALID, "a text of %zu bytes is too long for a PNG file", n_text);
    if (!(w->text = rg_malloc(n_key + n_text + 8)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for the text of a picture");
    key = to_latin1(t->key, w->text);
    if (key < 1 || key > 79)
        return rg_fail(c, RG_ERR_INVALID, "\"%.100s\" cannot name a text in a PNG file: 1 to 79 Latin-1 characters can", t->key);
    w->text[key] = 0;
    if ((text = to_latin1(t->text, w->text + key + 1)) >= 0) {
        png_write_chunk(png, (png_const_bytep)"tEXt", w->text, (size_t)(key + 1 + text));
    } else {                            /* UTF-8, not compressed, no language, no translated keyword */
        memset(w->text + key + 1, 0, 4);
        memcpy(w->text + key + 5, t->text, n_text);
        png_write_chunk(png, (png_const_bytep)"iTXt", w->text, (size_t)key + 5 + n_text);
    }
    rg_free(w->text);
    w->text = NULL;
    return 0;
}

int rg_png_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int channels, int level,
                  const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes)
{
    static const int colors[] = { 0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA };
    struct writer *w;
    png_structp png;
    png_infop info;

    if (width < 1 || height < 1 || width > INT32_MAX / 8 || height > INT32_MAX || channels < 1 || channels > 4)
        return rg_fail(c, RG_ERR_SHAPE, "no PNG file can hold %lld x %lld pixels of %d channels, wanted 1 to 4", (long long)width, (long long)height, channels);
    if (!(w = rg_calloc(1, sizeof *w)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a PNG encoder");
    png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, w, on_write_error, on_warning, NULL, on_malloc, on_free);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a PNG encoder");
        goto done;
    }
    if (setjmp(w->jump)) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a PNG file of %lld x %lld pixels", (long long)width, (long long)height);
        goto done;
    }
    png_set_write_fn(png, w, on_write, on_flush);
    png_set_user_limits(png, INT32_MAX, INT32_MAX);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, colors[channels], PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_set_compression_level(png, level < 0 ? 0 : level > 9 ? 9 : level);
    png_set_compression_buffer_size(png, 65536);
    png_write_info(png, info);
    for (int i = 0; i < n_texts; i++) {
        if (write_text(c, png, w, &texts[i]) < 0)
            goto done;
    }
    for (int64_t y = 0; y < height; y++)
        png_write_row(png, pixels + y * width * channels);
    png_write_end(png, NULL);
    *bytes = w->bytes;
    *n_bytes = w->n;
    w->bytes = NULL;                    /* moved to the caller */
done:
    png_destroy_write_struct(&png, &info);
    rg_free(w->text);
    rg_free(w->bytes);
    rg_free(w);
    return c->error;
}
