/* Keys are compared as SHA-256 digests: equal lengths, and a difference says nothing about the key. RFC 6750 (Bearer), 7617 (Basic). */
#include "server/keys.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/core/ctx.h"
#include "engine/core/sha256.h"

typedef struct known {
    uint8_t digest[32];
    unsigned scopes;
} known;

struct rg_keys {
    int n;
    known keys[];
};

enum { MAX_KEY = 1024 };

static void digest_of(const char *key, size_t n, uint8_t out[32])
{
    rg_sha256 s;

    rg_sha256_init(&s);
    rg_sha256_add(&s, key, n);
    rg_sha256_end(&s, out);
}

/* "run,models" of n characters; 0: a word that is no scope */
static unsigned read_scopes(const char *s, size_t n)
{
    static const struct { const char *name; unsigned scopes; } words[] = {
        { "metrics", RG_MAY_METRICS }, { "read", RG_MAY_READ | RG_MAY_METRICS }, { "endpoints", RG_MAY_ENDPOINTS },
        { "run", RG_MAY_RUN | RG_MAY_READ | RG_MAY_ENDPOINTS | RG_MAY_METRICS }, { "models", RG_MAY_MODELS }, { "all", RG_MAY_ALL },
    };
    unsigned scopes = 0;

    for (size_t at = 0; at < n; ) {
        size_t length = 0, i = 0;

        while (at + length < n && !strchr(", \t", s[at + length]))
            length++;
        if (length) {
            while (i < sizeof words / sizeof *words && (strlen(words[i].name) != length || strncmp(words[i].name, s + at, length)))
                i++;
            if (i == sizeof words / sizeof *words)
                return 0;
            scopes |= words[i].scopes;
        }
        at += length + 1;
    }
    return scopes;
}

rg_keys *rg_keys_read(const char *text, size_t n_bytes, char *error, size_t error_size)
{
    size_t n_lines = 1;
    int line = 0;
    rg_keys *k;

    for (size_t i = 0; i < n_bytes; i++)
        n_lines += text[i] == '\n';
    if (!(k = rg_calloc(1, sizeof *k + n_lines * sizeof *k->keys))) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    for (const char *p = text, *end = text + n_bytes; p < end; ) {
        const char *stop = memchr(p, '\n', (size_t)(end - p)), *hash;
        const char *next = stop ? stop + 1 : end;

        line++;
        stop = stop ? stop : end;
        if ((hash = memchr(p, '#', (size_t)(stop - p))))
            stop = hash;
        while (p < stop && strchr(" \t\r", *p) && *p)
            p++;
        while (stop > p && strchr(" \t\r", stop[-1]) && stop[-1])
            stop--;
        size_t n = 0;
        while (p + n < stop && p[n] != ' ' && p[n] != '\t')
            n++;
        if (n) {
            known *key = &k->keys[k->n];

            key->scopes = p + n == stop ? RG_MAY_ALL : read_scopes(p + n, (size_t)(stop - p) - n);
            for (size_t i = 0; i < n; i++)
                if ((unsigned char)p[i] <= ' ' || (unsigned char)p[i] >= 127)
                    key->scopes = 0;
            if (!key->scopes || n > MAX_KEY) {
                snprintf(error, error_size, "line %d: wanted is a key of up to %d printable ASCII characters, then nothing or scopes "
                         "(metrics, read, endpoints, run, models, all)", line, MAX_KEY);
                rg_keys_free(k);
                return NULL;
            }
            digest_of(p, n, key->digest);
            k->n++;
        }
        p = next;
    }
    if (!k->n) {
        snprintf(error, error_size, "no key in it");
        rg_keys_free(k);
        return NULL;
    }
    return k;
}

void rg_keys_free(rg_keys *k)
{
    rg_free(k);
}

int rg_keys_count(const rg_keys *k)
{
    return k->n;
}

unsigned rg_keys_find(const rg_keys *k, const char *key, size_t n_bytes)
{
    uint8_t digest[32];
    unsigned scopes = 0;

    if (!n_bytes || n_bytes > MAX_KEY)
        return 0;
    digest_of(key, n_bytes, digest);
    for (int i = 0; i < k->n; i++) {    /* all of them, every byte */
        unsigned difference = 0;

        for (int b = 0; b < 32; b++)
            difference |= (unsigned)(digest[b] ^ k->keys[i].digest[b]);
        scopes |= k->keys[i].scopes & (0u - (unsigned)(difference == 0));
    }
    return scopes;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

unsigned rg_keys_authorize(const rg_keys *k, const char *authorization, bool *is_basic)
{
    char pair[MAX_KEY + 256];
    size_t n = 0;
    unsigned bits = 0;
    int n_bits = 0;

    *is_basic = false;
    if (!authorization)
        return 0;
    if (!strncasecmp(authorization, "Bearer ", 7)) {
        authorization += 7 + strspn(authorization + 7, " ");
        return rg_keys_find(k, authorization, strlen(authorization));
    }
    if (strncasecmp(authorization, "Basic ", 6))
        return 0;
    *is_basic = true;
    for (const char *p = authorization + 6 + strspn(authorization + 6, " "); *p && *p != '='; p++) {
        const int v = base64_value(*p);

        if (v < 0 || n == sizeof pair)
            return 0;
        bits = bits << 6 | (unsigned)v;
        if ((n_bits += 6) >= 8) {
            n_bits -= 8;
            pair[n++] = (char)(bits >> n_bits);
        }
    }
    const char *colon = memchr(pair, ':', n);
    return colon ? rg_keys_find(k, colon + 1, (size_t)(pair + n - colon - 1)) : 0;
}
