/* SentencePiece's precompiled normalization table. */
#include "engine/text/charsmap.h"

#include <string.h>

#include "engine/text/unicode.h"

static uint32_t unit_at(const rg_charsmap *m, size_t i)
{
    const unsigned char *p = m->array + 4 * i;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* A unit's bits: 31 it is a value; 10..30 offset to its children, in units or (bit 9) times 256; 8 a value hangs on it; 0..7 label. */
static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

const char *rg_charsmap_open(rg_charsmap *m, const void *data, size_t n)
{
    const unsigned char *bytes = data;

    if (n < 4)
        return "the normalization table is shorter than its header";
    const size_t n_array = bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 24;
    if (n_array > n - 4 || n_array == 0 || n_array % 1024)
        return "the normalization table has an impossible size";
    *m = (rg_charsmap){ bytes + 4, n_array / 4, (const char *)bytes + 4 + n_array, n - 4 - n_array };
    if (unit_at(m, 0) >> 31)
        return "the normalization table has no root";
    if (!m->n_text || m->text[m->n_text - 1] || !rg_utf8_is_valid(m->text, m->n_text))
        return "the replacements of the normalization table are no NUL-ended UTF-8";
    for (size_t i = 0; i < m->n_units; i++) {
        const uint32_t unit = unit_at(m, i);
        if (unit >> 31)
            continue;
        const size_t children = i ^ offset_of(unit);    /* and their 256 neighbours, one for each byte */
        if (children >= m->n_units)
            return "the normalization table points outside itself";
        if ((unit >> 8 & 1) && (unit_at(m, children) & 0x7fffffff) >= m->n_text)
            return "the normalization table points outside its replacements";
    }
    return NULL;
}

bool rg_charsmap_find(const rg_charsmap *m, const char *key, size_t n, const char **text, size_t *n_text)
{
    size_t node = offset_of(unit_at(m, 0));

    for (size_t i = 0; i < n && key[i]; i++) {
        node ^= (unsigned char)key[i];
        const uint32_t unit = unit_at(m, node);
        if ((unit & 0x800000ff) != (unsigned char)key[i])
            return false;
        node ^= offset_of(unit);
        if (unit >> 8 & 1) {
            *text = m->text + (unit_at(m, node) & 0x7fffffff);
            *n_text = strlen(*text);
            return true;
        }
    }
    return false;
}
