/*
 * Norms, the fused steps around them, and softmax. A row is one task and its sums have a fixed order (simd.h); group norm
 * gathers moments over blocks of pixels of fixed size and joins them in order, in double.
 */
#include <string.h>

#include "engine/cpu/fast.h"
#include "engine/cpu/rows.h"
#include "engine/ops/define.h"

/* Row `index` of x, whose last dim lies without gaps; the leading dims are any. */
static char *row_of(const rg_tensor *x, int64_t index)
{
    int64_t offset = 0;

    for (int d = x->n_dims - 2; d >= 0; d--) {
        offset += index % x->shape[d] * x->stride[d];
        index /= x->shape[d];
    }
    return (char *)x->data + offset * (int64_t)rg_dtype_size(x->dtype);
}

/* x itself if its last dim lies without gaps, else a row-major copy. */
static const rg_tensor *with_rows(rg_ctx *c, const rg_tensor *x)
{
    return x->stride[x->n_dims - 1] == 1 || x->shape[x->n_dims - 1] == 1 ? x : rg_cpu_as(c, x, x->dtype);
}

/* A row as floats: in place or widened. */
static const float *widened(const rg_tensor *x, const char *row, int64_t n, float *buffer)
{
    if (x->dtype == RG_F32)
        return (const float *)row;
    rg_simd_get()->widen(buffer, row, x->dtype, n);
    return buffer;
}

/* Two rows of floats for each thread. */
typedef struct row_space {
    char *data;
    size_t each;
} row_space;

static row_space rows_new(rg_ctx *c, int64_t n)
{
    row_space s = { .each = ((size_t)n * sizeof(float) + 63) / 64 * 64 };
    int n_threads;

    s.data = rg_cpu_scratch(c, 3 * s.each, &n_threads);
    return s;
}

static float *row_buffer(const row_space *s, int which)
{
    return (float *)(s->data + (3 * (size_t)rg_cpu_thread() + (size_t)which) * s->each);
}

/* ---- norms over the last dim ------------------------------------------------------------------------------------------- */

typedef enum norm_kind { LAYER, RMS } norm_kind;

/* weight and bias hold n_sets rows of D; a row of x in sample b takes set b (or the only one). */
static void norm_rows(rg_ctx *c, rg_tensor *out, const rg_tensor *x, norm_kind kind, const float *weight, const float *bias,
                      int64_t rows_per_set, float eps)
{
    const int64_t D = rg_dim(x, -1), n_rows = D > 0 ? rg_numel(x) / D : 0;
    const rg_tensor *in = with_rows(c, x);
    const row_space space = rows_new(c, D);
    const rg_simd *simd = rg_simd_get();
    const size_t out_size = rg_dtype_size(out->dtype);

    if (c->error)
        return;
#pragma omp parallel for schedule(static) if (n_rows * D > ROWS_SERIAL)
    for (int64_t r = 0; r < n_rows; r++) {
        char *to = (char *)out->data + (size_t)(r * D) * out_size;
        const float *row = widened(in, row_of(in, r), D, row_buffer(&space, 0));
        float *result = out->dtype == RG_F32 ? (float *)to : row_buffer(&space, 1);
        const int64_t set = rows_per_set ? r / rows_per_set * D : 0;

        if (kind == LAYER)
            simd->layer_norm(result, row, D, weight ? weight + set : NULL, bias ? bias + set : NULL, eps);
        else
            simd->rms_norm(result, row, D, weight, eps);
        simd->narrow(to, result, out->dtype, D);
    }
}

void rg_cpu_layer_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps)
{
    const int scope = rg_scope_begin(c);

    if (rg_rows_as_float(x))
        norm_rows(c, out, x, LAYER, rg_rows_vector(c, weight), rg_rows_vector(c, bias), 0, eps);
    else
        rg_def_layer_norm(c, out, x, weight, bias, eps);
    rg_scope_end(c, scope, NULL);
}

void rg_cpu_rms_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps)
{
    const int scope = rg_scope_begin(c);

    if (rg_rows_as_float(x))
        norm_rows(c, out, x, RMS, rg_rows_vector(c, weight), NULL, 0, eps);
    else
        rg_def_rms_norm(c, out, x, weight, eps);
    rg_scope_end(c, scope, NULL);
}

void rg_cpu_modulated_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps)
{
    const int64_t B = x->shape[0], D = x->shape[2];

    if (!rg_rows_as_float(x) || !rg_rows_as_float(scale) || !rg_rows_as_float(shift)) {
        rg_def_modulated_norm(c, out, x, scale, shift, eps);
        return;
    }

    const int scope = rg_scope_begin(c);
    rg_tensor *weight = rg_new2(c, RG_F32, B, D);
    const float *bias = rg_rows_vector(c, shift);

    if (weight) {
        rg_cpu_copy(c, weight, scale);
        for (int64_t i = 0; i < B * D; i++)
            ((float *)weight->data)[i] += 1.0f;
        norm_rows(c, out, x, LAYER, weight->data, bias, x->shape[1], eps);
    }
    rg_scope_end(c, scope, NULL);
}

void rg_cpu_gated_add(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y)
{
    const int64_t N = x->shape[1], D = x->shape[2], n_rows = x->shape[0] * N;

    if (!rg_rows_as_float(x) || !rg_rows_as_float(gate) || !rg_rows_as_float(y)) {
        rg_def_gated_add(c, out, x, gate, y);
        return;
    }

    const int scope = rg_scope_begin(c);
    const float *g = rg_rows_vector(c, gate);
    const rg_tensor *in = with_rows(c, x), *add = with_rows(c, y);
    const row_space space = rows_new(c, D);
    const rg_simd *simd = rg_simd_get();

    if (!c->error) {
#pragma omp parallel for schedule(static) if (n_rows * D > ROWS_SERIAL)
        for (int64_t r = 0; r < n_rows; r++) {
            char *to = (char *)out->data + (size_t)(r * D) * rg_dtype_size(out->dtype);
            float *result = out->dtype == RG_F32 ? (float *)to : row_buffer(&space, 2);

            simd->gated_add(result, widened(in, row_of(in, r), D, row_buffer(&space, 0)), g + r / N * D,
                            widened(add, row_of(add, r), D, row_buffer(&space, 1)), D);
            simd->narrow(to, result, out->dtype, D);
        }
    }
    rg_scope_end(c, scope, NULL);
}

/* Token by token, so that the rotation is laid out once for all heads: a takes the diagonal of each 2 x 2 matrix, b the rest. */
void rg_cpu_norm_rope(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe)
{
    const int64_t H = x->shape[1], N = x->shape[2], D = x->shape[3], n_tokens = x->shape[0] * N;

    if (!rg_rows_as_float(x) || D % 2) {
        rg_def_norm_rope(c, out, x, weight, eps, pe);
        return;
    }

    const int scope = rg_scope_begin(c);
    const float *w = rg_rows_vector(c, weight);
    const rg_tensor *in = with_rows(c, x), *table = rg_cpu_as(c, pe, RG_F32);
    const row_space space = rows_new(c, D);
    const rg_simd *simd = rg_simd_get();
    const size_t size = rg_dtype_size(x->dtype);

    if (!c->error) {
#pragma omp parallel for schedule(static) if (n_tokens * H * D > ROWS_SERIAL)
        for (int64_t t = 0; t < n_tokens; t++) {
            const int64_t b = t / N, n = t % N;
            float *buffer = row_buffer(&space, 0), *ca = row_buffer(&space, 1), *cb = row_buffer(&space, 2);

            if (table)
                simd->split_rotations(ca, cb, (const float *)table->data + ((table->shape[0] == 1 ? 0 : b) * N + n) * 2 * D, D);
            for (int64_t h = 0; h < H; h++) {
                const char *from = (const char *)in->data + (size_t)(b * in->stride[0] + h * in->stride[1] + n * in->stride[2]) * size;
                char *to = (char *)out->data + (size_t)(b * out->stride[0] + h * out->stride[1] + n * out->stride[2]) * size;

                if (simd->norm_rotate(to, from, x->dtype, D, w, eps, table ? ca : NULL, cb))
                    continue;
                const float *v = widened(in, from, D, buffer);
                if (w) {
                    simd->rms_norm(buffer, v, D, w, eps);
                    v = buffer;
                }
                if (table) {
                    simd->rotate(buffer, v, ca, cb, D);
                    v = buffer;
                }
                simd->narrow(to, v, out->dtype, D);
            }
        }
    }
    rg_scope_end(c, scope, NULL);
}

#define LOG2_E 1.44269504088896341f

void rg_cpu_softmax(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    const int64_t D = rg_dim(x, -1), n_rows = D > 0 ? rg_numel(x) / D : 0;

    if (!rg_rows_as_float(x)) {
        rg_def_softmax(c, out, x);
        return;
    }

    const int scope = rg_scope_begin(c);
    const row_space space = rows_new(c, D);
    const rg_simd *simd = rg_simd_get();
    const size_t size = rg_dtype_size(x->dtype);

    if (!c->error) {
#pragma omp parallel for schedule(static) if (n_rows * D > ROWS_SERIAL)
        for (int64_t r = 0; r < n_rows; r++) {
            const float *row = widened(x, (const char *)x->data + (size_t)(r * D) * size, D, row_buffer(&space, 0));
            float *p = row_buffer(&space, 1);
            const float sum = simd->exp2_row(p, RG_F32, row, LOG2_E, simd->max(row, D) * LOG2_E, D);

            simd->scale(p, 1.0f / sum, D);
            simd->narrow((char *)out->data + (size_t)(r * D) * size, p, out->dtype, D);
        }
    }
    rg_scope_end(c, scope, NULL);
}

/* Sums in double, as in the definition; along the last dim in eight parts, which are joined at the end. */
void rg_cpu_sum(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean)
{
    enum { BLOCK = 64, PARTS = 8 };
    const int64_t n = x->shape[dim];
    int64_t inner = 1, outer = 1;

    if (!rg_rows_as_float(x) || rg_numel(x) == 0) {
        rg_def_sum(c, out, x, dim, is_mean);
        return;
    }
    for (int d = 0; d < dim; d++)
        outer *= x->shape[d];
    for (int d = dim + 1; d < x->n_dims; d++)
        inner *= x->shape[d];

    const int scope = rg_scope_begin(c);
    const rg_tensor *rows = rg_cpu_as(c, x, RG_F32);
    const double factor = is_mean ? (double)n : 1.0;
    const int64_t n_blocks = (inner + BLOCK - 1) / BLOCK;
    const size_t size = rg_dtype_size(out->dtype);

    if (rows) {
#pragma omp parallel for schedule(static) if (outer * inner * n > ROWS_SERIAL)
        for (int64_t t = 0; t < outer * n_blocks; t++) {
            const int64_t o = t / n_blocks, first = t % n_blocks * BLOCK, count = inner - first < BLOCK ? inner - first : BLOCK;
            const float *v = (const float *)rows->data + o * n * inner + first;
            double sums[BLOCK] = { 0 };
            float result[BLOCK];

            if (inner == 1) {
                for (int64_t k = 0; k < n; k++)
                    sums[k % PARTS] += (double)v[k];
                for (int i = 1; i < PARTS; i++)
                    sums[0] += sums[i];
            } else
                for (int64_t k = 0; k < n; k++)
                    for (int64_t i = 0; i < count; i++)
                        sums[i] += (double)v[k * inner + i];
            for (int64_t i = 0; i < count; i++)
                result[i] = (float)(sums[i] / factor);
            rg_simd_get()->narrow((char *)out->data + (size_t)(o * inner + first) * size, result, out->dtype, count);
        }
    }
    rg_scope_end(c, scope, NULL);
}

/* ---- group norm ------------------------------------------------------------------------------------------------------------ */

enum { PIXELS = 64 };                   /* of a block: 64 pixels of 128 channels are 32 KiB, read twice from L1 */

/* n values, their mean and the sum of squares around it; joining two is exact algebra (Chan et al. 1979). */
typedef struct moments {
    double n, mean, m2;
} moments;

static void join(moments *a, const moments *b)
{
    const double n = a->n + b->n, d = b->mean - a->mean;

    if (b->n == 0)
        return;
    a->m2 += b->m2 + d * d * a->n * b->n / n;
    a->mean += d * b->n / n;
    a->n = n;
}

/*
 * Channels-last: a block of pixels gives moments per channel, joined to groups; the blocks are joined in order. Then one pass
 * writes x * a + b with a and b per channel of the picture. x is read twice from memory, as few times as it can be.
 */
static void group_norm_last(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const float *weight, const float *bias,
                            float eps, bool has_silu)
{
    const int64_t B = x->shape[0], C = x->shape[1], n_pixels = x->shape[2] * x->shape[3], per_group = C / n_groups;
    const int64_t n_blocks = (n_pixels + PIXELS - 1) / PIXELS, n_tasks = B * n_blocks;
    const rg_simd *simd = rg_simd_get();
    const size_t size = rg_dtype_size(x->dtype);
    rg_tensor *ab = rg_new3(c, RG_F32, B, 2, C), *found = rg_new1(c, RG_U8, n_tasks * n_groups * (int64_t)sizeof(moments));
    const row_space space = rows_new(c, C * PIXELS);

    if (c->error)
        return;
#pragma omp parallel for schedule(static) if (n_tasks > 1)
    for (int64_t t = 0; t < n_tasks; t++) {
        const int64_t first = t % n_blocks * PIXELS, n = n_pixels - first < PIXELS ? n_pixels - first : PIXELS;
        const char *at = (const char *)x->data + (size_t)((t / n_blocks * n_pixels + first) * C) * size;
        const float *v = widened(x, at, n * C, row_buffer(&space, 0));
        float *mean = row_buffer(&space, 1), *m2 = row_buffer(&space, 2);
        moments *to = (moments *)found->data + t * n_groups;

        memset(mean, 0, (size_t)C * sizeof *mean);
        memset(m2, 0, (size_t)C * sizeof *m2);
        simd->add_rows(mean, v, n, C);
        simd->scale(mean, 1.0f / (float)n, C);
        simd->add_squares(m2, v, mean, n, C);
        for (int g = 0; g < n_groups; g++) {
            moments sum = { (double)(n * per_group), 0, 0 };     /* channels of equal count: the same algebra without its divisions */
            for (int64_t i = g * per_group; i < (g + 1) * per_group; i++)
                sum.mean += mean[i];
            sum.mean /= (double)per_group;
            for (int64_t i = g * per_group; i < (g + 1) * per_group; i++)
                sum.m2 += m2[i] + (double)n * (mean[i] - sum.mean) * (mean[i] - sum.mean);
            to[g] = sum;
        }
    }
    for (int64_t b = 0; b < B; b++)
        for (int g = 0; g < n_groups; g++) {
            moments sum = { 0 };
            for (int64_t t = 0; t < n_blocks; t++)
                join(&sum, (const moments *)found->data + (b * n_blocks + t) * n_groups + g);
            const double r = 1.0 / sqrt(sum.m2 / sum.n + eps);
            for (int64_t i = g * per_group; i < (g + 1) * per_group; i++) {
                const double a = r * (weight ? weight[i] : 1.0);
                ((float *)ab->data)[2 * b * C + i] = (float)a;
                ((float *)ab->data)[(2 * b + 1) * C + i] = (float)((bias ? bias[i] : 0.0) - sum.mean * a);
            }
        }
#pragma omp parallel for schedule(static) if (n_tasks > 1)
    for (int64_t t = 0; t < n_tasks; t++) {
        const int64_t b = t / n_blocks, first = t % n_blocks * PIXELS, n = n_pixels - first < PIXELS ? n_pixels - first : PIXELS;
        const size_t offset = (size_t)((b * n_pixels + first) * C) * size;
        const float *v = widened(x, (const char *)x->data + offset, n * C, row_buffer(&space, 0)), *a = (const float *)ab->data + 2 * b * C;
        float *o = out->dtype == RG_F32 ? (float *)((char *)out->data + offset) : row_buffer(&space, 1);

        simd->scale_shift(o, v, a, a + C, n, C, has_silu);
        simd->narrow((char *)out->data + offset, o, out->dtype, n * C);
    }
}

/* Row-major pictures are rare here: through channels-last and back. */
void rg_cpu_group_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight,
                       const rg_tensor *bias, float eps, bool has_silu)
{
    if (!rg_rows_as_float(x) || rg_numel(x) == 0) {
        rg_def_group_norm(c, out, x, n_groups, weight, bias, eps, has_silu);
        return;
    }

    const int scope = rg_scope_begin(c);
    const float *w = rg_rows_vector(c, weight), *s = rg_rows_vector(c, bias);

    if (rg_is_channels_last(x) && rg_is_channels_last(out))
        group_norm_last(c, out, x, n_groups, w, s, eps, has_silu);
    else {
        rg_tensor *in = rg_tensor_new_channels_last(c, x->dtype, x->shape[0], x->shape[1], x->shape[2], x->shape[3]);
        rg_tensor *to = rg_tensor_new_channels_last(c, x->dtype, x->shape[0], x->shape[1], x->shape[2], x->shape[3]);
        if (in && to) {
            rg_cpu_copy(c, in, x);
            group_norm_last(c, to, in, n_groups, w, s, eps, has_silu);
            if (!c->error)
                rg_cpu_copy(c, out, to);
        }
    }
    rg_scope_end(c, scope, NULL);
}
