/*
 * SHA-256 of bytes: the fingerprint of input files (LoadImage), the way to name content, the checksum of model files. The work is
 * libcrypto's, which uses the processor's own instructions for it.
 */
#ifndef RG_CORE_SHA256_H
#define RG_CORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct rg_sha256 {
    uint64_t state[16];                 /* libcrypto's; copying the struct copies the sum so far */
} rg_sha256;

void rg_sha256_init(rg_sha256 *s);
void rg_sha256_add(rg_sha256 *s, const void *bytes, size_t n_bytes);
void rg_sha256_end(rg_sha256 *s, uint8_t digest[32]);

/* The digest of `n_bytes` in lower-case hex, NUL-terminated. */
void rg_sha256_hex(const void *bytes, size_t n_bytes, char hex[65]);

/* The same for a whole file, read in pieces; 0, or RG_ERR_IO with errno set. */
int rg_sha256_file(const char *path, char hex[65]);

#endif
