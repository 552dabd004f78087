/*
 * SentencePiece's precompiled normalization table: a double array over UTF-8 whose leaves point at NUL-ended replacements.
 *     4 bytes  size of the array in bytes      array of uint32      replacements
 * Source: SentencePiece (Kudo & Richardson 2018, arXiv:1808.06226), normalizer; Yata's Darts-clone for the array's bits.
 */
#ifndef RG_TEXT_CHARSMAP_H
#define RG_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_charsmap {
    const unsigned char *array;         /* n_units little-endian uint32, unaligned */
    size_t n_units;
    const char *text;                   /* replacements */
    size_t n_text;
} rg_charsmap;

/*
 * Look into the n bytes of data, which must outlive the map. Returns NULL, or what is wrong with it in words. Afterwards no
 * walk leaves the array and every replacement ends inside the text, whatever the input.
 */
const char *rg_charsmap_open(rg_charsmap *m, const void *data, size_t n);

/* The shortest prefix of key[0..n) with a replacement: true, and the replacement. */
bool rg_charsmap_find(const rg_charsmap *m, const char *key, size_t n, const char **text, size_t *n_text);

#endif
