/*
 * Bad operands: the code, and no result; a failed context and a NULL operand go through every op quietly; an allocation that
 * fails, whichever it is, leaves a clean error.
 */
#include "tests/test.h"

#define Z(...) rg_tensor_zeros(c, RG_F32, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ })
#define ZT(type, ...) rg_tensor_zeros(c, (type), (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ })

/* The expression must give NULL and this code, with a message. */
#define FAILS(expression, wanted) do {                                          \
        if ((expression) != NULL)                                               \
            test_fail(__FILE__, __LINE__, "%s gave a result", #expression);     \
        if (c->error != (wanted) || !c->message[0])                             \
            test_fail(__FILE__, __LINE__, "%s: error %d (%s), wanted %d", #expression, c->error, c->message, (wanted)); \
        rg_ctx_reset(c);                                                        \
    } while (0)

TEST(wrong_shapes)
{
    rg_ctx *c = test_ctx();
    const rg_linear_weight narrow = { Z(4, 5), NULL, NULL }, bad_bias = { Z(4, 6), Z(5), NULL }, bad_scale = { Z(4, 6), NULL, Z(2) };
    const rg_conv_weight conv = { Z(4, 3, 3, 3), NULL }, conv_bias = { Z(4, 3, 3, 3), Z(3) };

    FAILS(rg_add(c, Z(2, 3), Z(2, 4)), RG_ERR_SHAPE);
    FAILS(rg_add_scaled(c, Z(2, 3), Z(3), 1.0f), RG_ERR_SHAPE);
    FAILS(rg_gated_unary(c, Z(2, 3), Z(2, 4), RG_SILU), RG_ERR_SHAPE);
    FAILS(rg_concat(c, Z(2, 3), Z(2, 4), 0), RG_ERR_SHAPE);
    FAILS(rg_concat(c, Z(2, 3), Z(2, 3, 1), 0), RG_ERR_SHAPE);
    FAILS(rg_concat(c, Z(2, 3), Z(2, 3), 2), RG_ERR_SHAPE);
    FAILS(rg_concat_n(c, NULL, 0, 0), RG_ERR_SHAPE);
    FAILS(rg_pad2d(c, Z(3, 4), -1, 0, 0, 0, RG_PAD_ZERO), RG_ERR_SHAPE);
    FAILS(rg_pad2d(c, Z(3, 4), 5, 0, 0, 0, RG_PAD_CIRCULAR), RG_ERR_SHAPE);
    FAILS(rg_pad2d(c, Z(3), 1, 1, 1, 1, RG_PAD_ZERO), RG_ERR_SHAPE);
    FAILS(rg_embedding(c, Z(3), ZT(RG_I32, 2)), RG_ERR_SHAPE);
    FAILS(rg_sum(c, Z(2, 3), 2, true), RG_ERR_SHAPE);
    FAILS(rg_softmax(c, Z(2, 3), -3), RG_ERR_SHAPE);
    FAILS(rg_linear(c, &narrow, Z(2, 6)), RG_ERR_SHAPE);
    FAILS(rg_linear(c, &bad_bias, Z(2, 6)), RG_ERR_SHAPE);
    FAILS(rg_linear(c, &bad_scale, Z(2, 6)), RG_ERR_SHAPE);
    FAILS(rg_matmul(c, Z(2, 3), Z(4, 5)), RG_ERR_SHAPE);
    FAILS(rg_matmul(c, Z(2, 2, 3), Z(3, 3, 5)), RG_ERR_SHAPE);
    FAILS(rg_matmul(c, Z(3), Z(3, 5)), RG_ERR_SHAPE);
    FAILS(rg_attention(c, Z(1, 2, 3, 4), Z(1, 2, 3, 5), Z(1, 2, 3, 4), NULL, 0, false), RG_ERR_SHAPE);
    FAILS(rg_attention(c, Z(1, 3, 3, 4), Z(1, 2, 3, 4), Z(1, 2, 3, 4), NULL, 0, false), RG_ERR_SHAPE);
    FAILS(rg_attention(c, Z(1, 2, 3, 4), Z(1, 2, 5, 4), Z(1, 2, 6, 4), NULL, 0, false), RG_ERR_SHAPE);
    FAILS(rg_attention(c, Z(1, 2, 3, 4), Z(1, 2, 5, 4), Z(1, 2, 5, 4), NULL, 0, true), RG_ERR_SHAPE);
    FAILS(rg_attention(c, Z(1, 2, 3, 4), Z(1, 2, 5, 4), Z(1, 2, 5, 4), Z(3, 4), 0, false), RG_ERR_SHAPE);
    FAILS(rg_conv2d(c, &conv, Z(1, 4, 8, 8), 1, 1), RG_ERR_SHAPE);
    FAILS(rg_conv2d(c, &conv, Z(1, 3, 2, 2), 1, 0), RG_ERR_SHAPE);
    FAILS(rg_conv2d(c, &conv_bias, Z(1, 3, 8, 8), 1, 1), RG_ERR_SHAPE);
    FAILS(rg_conv2d(c, &conv, Z(1, 3, 8, 8), 0, 1), RG_ERR_INVALID);
    FAILS(rg_layer_norm(c, Z(2, 3), Z(4), NULL, 1e-5f), RG_ERR_SHAPE);
    FAILS(rg_rms_norm(c, Z(2, 3), Z(1, 3), 1e-5f), RG_ERR_SHAPE);
    FAILS(rg_group_norm(c, Z(1, 6, 2, 2), 4, NULL, NULL, 1e-5f, false), RG_ERR_SHAPE);
    FAILS(rg_group_norm(c, Z(1, 6, 2, 2), 3, Z(5), NULL, 1e-5f, false), RG_ERR_SHAPE);
    FAILS(rg_modulated_norm(c, Z(2, 3, 4), Z(3, 4), Z(2, 4), 1e-5f), RG_ERR_SHAPE);
    FAILS(rg_modulated_norm(c, Z(3, 4), Z(3, 4), Z(3, 4), 1e-5f), RG_ERR_SHAPE);
    FAILS(rg_gated_add(c, Z(2, 3, 4), Z(2, 5), Z(2, 3, 4)), RG_ERR_SHAPE);
    FAILS(rg_gated_add(c, Z(2, 3, 4), Z(2, 4), Z(2, 3, 5)), RG_ERR_SHAPE);
    FAILS(rg_norm_rope(c, Z(1, 2, 3, 4), Z(5), 1e-6f, NULL), RG_ERR_SHAPE);
    FAILS(rg_norm_rope(c, Z(1, 2, 3, 4), NULL, 1e-6f, Z(1, 1, 4, 2, 2, 2)), RG_ERR_SHAPE);
    FAILS(rg_rope_table(c, Z(1, 5, 2), (const int[]){ 3, 4 }, 2, 1e4), RG_ERR_SHAPE);
    FAILS(rg_rope_table(c, Z(1, 5, 3), (const int[]){ 2, 4 }, 2, 1e4), RG_ERR_SHAPE);
    FAILS(rg_timestep_embedding(c, Z(2), 7, 1e4f, 1.0f), RG_ERR_SHAPE);
    FAILS(rg_interpolate(c, Z(1, 2, 3), 4, 4, RG_NEAREST), RG_ERR_SHAPE);
    FAILS(rg_interpolate(c, Z(1, 2, 3, 3), 0, 4, RG_NEAREST), RG_ERR_SHAPE);
    rg_copy_into(c, Z(2, 3), Z(4));
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_free(c);
}

TEST(wrong_types_and_values)
{
    rg_ctx *c = test_ctx();
    const rg_linear_weight integers = { ZT(RG_I32, 4, 6), NULL, NULL };
    rg_tensor *ids = ZT(RG_I64, 2);

    FAILS(rg_unary(c, ZT(RG_I32, 3), RG_EXP), RG_ERR_DTYPE);
    FAILS(rg_linear(c, &integers, Z(2, 6)), RG_ERR_DTYPE);
    FAILS(rg_embedding(c, Z(3, 4), Z(2)), RG_ERR_DTYPE);
    FAILS(rg_attention(c, Z(1, 2, 3, 4), ZT(RG_BF16, 1, 2, 3, 4), Z(1, 2, 3, 4), NULL, 0, false), RG_ERR_DTYPE);
    FAILS(rg_norm_rope(c, Z(1, 2, 3, 4), NULL, 1e-6f, ZT(RG_BF16, 1, 1, 3, 2, 2, 2)), RG_ERR_DTYPE);
    rg_set(ids, 1, 3);
    FAILS(rg_embedding(c, Z(3, 4), ids), RG_ERR_INVALID);
    rg_set(ids, 1, -1);
    FAILS(rg_embedding(c, Z(3, 4), ids), RG_ERR_INVALID);
    rg_ctx_free(c);
}

TEST(failed_contexts_pass_through)
{
    rg_ctx *c = test_ctx();
    rg_tensor *x = Z(1, 2, 3, 4);
    const rg_linear_weight w = { Z(4, 4), NULL, NULL }, none = { NULL, NULL, NULL };

    CHECK(rg_add(c, NULL, x) == NULL && rg_linear(c, &none, x) == NULL && rg_to(c, NULL, RG_BF16) == NULL);
    CHECK_OK(c);                        /* NULL in, NULL out: somebody else has said why */
    rg_fail(c, RG_ERR_IO, "the first failure");
    CHECK(rg_add(c, x, x) == NULL && rg_linear(c, &w, x) == NULL && rg_contiguous(c, x) == NULL && rg_softmax(c, x, 1) == NULL);
    CHECK(rg_attention(c, x, x, x, NULL, 0, false) == NULL && rg_concat(c, x, x, 0) == NULL && rg_upsample_nearest2x(c, x) == NULL);
    CHECK_ERROR(c, RG_ERR_IO);
    CHECK_STR(c->message, "the first failure");
    rg_ctx_free(c);
}

/* A bit of everything that takes temporaries. */
static rg_tensor *everything(rg_ctx *c)
{
    const rg_linear_weight w = { ZT(RG_BF16, 24, 24), ZT(RG_BF16, 24), NULL };
    const rg_conv_weight k = { ZT(RG_F16, 24, 2, 3, 3), NULL };
    rg_tensor *x = rg_linear_unary(c, &w, rg_expand(c, Z(1, 1, 24), 3, (const int64_t[]){ 2, 7, 24 }), RG_TANH);
    rg_tensor *h = rg_transpose(c, rg_view4(c, x, 2, 7, 2, 12), 1, 2);
    rg_tensor *a = rg_attention(c, h, h, h, Z(1, 1, 7, 7), 0, false);

    x = rg_modulated_norm(c, rg_gated_add(c, x, Z(2, 24), a), ZT(RG_BF16, 2, 24), Z(2, 24), 1e-6f);
    x = rg_matmul(c, rg_to(c, x, RG_F16), rg_to(c, rg_transpose(c, x, 1, 2), RG_F16));
    x = rg_pad2d(c, rg_unsqueeze(c, rg_softmax(c, x, 1), 0), 1, 1, 1, 1, RG_PAD_REPLICATE);
    x = rg_group_norm(c, rg_conv2d(c, &k, rg_to(c, x, RG_F32), 1, 1), 4, NULL, NULL, 1e-6f, true);
    return rg_interpolate(c, rg_add(c, x, Z(1)), 5, 5, RG_BICUBIC);
}

TEST(failing_allocations_end_clean)
{
    for (long n = 0; n < 2000; n++) {
        rg_ctx *c = test_ctx();
        rg_alloc_fail_after = n;
        rg_tensor *out = everything(c);
        const bool has_failed = rg_alloc_fail_after < 0;
        rg_alloc_fail_after = -1;
        if (!has_failed) {              /* fewer than n allocations: all of them have failed once */
            CHECK_OK(c);
            CHECK(out != NULL);
            CHECK(n > 50);
            rg_ctx_free(c);
            return;
        }
        if (!c->error)                  /* what is kept between calls may do without, but then the result is there */
            CHECK(out != NULL);
        else {
            CHECK_ERROR(c, RG_ERR_NOMEM);
            CHECK(out == NULL);
        }
        rg_ctx_free(c);
    }
    test_fail(__FILE__, __LINE__, "no end of allocations");
}
