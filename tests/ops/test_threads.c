/*
 * The same bytes from any number of threads: each op is run with 1, 2, 3 and 7 threads on sizes that are cut into many tasks.
 * With more threads than cores the order in which tasks end is shuffled as well.
 */
#include <omp.h>

#include "tests/test.h"

static uint32_t state;

/* Cheap numbers in (-1, 1): bytes are compared with bytes, so their distribution does not matter. */
static rg_tensor *numbers(rg_ctx *c, rg_dtype t, int n_dims, const int64_t *shape)
{
    rg_tensor *x = rg_tensor_new(c, RG_F32, n_dims, shape);

    for (int64_t i = 0; i < rg_numel(x); i++) {
        state = state * 1664525u + 1013904223u;
        ((float *)x->data)[i] = (float)(int32_t)state * 0x1p-31f;
    }
    return rg_to(c, x, t);
}
#define N(c, t, ...) numbers((c), (t), (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ })

typedef rg_tensor *job_fn(rg_ctx *c, rg_dtype t);

static void same_bytes(const char *name, job_fn *fn)
{
    static const int n_threads[] = { 1, 2, 3, 7 };
    const int before = omp_get_max_threads();

    for (int d = 0; d < 2; d++) {
        const rg_dtype t = d ? RG_BF16 : RG_F32;
        unsigned char *first = NULL;
        size_t n = 0;

        for (int i = 0; i < 4; i++) {
            rg_ctx *c = test_ctx();
            omp_set_num_threads(n_threads[i]);
            state = 1;
            const rg_tensor *out = rg_contiguous(c, fn(c, t));
            CHECK_OK(c);
            if (out && i == 0) {
                n = rg_nbytes(out);
                first = malloc(n);
                memcpy(first, out->data, n);
            } else if (out && (n != rg_nbytes(out) || memcmp(first, out->data, n)))
                test_fail(__FILE__, __LINE__, "%s of %s: %d threads give other bytes than 1", name, rg_dtype_name(t), n_threads[i]);
            rg_ctx_free(c);
        }
        free(first);
    }
    omp_set_num_threads(before);
}

#define SAME(name, expression)                                                      \
    static rg_tensor *name##_job(rg_ctx *c, rg_dtype t) { return (expression); }    \
    TEST(name) { same_bytes(#name, name##_job); }

SAME(linear, rg_linear(c, &(rg_linear_weight){ N(c, t, 700, 333), N(c, t, 700), NULL }, N(c, t, 451, 333)))
SAME(linear_long, rg_linear(c, &(rg_linear_weight){ N(c, t, 64, 5000), NULL, NULL }, N(c, t, 64, 5000)))
SAME(linear_few, rg_linear(c, &(rg_linear_weight){ N(c, t, 1500, 333), N(c, t, 1500), NULL }, N(c, t, 2, 333)))
SAME(linear_widened, rg_linear_unary(c, &(rg_linear_weight){ N(c, RG_F8_E4M3, 700, 333), N(c, t, 700), NULL }, N(c, t, 451, 333), RG_GELU_TANH))
SAME(matmul, rg_matmul(c, N(c, t, 3, 150, 200), N(c, t, 3, 200, 170)))
SAME(attention, rg_attention(c, N(c, t, 1, 3, 700, 64), N(c, t, 1, 3, 700, 64), N(c, t, 1, 3, 700, 64), NULL, 0.0f, false))
SAME(attention_causal, rg_attention(c, N(c, t, 2, 2, 300, 64), N(c, t, 2, 2, 300, 64), N(c, t, 2, 2, 300, 64), NULL, 0.0f, true))
SAME(conv2d, rg_conv2d(c, &(rg_conv_weight){ N(c, t, 48, 32, 3, 3), N(c, t, 48) }, N(c, t, 1, 32, 90, 50), 1, 1))
SAME(group_norm, rg_group_norm(c, rg_conv2d(c, &(rg_conv_weight){ N(c, t, 64, 8, 1, 1), NULL }, N(c, t, 2, 8, 70, 40), 1, 0), 32, NULL, NULL, 1e-6f, true))
SAME(layer_norm, rg_layer_norm(c, N(c, t, 200, 600), N(c, t, 600), N(c, t, 600), 1e-6f))
SAME(modulated_norm, rg_modulated_norm(c, N(c, t, 2, 200, 600), N(c, t, 2, 600), N(c, t, 2, 600), 1e-6f))
SAME(softmax, rg_softmax(c, N(c, t, 3, 200, 600), 1))
SAME(sum, rg_sum(c, N(c, t, 3, 200, 600), 2, false))
SAME(unary, rg_unary(c, N(c, t, 300, 700), RG_GELU))
SAME(norm_rope, rg_norm_rope(c, N(c, t, 1, 4, 300, 64), N(c, t, 64), 1e-6f, rg_rope_table(c, N(c, RG_F32, 1, 300, 2), (const int[]){ 32, 32 }, 2, 1e4)))
SAME(interpolate, rg_interpolate(c, N(c, t, 2, 8, 40, 50), 110, 90, RG_BICUBIC))
