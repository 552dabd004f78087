/* CRC-32 as zlib computes it: how fixtures hold the bits of tensors too large to store. */
#ifndef RG_TESTS_DIFFUSION_CRC_H
#define RG_TESTS_DIFFUSION_CRC_H

#include <stddef.h>
#include <stdint.h>

static inline int64_t crc(const void *data, size_t n)
{
    static uint32_t table[256];
    uint32_t value = 0xffffffffu;

    for (uint32_t i = 0; i < 256 && !table[255]; i++) {
        uint32_t v = i;
        for (int bit = 0; bit < 8; bit++)
            v = v & 1 ? v >> 1 ^ 0xedb88320u : v >> 1;
        table[i] = v;
    }
    for (size_t i = 0; i < n; i++)
        value = table[(value ^ ((const uint8_t *)data)[i]) & 0xff] ^ value >> 8;
    return (int64_t)(value ^ 0xffffffffu);
}

#endif
