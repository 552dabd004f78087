/*
 * PyTorch's CUDA generator on the CPU. A GPU thread t of a launch draws four normals at a time from Philox's block
 * (counter = offset / 4 + round, t; key = seed) by Box-Muller; element e goes to the thread e mod threads, and the four normals
 * of a thread lie `threads` elements apart. A launch has as many threads as elements, in blocks of 256, or as many as the GPU
 * holds at once. It moves the offset on by four for each round.
 *
 * Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10); ATen/native/cuda/
 * DistributionTemplates.h (launch and layout); cuRAND's device API, curand_normal4() (mapping to floats).
 */
#include <math.h>

#include "engine/diffusion/random.h"

enum { BLOCK = 256, DRAWN_AT_ONCE = 4 };

void rg_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = UINT64_C(0xD2511F53) * c0, p1 = UINT64_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Two random words to two normals: sine first. */
static void box_muller(uint32_t x, uint32_t y, float *out)
{
    const float scale = 0x1p-32f, turn = 0x1p-32f * 6.2831855f;
    const float u = fmaf((float)x, scale, scale / 2), v = fmaf((float)y, turn, turn / 2);
    const float radius = sqrtf(-2.0f * logf(u));

    out[0] = radius * sinf(v);
    out[1] = radius * cosf(v);
}

void rg_randn_cuda_f32(rg_philox *g, float *out, int64_t n)
{
    const int64_t n_blocks = (n + BLOCK - 1) / BLOCK, most = g->n_threads / BLOCK;
    const int64_t n_threads = BLOCK * (most > 0 && most < n_blocks ? most : n_blocks);
    const uint32_t key[2] = { (uint32_t)g->seed, (uint32_t)(g->seed >> 32) };

    for (int64_t start = 0; start < n; start += n_threads * DRAWN_AT_ONCE) {
        const uint64_t at = g->offset / DRAWN_AT_ONCE;
        for (int64_t t = 0; t < n_threads && start + t < n; t++) {
            const uint32_t counter[4] = { (uint32_t)at, (uint32_t)(at >> 32), (uint32_t)t, (uint32_t)((uint64_t)t >> 32) };
            uint32_t words[4];
            float normals[4];
            rg_philox_block(counter, key, words);
            box_muller(words[0], words[1], normals);
            if (start + t + 2 * n_threads < n)
                box_muller(words[2], words[3], normals + 2);
            for (int i = 0; i < DRAWN_AT_ONCE && start + t + i * n_threads < n; i++)
                out[start + t + i * n_threads] = normals[i];
        }
        g->offset += DRAWN_AT_ONCE;
    }
}
