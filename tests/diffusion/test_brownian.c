/* Brownian noise is torchsde's: the seeds bit for bit, the noise up to one rounding. */
#include "engine/diffusion/brownian.h"
#include "tests/test.h"

TEST(seed_sequences_are_numpys)
{
    static const struct { uint64_t entropy, spawn[2]; int n_spawn; } cases[] = {
        { 0, { 0, 0 }, 0 },
        { 1, { 0, 0 }, 2 },
        { 4294967295u, { 5, 3 }, 2 },
        { 4294967296u, { 1048577, 21 }, 2 },
        { UINT64_MAX, { 1099511627779u, 41 }, 2 },
    };
    test_fixture *f = test_open("diffusion/brownian.safetensors");
    rg_ctx *c = test_ctx();

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t got[6];
        char key[64];

        snprintf(key, sizeof key, "seeds/%llu_%d", (unsigned long long)cases[i].entropy, cases[i].n_spawn);
        const rg_tensor *wanted = test_get(f, c, key);
        rg_seed_sequence(cases[i].entropy, cases[i].spawn, cases[i].n_spawn, got, 6);
        for (int j = 0; wanted && j < 6; j++)
            CHECK_INT(got[j], rg_get(wanted, j));
    }
    rg_ctx_free(c);
}

TEST(noise_is_torchsdes)
{
    static const char *const seeds[] = { "0", "3", "1099511627777" };
    test_fixture *f = test_open("diffusion/brownian.safetensors");
    rg_ctx *c = test_ctx();

    for (int k = 0; k < 3; k++) {
        char key[64];
        snprintf(key, sizeof key, "sigmas/%s", seeds[k]);
        const float *sigma = test_get(f, c, key)->data;
        snprintf(key, sizeof key, "noise/%s", seeds[k]);
        const rg_tensor *wanted = test_get(f, c, key);
        rg_brownian *b = rg_brownian_new(c, 4, (const int64_t[]){ 1, 4, 3, 5 }, sigma[8], sigma[0], strtoull(seeds[k], NULL, 10), -1);

        for (int i = 0; i < 9 && b; i++) {
            const float from = sigma[i < 8 ? i : 2], to = i < 8 ? sigma[i + 1] : sigma[3] * 0.7f + sigma[2] * 0.3f;
            /* the sum of increments is exact; PyTorch's square root of the time is not always rounded correctly */
            CHECK_CLOSE(c, rg_brownian_noise(c, b, from, to), rg_slice(c, wanted, 0, i, i + 1), 1.5e-7);
        }
        rg_brownian_free(b);
    }
    rg_ctx_free(c);
}

/* The path is one: increments over neighbouring intervals add up, whatever was asked before. */
TEST(noise_does_not_depend_on_the_order_of_questions)
{
    rg_ctx *c = test_ctx();
    const int64_t shape[] = { 20 };
    rg_brownian *a = rg_brownian_new(c, 1, shape, 0.1f, 9, 4, -1), *b = rg_brownian_new(c, 1, shape, 0.1f, 9, 4, -1);
    const rg_tensor *first = rg_brownian_noise(c, a, 5, 2);

    for (int i = 0; i < 40; i++)        /* fills and turns over what a path keeps */
        rg_brownian_noise(c, b, 8.9f - 0.2f * (float)i, 8.7f - 0.2f * (float)i);
    CHECK_CLOSE(c, rg_brownian_noise(c, b, 5, 2), first, 0);

    const rg_tensor *upper = rg_affine(c, rg_brownian_noise(c, a, 5, 3), sqrtf(2), 0), *lower = rg_brownian_noise(c, a, 3, 2);
    CHECK_CLOSE(c, rg_add(c, upper, lower), rg_affine(c, first, sqrtf(3), 0), 1e-6);
    CHECK_CLOSE(c, rg_brownian_noise(c, a, 2, 5), rg_affine(c, first, -1, 0), 0);

    rg_brownian_free(a);
    rg_brownian_free(b);
    CHECK(!rg_brownian_new(c, 1, shape, 3, 3, 0, -1));
    CHECK_ERROR(c, RG_ERR_INVALID);
    rg_ctx_free(c);
}
