/* UTF-8, strict: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#include "engine/core/utf8.h"

#include <string.h>

uint32_t rg_utf8_next(const char *text, size_t n, size_t *i)
{
    const unsigned char *s = (const unsigned char *)text;
    const unsigned char first = s[(*i)++];
    unsigned low = 0x80, high = 0xBF;   /* what the second byte may be: rules out overlong forms and surrogates */
    int more;
    uint32_t cp;

    if (first < 0x80)
        return first;
    if (first >= 0xC2 && first <= 0xDF) {
        more = 1;
        cp = first & 0x1F;
    } else if (first >= 0xE0 && first <= 0xEF) {
        more = 2;
        cp = first & 0x0F;
        low = first == 0xE0 ? 0xA0 : 0x80;
        high = first == 0xED ? 0x9F : 0xBF;
    } else if (first >= 0xF0 && first <= 0xF4) {
        more = 3;
        cp = first & 0x07;
        low = first == 0xF0 ? 0x90 : 0x80;
        high = first == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0xFFFD;
    }
    for (; more; more--) {
        if (*i >= n || s[*i] < low || s[*i] > high)
            return 0xFFFD;
        cp = cp << 6 | (s[(*i)++] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    return cp;
}

int rg_utf8_put(char *out, uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool rg_utf8_is_valid(const char *text, size_t n)
{
    for (size_t i = 0; i < n; ) {
        uint64_t word;
        while (i + 8 <= n && (memcpy(&word, text + i, 8), !(word & 0x8080808080808080u)))
            i += 8;
        if (i >= n)
            break;
        const size_t at = i;
        /* U+FFFD itself is three bytes, EF BF BD; every other way to it is an error */
        if (rg_utf8_next(text, n, &i) == 0xFFFD && (i - at != 3 || memcmp(text + at, "\xEF\xBF\xBD", 3)))
            return false;
    }
    return true;
}

int rg_utf8_length(const char *text, size_t n)
{
    size_t i = 0;

    if (n == 0)
        return 0;
    /* U+FFFD itself is three bytes, EF BF BD; every other way to it is an error */
    if (rg_utf8_next(text, n, &i) == 0xFFFD && (i != 3 || memcmp(text, "\xEF\xBF\xBD", 3)))
        return 0;
    return (int)i;
}
