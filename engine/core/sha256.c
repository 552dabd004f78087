/* SHA-256: sixteen words of message grow to 64, each stirs eight words of state; after 64 bytes the state is added up. */
#include "engine/core/sha256.h"

#include <stdio.h>
#include <string.h>

#include "engine/core/error.h"

/* first 32 bits of the fractional parts of the cube roots of the first 64 primes */
static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void take_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];

    for (int i = 0; i < 16; i++)
        w[i] = big_endian(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        const uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        const uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    for (int i = 0; i < 64; i++) {
        const uint32_t choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
        const uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choice + round_constant[i] + w[i];
        const uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority;

        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void rg_sha256_init(rg_sha256 *s)
{
    /* first 32 bits of the fractional parts of the square roots of the first 8 primes */
    static const uint32_t start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };

    memcpy(s->state, start, sizeof start);
    s->n_bytes = 0;
}

void rg_sha256_add(rg_sha256 *s, const void *bytes, size_t n_bytes)
{
    const uint8_t *p = bytes;

    while (n_bytes) {
        const size_t used = s->n_bytes % 64;
        const size_t n = 64 - used < n_bytes ? 64 - used : n_bytes;

        if (n == 64) {
            take_block(s->state, p);
        } else {
            memcpy(s->block + used, p, n);
            if (used + n == 64)
                take_block(s->state, s->block);
        }
        s->n_bytes += n;
        p += n;
        n_bytes -= n;
    }
}

void rg_sha256_end(rg_sha256 *s, uint8_t digest[32])
{
    static const uint8_t padding[64] = { 0x80 };
    const uint64_t n_bits = s->n_bytes * 8;
    const size_t used = s->n_bytes % 64;
    uint8_t length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    rg_sha256_add(s, padding, used < 56 ? 56 - used : 120 - used);
    rg_sha256_add(s, length, sizeof length);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
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
