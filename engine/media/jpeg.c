/*
 * JPEG by libjpeg-turbo, set as Pillow sets it: accurate integer DCT, smooth chroma upsampling, 4:2:0 when writing.
 *
 * Sources: Pillow 11.3 JpegImagePlugin: four components are always taken as inverted CMYK (Adobe's way), CMYK becomes RGB as
 * white minus ink minus black in 8-bit fixed point; a file that ends early is decoded as if an end marker stood there.
 */
#include <stdio.h>

#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <string.h>

#include "engine/media/codec.h"

enum { MAX_SCANS = 500 };               /* a progressive file of more is an attack on our time */

/* libjpeg's structs, and where its errors jump to. */
struct errors {
    struct jpeg_error_mgr base;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
};

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct errors errors;
    struct jpeg_progress_mgr progress;
    uint8_t *row;                       /* one row of CMYK */
};

static void on_error(j_common_ptr jpeg)
{
    struct errors *e = (struct errors *)jpeg->err;

    e->base.format_message(jpeg, e->message);
    longjmp(e->jump, 1);
}

static void on_message(j_common_ptr jpeg, int level)
{
}

static void on_progress(j_common_ptr jpeg)
{
    if (jpeg->is_decompressor && ((j_decompress_ptr)jpeg)->input_scan_number > MAX_SCANS)
        ERREXIT(jpeg, JERR_BAD_PROGRESSION);
}

static void set_errors(struct errors *e, struct jpeg_error_mgr **err)
{
    *err = jpeg_std_error(&e->base);
    e->base.error_exit = on_error;
    e->base.emit_message = on_message;  /* warnings are for files that are still readable */
}

/* The frame header is the first marker C0..CF, except tables (C4), reserved (C8) and arithmetic conditioning (CC). */
bool rg_jpeg_size(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height)
{
    size_t at = 2;

    while (at + 9 <= n_bytes) {
        const int marker = bytes[at + 1];

        if (bytes[at] != 0xFF || marker == 0xFF || marker == 0 || marker == 1 || (marker >= 0xD0 && marker <= 0xD8)) {
            at += bytes[at] == 0xFF && marker != 0xFF ? 2 : 1;  /* padding, junk, or a marker without contents */
            continue;
        }
        if (marker == 0xD9 || marker == 0xDA)
            return false;
        if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
            *height = bytes[at + 5] << 8 | bytes[at + 6];
            *width = bytes[at + 7] << 8 | bytes[at + 8];
            return true;
        }
        at += 2 + (size_t)(bytes[at + 2] << 8 | bytes[at + 3]);
    }
    return false;
}

/* EXIF before XMP, whatever their order in the file. */
static void read_orientation(j_decompress_ptr jpeg, int *orientation)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/";   /* with its NUL */

    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        if (m->data_length >= 6 && !memcmp(m->data, "Exif\0\0", 6) && rg_exif_orientation(m->data, m->data_length, orientation))
            return;
    }
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        if (m->data_length >= sizeof xmp && !memcmp(m->data, xmp, sizeof xmp)
            && rg_xmp_orientation(m->data + sizeof xmp, m->data_length - sizeof xmp, orientation))
            return;
    }
}

/* a * b / 255, rounded, in 8.8 fixed point */
static int times(int a, int b)
{
    const int v = a * b + 128;

    return ((v >> 8) + v) >> 8;
}

/* One row of inverted CMYK to RGB. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int64_t width)
{
    for (int64_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        const int light = cmyk[3];      /* 255 - black */

        for (int i = 0; i < 3; i++)
            rgb[i] = (uint8_t)(light - times(255 - cmyk[i], light));
    }
}

int rg_jpeg_decode(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation)
{
    struct decoder *d = rg_calloc(1, sizeof *d);
    volatile int64_t n_rows = 0;
    j_decompress_ptr jpeg;

    if (!d)
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a JPEG decoder");
    jpeg = &d->jpeg;
    set_errors(&d->errors, &jpeg->err);
    d->progress.progress_monitor = on_progress;
    if (setjmp(d->errors.jump))
        goto done;                      /* what came before the error stands */
    jpeg_create_decompress(jpeg);
    jpeg->progress = &d->progress;
    jpeg_mem_src(jpeg, bytes, n_bytes);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(jpeg, TRUE);
    read_orientation(jpeg, orientation);
    if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4) {
        rg_fail(c, RG_ERR_FORMAT, "JPEG files of %d components are not supported: 1, 3 and 4 are", jpeg->num_components);
        goto done;
    }
    jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(jpeg);
    if (jpeg->output_width != p->width || jpeg->output_height != p->height) {
        rg_fail(c, RG_ERR_FORMAT, "broken JPEG file: two headers of different size");
        goto done;
    }
    if (rg_picture_grow(c, p, 1, false) < 0)
        goto done;
    /* rows that an error keeps away are black, and white where black is the full ink */
    memset(p->rgb, jpeg->num_components == 4 ? 255 : 0, (size_t)(p->width * p->height) * 3);
    if (jpeg->num_components == 4 && !(d->row = rg_malloc((size_t)p->width * 4))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a JPEG decoder");
        goto done;
    }
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *rgb = p->rgb + jpeg->output_scanline * p->width * 3;
        uint8_t *row = d->row ? d->row : rgb;

        jpeg_read_scanlines(jpeg, &row, 1);
        if (d->row)
            cmyk_to_rgb(rgb, d->row, p->width);
        n_rows++;
    }
done:
    if (!c->error && n_rows == 0)
        rg_fail(c, RG_ERR_FORMAT, "broken JPEG file: %s", d->errors.message);
    jpeg_destroy_decompress(jpeg);
    rg_free(d->row);
    rg_free(d);
    return c->error;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------------- */

struct encoder {
    struct jpeg_compress_struct jpeg;
    struct errors errors;
    struct jpeg_destination_mgr to;
    uint8_t *bytes, *exif;
    size_t n, room, n_exif;             /* n: at the end, the file's length */
};

enum { FIRST_ROOM = 65536, MOST_EXIF = 65533 - 6 };     /* a marker's length has 16 bits; "Exif\0\0" comes first */

/* EXIF block of the texts behind "Exif\0\0"; *exif is the caller's. */
static int make_exif(rg_ctx *c, const rg_picture_text *texts, int n_texts, uint8_t **exif, size_t *n_exif)
{
    uint8_t *block = NULL, *whole;
    size_t n;

    if (rg_exif_make(c, texts, n_texts, &block, &n) < 0)
        return c->error;
    if (n > MOST_EXIF) {
        rg_fail(c, RG_ERR_INVALID, "%zu bytes of text do not fit into a JPEG file, at most %d do", n, MOST_EXIF);
    } else if (!(whole = rg_malloc(n + 6))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for %zu bytes of EXIF", n);
    } else {
        memcpy(whole, "Exif\0\0", 6);
        memcpy(whole + 6, block, n);
        *exif = whole;
        *n_exif = n + 6;
    }
    rg_free(block);
    return c->error;
}

static void on_start(j_compress_ptr jpeg)
{
}

/* The buffer is full: a larger one, and go on behind what is there. */
static boolean on_full(j_compress_ptr jpeg)
{
    struct encoder *e = (struct encoder *)jpeg->client_data;
    uint8_t *larger = rg_realloc(e->bytes, e->room * 2);

    if (!larger)
        ERREXIT1(jpeg, JERR_OUT_OF_MEMORY, 0);
    e->bytes = larger;
    e->to.next_output_byte = larger + e->room;
    e->to.free_in_buffer = e->room;
    e->room *= 2;
    return TRUE;
}

static void on_end(j_compress_ptr jpeg)
{
    struct encoder *e = (struct encoder *)jpeg->client_data;

    e->n = e->room - e->to.free_in_buffer;
}

int rg_jpeg_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int quality,
                   const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes)
{
    struct encoder *e;
    j_compress_ptr jpeg;

    if (width < 1 || height < 1 || width > JPEG_MAX_DIMENSION || height > JPEG_MAX_DIMENSION)
        return rg_fail(c, RG_ERR_SHAPE, "no JPEG file can hold %lld x %lld pixels: each side is 1 to %ld", (long long)width, (long long)height, (long)JPEG_MAX_DIMENSION);
    if (!(e = rg_calloc(1, sizeof *e)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a JPEG encoder");
    jpeg = &e->jpeg;
    if (n_texts && make_exif(c, texts, n_texts, &e->exif, &e->n_exif) < 0)
        goto done;
    set_errors(&e->errors, &jpeg->err);
    if (setjmp(e->errors.jump)) {
        rg_fail(c, RG_ERR_NOMEM, "writing a JPEG file of %lld x %lld pixels failed: %s", (long long)width, (long long)height, e->errors.message);
        goto done;
    }
    jpeg_create_compress(jpeg);
    e->room = FIRST_ROOM;
    if (!(e->bytes = rg_malloc(e->room)))
        ERREXIT1(jpeg, JERR_OUT_OF_MEMORY, 0);
    e->to = (struct jpeg_destination_mgr){
        .next_output_byte = e->bytes, .free_in_buffer = e->room,
        .init_destination = on_start, .empty_output_buffer = on_full, .term_destination = on_end,
    };
    jpeg->client_data = e;
    jpeg->dest = &e->to;
    jpeg->image_width = (JDIMENSION)width;
    jpeg->image_height = (JDIMENSION)height;
    jpeg->input_components = 3;
    jpeg->in_color_space = JCS_RGB;
    jpeg_set_defaults(jpeg);            /* 4:2:0, standard Huffman tables */
    jpeg_set_quality(jpeg, quality, TRUE);
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_start_compress(jpeg, TRUE);
    if (e->exif)
        jpeg_write_marker(jpeg, JPEG_APP0 + 1, e->exif, (unsigned)e->n_exif);
    while (jpeg->next_scanline < jpeg->image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + jpeg->next_scanline * width * 3);     /* libjpeg only reads it */
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
    *bytes = e->bytes;
    *n_bytes = e->n;
    e->bytes = NULL;                    /* moved to the caller */
done:
    jpeg_destroy_compress(jpeg);
    rg_free(e->exif);
    rg_free(e->bytes);
    rg_free(e);
    return c->error;
}
