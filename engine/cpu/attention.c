/*
 * Attention in tiles of queries by keys, with the softmax taken online: scores never leave the L2 cache, and memory does not
 * grow with N x M. One task is a block of queries of one head; it walks all keys in fixed order, so the result depends on the
 * shapes alone. Products are oneDNN tiles (dnn.h); maximum, exp and sums are simd.h rows.
 * Source: Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135.
 *
 * Per block of keys, for each query row i:  m' = max(m, max_j s_ij)   p_ij = exp(s_ij - m')   l = l exp(m - m') + sum_j p_ij
 *                                           o_i = o_i exp(m - m') + sum_j p_ij v_j            and at the end o_i / l
 */
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/cpu/dnn.h"
#include "engine/cpu/fast.h"
#include "engine/cpu/rows.h"
#include "engine/ops/define.h"

#define LOG2_E 1.44269504088896341f
enum {
    QUERIES = 256, KEYS = 512,          /* scores of a tile: 512 KiB of floats, in L2 */
    FEW_TASKS = 32                      /* below this many, half the queries a task, so that cores find work */
};

typedef struct attention_job {
    const rg_tensor *q, *k, *v, *bias;
    rg_tensor *out;
    const rg_attention_args *args;
    rg_dtype dtype;                     /* of the products */
    int64_t n_queries, n_keys;          /* of a full tile */
    rg_dnn *scores[2][2], *values[2][2];        /* [short query block][short key block] */
} attention_job;

/* What one thread works in. */
typedef struct attention_space {
    float *s, *o, *max, *sum, *bias_row;
    char *p, *dnn;                      /* probabilities in the product's dtype; oneDNN's own */
} attention_space;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static char *address(const rg_tensor *t, int64_t i, int64_t j, int64_t k)
{
    return (char *)t->data + (i * t->stride[0] + j * t->stride[1] + k * t->stride[2]) * (int64_t)rg_dtype_size(t->dtype);
}

/* s = s * scale + bias for one query: afterwards the scores are final. */
static void add_bias(const attention_job *job, float *s, float *row, int64_t b, int64_t h, int64_t query, int64_t key, int64_t n)
{
    const rg_tensor *t = job->bias;
    const float scale = job->args->scale;
    const int64_t step = t->stride[3], size = (int64_t)rg_dtype_size(t->dtype);
    const char *at = address(t, b, h, query) + key * step * size;

    if (step == 1)
        rg_simd_get()->widen(row, at, t->dtype, n);
    else
        for (int64_t j = 0; j < n; j++)
            rg_simd_get()->widen(row + j, at + j * step * size, t->dtype, 1);
    for (int64_t j = 0; j < n; j++)
        s[j] = s[j] * scale + row[j];
}

static bool run_block(const attention_job *job, const attention_space *w, int64_t b, int64_t h, int64_t first)
{
    const rg_simd *simd = rg_simd_get();
    const int64_t N = job->q->shape[2], M = job->k->shape[2], Dv = job->v->shape[3], H = job->q->shape[1];
    const int64_t n_queries = smaller(job->n_queries, N - first), kv = h / (H / job->k->shape[1]);
    const bool is_causal = job->args->is_causal, is_scaled_late = !job->bias && job->args->scale > 0.0f;
    const int64_t end = is_causal ? first + n_queries : M;      /* no query of the block sees beyond */
    const size_t size = rg_dtype_size(job->dtype);
    bool is_ok = true;

    memset(w->o, 0, (size_t)(n_queries * Dv) * sizeof *w->o);
    for (int64_t i = 0; i < n_queries; i++) {
        w->max[i] = -INFINITY;
        w->sum[i] = 0.0f;
    }
    for (int64_t key = 0; key < end && is_ok; key += job->n_keys) {
        const int64_t n_keys = smaller(job->n_keys, M - key);
        const int is_short_q = n_queries < job->n_queries, is_short_k = n_keys < job->n_keys;

        is_ok = rg_dnn_run(job->scores[is_short_q][is_short_k], address(job->q, b, h, first), address(job->k, b, kv, key), NULL, w->s, w->dnn);
        for (int64_t i = 0; i < n_queries; i++) {
            float *s = w->s + i * job->n_keys;
            char *p = w->p + (size_t)(i * job->n_keys) * size;
            const int64_t n = is_causal ? smaller(n_keys, first + i + 1 - key) : n_keys;
            float scale = job->args->scale * LOG2_E;             /* powers of 2 from here on */

            if (n > 0 && !is_scaled_late) {
                if (job->bias)
                    add_bias(job, s, w->bias_row, b, h, first + i, key, n);
                else
                    simd->scale(s, job->args->scale, n);
                scale = LOG2_E;
            }
            const float max = n > 0 ? simd->max(s, n) * scale : -INFINITY;
            const float new_max = max > w->max[i] ? max : w->max[i];

            if (!(new_max > -INFINITY)) {                       /* nothing seen yet: all masked, or past the diagonal */
                memset(p, 0, (size_t)n_keys * size);
                continue;
            }
            if (new_max > w->max[i]) {
                const float shrink = exp2f(w->max[i] - new_max);
                w->sum[i] *= shrink;
                simd->scale(w->o + i * Dv, shrink, Dv);
                w->max[i] = new_max;
            }
            if (n > 0)
                w->sum[i] += simd->exp2_row(p, job->dtype, s, scale, new_max, n);
            if (n < n_keys)
                memset(p + (n > 0 ? (size_t)n * size : 0), 0, (size_t)(n_keys - (n > 0 ? n : 0)) * size);
        }
        is_ok = is_ok && rg_dnn_run(job->values[is_short_q][is_short_k], w->p, address(job->v, b, kv, key), NULL, w->o, w->dnn);
    }
    for (int64_t i = 0; i < n_queries; i++) {
        char *to = (char *)job->out->data + (b * job->out->stride[0] + (first + i) * job->out->stride[1] + h * Dv) * (int64_t)rg_dtype_size(job->out->dtype);

        simd->scale(w->o + i * Dv, 1.0f / w->sum[i], Dv);
        simd->narrow(to, w->o + i * Dv, job->out->dtype, Dv);
    }
    return is_ok;
}

/* A view that the tiles can read: the product's dtype, and D without gaps. */
static const rg_tensor *readable(rg_ctx *c, const rg_tensor *t, rg_dtype dtype)
{
    return t->dtype == dtype && (t->stride[3] == 1 || t->shape[3] == 1) ? t : rg_cpu_as(c, t, dtype);
}

static size_t padded(int64_t n_floats) { return ((size_t)n_floats * sizeof(float) + 63) / 64 * 64; }

void rg_cpu_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v,
                      const rg_tensor *bias, const rg_attention_args *args)
{
    const int64_t B = q->shape[0], H = q->shape[1], N = q->shape[2], D = q->shape[3], M = k->shape[2], Dv = v->shape[3];

    if (rg_numel(out) == 0)
        return;
    if (!rg_rows_as_float(q) || D == 0) {
        rg_def_attention(c, out, q, k, v, bias, args);
        return;
    }

    const int scope = rg_scope_begin(c);
    const int64_t wanted = B * H * ((N + QUERIES - 1) / QUERIES) < FEW_TASKS ? QUERIES / 2 : QUERIES;
    attention_job job = { .out = out, .bias = bias, .args = args, .n_queries = smaller(wanted, N), .n_keys = smaller(KEYS, M),
                          .dtype = q->dtype == RG_BF16 && rg_dnn_has(RG_BF16) ? RG_BF16 : RG_F32 };
    size_t dnn_bytes = 0;
    atomic_bool failed = false;

    job.q = readable(c, q, job.dtype);
    job.k = readable(c, k, job.dtype);
    job.v = readable(c, v, job.dtype);
    for (int i = 0; i < 4 && !c->error; i++) {
        const int64_t n_queries = i / 2 && N % job.n_queries ? N % job.n_queries : job.n_queries;
        const int64_t n_keys = i % 2 && M % job.n_keys ? M % job.n_keys : job.n_keys;
        job.scores[i / 2][i % 2] = rg_dnn_gemm(c, &(rg_gemm_shape){
            .M = n_queries, .N = n_keys, .K = D, .a_row = job.q->stride[2], .a_col = 1, .b_row = 1, .b_col = job.k->stride[2],
            .out_row = job.n_keys, .dtype = job.dtype, .out_dtype = RG_F32, .unary_kind = -1, .scale = 1.0f });
        job.values[i / 2][i % 2] = rg_dnn_gemm(c, &(rg_gemm_shape){
            .M = n_queries, .N = Dv, .K = n_keys, .a_row = job.n_keys, .a_col = 1, .b_row = job.v->stride[2], .b_col = 1,
            .out_row = Dv, .dtype = job.dtype, .out_dtype = RG_F32, .is_added = true, .unary_kind = -1, .scale = 1.0f });
        const rg_dnn *both[] = { job.scores[i / 2][i % 2], job.values[i / 2][i % 2] };
        for (int j = 0; j < 2; j++)
            if (both[j] && rg_dnn_scratch(both[j]) > dnn_bytes)
                dnn_bytes = rg_dnn_scratch(both[j]);
    }

    const size_t sizes[] = { padded(job.n_queries * job.n_keys), padded(job.n_queries * Dv), padded(job.n_queries), padded(job.n_queries),
                             padded(job.n_keys),
                             job.dtype == RG_F32 ? 0 : padded(job.n_queries * job.n_keys) / 2, dnn_bytes };
    size_t each = 0;
    int n_threads;
    for (int i = 0; i < 7; i++)
        each += sizes[i];
    char *scratch = rg_cpu_scratch(c, each, &n_threads);

    if (!c->error) {
        const int64_t n_blocks = (N + job.n_queries - 1) / job.n_queries, n_tasks = B * H * n_blocks;

#pragma omp parallel num_threads(n_threads) if (n_tasks > 1)
        {
            char *at = scratch + (size_t)omp_get_thread_num() * each;
            attention_space w;

            w.s = (float *)at, at += sizes[0];
            w.o = (float *)at, at += sizes[1];
            w.max = (float *)at, at += sizes[2];
            w.sum = (float *)at, at += sizes[3];
            w.bias_row = (float *)at, at += sizes[4];
            w.p = job.dtype == RG_F32 ? (char *)w.s : at, at += sizes[5];     /* floats overwrite the scores */
            w.dnn = at;
            rg_dnn_enter();
#pragma omp for schedule(dynamic, 1)
            for (int64_t t = 0; t < n_tasks; t++) {
                /* a causal head's last block is its longest: take it first */
                const int64_t block = args->is_causal ? n_blocks - 1 - t % n_blocks : t % n_blocks;

                if (rg_is_stopping(c))
                    continue;
                if (!run_block(&job, &w, t / n_blocks / H, t / n_blocks % H, block * job.n_queries))
                    atomic_store(&failed, true);
            }
        }
        rg_check(c);
        if (atomic_load(&failed))
            rg_fail(c, RG_ERR_DEVICE, "oneDNN failed in an attention of %lld queries and %lld keys", (long long)N, (long long)M);
    }
    for (int i = 0; i < 4; i++) {
        rg_dnn_release(job.scores[i / 2][i % 2]);
        rg_dnn_release(job.values[i / 2][i % 2]);
    }
    rg_scope_end(c, scope, NULL);
}
