/*
 * Texts that a picture file carries beside its pixels: where ComfyUI and others put a workflow.
 * Sources: PNG specification, third edition, 11.3.3 (tEXt, zTXt, iTXt); WebP container specification (RIFF, EXIF chunk);
 * ITU-T T.81 B.1 (JPEG segments); TIFF 6.0; ComfyUI 0.3.64 for the keys: PNG keywords, EXIF texts "key:text".
 */
#include <limits.h>
#include <string.h>
#include <zlib.h>

#include "engine/media/codec.h"

enum { MOST_TEXT = 64 << 20,            /* of one text, unpacked */
       MOST_TEXTS = 1024 };             /* of one picture */

static const char *const png_signature = "\x89PNG\r\n\x1a\n";

static uint32_t big32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t little32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

bool rg_picture_is(const void *bytes, size_t n_bytes)
{
    const uint8_t *b = bytes;

    return (n_bytes >= 8 && !memcmp(b, png_signature, 8)) || (n_bytes >= 12 && !memcmp(b, "RIFF", 4) && !memcmp(b + 8, "WEBP", 4))
           || (n_bytes >= 3 && !memcmp(b, "\xff\xd8\xff", 3));
}

/* ---- PNG ------------------------------------------------------------------------------------------------------------ */

/* Latin-1 as UTF-8. */
static char *from_latin1(const uint8_t *s, size_t n)
{
    char *text = rg_malloc(2 * n + 1), *to = text;

    for (size_t i = 0; text && i < n; i++) {
        if (s[i] < 0x80) {
            *to++ = (char)s[i];
        } else {
            *to++ = (char)(0xc0 | s[i] >> 6);
            *to++ = (char)(0x80 | (s[i] & 0x3f));
        }
    }
    if (text)
        *to = '\0';
    return text;
}

/* zlib data unpacked, NUL-terminated; NULL: damaged, too long or no memory. */
static uint8_t *unpacked(const uint8_t *s, size_t n, size_t *n_out)
{
    z_stream z = { .next_in = (uint8_t *)s, .avail_in = (uInt)n };
    size_t room = 4 * n + 256;
    uint8_t *data = NULL;
    int status = Z_OK;

    if (n > UINT_MAX || inflateInit(&z) != Z_OK)
        return NULL;
    *n_out = 0;
    while (status == Z_OK) {
        uint8_t *grown = room <= MOST_TEXT ? rg_realloc(data, room + 1) : NULL;

        if (!grown)
            break;
        data = grown;
        z.next_out = data + *n_out;
        z.avail_out = (uInt)(room - *n_out);
        status = inflate(&z, Z_NO_FLUSH);
        *n_out = room - z.avail_out;
        if (status == Z_OK && z.avail_out)
            break;                      /* cut short */
        room *= 2;
    }
    inflateEnd(&z);
    if (status != Z_STREAM_END) {
        rg_free(data);
        return NULL;
    }
    data[*n_out] = '\0';
    return data;
}

/* The text of a chunk whose keyword is key, NULL if it has another or is damaged. */
static char *chunk_text(const uint8_t *kind, const uint8_t *data, size_t n, const char *key)
{
    const size_t n_key = strlen(key) + 1;
    const uint8_t *p = data + n_key, *end = data + n, *plain;
    const bool is_international = !memcmp(kind, "iTXt", 4);
    bool is_packed = !memcmp(kind, "zTXt", 4);
    char *text;

    if ((!is_international && !is_packed && memcmp(kind, "tEXt", 4)) || n < n_key || memcmp(data, key, n_key))
        return NULL;
    if (is_packed && p < end) {
        p++;                            /* method: there is only one */
    } else if (is_international) {
        if (end - p < 2)
            return NULL;
        is_packed = p[0] == 1;
        p += 2;
        for (int i = 0; i < 2; i++) {   /* language, translated keyword */
            if (!(p = memchr(p, 0, (size_t)(end - p))))
                return NULL;
            p++;
        }
    }
    n = (size_t)(end - p);
    if (!is_packed)
        return is_international ? rg_strndup((const char *)p, n) : from_latin1(p, n);
    if (!(plain = unpacked(p, n, &n)) || is_international)
        return (char *)plain;
    text = from_latin1(plain, n);
    rg_free((void *)plain);
    return text;
}

static const uint8_t *png_exif(const uint8_t *b, size_t n_bytes, const char *key, char **text, size_t *n_exif)
{
    const uint8_t *exif = NULL;

    for (size_t at = 8; n_bytes - at >= 12 && !*text; ) {
        const size_t n = big32(b + at);

        if (n > n_bytes - at - 12)
            break;
        *text = chunk_text(b + at + 4, b + at + 8, n, key);
        if (!memcmp(b + at + 4, "eXIf", 4)) {
            exif = b + at + 8;
            *n_exif = n;
        }
        at += n + 12;
    }
    return exif;
}

/* ---- WebP and JPEG --------------------------------------------------------------------------------------------------- */

static const uint8_t *webp_exif(const uint8_t *b, size_t n_bytes, size_t *n_exif)
{
    for (size_t at = 12; at <= n_bytes && n_bytes - at >= 8; ) {
        const size_t n = little32(b + at + 4);

        if (n > n_bytes - at - 8)
            break;
        if (!memcmp(b + at, "EXIF", 4)) {
            *n_exif = n;
            return b + at + 8;
        }
        at += 8 + n + (n & 1);
    }
    return NULL;
}

static const uint8_t *jpeg_exif(const uint8_t *b, size_t n_bytes, size_t *n_exif)
{
    for (size_t at = 2; at + 4 <= n_bytes && b[at] == 0xff; ) {
        const size_t n = (size_t)b[at + 2] << 8 | b[at + 3];

        if (b[at + 1] == 0xff) {        /* filling */
            at++;
            continue;
        }
        if (b[at + 1] == 0xda || b[at + 1] == 0xd9 || n < 2 || n > n_bytes - at - 2)
            break;
        if (b[at + 1] == 0xe1 && n >= 8 && !memcmp(b + at + 4, "Exif\0\0", 6)) {
            *n_exif = n - 2;
            return b + at + 4;
        }
        at += 2 + n;
    }
    return NULL;
}

/* ---- every text of a PNG ------------------------------------------------------------------------------------------------- */

void rg_picture_texts_free(rg_picture_text *texts, int n)
{
    for (int i = 0; i < n; i++) {
        rg_free((void *)texts[i].key);
        rg_free((void *)texts[i].text);
    }
    rg_free(texts);
}

/* The keyword of a text chunk as UTF-8; NULL: it is none, has none or a longer one than there may be. */
static char *chunk_key(const uint8_t *kind, const uint8_t *data, size_t n)
{
    const uint8_t *end = n ? memchr(data, 0, n < 80 ? n : 80) : NULL;

    if (!end || end == data || (memcmp(kind, "tEXt", 4) && memcmp(kind, "zTXt", 4) && memcmp(kind, "iTXt", 4)))
        return NULL;
    return from_latin1(data, (size_t)(end - data));
}

int rg_picture_texts(rg_ctx *c, const void *bytes, size_t n_bytes, rg_picture_text **texts, int *n)
{
    const uint8_t *b = bytes;
    rg_picture_text *list = NULL;
    int count = 0, capacity = 0;

    *texts = NULL;
    *n = 0;
    if (n_bytes < 8 || memcmp(b, png_signature, 8))
        return 0;
    for (size_t at = 8; n_bytes - at >= 12; ) {
        const size_t size = big32(b + at);

        if (size > n_bytes - at - 12)
            break;
        char *key = chunk_key(b + at + 4, b + at + 8, size);
        char *text = key ? chunk_text(b + at + 4, b + at + 8, size, (const char *)b + at + 8) : NULL;
        int i = 0;

        at += size + 12;
        if (!text) {
            rg_free(key);
            continue;
        }
        while (i < count && strcmp(list[i].key, key))
            i++;
        if (i == count && count == capacity) {
            rg_picture_text *grown = count < MOST_TEXTS ? rg_realloc(list, (size_t)(capacity + 32) * sizeof(*list)) : NULL;

            if (!grown) {
                rg_free(key);
                rg_free(text);
                rg_picture_texts_free(list, count);
                return rg_fail(c, RG_ERR_NOMEM, "no memory for more than %d texts of a picture", count);
            }
            list = grown;
            capacity += 32;
        }
        if (i < count) {
            rg_free((void *)list[i].key);
            rg_free((void *)list[i].text);
        } else {
            count++;
        }
        list[i] = (rg_picture_text){ key, text };
    }
    *texts = list;
    *n = count;
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------------------------------- */

int rg_picture_text_find(rg_ctx *c, const void *bytes, size_t n_bytes, const char *key, char **text)
{
    const uint8_t *b = bytes, *exif;
    size_t n_exif = 0;

    *text = NULL;
    if (!rg_picture_is(bytes, n_bytes))
        return rg_fail(c, RG_ERR_FORMAT, "not a PNG, WebP or JPEG picture");
    if (b[0] == 0x89)
        exif = png_exif(b, n_bytes, key, text, &n_exif);
    else
        exif = b[0] == 'R' ? webp_exif(b, n_bytes, &n_exif) : jpeg_exif(b, n_bytes, &n_exif);
    if (!*text && exif)
        *text = rg_exif_text(exif, n_exif, key);
    return 0;
}
