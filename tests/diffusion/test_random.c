/* PyTorch's CPU generator, bit for bit: every layout that a tensor's size and dtype select. */
#include "engine/diffusion/random.h"
#include "engine/diffusion/sampling.h"
#include "tests/diffusion/crc.h"
#include "tests/test.h"

static const char *const seeds[] = { "0", "1", "42", "123456789", "4294967295", "4294967296", "4294967303", "9223372036854775807",
                                     "9223372036854775808", "18446744073709551615" };
static const int64_t sizes[] = { 1, 5, 15, 16, 17, 31, 2, 100, 3, 4103, 7 };
enum { N_SEEDS = sizeof seeds / sizeof *seeds, N_SIZES = sizeof sizes / sizeof *sizes };

/* One generator draws tensors of all sizes in turn: a size below 16 leaves half a pair behind for the next. */
TEST(tensors_of_every_size_have_torchs_bits)
{
    test_fixture *f = test_open("diffusion/random.safetensors");
    rg_ctx *c = test_ctx();
    double *buffer = malloc(8192 * sizeof *buffer);

    for (int s = 0; s < N_SEEDS; s++) {
        for (int kind = 0; kind < 3; kind++) {
            static const char *const names[] = { "randn_f32", "randn_f64", "rand_f32" };
            char key[64];
            rg_generator g;

            snprintf(key, sizeof key, "%s/%s", names[kind], seeds[s]);
            const rg_tensor *wanted = test_get(f, c, key);
            rg_generator_seed(&g, strtoull(seeds[s], NULL, 10));
            for (int i = 0; wanted && i < N_SIZES; i++) {
                if (kind == 0)
                    rg_randn_f32(&g, (float *)buffer, sizes[i]);
                else if (kind == 1)
                    rg_randn_f64(&g, buffer, sizes[i]);
                else
                    rg_rand_f32(&g, (float *)buffer, sizes[i]);
                if (crc(buffer, (size_t)sizes[i] * (kind == 1 ? 8 : 4)) != (int64_t)rg_get(wanted, i))
                    test_fail(__FILE__, __LINE__, "%s: draw %d, of %lld, differs", key, i, (long long)sizes[i]);
            }
        }
    }
    free(buffer);
    rg_ctx_free(c);
}

TEST(first_values_are_torchs)
{
    test_fixture *f = test_open("diffusion/random.safetensors");
    rg_ctx *c = test_ctx();
    rg_generator g;
    double values[19];

    rg_generator_seed(&g, 7);
    CHECK_CLOSE(c, rg_randn(c, &g, 1, (const int64_t[]){ 50 }), test_get(f, c, "randn_f32/first"), 0);
    rg_generator_seed(&g, 7);
    rg_randn_f64(&g, values, 19);
    const rg_tensor *wanted = test_get(f, c, "randn_f64/first");
    for (int i = 0; wanted && i < 19; i++)
        CHECK(values[i] == ((const double *)wanted->data)[i]);
    rg_ctx_free(c);
}

TEST(ten_million_normals_have_torchs_bits)
{
    test_fixture *f = test_open("diffusion/random.safetensors");
    rg_ctx *c = test_ctx();
    const int64_t n = 10 * 1000 * 1000;
    float *values = malloc((size_t)n * sizeof *values);
    rg_generator g;

    rg_generator_seed(&g, 2024);
    rg_randn_f32(&g, values, n);
    CHECK_INT(crc(values, (size_t)n * sizeof *values), rg_get(test_get(f, c, "randn_f32/ten_million"), 0));
    free(values);
    rg_ctx_free(c);
}

TEST(noise_of_a_batch_follows_its_noise_numbers)
{
    test_fixture *f = test_open("diffusion/random.safetensors");
    rg_ctx *c = test_ctx();
    rg_latent *latent = rg_latent_new(rg_tensor_zeros(c, RG_F32, 4, (const int64_t[]){ 3, 4, 5, 3 }), NULL);

    CHECK_CLOSE(c, rg_prepare_noise(c, latent, 11), test_get(f, c, "noise/plain"), 0);
    CHECK(rg_latent_set_batch_index(latent, (const int64_t[]){ 2, 0, 2 }, 3));
    CHECK_CLOSE(c, rg_prepare_noise(c, latent, 11), test_get(f, c, "noise/indexed"), 0);

    CHECK(rg_latent_set_batch_index(latent, (const int64_t[]){ 2, 0 }, 2));
    CHECK(!rg_prepare_noise(c, latent, 11));
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK(rg_latent_set_batch_index(latent, (const int64_t[]){ 2, -1, 0 }, 3));
    CHECK(!rg_prepare_noise(c, latent, 11));
    CHECK_ERROR(c, RG_ERR_INVALID);
    rg_unref(latent);
    rg_ctx_free(c);
}

/* ---- the CUDA generator ------------------------------------------------------------------------------------------------ */

/* Known answers published with the generator (Random123, kat_vectors). */
TEST(philox_blocks_are_the_published_ones)
{
    static const struct { uint32_t counter[4], key[2], wanted[4]; } cases[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 }, { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t got[4];
        rg_philox_block(cases[i].counter, cases[i].key, got);
        CHECK(!memcmp(got, cases[i].wanted, sizeof got));
    }
}

/* What PyTorch prints for torch.manual_seed(0); torch.randn(8, device="cuda"). */
TEST(normals_of_a_gpu_are_torchs)
{
    static const float wanted[] = { -0.9247f, -0.4253f, -2.6438f, 0.1452f, -0.1209f, -0.5797f, -0.6229f, -0.3284f };
    rg_philox g = { .seed = 0 };
    float got[8];

    rg_randn_cuda_f32(&g, got, 8);
    for (int i = 0; i < 8; i++)
        CHECK(fabsf(got[i] - wanted[i]) < 0.5001e-4f);      /* four printed decimals */
    CHECK_INT(g.offset, 4);
}

/* A tensor larger than a launch: threads come round again, first for the rest of their four numbers, then for new ones. */
TEST(a_small_gpu_lays_large_tensors_out_in_rounds)
{
    enum { N = 256 * 4 + 100 };
    rg_philox whole = { .seed = 9 }, small = { .seed = 9, .n_threads = 256 + 255 }, again = { .seed = 9, .offset = 4 };
    float a[N], b[N], second[256];

    rg_randn_cuda_f32(&whole, a, N);
    rg_randn_cuda_f32(&small, b, N);
    rg_randn_cuda_f32(&again, second, 256);
    CHECK(!memcmp(a, b, 256 * sizeof *a));                  /* thread t's first number */
    CHECK(memcmp(a + 256, b + 256, 256 * sizeof *a));
    CHECK(!memcmp(b + 1024, second, 100 * sizeof *a));      /* the second round continues at offset 4 */
    CHECK_INT(whole.offset, 4);
    CHECK_INT(small.offset, 8);
}
