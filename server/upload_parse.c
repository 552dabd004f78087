/* See upload_parse.h. */
#include "server/upload_parse.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Digits of a number that fits; *p moves past them. */
static bool read_number(const char **p, int64_t *out)
{
    int64_t n = 0;

    if (!isdigit((unsigned char)**p))
        return false;
    for (; isdigit((unsigned char)**p); (*p)++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, **p - '0', &n))
            return false;
    *out = n;
    return true;
}

bool rg_content_range_parse(const char *value, rg_content_range *out)
{
    rg_content_range r = { 0 };

    if (strncasecmp(value, "bytes", 5) || (value[5] != ' ' && value[5] != '\t'))
        return false;
    value += 5 + strspn(value + 5, " \t");
    if (*value == '*') {
        r.is_query = true;
        value++;
    } else if (!read_number(&value, &r.first) || *value++ != '-' || !read_number(&value, &r.last) || r.last < r.first) {
        return false;
    }
    if (*value++ != '/' || !read_number(&value, &r.total) || value[strspn(value, " \t")] || (!r.is_query && r.last >= r.total))
        return false;
    *out = r;
    return true;
}

/* ---- digests ------------------------------------------------------------------------------------------------------------- */

static bool take_hex(const char *text, size_t n, char hex[65])
{
    if (n != 64)
        return false;
    for (size_t i = 0; i < 64; i++) {
        if (!isxdigit((unsigned char)text[i]))
            return false;
        hex[i] = (char)tolower((unsigned char)text[i]);
    }
    hex[64] = '\0';
    return true;
}

/* 32 bytes in base64 are 43 letters and one "=". */
static bool take_base64(const char *text, size_t n, char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[34];

    if (n != 44 || text[43] != '=' || EVP_DecodeBlock(bytes, (const unsigned char *)text, 44) != 33)
        return false;
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[64] = '\0';
    return true;
}

/* The member sha-256 of a list "a=..., sha-256=...", quoted by ':' or not. 1, 0: has none, -1: malformed. */
static int take_member(const char *list, bool has_colons, char hex[65])
{
    while (*list) {
        const char *end = list + strcspn(list, ","), *equals = memchr(list, '=', (size_t)(end - list)), *stop = end;

        while (isspace((unsigned char)*list))
            list++;
        while (stop > list && isspace((unsigned char)stop[-1]))
            stop--;
        if (equals && equals - list == 7 && !strncasecmp(list, "sha-256", 7)) {
            const char *value = equals + 1;

            if (has_colons && (stop - value < 2 || value[0] != ':' || stop[-1] != ':'))
                return -1;
            return take_base64(value + has_colons, (size_t)(stop - value) - 2u * has_colons, hex) ? 1 : -1;
        }
        list = *end ? end + 1 : end;
    }
    return 0;
}

int rg_sha256_of_headers(const char *checksum, const char *digest, const char *repr, char hex[65])
{
    char found[3][65];
    const int n[3] = {
        !checksum ? 0 : take_hex(checksum, strlen(checksum), found[0]) ? 1 : -1,
        !digest ? 0 : take_member(digest, false, found[1]),
        !repr ? 0 : take_member(repr, true, found[2]),
    };
    int result = 0;

    for (int i = 0; i < 3; i++) {
        if (n[i] < 0 || (n[i] && result && memcmp(hex, found[i], 65)))
            return -1;
        if (n[i])
            memcpy(hex, found[i], 65);
        result |= n[i];
    }
    return result;
}

/* ---- sizes --------------------------------------------------------------------------------------------------------------- */

bool rg_size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGTP";
    char *end;
    double n;

    if (!isdigit((unsigned char)*text))
        return false;
    n = strtod(text, &end);
    end += *end == ' ';
    if (*end) {
        const char *unit = strchr(units, toupper((unsigned char)*end));

        if (unit) {
            n *= (double)(1ull << 10 * (unit - units + 1));
            end++;
            end += *end == 'i';
        }
        end += toupper((unsigned char)*end) == 'B';
    }
    if (*end || !(n < 9e18))
        return false;
    *bytes = (uint64_t)n;
    return true;
}
