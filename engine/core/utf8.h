/* UTF-8, strict: what every reader of outside text shares. */
#ifndef RG_CORE_UTF8_H
#define RG_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The next character of text[*i..n), and *i moved past it. Malformed bytes give U+FFFD, one for each longest part that could
 * have begun a character, as Python's errors="replace" does. *i < n is the caller's promise.
 */
uint32_t rg_utf8_next(const char *text, size_t n, size_t *i);

/* Write cp as UTF-8 to out (4 bytes at most) and return how many bytes that took. */
int rg_utf8_put(char *out, uint32_t cp);

/* True if all of text is well-formed UTF-8 (no surrogates, nothing above U+10FFFF, no overlong forms). */
bool rg_utf8_is_valid(const char *text, size_t n);

/* Bytes of the well-formed character that text[0..n) begins with; 0 if it begins with none. */
int rg_utf8_length(const char *text, size_t n);

#endif
