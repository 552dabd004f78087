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
