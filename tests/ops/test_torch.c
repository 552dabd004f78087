/*
 * The ops against PyTorch in float32: definitions and every device. Fixtures: tools/reference/ops.py.
 * Tolerance: 1e-5 of the largest value is the contract per op; where both sides round every operation alike it is 0.
 */
#include "engine/ops/backend.h"
#include "tests/test.h"

/* Every device, then the CPU with the plain definitions. */
#define EACH(c) FOR_EACH_DEVICE(c)                                                              \
    for (int d_ = 0; d_ < (c->device.type == RG_CPU ? 2 : 1) && (d_ == 0 || (c->ops = rg_backend_reference())); d_++)

/* A device that has no row for an op yet says so; that is no failure here. */
static void same(int line, rg_ctx *c, const rg_tensor *got, const rg_tensor *wanted, double tolerance, const char *what)
{
    if (c->error == RG_ERR_UNSUPPORTED && c->device.type != RG_CPU) {
        printf("\n  %s: %s", what, c->message);
        rg_ctx_reset(c);
        return;
    }
    test_check_close(__FILE__, line, c, got, wanted, tolerance, what);
    rg_ctx_reset(c);
}

#define T(name) test_get(f, c, name)
#define SAME(got, name, tolerance) same(__LINE__, c, (got), T(name), (tolerance), name)

TEST(elementwise)                       /* the same float32 operations: the same bits */
{
    static const struct { const char *name; rg_tensor *(*op)(rg_ctx *, const rg_tensor *, const rg_tensor *); } ops[] = {
        { "add", rg_add }, { "sub", rg_sub }, { "mul", rg_mul }, { "div", rg_div }, { "maximum", rg_maximum }, { "minimum", rg_minimum },
    };
    test_fixture *f = test_open("ops/elementwise.safetensors");

    EACH(c) {
        for (int i = 0; i < 6; i++) {
            char name[64];
            SAME(ops[i].op(c, T("a"), T("b")), ops[i].name, 0.0);
            snprintf(name, sizeof name, "%s_row", ops[i].name);
            SAME(ops[i].op(c, T("a"), T("row")), name, 0.0);
            snprintf(name, sizeof name, "%s_outer", ops[i].name);
            SAME(ops[i].op(c, T("row"), rg_squeeze(c, rg_slice(c, rg_slice(c, T("b"), 0, 0, 1), 1, 0, 1), 0)), name, 0.0);
        }
        SAME(rg_affine(c, T("a"), 1.7f, -0.3f), "affine", 0.0);
        SAME(rg_affine(c, T("a"), 1.7f, 0.0f), "scale", 0.0);
        SAME(rg_affine(c, T("a"), 1.0f, -0.3f), "shift", 0.0);
        SAME(rg_div_scalar(c, T("a"), 0.7f), "div_scalar", 0.0);
        SAME(rg_add_scaled(c, T("a"), T("b"), 0.7f), "add_scaled", 0.0);
        SAME(rg_clamp(c, T("a"), -0.5f, 1.25f), "clamp", 0.0);
    }
}

TEST(nan_passes)
{
    test_fixture *f = test_open("ops/elementwise.safetensors");

    EACH(c) {
        if (c->device.type != RG_CPU)
            continue;
        const rg_tensor *max = rg_maximum(c, T("nan"), T("other")), *min = rg_minimum(c, T("nan"), T("other"));
        for (int i = 0; i < 3; i++) {
            CHECK_INT(isnan(rg_get(max, i)), isnan(rg_get(T("maximum_nan"), i)));
            CHECK_INT(isnan(rg_get(min, i)), isnan(rg_get(T("minimum_nan"), i)));
        }
        CHECK(isnan(rg_get(rg_clamp(c, T("nan"), 0.0f, 1.0f), 1)));
        CHECK(isnan(rg_get(rg_unary(c, T("nan"), RG_RELU), 1)));
    }
}

TEST(unary)                             /* exp and its kin: a few units in the last place; torch's own square root is one off at times */
{
    static const struct { const char *name, *x; rg_unary_kind kind; double tolerance; } ops[] = {
        { "exp", "bounded", RG_EXP, 1e-6 },      { "log", "positive", RG_LOG, 1e-6 },      { "sqrt", "positive", RG_SQRT, 1e-7 },
        { "sin", "x", RG_SIN, 1e-6 },            { "cos", "x", RG_COS, 1e-6 },             { "tanh", "x", RG_TANH, 1e-6 },
        { "sigmoid", "x", RG_SIGMOID, 1e-6 },    { "abs", "x", RG_ABS, 0.0 },              { "neg", "x", RG_NEG, 0.0 },
        { "reciprocal", "positive", RG_RECIPROCAL, 1e-7 }, { "round", "x", RG_ROUND, 0.0 }, { "floor", "x", RG_FLOOR, 0.0 },
        { "relu", "x", RG_RELU, 0.0 },           { "silu", "x", RG_SILU, 1e-6 },           { "gelu", "x", RG_GELU, 1e-6 },
        { "gelu_tanh", "x", RG_GELU_TANH, 1e-6 }, { "quick_gelu", "x", RG_QUICK_GELU, 1e-6 }, { "nan_to_num", "odd", RG_NAN_TO_NUM, 0.0 },
    };
    test_fixture *f = test_open("ops/unary.safetensors");

    EACH(c) {
        for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
            SAME(rg_unary(c, T(ops[i].x), ops[i].kind), ops[i].name, ops[i].tolerance);
        SAME(rg_gated_unary(c, T("x"), T("up"), RG_GELU_TANH), "gated_gelu_tanh", 1e-6);
        SAME(rg_gated_unary(c, T("x"), T("up"), RG_SILU), "gated_silu", 1e-6);
    }
}

/* The same bits, NaN as NaN. */
static void same_values(rg_ctx *c, const rg_tensor *got, const rg_tensor *wanted, const char *what)
{
    if (!got || !rg_same_shape(got, wanted)) {
        test_fail(__FILE__, __LINE__, "%s: %s", what, c->error ? c->message : "another shape");
        return;
    }
    for (int64_t i = 0; i < rg_numel(wanted); i++) {
        const double a = rg_get(got, i), b = rg_get(wanted, i);
        if (!(a == b || (isnan(a) && isnan(b))))
            test_fail(__FILE__, __LINE__, "%s: element %lld is %.9g, wanted %.9g", what, (long long)i, a, b);
    }
}

TEST(convert)
{
    static const struct { const char *name, *back; rg_dtype dtype; } types[] = {
        { "f16", "f16_back", RG_F16 }, { "bf16", "bf16_back", RG_BF16 }, { "f8_e4m3", "f8_e4m3_back", RG_F8_E4M3 }, { "f8_e5m2", "f8_e5m2_back", RG_F8_E5M2 },
    };
    test_fixture *f = test_open("ops/convert.safetensors");

    EACH(c) {
        const rg_device cpu = { RG_CPU, 0 };
        for (int i = 0; i < 4; i++) {
            const rg_tensor *there = rg_to(c, T("x"), types[i].dtype), *back = rg_to(c, there, RG_F32);
            same_values(c, rg_to_device(c, there, cpu), rg_to_device(c, T(types[i].name), cpu), types[i].name);
            same_values(c, rg_to_device(c, back, cpu), rg_to_device(c, T(types[i].back), cpu), types[i].back);
        }
        SAME(rg_to(c, T("whole"), RG_I32), "i32", 0.0);
        SAME(rg_to(c, T("whole"), RG_I64), "i64", 0.0);
        SAME(rg_to(c, T("i64"), RG_I8), "i8", 0.0);
    }
}

TEST(moving)
{
    test_fixture *f = test_open("ops/moving.safetensors");

    EACH(c) {
        SAME(rg_concat_n(c, (const rg_tensor *const[]){ T("x"), T("y"), T("x") }, 3, 1), "cat", 0.0);
        SAME(rg_pad2d(c, T("pic"), 1, 4, 2, 0, RG_PAD_ZERO), "pad_zero", 0.0);
        SAME(rg_pad2d(c, T("pic"), 1, 4, 2, 0, RG_PAD_REPLICATE), "pad_replicate", 0.0);
        SAME(rg_pad2d(c, T("pic"), 1, 4, 2, 0, RG_PAD_CIRCULAR), "pad_circular", 0.0);
        SAME(rg_embedding(c, T("table"), T("ids")), "embedding", 0.0);
    }
}

TEST(reduce)
{
    test_fixture *f = test_open("ops/reduce.safetensors");

    EACH(c) {
        for (int d = 0; d < 3; d++) {
            char name[32];
            snprintf(name, sizeof name, "sum%d", d);
            SAME(rg_sum(c, T("x"), d, false), name, 1e-6);
            snprintf(name, sizeof name, "mean%d", d);
            SAME(rg_mean(c, T("x"), d - 3, true), name, 1e-6);
            snprintf(name, sizeof name, "softmax%d", d);
            SAME(rg_softmax(c, T("x3"), d), name, 2e-6);
        }
    }
}

TEST(products)
{
    test_fixture *f = test_open("ops/products.safetensors");

    EACH(c) {
        const rg_linear_weight w = { T("w"), T("b"), NULL }, plain = { T("w"), NULL, NULL }, bf16 = { T("w_bf16"), T("b"), NULL };
        const rg_linear_weight f8 = { T("w_f8"), T("b"), T("scale") };
        SAME(rg_linear(c, &w, T("x")), "linear", 2e-6);
        SAME(rg_linear(c, &plain, T("x")), "no_bias", 2e-6);
        SAME(rg_linear(c, &bf16, T("x")), "linear_bf16", 2e-6);
        SAME(rg_linear(c, &f8, T("x")), "linear_f8", 2e-6);
        SAME(rg_linear_unary(c, &w, T("x"), RG_GELU_TANH), "gelu_tanh", 4e-6);
        SAME(rg_linear_unary(c, &w, T("x"), RG_SILU), "silu", 4e-6);
        SAME(rg_linear_unary(c, &w, T("x"), RG_GELU), "gelu", 4e-6);
        SAME(rg_matmul(c, T("ma"), T("mb")), "matmul", 2e-6);
    }
}

TEST(attention)
{
    test_fixture *f = test_open("ops/attention.safetensors");

    EACH(c) {
        SAME(rg_attention(c, T("q"), T("k"), T("v"), NULL, 0.0f, false), "plain", 4e-6);
        SAME(rg_attention(c, T("q"), T("k"), T("v"), T("bias"), 1.0f, false), "biased", 4e-6);
        SAME(rg_attention(c, T("q"), T("k"), T("v"), T("mask"), 0.0f, false), "masked", 4e-6);

        const rg_tensor *qkv = rg_permute5(c, T("qkv"), 1, 0, 3, 2, 4);         /* [3, B, H, N, D] */
        const rg_tensor *q = rg_squeeze(c, rg_slice(c, qkv, 0, 0, 1), 0), *k = rg_squeeze(c, rg_slice(c, qkv, 0, 1, 2), 0);
        SAME(rg_attention(c, q, k, rg_squeeze(c, rg_slice(c, qkv, 0, 2, 3), 0), NULL, 0.0f, true), "causal", 4e-6);
    }
}

TEST(conv2d)
{
    test_fixture *f = test_open("ops/conv2d.safetensors");

    EACH(c) {
        const rg_conv_weight w = { T("w"), T("b") }, plain = { T("w"), NULL }, point = { T("w1"), NULL };
        SAME(rg_conv2d(c, &w, T("x"), 1, 1), "same", 2e-6);
        SAME(rg_conv2d(c, &plain, T("x"), 1, 0), "valid", 2e-6);
        SAME(rg_conv2d(c, &w, T("x"), 2, 1), "strided", 2e-6);
        SAME(rg_conv2d(c, &point, T("x"), 1, 0), "point", 2e-6);
    }
}

TEST(norms)
{
    test_fixture *f = test_open("ops/norms.safetensors");

    EACH(c) {
        SAME(rg_layer_norm(c, T("x"), T("w"), T("b"), 1e-5f), "layer", 2e-6);
        SAME(rg_layer_norm(c, T("x"), NULL, NULL, 1e-6f), "layer_plain", 2e-6);
        SAME(rg_rms_norm(c, T("x"), T("w"), 1e-6f), "rms", 2e-6);
        SAME(rg_rms_norm(c, T("x"), NULL, 1e-6f), "rms_plain", 2e-6);
        SAME(rg_group_norm(c, T("pic"), 8, T("gw"), T("gb"), 1e-6f, false), "group", 2e-6);
        SAME(rg_group_norm(c, T("pic"), 8, T("gw"), T("gb"), 1e-6f, true), "group_silu", 2e-6);
        SAME(rg_modulated_norm(c, T("x"), T("scale"), T("shift"), 1e-6f), "modulated", 2e-6);
        SAME(rg_gated_add(c, T("x"), T("gate"), T("y")), "gated", 1e-6);
    }
}

TEST(rotary)
{
    test_fixture *f = test_open("ops/rotary.safetensors");

    EACH(c) {
        SAME(rg_rope_table(c, T("ids"), (const int[]){ 16, 56, 56 }, 3, 10000.0), "pe", 1e-7);  /* float64 angles on both sides */
        SAME(rg_norm_rope(c, T("q"), T("w"), 1e-6f, T("pe")), "norm_rope", 2e-6);
        SAME(rg_norm_rope(c, T("q"), NULL, 1e-6f, T("pe")), "rope", 1e-6);
        SAME(rg_norm_rope(c, T("q"), T("w"), 1e-6f, NULL), "norm", 2e-6);
        /*
         * Angles reach 1000, whose last float32 bit is 6e-5: the frequencies must be torch's to the last bit. 126 of the 128 are;
         * of the other two, MKL's exp returns the neighbour of the correctly rounded number, which we keep.
         */
        SAME(rg_timestep_embedding(c, T("t"), 256, 10000.0f, 1000.0f), "embedding", 6.2e-5);
        const rg_tensor *e = c->device.type == RG_CPU ? rg_timestep_embedding(c, T("t"), 256, 10000.0f, 1000.0f) : NULL;
        for (int64_t i = 0; e && i < rg_numel(e); i++)
            if (i % 128 != 12 && i % 128 != 106 && fabs(rg_get(e, i) - rg_get(T("embedding"), i)) > 2e-7)
                test_fail(__FILE__, __LINE__, "embedding %lld is %.9g, wanted %.9g", (long long)i, rg_get(e, i), rg_get(T("embedding"), i));
        SAME(rg_timestep_embedding(c, rg_affine(c, T("t"), 900.0f, 0.0f), 32, 10000.0f, 1.0f), "embedding_1", 1e-5);
    }
}

TEST(interpolate)
{
    static const char *const modes[] = { "nearest", "nearest-exact", "bilinear", "bicubic", "area" };
    static const struct { int h, w; } sizes[] = { { 26, 20 }, { 7, 5 }, { 31, 8 }, { 13, 10 }, { 1, 23 } };
    test_fixture *f = test_open("ops/interpolate.safetensors");

    EACH(c) {
        char name[64];
        for (int m = 0; m < 5; m++)
            for (int i = 0; i < 5; i++) {
                snprintf(name, sizeof name, "%s_%d_%d", modes[m], sizes[i].h, sizes[i].w);
                SAME(rg_interpolate(c, T("x"), sizes[i].h, sizes[i].w, (rg_interp)m), name, m < 2 ? 0.0 : 1e-6);
            }
        for (int m = 0; m < 2; m++)
            for (int i = 0; i < 2; i++) {
                const int n = i ? 4095 : 777;
                snprintf(name, sizeof name, "line_%s_%d", modes[m], n);
                SAME(rg_interpolate(c, T("line"), 1, n, (rg_interp)m), name, 0.0);
            }
        SAME(rg_upsample_nearest2x(c, T("x")), "nearest_26_20", 0.0);
    }
}
