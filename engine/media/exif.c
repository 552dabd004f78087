/*
 * The little of EXIF and XMP that pictures need: the orientation when reading, ASCII tags with the workflow both ways.
 * Sources: TIFF 6.0 (section 2, image file directories); CIPA DC-008 (EXIF 2.32), section 4.6; the rules of what counts as
 * an orientation are Pillow's (Image.getexif): EXIF first, then the first tiff:Orientation of an XMP packet.
 */
#include <string.h>

#include "engine/media/codec.h"

enum { TAG_ORIENTATION = 0x0112, TAG_MODEL = 0x0110, TAG_MAKE = 0x010F, TYPE_BYTE = 1, TYPE_ASCII = 2, TYPE_SHORT = 3, TYPE_LONG = 4 };

static uint32_t get16(const uint8_t *p, bool is_big)
{
    return is_big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const uint8_t *p, bool is_big)
{
    return is_big ? get16(p, true) << 16 | get16(p + 2, true) : get16(p + 2, false) << 16 | get16(p, false);
}

/*
 * Past any "Exif\0\0" before the TIFF header, its byte order read: *at is the first of n_entries entries of IFD0, 12 bytes each,
 * of which fewer may be there. False if it is no TIFF.
 */
static bool open_ifd0(const uint8_t **exif, size_t *n_bytes, bool *is_big, size_t *at, size_t *n_entries)
{
    while (*n_bytes >= 6 && !memcmp(*exif, "Exif\0\0", 6)) {
        *exif += 6;
        *n_bytes -= 6;
    }
    if (*n_bytes < 8 || (memcmp(*exif, "II*\0", 4) && memcmp(*exif, "MM\0*", 4)))
        return false;
    *is_big = (*exif)[0] == 'M';
    *at = get32(*exif + 4, *is_big);
    if (*at > *n_bytes || *n_bytes - *at < 2)
        return false;
    *n_entries = get16(*exif + *at, *is_big);
    *at += 2;
    return true;
}

bool rg_exif_orientation(const uint8_t *exif, size_t n_bytes, int *orientation)
{
    bool is_big;
    size_t at, n_entries;

    if (!open_ifd0(&exif, &n_bytes, &is_big, &at, &n_entries))
        return false;
    for (size_t i = 0; i < n_entries && n_bytes - at >= 12; i++, at += 12) {
        const uint8_t *e = exif + at;
        const uint32_t type = get16(e + 2, is_big);

        if (get16(e, is_big) != TAG_ORIENTATION)
            continue;
        if (get32(e + 4, is_big) != 1)
            return true;                /* several values: a tag, but none that turns anything */
        if (type == TYPE_SHORT)
            *orientation = (int)get16(e + 8, is_big);
        else if (type == TYPE_LONG)
            *orientation = (int)(get32(e + 8, is_big) & 0xffff);
        else if (type == TYPE_BYTE)
            *orientation = e[8];
        return true;
    }
    return false;
}

char *rg_exif_text(const uint8_t *exif, size_t n_bytes, const char *key)
{
    const size_t n_key = strlen(key);
    bool is_big;
    size_t at, n_entries;

    if (!open_ifd0(&exif, &n_bytes, &is_big, &at, &n_entries))
        return NULL;
    for (size_t i = 0; i < n_entries && n_bytes - at >= 12; i++, at += 12) {
        const uint8_t *e = exif + at;
        const size_t n = get32(e + 4, is_big), where = get32(e + 8, is_big);

        if (get16(e + 2, is_big) != TYPE_ASCII || n <= n_key + 1 || n <= 4 || where > n_bytes || n > n_bytes - where)
            continue;
        if (!memcmp(exif + where, key, n_key) && exif[where + n_key] == ':')
            return rg_strndup((const char *)exif + where + n_key + 1, strnlen((const char *)exif + where + n_key + 1, n - n_key - 1));
    }
    return NULL;
}

bool rg_xmp_orientation(const uint8_t *xmp, size_t n_bytes, int *orientation)
{
    static const char name[] = "tiff:Orientation";
    const size_t n = sizeof name - 1;
    const uint8_t *end = xmp + n_bytes, *p = xmp;

    /* attribute tiff:Orientation="6" or element <tiff:Orientation>6 */
    while ((p = memmem(p, (size_t)(end - p), name, n))) {
        p += n;
        if (p < end && *p == '>')
            p++;
        else if (end - p >= 2 && p[0] == '=' && p[1] == '"')
            p += 2;
        else
            continue;
        if (p < end && *p >= '0' && *p <= '9') {
            *orientation = *p - '0';
            return true;
        }
    }
    return false;
}

/* Where the next directory entry goes, and the next text behind the directory. */
struct ifd {
    uint8_t *data, *entry;
    size_t text_at;
};

static void put(struct ifd *d, uint32_t value, int n_bytes)
{
    for (int i = n_bytes - 1; i >= 0; i--)
        *d->entry++ = (uint8_t)(value >> (8 * i));
}

/* One ASCII tag "key:text": up to four bytes stand in the entry itself, more behind the directory at an even offset. */
static void put_text(struct ifd *d, int tag, const rg_picture_text *t)
{
    const size_t n_key = strlen(t->key), n_text = strlen(t->text), n = n_key + 1 + n_text + 1;
    uint8_t *to;

    put(d, (uint32_t)tag, 2);
    put(d, TYPE_ASCII, 2);
    put(d, (uint32_t)n, 4);
    if (n <= 4) {
        to = d->entry;
        d->entry += 4;
    } else {
        to = d->data + d->text_at;
        put(d, (uint32_t)d->text_at, 4);
        d->text_at += (n + 1) & ~(size_t)1;
    }
    memcpy(to, t->key, n_key);
    to[n_key] = ':';
    memcpy(to + n_key + 1, t->text, n_text);    /* the NUL is there: the block was zeroed */
}

int rg_exif_make(rg_ctx *c, const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes)
{
    const size_t header = 8 + 2 + 12 * (size_t)n_texts + 4;
    const rg_picture_text *prompt = NULL;
    size_t total = header;
    int n_others = 0;
    struct ifd d;

    for (int i = 0; i < n_texts; i++) {
        total += strlen(texts[i].key) + 1 + strlen(texts[i].text) + 1 + 1;      /* colon, NUL, padding */
        if (strcmp(texts[i].key, "prompt"))
            n_others++;
        else if (prompt)
            return rg_fail(c, RG_ERR_INVALID, "two texts named prompt for one picture");
        else
            prompt = &texts[i];
    }
    if (n_others > 200 || total > UINT32_MAX / 2)
        return rg_fail(c, RG_ERR_INVALID, "%d texts of %zu bytes do not fit into the EXIF tags of a picture", n_texts, total);
    if (!(d.data = rg_calloc(1, total)))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for %zu bytes of EXIF", total);
    memcpy(d.data, "MM\0*", 4);
    d.entry = d.data + 4;
    d.text_at = header;
    put(&d, 8, 4);
    put(&d, (uint32_t)n_texts, 2);
    /* tags must rise: the others hang down from Make, so the last of them comes first; the prompt, Model, comes last */
    for (int i = n_texts - 1, tag = TAG_MAKE - n_others + 1; i >= 0; i--) {
        if (&texts[i] != prompt)
            put_text(&d, tag++, &texts[i]);
    }
    if (prompt)
        put_text(&d, TAG_MODEL, prompt);
    *bytes = d.data;
    *n_bytes = d.text_at;
    return 0;
}
