/* Contexts, scopes, tensors, views, the pool and small-float conversion. */
#include "engine/core/convert.h"
#include "engine/core/pool.h"
#include "tests/test.h"

TEST(first_error_stays)
{
    rg_ctx *c = test_ctx();

    CHECK_INT(rg_fail(c, RG_ERR_SHAPE, "first %d", 1), RG_ERR_SHAPE);
    CHECK_INT(rg_fail(c, RG_ERR_IO, "second"), RG_ERR_SHAPE);
    CHECK_STR(c->message, "first 1");
    CHECK(rg_new1(c, RG_F32, 4) == NULL);
    CHECK(rg_slice(c, NULL, 0, 0, 1) == NULL);
    rg_ctx_reset(c);
    CHECK_INT(rg_check(c), 0);
    rg_ctx_free(c);
}

TEST(cancel_is_an_error_of_its_own)
{
    atomic_bool flag = false;
    rg_ctx *c = test_ctx();

    c->cancel = &flag;
    CHECK_INT(rg_report(c, 1, 2, NULL), 0);
    atomic_store(&flag, true);
    CHECK_INT(rg_report(c, 2, 2, NULL), RG_ERR_CANCELLED);
    rg_ctx_free(c);
}

TEST(scope_keeps_what_is_named)
{
    rg_ctx *c = test_ctx();
    const size_t before = rg_ctx_bytes(c);
    const int outer = rg_scope_begin(c), inner = rg_scope_begin(c);
    rg_tensor *a = rg_new1(c, RG_F32, 1000), *b = rg_new1(c, RG_F32, 1000), *nothing = NULL;

    rg_set(a, 999, 7.0);
    CHECK(b != NULL);
    rg_scope_end(c, inner, &a, &nothing, NULL);
    CHECK(nothing == NULL);
    CHECK(rg_get(a, 999) == 7.0);
    const size_t with_one = rg_ctx_bytes(c);
    CHECK(with_one > before && with_one < before + 8000);
    rg_scope_end(c, outer, NULL);
    CHECK_INT(rg_ctx_bytes(c), before);
    rg_ctx_free(c);
}

TEST(inner_scopes_end_with_the_outer)
{
    rg_ctx *c = test_ctx();
    const int outer = rg_scope_begin(c);

    rg_scope_begin(c);
    rg_scope_begin(c);
    rg_new1(c, RG_F32, 10);
    rg_scope_end(c, outer, NULL);
    CHECK_INT(rg_ctx_bytes(c), 0);
    rg_ctx_free(c);
}

TEST(replace_frees_at_once)
{
    rg_ctx *c = test_ctx();
    rg_tensor *t = rg_new1(c, RG_F32, 1000), *held = rg_ref(t);

    rg_replace(c, &t, t);                                   /* itself: nothing happens */
    CHECK(t == held);
    for (int i = 0; i < 10; i++) {
        const int s = rg_scope_begin(c);
        rg_tensor *next = rg_new1(c, RG_F32, 1000);
        rg_scope_end(c, s, &next, NULL);
        rg_replace(c, &t, next);
    }
    CHECK(rg_is_unique(held) && t && t != held);
    rg_unref(held);
    const size_t one = rg_ctx_bytes(c);
    CHECK(one >= 4000 && one < 8000);
    rg_replace(c, &t, NULL);
    CHECK(!t && rg_ctx_bytes(c) == 0);
    rg_replace(c, &t, NULL);
    rg_ctx_free(c);
}

TEST(tensor_outlives_its_context_when_held)
{
    rg_ctx *c = test_ctx();
    rg_tensor *t = rg_ref(rg_tensor_full(c, RG_BF16, 2, (const int64_t[]){ 3, 5 }, 1.5));

    rg_ctx_free(c);
    CHECK(rg_get(t, 14) == 1.5);
    CHECK(rg_is_unique(t));
    rg_unref(t);
}

TEST(impossible_shapes_are_errors)
{
    rg_ctx *c = test_ctx();

    CHECK(rg_new2(c, RG_F32, -1, 3) == NULL);
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK(rg_new3(c, RG_F32, INT64_MAX / 2, 3, 5) == NULL);
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_reset(c);
    rg_ctx_set_limit(c, 1 << 20);
    CHECK(rg_new1(c, RG_F32, 1 << 20) == NULL);
    CHECK_ERROR(c, RG_ERR_NOMEM);
    rg_ctx_free(c);
}

TEST(peak_is_the_most_at_once)
{
    rg_ctx *c = test_ctx();

    for (int i = 0; i < 3; i++) {
        const int s = rg_scope_begin(c);
        rg_new1(c, RG_U8, 1 << 20);
        rg_scope_end(c, s, NULL);
    }
    CHECK_INT(rg_ctx_peak_bytes(c), 1 << 20);
    CHECK_INT(rg_ctx_bytes(c), 0);
    rg_ctx_reset_peak(c);
    CHECK_INT(rg_ctx_peak_bytes(c), 0);
    rg_ctx_free(c);
}

/* 0, 1, 2, ... in a [2, 3, 4] tensor. */
static rg_tensor *counting(rg_ctx *c)
{
    rg_tensor *t = rg_new3(c, RG_F32, 2, 3, 4);

    for (int i = 0; i < 24; i++)
        rg_set(t, i, i);
    return t;
}

TEST(views_read_the_same_bytes)
{
    rg_ctx *c = test_ctx();
    rg_tensor *t = counting(c);
    rg_tensor *p = rg_permute3(c, t, 2, 0, 1);                 /* [4, 2, 3] */
    rg_tensor *s = rg_slice(c, t, -1, 1, -1);                   /* [2, 3, 2] */
    rg_tensor *e = rg_expand(c, rg_slice(c, t, 0, 0, 1), 4, (const int64_t[]){ 5, 2, 3, 4 });

    CHECK_INT(rg_dim(p, 0), 4);
    CHECK(rg_get(p, 1 * 6 + 1 * 3 + 2) == 1 + 12 + 8);
    CHECK(rg_get(s, 5) == 10);
    CHECK(rg_get(e, 4 * 24 + 12 + 3) == 3);
    CHECK(!rg_is_contiguous(p) && rg_is_dense(p) && !rg_is_dense(s) && !rg_is_dense(e));
    CHECK(rg_view2(c, t, 6, -1)->stride[0] == 4);
    CHECK_OK(c);
    rg_ctx_free(c);
}

TEST(view_of_strided_splits_but_does_not_merge)
{
    rg_ctx *c = test_ctx();
    rg_tensor *t = counting(c);
    rg_tensor *half = rg_slice(c, t, 2, 0, 2);                  /* [2, 3, 2] with gaps */
    rg_tensor *merged = rg_view2(c, half, 6, 2);                /* rows still lie 4 apart */

    CHECK(merged && merged->stride[0] == 4 && rg_get(merged, 11) == 21);
    CHECK(rg_view4(c, half, 2, 3, 2, 1) != NULL);
    CHECK(rg_view1(c, half, 12) == NULL);
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK(rg_view2(c, t, 5, -1) == NULL);
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_free(c);
}

TEST(channels_last_is_recognised)
{
    rg_ctx *c = test_ctx();
    rg_tensor *t = rg_tensor_new_channels_last(c, RG_F32, 2, 3, 4, 5);

    CHECK(rg_is_channels_last(t) && !rg_is_contiguous(t) && rg_is_dense(t));
    CHECK(rg_is_contiguous(rg_permute4(c, t, 0, 2, 3, 1)));
    rg_ctx_free(c);
}

TEST(small_floats_round_trip)
{
    for (uint32_t i = 0; i < 65536; i++) {
        const float f = rg_f16_to_f32((uint16_t)i), b = rg_bf16_to_f32((uint16_t)i);
        if (f == f && rg_f32_to_f16(f) != i)
            test_fail(__FILE__, __LINE__, "f16 %04x became %04x", i, rg_f32_to_f16(f));
        if (b == b && rg_f32_to_bf16(b) != i)
            test_fail(__FILE__, __LINE__, "bf16 %04x became %04x", i, rg_f32_to_bf16(b));
    }
    for (uint32_t i = 0; i < 256; i++) {
        const float f = rg_f8_e4m3_to_f32((uint8_t)i), g = rg_f8_e5m2_to_f32((uint8_t)i);
        if (f == f && rg_f32_to_f8_e4m3(f) != i)
            test_fail(__FILE__, __LINE__, "e4m3 %02x became %02x", i, rg_f32_to_f8_e4m3(f));
        if (g == g && rg_f32_to_f8_e5m2(g) != i)
            test_fail(__FILE__, __LINE__, "e5m2 %02x became %02x", i, rg_f32_to_f8_e5m2(g));
    }
}

TEST(small_floats_round_to_nearest_even)
{
    CHECK_INT(rg_f32_to_bf16(1.00390625f), 0x3f80);            /* half way between 1 and the next: down to even */
    CHECK_INT(rg_f32_to_bf16(1.01171875f), 0x3f82);            /* half way: up to even */
    CHECK_INT(rg_f32_to_f16(65519.0f), 0x7bff);
    CHECK_INT(rg_f32_to_f16(65520.0f), 0x7c00);                /* infinity */
    CHECK_INT(rg_f32_to_f16(5.9604645e-8f), 0x0001);           /* smallest subnormal */
    CHECK_INT(rg_f32_to_f16(2.9802322e-8f), 0x0000);           /* half of it: to even */
    CHECK_INT(rg_f32_to_f8_e4m3(448.0f), 0x7e);
    CHECK_INT(rg_f32_to_f8_e4m3(464.0f), 0x7e);                /* half way to the missing 480: to even, which is 448 */
    CHECK_INT(rg_f32_to_f8_e4m3(465.0f), 0x7f);                /* NaN, as torch */
    CHECK_INT(rg_f32_to_f8_e5m2(61440.0f), 0x7c);              /* infinity */
    CHECK_INT(rg_f32_to_f8_e4m3(-0.0f), 0x80);
}

TEST(every_failing_allocation_ends_clean)
{
    for (long n = 0; n < 40; n++) {
        rg_ctx *c = test_ctx();
        const int s = rg_scope_begin(c);

        atomic_store(&rg_alloc_fail_after, n);
        rg_tensor *t = rg_tensor_zeros(c, RG_F32, 2, (const int64_t[]){ 8, 8 });
        for (int i = 0; i < 4; i++)
            t = rg_slice(c, rg_view2(c, t, 8, 8), 0, 0, RG_TO_END);
        const int s2 = rg_scope_begin(c);
        rg_tensor *u = rg_transpose(c, t, 0, 1);
        rg_scope_end(c, s2, &u, NULL);
        rg_scope_end(c, s, NULL);
        const bool has_run_out = atomic_exchange(&rg_alloc_fail_after, -1) < 0;
        CHECK(has_run_out ? c->error == RG_ERR_NOMEM : c->error == 0);
        CHECK_INT(rg_ctx_bytes(c), 0);
        rg_ctx_free(c);
    }
}
