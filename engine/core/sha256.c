/*
 * SHA-256 by libcrypto. The plain functions, not the EVP ones: a sum lives in the caller's struct and costs no allocation, which
 * counts where thousands of small keys are summed (graph/cache.c).
 */
#define OPENSSL_API_COMPAT 0x10101000L  /* they are declared in this version's manner */
#include "engine/core/sha256.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "engine/core/error.h"

_Static_assert(sizeof(rg_sha256) >= sizeof(SHA256_CTX), "libcrypto's state has grown");

void rg_sha256_init(rg_sha256 *s)
{
    SHA256_Init((SHA256_CTX *)s->state);
}

void rg_sha256_add(rg_sha256 *s, const void *bytes, size_t n_bytes)
{
    SHA256_Update((SHA256_CTX *)s->state, bytes, n_bytes);
}

void rg_sha256_end(rg_sha256 *s, uint8_t digest[32])
{
    SHA256_Final(digest, (SHA256_CTX *)s->state);
}

static void end_in_hex(rg_sha256 *s, char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[32];

    rg_sha256_end(s, digest);
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = 0;
}

void rg_sha256_hex(const void *bytes, size_t n_bytes, char hex[65])
{
    rg_sha256 s;

    rg_sha256_init(&s);
    rg_sha256_add(&s, bytes, n_bytes);
    end_in_hex(&s, hex);
}

int rg_sha256_file(const char *path, char hex[65])
{
    FILE *file = fopen(path, "rb");
    uint8_t buffer[16384];
    rg_sha256 s;
    size_t n;
    int failed;

    if (!file)
        return RG_ERR_IO;
    rg_sha256_init(&s);
    while ((n = fread(buffer, 1, sizeof buffer, file)) > 0)
        rg_sha256_add(&s, buffer, n);
    failed = ferror(file);              /* a directory opens, but does not read */
    fclose(file);
    if (failed)
        return RG_ERR_IO;
    end_in_hex(&s, hex);
    return 0;
}
