/*
 * Linear layers and matrix products in oneDNN tiles (dnn.h). The weight is read as the checkpoint stores it, [n_out, n_in],
 * without a packed copy: on large products that costs 3% (docs/speed.md). A weight of another dtype is widened on the
 * way, for the larger ones in blocks that stay in cache. Few rows (a timestep's modulation) are bound by reading the weight: matrix times vector.
 */
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/cpu/dnn.h"
#include "engine/cpu/fast.h"
#include "engine/cpu/rows.h"
#include "engine/ops/define.h"

enum {
    GEMV_MAX_ROWS = 4,                  /* up to here reading the weight once per row is faster than packing it */
    GEMV_BLOCK = 16,                    /* weight rows that stay in L2 while all rows of x pass */
    WHOLE_BYTES = 4 << 20,              /* a widened weight up to here is made whole */
    OWN_BYTES = 6 << 20                 /* else so much at a time by each thread */
};

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void rg_cpu_tiles(int64_t M, int64_t N, int64_t K, int64_t *tile_m, int64_t *tile_n)
{
    /* tall ones first: the weight is rearranged once per tile, which is paid back by its rows; columns in whole vectors of 64 */
    static const struct { int64_t m, n; } ladder[] = { { 1024, 512 }, { 512, 512 }, { 512, 256 }, { 256, 256 }, { 256, 192 }, { 128, 192 } };
    enum { STEPS = sizeof ladder / sizeof ladder[0], ENOUGH_TILES = 16 };
    int i = 0;

    while (i + 1 < STEPS && divide_up(M, ladder[i].m) * divide_up(N, ladder[i].n) < ENOUGH_TILES &&
           2.0 * (double)(ladder[i + 1].m * ladder[i + 1].n) * (double)K >= 16e6)
        i++;
    *tile_m = smaller(M, divide_up(divide_up(M, divide_up(M, ladder[i].m)), 16) * 16);      /* equal shares */
    *tile_n = smaller(N, divide_up(divide_up(N, divide_up(N, ladder[i].n)), 64) * 64);
}

const rg_tensor *rg_cpu_as(rg_ctx *c, const rg_tensor *x, rg_dtype dtype)
{
    if (!x || (x->dtype == dtype && rg_is_contiguous(x)))
        return x;
    rg_tensor *t = rg_tensor_new(c, dtype, x->n_dims, x->shape);
    if (t)
        rg_cpu_copy(c, t, x);
    return t;
}

char *rg_cpu_scratch(rg_ctx *c, size_t nbytes, int *n_threads)
{
    const size_t each = (nbytes + 63) / 64 * 64;

    *n_threads = omp_get_max_threads();
    rg_tensor *t = rg_new1(c, RG_U8, (int64_t)(each ? each : 64) * *n_threads);
    return t ? t->data : NULL;
}

int rg_cpu_thread(void)
{
    return omp_get_thread_num();
}

/* ---- many products of one shape, in tiles --------------------------------------------------------------------------- */

/* Base pointers of one product: out[M, N] = a[M, K] b[K, N]. */
typedef struct product {
    const char *a, *b;
    const float *bias;
    char *out;
} product;

/* One product cut up: full tiles, a short last row, a short last column, and both: at most four primitives. */
typedef struct tiling {
    const rg_gemm_shape *whole;
    int64_t m, n, n_m, n_n;             /* sizes of a full tile; how many */
    rg_dnn *kinds[2][2];
    size_t scratch_bytes;
} tiling;

static void tiling_init(rg_ctx *c, tiling *t, const rg_gemm_shape *whole, int64_t m, int64_t n)
{
    *t = (tiling){ .whole = whole, .m = m, .n = n, .n_m = divide_up(whole->M, m), .n_n = divide_up(whole->N, n) };
    const int64_t sizes_m[] = { m, whole->M - (t->n_m - 1) * m }, sizes_n[] = { n, whole->N - (t->n_n - 1) * n };

    for (int i = 0; i < 4; i++) {
        rg_gemm_shape s = *whole;
        s.M = sizes_m[i / 2];
        s.N = sizes_n[i % 2];
        rg_dnn *kind = t->kinds[i / 2][i % 2] = rg_dnn_gemm(c, &s);
        if (kind && rg_dnn_scratch(kind) > t->scratch_bytes)
            t->scratch_bytes = rg_dnn_scratch(kind);
    }
}

/* Tile (i, j); b holds the tile's columns alone if is_b_own. */
static bool tiling_run(const tiling *t, const product *p, int64_t i, int64_t j, const char *b, bool is_b_own, char *scratch)
{
    const rg_gemm_shape *s = t->whole;
    const int64_t size = (int64_t)rg_dtype_size(s->dtype);

    return rg_dnn_run(t->kinds[i == t->n_m - 1][j == t->n_n - 1], p->a + i * t->m * s->a_row * size,
                      is_b_own ? b : b + j * t->n * s->b_col * size, p->bias ? p->bias + j * t->n : NULL,
                      p->out + (i * t->m * s->out_row + j * t->n) * (int64_t)rg_dtype_size(s->out_dtype), scratch);
}

static void tiling_end(rg_ctx *c, tiling *t, bool has_failed)
{
    for (int i = 0; i < 4; i++)
        rg_dnn_release(t->kinds[i / 2][i % 2]);
    if (has_failed)
        rg_fail(c, RG_ERR_DEVICE, "oneDNN failed in a product of %lld x %lld x %lld", (long long)t->whole->M, (long long)t->whole->N,
                (long long)t->whole->K);
}

static void run_tiles(rg_ctx *c, const rg_gemm_shape *whole, const product *products, int64_t n_products)
{
    int64_t m, n;
    tiling t;
    int n_threads;
    atomic_bool failed = false;

    if (whole->M == 0 || whole->N == 0)
        return;
    rg_cpu_tiles(whole->M, whole->N, whole->K, &m, &n);
    tiling_init(c, &t, whole, m, n);
    char *scratch = rg_cpu_scratch(c, t.scratch_bytes, &n_threads);

    if (!c->error) {
        const int64_t per_product = t.n_m * t.n_n, n_tiles = n_products * per_product;

#pragma omp parallel num_threads(n_threads) if (n_tiles > 1)
        {
            char *const own = scratch + (size_t)omp_get_thread_num() * t.scratch_bytes;

            rg_dnn_enter();
#pragma omp for schedule(dynamic, 1)
            for (int64_t k = 0; k < n_tiles; k++) {     /* down the rows first: the weight's columns stay in cache */
                const product *p = &products[k / per_product];
                if (!tiling_run(&t, p, k % t.n_m, k % per_product / t.n_m, p->b, false, own))
                    atomic_store(&failed, true);
            }
        }
    }
    tiling_end(c, &t, atomic_load(&failed));
}

/* ---- linear --------------------------------------------------------------------------------------------------------------- */

/* bf16 holds every fp8 value exactly: 256 of them are a table. */
static void fp8_table(rg_dtype dtype, uint16_t table[256])
{
    uint8_t bytes[256];
    float values[256];

    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    rg_simd_get()->widen(values, bytes, dtype, 256);
    rg_simd_get()->narrow(table, values, RG_BF16, 256);
}

/* Weights of one dtype to be had in another. */
typedef struct widening {
    const rg_tensor *weight;            /* last dim without gaps */
    rg_dtype dtype;
    bool has_table;
    uint16_t table[256];
} widening;

static void widening_init(widening *w, const rg_tensor *weight, rg_dtype dtype)
{
    w->weight = weight;
    w->dtype = dtype;
    w->has_table = dtype == RG_BF16 && (weight->dtype == RG_F8_E4M3 || weight->dtype == RG_F8_E5M2);
    if (w->has_table)
        fp8_table(weight->dtype, w->table);
}

/* Rows first..last-1, row-major. */
static void widening_run(const widening *w, int64_t first, int64_t last, char *out)
{
    const int64_t K = w->weight->shape[1], from_size = (int64_t)rg_dtype_size(w->weight->dtype), size = (int64_t)rg_dtype_size(w->dtype);
    const rg_simd *simd = rg_simd_get();

    for (int64_t r = first; r < last; r++) {
        const char *row = (const char *)w->weight->data + r * w->weight->stride[0] * from_size;
        char *to = out + (r - first) * K * size;

        if (w->dtype == RG_F32)
            simd->widen((float *)to, row, w->weight->dtype, K);
        else if (w->has_table)
            for (int64_t k = 0; k < K; k++)
                ((uint16_t *)to)[k] = w->table[((const uint8_t *)row)[k]];
        else
            for (int64_t k = 0; k < K; k += ROWS_PIECE) {
                float piece[ROWS_PIECE];
                const int64_t n = smaller(K - k, ROWS_PIECE);
                simd->widen(piece, row + k * from_size, w->weight->dtype, n);
                simd->narrow(to + k * size, piece, w->dtype, n);
            }
    }
}

/*
 * A product with a weight of another dtype. A small weight is widened whole, then multiplied in the usual tiles. Of a large one
 * each task widens a few output columns, which stay in its cache, and passes all rows of x by them.
 */
static void run_widened(rg_ctx *c, const rg_gemm_shape *whole, const product *p, const rg_tensor *weight)
{
    const int64_t N = whole->N, K = whole->K, size = (int64_t)rg_dtype_size(whole->dtype);
    int64_t m = divide_up(divide_up(whole->M, divide_up(whole->M, 1024)), 16) * 16, n = 512;
    widening w;
    tiling t;
    int n_threads;
    atomic_bool failed = false;

    widening_init(&w, weight, whole->dtype);
    if (N * K * size <= WHOLE_BYTES) {
        rg_tensor *wide = rg_new2(c, whole->dtype, N, K);
        product q = *p;

        if (!wide)
            return;
#pragma omp parallel for schedule(static) if (N * K > ROWS_SERIAL)
        for (int64_t i = 0; i < 32; i++)
            widening_run(&w, N * i / 32, N * (i + 1) / 32, (char *)wide->data + N * i / 32 * K * size);
        q.b = wide->data;
        run_tiles(c, whole, &q, 1);
        return;
    }

    while (n > 64 && (divide_up(N, n) < 16 || n * K * size > OWN_BYTES))
        n /= 2;
    n = smaller(n, N);
    tiling_init(c, &t, whole, smaller(m, whole->M), n);
    const size_t own_bytes = ((size_t)(n * K * size) + 63) / 64 * 64;
    char *scratch = rg_cpu_scratch(c, own_bytes + t.scratch_bytes, &n_threads);

    if (!c->error) {
#pragma omp parallel num_threads(n_threads) if (t.n_n > 1)
        {
            char *const own = scratch + (size_t)omp_get_thread_num() * (own_bytes + t.scratch_bytes);

            rg_dnn_enter();
#pragma omp for schedule(dynamic, 1)
            for (int64_t j = 0; j < t.n_n; j++) {
                widening_run(&w, j * n, smaller((j + 1) * n, N), own);
                for (int64_t i = 0; i < t.n_m; i++)
                    if (!tiling_run(&t, p, i, j, own, true, own + own_bytes))
                        atomic_store(&failed, true);
            }
        }
    }
    tiling_end(c, &t, atomic_load(&failed));
}

/* From row to row of out: it is row-major, or a matrix with gaps between rows. */
static int64_t pitch_of(const rg_tensor *out)
{
    return rg_is_contiguous(out) ? rg_dim(out, -1) : out->stride[0];
}

static void few_rows(rg_ctx *c, rg_tensor *out, const rg_tensor *weight, const float *bias, float scale, const rg_tensor *x, int unary_kind)
{
    const int64_t K = weight->shape[1], N = weight->shape[0], M = rg_numel(out) / N, pitch = pitch_of(out);
    const rg_tensor *wide_x = rg_cpu_as(c, x, RG_F32);
    const rg_simd *simd = rg_simd_get();
    const size_t out_size = rg_dtype_size(out->dtype);

    if (!wide_x)
        return;
#pragma omp parallel for schedule(static) if (N * K > ROWS_SERIAL)
    for (int64_t n = 0; n < N; n += GEMV_BLOCK) {
        const int64_t count = smaller(GEMV_BLOCK, N - n);

        for (int64_t m = 0; m < M; m++) {
            float v[GEMV_BLOCK];
            simd->gemv(v, (const char *)weight->data + n * K * (int64_t)rg_dtype_size(weight->dtype), weight->dtype,
                       (const float *)wide_x->data + m * K, K, count);
            for (int64_t i = 0; i < count; i++)
                v[i] = v[i] * scale + (bias ? bias[n + i] : 0.0f);
            if (unary_kind >= 0)
                simd->unary(v, v, count, (rg_unary_kind)unary_kind);
            simd->narrow((char *)out->data + (size_t)(m * pitch + n) * out_size, v, out->dtype, count);
        }
    }
}

static void many_rows(rg_ctx *c, rg_tensor *out, const rg_tensor *weight, const float *bias, float scale, const rg_tensor *x,
                      rg_dtype dtype, int unary_kind)
{
    const int64_t K = weight->shape[1], N = weight->shape[0], M = rg_numel(out) / N;
    const bool is_ready = weight->dtype == dtype && weight->stride[1] == 1;
    const rg_tensor *in = rg_cpu_as(c, x, dtype);
    rg_tensor *result = out->dtype == dtype ? out : rg_new2(c, dtype, M, N);
    const int64_t pitch = result == out ? pitch_of(out) : N;
    const int fused = unary_kind >= 0 && rg_dnn_has_unary(unary_kind) ? unary_kind : -1;

    if (!c->error) {
        const rg_gemm_shape s = { .M = M, .N = N, .K = K, .a_row = K, .a_col = 1, .b_row = 1, .b_col = is_ready ? weight->stride[0] : K,
                                  .out_row = pitch, .dtype = dtype, .out_dtype = dtype, .has_bias = bias != NULL, .unary_kind = fused,
                                  .scale = scale };
        const product p = { .a = in->data, .b = weight->data, .bias = bias, .out = result->data };

        if (is_ready)
            run_tiles(c, &s, &p, 1);
        else
            run_widened(c, &s, &p, weight);
    }
    if (!c->error && unary_kind >= 0 && fused < 0)
        rg_cpu_unary(c, result, result, (rg_unary_kind)unary_kind);
    if (!c->error && result != out) {
        rg_tensor shaped = *result;     /* with out's dims */
        int64_t stride = 1;
        shaped.n_dims = out->n_dims;
        for (int d = out->n_dims - 1; d >= 0; d--) {
            shaped.shape[d] = out->shape[d];
            shaped.stride[d] = stride;
            stride *= out->shape[d];
        }
        rg_cpu_copy(c, out, &shaped);
    }
}

void rg_cpu_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    const int64_t K = w->weight->shape[1], N = w->weight->shape[0];
    const float scale = w->scale ? (float)rg_get(w->scale, 0) : 1.0f;

    if (rg_numel(out) == 0)
        return;
    if (!rg_rows_as_float(x) || !rg_rows_as_float(w->weight) || K == 0 || scale == 0.0f) {
        rg_def_linear(c, out, w, x, unary_kind);
        return;
    }

    const int scope = rg_scope_begin(c);
    const rg_tensor *weight = w->weight->stride[1] == 1 ? w->weight : rg_cpu_as(c, w->weight, w->weight->dtype);
    const float *bias = rg_rows_vector(c, w->bias);

    if (c->error)
        ;
    else if (rg_numel(out) / N <= GEMV_MAX_ROWS && weight->stride[0] == K)
        few_rows(c, out, weight, bias, scale, x, unary_kind);
    else {
        if (scale != 1.0f && bias) {    /* oneDNN scales the sum, bias and all */
            rg_tensor *b = rg_new1(c, RG_F32, N);
            for (int64_t i = 0; b && i < N; i++)
                ((float *)b->data)[i] = bias[i] / scale;
            bias = b ? b->data : NULL;
        }
        if (!c->error)
            many_rows(c, out, weight, bias, scale, x, x->dtype == RG_BF16 && rg_dnn_has(RG_BF16) ? RG_BF16 : RG_F32, unary_kind);
    }
    rg_scope_end(c, scope, NULL);
}

/* ---- matmul ----------------------------------------------------------------------------------------------------------------- */

/* Strides a product can read: one of the last two dims is unit; otherwise a copy. Both in dtype. */
static const rg_tensor *readable(rg_ctx *c, const rg_tensor *t, rg_dtype dtype)
{
    const int64_t rows = t->stride[t->n_dims - 2], cols = t->stride[t->n_dims - 1];

    if (t->dtype == dtype && ((cols == 1 && rows >= t->shape[t->n_dims - 1]) || (rows == 1 && cols >= t->shape[t->n_dims - 2])))
        return t;
    return rg_cpu_as(c, t, dtype);
}

void rg_cpu_matmul(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b)
{
    const int last = out->n_dims - 1;
    const int64_t M = out->shape[last - 1], N = out->shape[last], K = a->shape[last];
    const rg_dtype dtype = a->dtype == RG_BF16 && rg_dnn_has(RG_BF16) ? RG_BF16 : RG_F32;

    if (rg_numel(out) == 0)
        return;
    if (!rg_rows_as_float(a) || !rg_rows_as_float(b) || K == 0) {
        rg_def_matmul(c, out, a, b);
        return;
    }

    const int scope = rg_scope_begin(c);
    const rg_tensor *ra = readable(c, a, dtype), *rb = readable(c, b, dtype);
    rg_tensor *result = out->dtype == dtype ? out : rg_tensor_new(c, dtype, out->n_dims, out->shape);
    const int64_t n = rg_numel(out) / (M * N), size = (int64_t)rg_dtype_size(dtype);
    product *products = rg_calloc((size_t)n, sizeof *products);

    if (!products)
        rg_fail(c, RG_ERR_NOMEM, "no memory for %lld products", (long long)n);
    if (!c->error) {
        const rg_gemm_shape s = { .M = M, .N = N, .K = K, .a_row = ra->stride[last - 1], .a_col = ra->stride[last],
                                  .b_row = rb->stride[last - 1], .b_col = rb->stride[last], .out_row = N, .dtype = dtype,
                                  .out_dtype = dtype, .unary_kind = -1, .scale = 1.0f };
        for (int64_t i = 0; i < n; i++) {
            int64_t at_a = 0, at_b = 0, rest = i;
            for (int d = last - 2; d >= 0; d--) {
                at_a += rest % out->shape[d] * ra->stride[d];
                at_b += rest % out->shape[d] * rb->stride[d];
                rest /= out->shape[d];
            }
            products[i] = (product){ .a = (const char *)ra->data + at_a * size, .b = (const char *)rb->data + at_b * size,
                                     .out = (char *)result->data + i * M * N * size };
        }
        run_tiles(c, &s, products, n);
        if (!c->error && result != out)
            rg_cpu_copy(c, out, result);
    }
    rg_free(products);
    rg_scope_end(c, scope, NULL);
}
