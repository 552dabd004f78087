/*
 * Every op on every device against its plain C definition: dtypes, odd sizes, strided views, both memory formats.
 *     build/test_ops [--device cpu|cuda] [NAME]
 * A case makes its operands from a fixed sequence of numbers on whatever context it is given, so that the definition and the
 * device see the same bits; then the results are compared. Fixtures from torch (test_torch.c) hold the definitions themselves.
 */
#include "engine/ops/backend.h"
#include "tests/test.h"

/* ---- operands --------------------------------------------------------------------------------------------------------- */

static uint64_t state;                  /* of the number sequence; reset before each case */

static double uniform(void)             /* splitmix64, in (0, 1) */
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
    const double a = uniform(), b = uniform();
    return sqrt(-2.0 * log(a)) * cos(6.283185307179586 * b);
}

typedef enum layout { ROWS, PADDED, TURNED, PICTURE } layout;      /* row-major; rows with gaps; dims swapped; channels-last */

/* Normal numbers (times gain) of a dtype on c's device, in a layout. */
static rg_tensor *numbers(rg_ctx *c, rg_dtype dtype, layout how, double gain, int n_dims, const int64_t *shape)
{
    rg_ctx *cpu = test_ctx();
    int64_t base[RG_MAX_DIMS];
    rg_tensor *t;

    for (int i = 0; i < n_dims; i++)
        base[i] = shape[i];
    if (how == PADDED)
        base[n_dims - 1] += 3;
    if (how == TURNED && n_dims >= 2) {
        base[n_dims - 1] = shape[n_dims - 2];
        base[n_dims - 2] = shape[n_dims - 1];
    }
    if (how == PICTURE)
        t = rg_tensor_new_channels_last(cpu, dtype, base[0], base[1], base[2], base[3]);
    else
        t = rg_tensor_new(cpu, dtype, n_dims, base);
    for (int64_t i = 0; i < rg_numel(t); i++)
        rg_set(t, i, gain * normal());

    rg_tensor *moved = rg_to_device(c, t, c->device);
    if (moved == t)
        moved = rg_tensor_adopt(c, rg_ref(t));      /* outlives the other context */
    rg_ctx_free(cpu);
    if (how == PADDED)
        moved = rg_slice(c, moved, n_dims - 1, 1, 1 + shape[n_dims - 1]);
    if (how == TURNED && n_dims >= 2)
        moved = rg_transpose(c, moved, n_dims - 1, n_dims - 2);
    return moved;
}

#define N1(c, t, how, a)             numbers((c), (t), (how), 1.0, 1, (const int64_t[]){ a })
#define N2(c, t, how, a, b)          numbers((c), (t), (how), 1.0, 2, (const int64_t[]){ a, b })
#define N3(c, t, how, a, b, d)       numbers((c), (t), (how), 1.0, 3, (const int64_t[]){ a, b, d })
#define N4(c, t, how, a, b, d, e)    numbers((c), (t), (how), 1.0, 4, (const int64_t[]){ a, b, d, e })

static rg_tensor *integers(rg_ctx *c, rg_dtype dtype, int64_t n, int64_t limit)
{
    rg_ctx *cpu = test_ctx();
    rg_tensor *t = rg_new1(cpu, dtype, n);

    for (int64_t i = 0; i < n; i++)
        rg_set(t, i, floor(uniform() * (double)limit));
    rg_tensor *moved = rg_to_device(c, t, c->device);
    if (moved == t)
        moved = rg_tensor_adopt(c, rg_ref(t));
    rg_ctx_free(cpu);
    return moved;
}

/* ---- comparing ---------------------------------------------------------------------------------------------------------- */

typedef rg_tensor *case_fn(rg_ctx *c, rg_dtype t, int variant);

/* How far a result may be off, relative to the largest value: sums in another order; one unit in the last place of a 16-bit result. */
static double tolerance(rg_dtype t)
{
    return t == RG_BF16 ? 0x1p-7 * 1.01 : t == RG_F16 ? 0x1p-10 * 1.01 : t == RG_F64 ? 1e-12 : 4e-6;
}

/* RG_TEST_EVERY=N: every N-th case only, for devices that are slow because they are emulated. */
static void compare(const char *name, case_fn *fn, int n_variants, int n_dtypes, const rg_dtype *dtypes, double factor)
{
    const int every = getenv("RG_TEST_EVERY") ? atoi(getenv("RG_TEST_EVERY")) : 1;

    FOR_EACH_DEVICE(c) {
        for (int i = 0; i < n_dtypes; i++)
            for (int v = 0; v < n_variants; v++) {
                char what[128];
                if ((i * n_variants + v) % every)
                    continue;
                rg_ctx *r = test_ctx();
                const int s = rg_scope_begin(c);

                r->ops = rg_backend_reference();
                state = (uint64_t)(v + 1) << 32;
                const rg_tensor *wanted = fn(r, dtypes[i], v);
                state = (uint64_t)(v + 1) << 32;
                const rg_tensor *got = fn(c, dtypes[i], v);
                snprintf(what, sizeof what, "%s on %s, %s, variant %d", name, c->ops->name, rg_dtype_name(dtypes[i]), v);
                if (r->error)
                    test_fail(__FILE__, __LINE__, "%s: the definition failed: %s", what, r->message);
                else
                    test_check_close(__FILE__, __LINE__, c, got, wanted, factor * tolerance(dtypes[i]), what);
                rg_scope_end(c, s, NULL);
                rg_ctx_reset(c);
                rg_ctx_free(r);
            }
    }
}

static const rg_dtype floats[] = { RG_F32, RG_BF16, RG_F16 };
#define COMPARE(fn, n_variants, factor) compare(#fn, fn, (n_variants), 3, floats, (factor))

/* ---- cases ----------------------------------------------------------------------------------------------------------------- */

static rg_tensor *convert(rg_ctx *c, rg_dtype t, int v)
{
    static const rg_dtype to[] = { RG_F32, RG_F16, RG_BF16, RG_F8_E4M3, RG_F8_E5M2, RG_F64, RG_I32, RG_I64, RG_U8 };
    rg_tensor *x = numbers(c, t, v % 2 ? TURNED : PADDED, v / 2 >= 6 ? 30.0 : 1.0, 3, (const int64_t[]){ 3, 17, 45 });

    if (v / 2 == 8)
        x = rg_unary(c, x, RG_ABS);     /* negative to unsigned is undefined in torch too */
    return rg_to(c, rg_to(c, x, to[v / 2]), RG_F32);
}

TEST(convert)
{
    static const rg_dtype from[] = { RG_F32, RG_F16, RG_BF16, RG_F64, RG_F8_E4M3, RG_F8_E5M2 };
    compare("convert", convert, 18, 6, from, 0.0);
}

static rg_tensor *copy_integers(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *x = integers(c, t, 33 * 7, 100);

    x = rg_view2(c, x, 33, 7);
    return rg_to(c, rg_clone(c, v ? rg_transpose(c, x, 0, 1) : x), RG_F32);
}

TEST(copy_integers)
{
    static const rg_dtype from[] = { RG_I8, RG_U8, RG_I16, RG_I32, RG_I64, RG_BOOL };
    compare("copy_integers", copy_integers, 2, 6, from, 0.0);
}

static rg_tensor *concat(rg_ctx *c, rg_dtype t, int v)
{
    const int dim = v % 4;
    int64_t a[] = { 2, 5, 3, 7 }, b[] = { 2, 5, 3, 7 };

    b[dim] = 4;
    rg_tensor *x = numbers(c, t, v < 4 ? ROWS : PICTURE, 1.0, 4, a), *y = numbers(c, v < 8 ? t : RG_F32, TURNED, 1.0, 4, b);
    return rg_concat_n(c, (const rg_tensor *const[]){ x, y, x }, 3, dim);
}
TEST(concat) { COMPARE(concat, 12, 1); }

static rg_tensor *copy_into(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *x = N3(c, t, ROWS, 4, 6, 10), *part = rg_slice(c, x, 2, 3, 8);

    rg_copy_into(c, part, v ? N2(c, RG_F32, ROWS, 6, 1) : N3(c, t, TURNED, 4, 6, 5));
    return x;
}
TEST(copy_into) { COMPARE(copy_into, 2, 1); }

static rg_tensor *pad2d(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *x = N4(c, t, v < 3 ? ROWS : v < 6 ? PICTURE : TURNED, 2, 3, 5, 4);
    return rg_pad2d(c, x, 1, 4, 2, 0, (rg_pad_mode)(v % 3));
}
TEST(pad2d) { COMPARE(pad2d, 9, 0); }

static rg_tensor *embedding(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *table = N2(c, t, v % 2 ? PADDED : ROWS, 37, 19), *ids = integers(c, v < 2 ? RG_I32 : RG_I64, 24, 37);
    return rg_embedding(c, table, rg_view2(c, ids, 4, 6));
}
TEST(embedding) { COMPARE(embedding, 4, 0); }

static rg_tensor *binary(rg_ctx *c, rg_dtype t, int v)
{
    static rg_tensor *(*const ops[])(rg_ctx *, const rg_tensor *, const rg_tensor *) = { rg_add, rg_sub, rg_mul, rg_div, rg_maximum, rg_minimum };
    rg_tensor *a, *b;

    switch (v / 6) {
    case 0: a = N3(c, t, ROWS, 3, 5, 7), b = N3(c, t, ROWS, 3, 5, 7); break;
    case 1: a = N4(c, t, PICTURE, 2, 9, 6, 5), b = N4(c, RG_F32, TURNED, 2, 9, 6, 5); break;
    case 2: a = N3(c, t, PADDED, 3, 5, 7), b = N2(c, t, ROWS, 5, 1); break;
    case 3: a = N2(c, t, ROWS, 5, 1), b = N3(c, t, TURNED, 3, 1, 7); break;
    default: a = N2(c, t, ROWS, 301, 257), b = N1(c, t, ROWS, 1); break;
    }
    return ops[v % 6](c, a, b);
}
TEST(binary)                            /* one float operation, one rounding: the same bits */
{
    COMPARE(binary, 30, 0);
    compare("binary", binary, 30, 1, (const rg_dtype[]){ RG_F64 }, 1);
}

static rg_tensor *scalar(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *x = numbers(c, t, (layout)(v % 3), 3.0, 3, (const int64_t[]){ 3, 41, 301 });

    switch (v / 3) {
    case 0: return rg_affine(c, x, 1.7f, -0.3f);
    case 1: return rg_affine(c, x, 1.0f, 0.3f);
    case 2: return rg_affine(c, x, -0.1f, 0.0f);
    case 3: return rg_div_scalar(c, x, 0.7f);
    case 4: return rg_add_scaled(c, x, numbers(c, t, v % 2 ? TURNED : PADDED, 3.0, 3, (const int64_t[]){ 3, 41, 301 }), 0.37f);
    default: return rg_clamp(c, x, -0.5f, 1.25f);
    }
}
TEST(scalar)
{
    COMPARE(scalar, 18, 0);
    compare("scalar", scalar, 18, 1, (const rg_dtype[]){ RG_F64 }, 1);
}

static rg_tensor *unary(rg_ctx *c, rg_dtype t, int v)
{
    const rg_unary_kind kind = (rg_unary_kind)(v % RG_N_UNARY);
    rg_tensor *x = numbers(c, t, v < RG_N_UNARY ? ROWS : v < 2 * RG_N_UNARY ? PADDED : TURNED, v < RG_N_UNARY ? 4.0 : 1.0, 2, (const int64_t[]){ 67, 53 });

    if (kind == RG_LOG || kind == RG_SQRT || kind == RG_RECIPROCAL)
        x = rg_affine(c, rg_unary(c, x, RG_ABS), 1.0f, 0.25f);
    return rg_unary(c, x, kind);
}
TEST(unary)
{
    COMPARE(unary, 3 * RG_N_UNARY, 1);
    compare("unary", unary, RG_N_UNARY, 1, (const rg_dtype[]){ RG_F64 }, 1);
}

static rg_tensor *gated_unary(rg_ctx *c, rg_dtype t, int v)
{
    return rg_gated_unary(c, N3(c, t, v % 2 ? PADDED : ROWS, 2, 9, 33), N3(c, t, v % 2 ? TURNED : PADDED, 2, 9, 33),
                          v < 2 ? RG_GELU_TANH : v < 4 ? RG_SILU : RG_GELU);
}
TEST(gated_unary) { COMPARE(gated_unary, 6, 1); }

static rg_tensor *reduce(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *x = N4(c, t, v % 2 ? TURNED : PICTURE, 2, 7, 5, 67);
    return v < 8 ? rg_sum(c, x, v / 2, v % 2) : v < 16 ? rg_mean(c, x, v / 2 - 4, v % 2) : rg_softmax(c, x, v / 2 - 8);
}
TEST(reduce) { COMPARE(reduce, 24, 1); }

/* ---- products --------------------------------------------------------------------------------------------------------------- */

static const struct { int64_t M, n_in, n_out; } linear_sizes[] = {
    { 1, 5, 3 }, { 2, 257, 131 }, { 5, 64, 48 }, { 17, 33, 65 }, { 77, 128, 384 }, { 131, 200, 96 }, { 300, 96, 515 }, { 1, 1, 7 },    /* 7 outputs: one alone may cancel with its bias */
};

static rg_tensor *linear(rg_ctx *c, rg_dtype t, int v)
{
    static const rg_dtype weights[] = { RG_F32, RG_BF16, RG_F16, RG_F8_E4M3, RG_F8_E5M2 };
    const int64_t M = linear_sizes[v % 8].M, n_in = linear_sizes[v % 8].n_in, n_out = linear_sizes[v % 8].n_out;
    const int kind = v / 8;
    const double gain = 1.0 / sqrt((double)n_in);
    rg_linear_weight w = { NULL, NULL, NULL };

    /* kinds: own dtype; with bias; each other weight dtype; a column slice; a scaled fp8 weight; activations */
    const rg_dtype wt = kind < 2 ? t : kind < 7 ? weights[kind - 2] : kind == 8 ? RG_F8_E4M3 : t;
    w.weight = numbers(c, wt, kind == 7 ? PADDED : ROWS, kind == 8 ? 1.0 : gain, 2, (const int64_t[]){ n_out, n_in });
    if (kind >= 1)
        w.bias = numbers(c, kind % 2 ? t : RG_BF16, ROWS, 0.5, 1, (const int64_t[]){ n_out });
    if (kind == 8)
        w.scale = numbers(c, RG_F32, ROWS, gain, 0, NULL);
    rg_tensor *x = v % 2 ? N3(c, t, PADDED, 1, M, n_in) : N2(c, t, ROWS, M, n_in);
    return kind < 9 ? rg_linear(c, &w, x) : rg_linear_unary(c, &w, x, kind == 9 ? RG_GELU_TANH : kind == 10 ? RG_SILU :
                                                           kind == 11 ? RG_QUICK_GELU : kind == 12 ? RG_GELU : RG_TANH);
}
TEST(linear) { COMPARE(linear, 8 * 14, 1); }

static rg_tensor *linear_empty(rg_ctx *c, rg_dtype t, int v)
{
    rg_linear_weight w = { v ? N2(c, t, ROWS, 5, 8) : N2(c, t, ROWS, 5, 0), N1(c, t, ROWS, 5), NULL };
    return rg_linear(c, &w, v ? N2(c, t, ROWS, 0, 8) : N2(c, t, ROWS, 3, 0));
}
TEST(linear_empty) { COMPARE(linear_empty, 2, 1); }

/* Rows 2.. and columns 3.. of a zero buffer: what lies around the place must stay zero. */
static rg_tensor *place(rg_ctx *c, rg_dtype t, int64_t B, int64_t M, int64_t n, rg_tensor **whole)
{
    *whole = rg_tensor_zeros(c, t, 3, (const int64_t[]){ B, M + 3, n + 5 });
    return rg_slice(c, rg_slice(c, *whole, 1, 2, 2 + M), 2, 3, 3 + n);
}

static rg_tensor *linear_into(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t B = 1 + v % 2, M = v / 2 % 2 ? 1 : 37, n_in = 65, n_out = 48;
    const rg_linear_weight w = { numbers(c, v / 4 % 2 ? RG_BF16 : t, ROWS, 0.1, 2, (const int64_t[]){ n_out, n_in }), N1(c, t, ROWS, n_out), NULL };
    const rg_tensor *x = N3(c, t, v / 4 % 2 ? PADDED : ROWS, B, M, n_in);
    rg_tensor *whole, *dst = place(c, t, B, M, n_out, &whole);

    if (v < 8)
        rg_linear_into(c, dst, &w, x);
    else
        rg_linear_unary_into(c, dst, &w, x, v < 16 ? RG_GELU_TANH : RG_TANH);
    return whole;
}
TEST(linear_into) { COMPARE(linear_into, 24, 1); }

static rg_tensor *matmul(rg_ctx *c, rg_dtype t, int v)
{
    switch (v) {
    case 0: return rg_matmul(c, N2(c, t, ROWS, 33, 65), N2(c, t, ROWS, 65, 47));
    case 1: return rg_matmul(c, N4(c, t, PADDED, 2, 3, 17, 40), N4(c, t, TURNED, 2, 3, 40, 29));
    case 2: return rg_matmul(c, N3(c, t, TURNED, 3, 9, 20), N2(c, t, ROWS, 20, 130));
    case 3: return rg_matmul(c, N4(c, t, ROWS, 2, 1, 1, 8), N3(c, t, PADDED, 5, 8, 1));
    case 4: return rg_matmul(c, rg_permute4(c, N4(c, t, ROWS, 2, 11, 4, 16), 0, 2, 1, 3), rg_permute4(c, N4(c, t, ROWS, 2, 13, 4, 16), 0, 2, 3, 1));
    case 5: return rg_matmul(c, rg_permute3(c, N3(c, t, ROWS, 9, 30, 5), 2, 0, 1), N3(c, t, ROWS, 5, 30, 7));
    default: return rg_matmul(c, N2(c, t, ROWS, 200, 300), N2(c, t, TURNED, 300, 260));
    }
}
TEST(matmul) { COMPARE(matmul, 7, 1); }

/* Sizes that a GPU's blocks and packs of 16 bytes see otherwise than the small ones: several blocks, whole packs, tails. */
static rg_tensor *large(rg_ctx *c, rg_dtype t, int v)
{
    switch (v) {
    case 0: return rg_add_scaled(c, N2(c, t, ROWS, 64, 1024), N2(c, t, ROWS, 64, 1024), 0.37f);
    case 1: return rg_sum(c, N3(c, t, ROWS, 3, 5000, 2), 1, false);
    case 2: return rg_mean(c, N2(c, t, ROWS, 9, 5001), 1, true);
    case 3: return rg_group_norm(c, N4(c, t, PICTURE, 2, 64, 19, 33), 32, N1(c, t, ROWS, 64), N1(c, t, ROWS, 64), 1e-6f, true);
    case 4: return rg_group_norm(c, rg_affine(c, N4(c, t, ROWS, 1, 4, 72, 64), 1.0f, 8.0f), 2, NULL, NULL, 1e-6f, false);
    case 5: return rg_softmax(c, N2(c, t, ROWS, 5, 3001), 1);
    default: return rg_gated_add(c, N3(c, t, ROWS, 2, 65, 256), N2(c, RG_F32, ROWS, 2, 256), N3(c, t, ROWS, 2, 65, 256));
    }
}
TEST(large) { COMPARE(large, 7, 2); }   /* float32 sums of thousands, in whatever order */

static const struct { int64_t B, H, Hkv, N, M, D, Dv; } attention_sizes[] = {
    { 1, 2, 2, 5, 5, 8, 8 },      { 2, 3, 3, 17, 17, 64, 64 },    { 1, 4, 2, 33, 77, 40, 24 },   { 1, 1, 1, 1, 1, 16, 16 },
    { 1, 2, 2, 130, 130, 128, 128 }, { 2, 2, 1, 70, 600, 16, 32 }, { 1, 1, 1, 150, 150, 512, 512 }, { 1, 2, 2, 257, 257, 20, 20 },
};

static rg_tensor *attention(rg_ctx *c, rg_dtype t, int v)
{
    const int i = v % 8, kind = v / 8;
    const int64_t B = attention_sizes[i].B, H = attention_sizes[i].H, Hkv = attention_sizes[i].Hkv, N = attention_sizes[i].N;
    const int64_t M = attention_sizes[i].M, D = attention_sizes[i].D, Dv = attention_sizes[i].Dv;
    const rg_tensor *bias = NULL;
    rg_tensor *q, *k, *value;

    if (kind == 1) {                    /* heads behind tokens, as a qkv projection leaves them */
        q = rg_permute4(c, N4(c, t, ROWS, B, N, H, D), 0, 2, 1, 3);
        k = rg_permute4(c, N4(c, t, PADDED, B, M, Hkv, D), 0, 2, 1, 3);
        value = rg_permute4(c, N4(c, t, ROWS, B, M, Hkv, Dv), 0, 2, 1, 3);
    } else {
        q = N4(c, t, kind == 2 ? TURNED : ROWS, B, H, N, D);
        k = N4(c, t, kind == 3 ? TURNED : ROWS, B, Hkv, M, D);
        value = N4(c, t, kind == 4 ? TURNED : PADDED, B, Hkv, M, Dv);
    }
    if (kind == 2)                      /* T5's: one per head */
        bias = N4(c, RG_F32, ROWS, 1, H, N, M);
    if (kind == 3) {                    /* a padding mask: the last third of the keys is not seen */
        rg_tensor *mask = rg_new4(c, t, B, 1, 1, M);
        rg_copy_into(c, mask, rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, 0.0));
        if (M > 2)
            rg_copy_into(c, rg_slice(c, mask, 3, M - M / 3, RG_TO_END), rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, -INFINITY));
        bias = mask;
    }
    if (kind == 4)                      /* dtype of q, broken strides */
        bias = N4(c, t, TURNED, B, 1, N, M);
    if (kind == 6) {
        rg_tensor *whole, *dst = place(c, t, B, N, H * Dv, &whole);
        rg_attention_into(c, dst, q, k, value, NULL, 0.0f, false);
        return whole;
    }
    return rg_attention(c, q, k, value, bias, kind == 2 ? 0.3f : 0.0f, kind >= 5 && N == M);
}
TEST(attention)                         /* bf16 probabilities round once more on the way */
{
    COMPARE(attention, 8 * 7, 2);
}

static const struct { int64_t B, C, O, H, W; int K, stride, padding; } conv_sizes[] = {
    { 1, 3, 5, 7, 9, 3, 1, 1 },    { 2, 16, 32, 13, 11, 3, 1, 1 },  { 1, 32, 16, 16, 16, 3, 2, 0 }, { 1, 8, 24, 9, 9, 1, 1, 0 },
    { 2, 4, 4, 12, 10, 5, 3, 2 },  { 1, 64, 64, 40, 24, 3, 1, 1 },  { 1, 16, 3, 33, 5, 3, 1, 1 },   { 1, 1, 1, 3, 3, 3, 1, 0 },
    { 1, 5, 7, 3, 3, 1, 1, 2 },    { 1, 32, 32, 130, 20, 3, 1, 1 }, { 1, 4, 8, 6, 7, 2, 2, 0 },     { 1, 16, 16, 1, 1, 3, 1, 1 },
};

static rg_tensor *conv2d(rg_ctx *c, rg_dtype t, int v)
{
    const int i = v % 12, kind = v / 12;
    const int64_t C = conv_sizes[i].C, O = conv_sizes[i].O;
    rg_tensor *x = N4(c, t, kind == 0 ? PICTURE : kind == 1 ? ROWS : TURNED, conv_sizes[i].B, C, conv_sizes[i].H, conv_sizes[i].W);
    const rg_conv_weight w = { numbers(c, kind == 2 ? RG_F16 : t, ROWS, 1.0 / sqrt((double)(C * conv_sizes[i].K * conv_sizes[i].K)), 4,
                                       (const int64_t[]){ O, C, conv_sizes[i].K, conv_sizes[i].K }),
                               kind == 1 ? NULL : N1(c, kind == 2 ? RG_BF16 : t, ROWS, O) };
    rg_tensor *y = rg_conv2d(c, &w, x, conv_sizes[i].stride, conv_sizes[i].padding);

    if (y && !rg_is_channels_last(y))
        test_fail(__FILE__, __LINE__, "conv2d gave a result that is not channels-last");
    return y;
}
TEST(conv2d) { COMPARE(conv2d, 36, 1); }

/* ---- norms and fused steps ------------------------------------------------------------------------------------------------------ */

static rg_tensor *layer_norm(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t D = v % 3 == 0 ? 7 : v % 3 == 1 ? 192 : 1531;
    rg_tensor *x = rg_affine(c, N3(c, t, v < 3 ? ROWS : v < 6 ? PADDED : TURNED, 2, 9, D), 1.0f, 0.75f);

    return rg_layer_norm(c, x, v / 3 % 2 ? N1(c, t, ROWS, D) : NULL, v / 3 ? N1(c, RG_BF16, ROWS, D) : NULL, 1e-6f);
}
TEST(layer_norm) { COMPARE(layer_norm, 9, 1); }

static rg_tensor *rms_norm(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t D = v % 3 == 0 ? 7 : v % 3 == 1 ? 192 : 1531;

    return rg_rms_norm(c, N3(c, t, v < 3 ? ROWS : v < 6 ? PADDED : TURNED, 2, 9, D), v / 3 ? N1(c, RG_BF16, ROWS, D) : NULL, 1e-5f);
}
TEST(rms_norm) { COMPARE(rms_norm, 9, 1); }

static rg_tensor *group_norm(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t C = v % 3 == 0 ? 6 : v % 3 == 1 ? 64 : 96, HW = v % 3 == 2 ? 37 : 5;
    rg_tensor *x = N4(c, t, v < 3 ? ROWS : v < 6 ? PICTURE : TURNED, 2, C, HW, 9);
    rg_tensor *y = rg_group_norm(c, rg_affine(c, x, 1.0f, 2.0f), v % 3 == 0 ? 3 : 32, v / 3 ? N1(c, t, ROWS, C) : NULL,
                                 v / 3 ? N1(c, RG_F32, ROWS, C) : NULL, 1e-6f, v % 2);

    if (y && v >= 3 && v < 6 && !rg_is_channels_last(y))
        test_fail(__FILE__, __LINE__, "group_norm lost the memory format");
    return y;
}
TEST(group_norm) { COMPARE(group_norm, 9, 1); }

static rg_tensor *modulated_norm(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t D = v % 2 ? 192 : 77;
    rg_tensor *x = N3(c, t, v < 2 ? ROWS : PADDED, 2, 11, D);

    return rg_modulated_norm(c, x, v < 2 ? N3(c, t, ROWS, 2, 1, D) : N2(c, t, PADDED, v < 4 ? 2 : 1, D), N2(c, RG_F32, ROWS, 2, D), 1e-6f);
}
TEST(modulated_norm) { COMPARE(modulated_norm, 6, 1); }

static rg_tensor *gated_add(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t D = v % 2 ? 192 : 77;
    rg_tensor *x = N3(c, t, v < 2 ? ROWS : TURNED, 2, 11, D);

    rg_tensor *gate = v < 2 ? N3(c, t, ROWS, 2, 1, D) : N2(c, v < 6 ? t : RG_F32, PADDED, v < 4 ? 2 : 1, D);
    return rg_gated_add(c, x, gate, N3(c, t, PADDED, 2, 11, D));
}
TEST(gated_add) { COMPARE(gated_add, 8, 1); }

static rg_tensor *norm_rope(rg_ctx *c, rg_dtype t, int v)
{
    const int64_t B = 2, H = 3, N = 13, D = v % 2 ? 128 : 20;
    rg_tensor *x = v < 4 ? N4(c, t, ROWS, B, H, N, D) : rg_permute4(c, N4(c, t, PADDED, B, N, H, D), 0, 2, 1, 3);
    rg_tensor *ids = numbers(c, RG_F32, ROWS, 20.0, 3, (const int64_t[]){ v % 3 ? B : 1, N, 2 });
    const int axes[] = { (int)D / 2 - (int)D / 2 % 2, (int)D - ((int)D / 2 - (int)D / 2 % 2) };

    if (v >= 8) {                       /* over its operand, or into the middle tokens of a longer sequence */
        rg_tensor *wide = v % 2 ? rg_tensor_zeros(c, t, 4, (const int64_t[]){ B, H, N + 4, D }) : x;
        rg_norm_rope_into(c, v % 2 ? rg_slice(c, wide, 2, 3, 3 + N) : x, x, N1(c, t, ROWS, D), 1e-6f, rg_rope_table(c, ids, axes, 2, 10000.0));
        return wide;
    }
    return rg_norm_rope(c, x, v / 2 % 2 ? N1(c, t, ROWS, D) : NULL, 1e-6f, v == 3 ? NULL : rg_rope_table(c, ids, axes, 2, 10000.0));
}
TEST(norm_rope) { COMPARE(norm_rope, 14, 1); }

static rg_tensor *rope_table(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *ids = numbers(c, RG_F32, v ? TURNED : ROWS, 50.0, 3, (const int64_t[]){ 2, 31, 3 });
    return rg_rope_table(c, ids, (const int[]){ 16, 56, 56 }, 3, 10000.0);
}
TEST(rope_table) { compare("rope_table", rope_table, 2, 1, floats, 1); }

static rg_tensor *timestep_embedding(rg_ctx *c, rg_dtype t, int v)
{
    rg_tensor *times = rg_unary(c, N1(c, RG_F32, ROWS, 5), RG_ABS);
    return rg_timestep_embedding(c, times, v ? 256 : 6, 10000.0f, 1000.0f);
}
TEST(timestep_embedding) { compare("timestep_embedding", timestep_embedding, 2, 1, floats, 1); }

static rg_tensor *interpolate(rg_ctx *c, rg_dtype t, int v)
{
    static const struct { int64_t h, w; } sizes[] = { { 5, 14 }, { 10, 14 }, { 3, 3 }, { 13, 29 }, { 1, 1 } };
    rg_tensor *x = N4(c, t, v < 25 ? ROWS : v < 50 ? PICTURE : TURNED, 2, 5, 5, 7);

    return rg_interpolate(c, x, sizes[v % 5].h, sizes[v % 5].w, (rg_interp)(v / 5 % 5));
}
TEST(interpolate) { COMPARE(interpolate, 75, 1); }

static rg_tensor *upsample(rg_ctx *c, rg_dtype t, int v)
{
    return rg_upsample_nearest2x(c, N4(c, t, v ? PICTURE : ROWS, 2, 17, 5, 6));
}
TEST(upsample) { COMPARE(upsample, 2, 0); }
