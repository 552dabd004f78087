/*
 * What the tokenizers need to know of Unicode: UTF-8, character classes, lower case, canonical composition, graphemes.
 * The tables follow the libraries whose token ids must be met, not the newest standard: see tools/reference/unicode_tables.py.
 */
#ifndef RG_TEXT_UNICODE_H
#define RG_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/core/utf8.h"

/* What a character is to the CLIP tokenizer. */
typedef enum rg_uni_class {
    RG_UNI_OTHER,                       /* punctuation, symbols, marks: [^\s\p{L}\p{N}] */
    RG_UNI_DROP,                        /* control, format, private, unassigned, U+FFFD: removed first */
    RG_UNI_SPACE,                       /* tab, newline, return and the Zs: become one space */
    RG_UNI_LINE,                        /* U+2028, U+2029: words end there */
    RG_UNI_LETTER, RG_UNI_NUMBER,
    RG_UNI_SKIP,                        /* no part of any token: U+0345, whose case variant is a letter */
} rg_uni_class;

rg_uni_class rg_uni_class_of(uint32_t cp);

/* A growing list of characters. Zero it to begin, free() what `cp` points at in the end. */
typedef struct rg_chars {
    uint32_t *cp;
    size_t n, capacity;
} rg_chars;

/* All return false if there was no memory. */
bool rg_chars_push(rg_chars *s, uint32_t cp);
bool rg_chars_from_utf8(rg_chars *s, const char *text, size_t n);

/* Normalization form C, in place. Unicode annex 15. */
bool rg_uni_nfc(rg_chars *s);

/* Append the lower case of word[0..n) to out, with Python's rules: capital sigma by its place in the word, U+0130 as two. */
bool rg_uni_lower(rg_chars *out, const uint32_t *word, size_t n);

/* The length in bytes of the first extended grapheme cluster of the well-formed text[0..n), n > 0. Unicode annex 29. */
size_t rg_uni_grapheme(const char *text, size_t n);

/* White_Space: what Rust's char::is_whitespace() and the regex \s accept. */
bool rg_uni_is_white_space(uint32_t cp);

/* What Python's str.split() and str.strip() take for space: White_Space and the separators U+001C..U+001F. */
bool rg_uni_is_py_space(uint32_t cp);

/* The value of a decimal digit of any script, or -1. */
int rg_uni_digit(uint32_t cp);

#endif
