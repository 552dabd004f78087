/* Scaled dot-product attention. Source: torch.nn.functional.scaled_dot_product_attention. */
#include "engine/ops/define.h"

void rg_def_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v,
                      const rg_tensor *bias, const rg_attention_args *args)
{
    const int64_t B = q->shape[0], H = q->shape[1], N = q->shape[2], D = q->shape[3];
    const int64_t Hkv = k->shape[1], M = k->shape[2], Dv = v->shape[3];
    double *vq = rg_def_load(c, q), *vk = rg_def_load(c, k), *vv = rg_def_load(c, v);

#pragma omp parallel for schedule(dynamic, 4) if (B * H * N * M > 1 << 12)
    for (int64_t row = 0; row < (c->error ? 0 : B * H * N); row++) {
        const int64_t b = row / (H * N), h = row / N % H, i = row % N;
        const int64_t kv = (b * Hkv + h / (H / Hkv)) * M;       /* first row of this head's keys */
        const int64_t n_seen = args->is_causal ? i + 1 : M;
        double max = -INFINITY, sum = 0.0, *p = malloc(sizeof *p * (size_t)M);

        if (!p)
            RG_BUG("no memory for %lld scores in the definition of attention", (long long)M);
        for (int64_t j = 0; j < n_seen; j++) {
            double dot = 0.0;
            for (int64_t d = 0; d < D; d++)
                dot += vq[row * D + d] * vk[(kv + j) * D + d];
            p[j] = dot * args->scale + (bias ? rg_get(bias, row * M + j) : 0.0);
            max = fmax(max, p[j]);
        }
        for (int64_t j = 0; j < n_seen; j++) {
            p[j] = exp(p[j] - max);
            sum += p[j];
        }
        for (int64_t d = 0; d < Dv; d++) {
            double value = 0.0;
            for (int64_t j = 0; j < n_seen; j++)
                value += p[j] * vv[(kv + j) * Dv + d];
            rg_set(out, ((b * N + i) * H + h) * Dv + d, value / sum);
        }
        free(p);
    }
    rg_free(vq);
    rg_free(vk);
    rg_free(vv);
}

/* into dst, or (NULL) into a new tensor */
static rg_tensor *attention(rg_ctx *c, rg_tensor *dst, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                            float scale, bool is_causal)
{
    if (!RG_READY(c, "attention", 3, q, k, v, bias, dst) || !rg_op_float(c, "attention", q))
        return NULL;
    if (q->n_dims != 4 || k->n_dims != 4 || k->shape[0] != q->shape[0] || k->shape[3] != q->shape[3] ||
        k->shape[1] == 0 || q->shape[1] % k->shape[1] || k->shape[2] == 0 || (is_causal && q->shape[2] != k->shape[2]))
        return rg_op_mismatch(c, "attention", q, k);
    if (v->n_dims != 4 || v->shape[0] != k->shape[0] || v->shape[1] != k->shape[1] || v->shape[2] != k->shape[2])
        return rg_op_mismatch(c, "attention", k, v);
    if (k->dtype != q->dtype || v->dtype != q->dtype || (bias && bias->dtype != q->dtype && bias->dtype != RG_F32)) {
        rg_fail(c, RG_ERR_DTYPE, "attention got q %s, k %s, v %s, bias %s; wanted one type (bias may be F32)", rg_dtype_name(q->dtype),
                rg_dtype_name(k->dtype), rg_dtype_name(v->dtype), bias ? rg_dtype_name(bias->dtype) : "none");
        return NULL;
    }

    const rg_attention_args args = { scale == 0.0f ? (float)(1.0 / sqrt((double)q->shape[3])) : scale, is_causal };
    const int64_t scores[] = { q->shape[0], q->shape[1], q->shape[2], k->shape[2] };
    const int64_t shape[] = { q->shape[0], q->shape[2], q->shape[1] * v->shape[3] };
    if (dst && !rg_into_fits(c, "attention", dst, q->dtype, 3, shape))
        return NULL;

    const int s = rg_scope_begin(c);
    rg_tensor *out = dst ? rg_into_begin(c, dst, false) : rg_tensor_new(c, q->dtype, 3, shape);
    const rg_tensor *wide_bias = bias ? rg_expand(c, bias, 4, scores) : NULL;

    if (out && !c->error) {
        rg_work(2.0 * (double)(scores[0] * scores[1] * scores[2] * scores[3]) * (double)(q->shape[3] + v->shape[3]) * (is_causal ? 0.5 : 1.0));
        RG_RUN(c, attention, out, q, k, v, wide_bias, &args);
    }
    if (dst) {
        rg_into_end(c, dst, out);
        out = NULL;
    }
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_attention(rg_ctx *c, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                        float scale, bool is_causal)
{
    return attention(c, NULL, q, k, v, bias, scale, is_causal);
}

void rg_attention_into(rg_ctx *c, rg_tensor *dst, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                       float scale, bool is_causal)
{
    if (dst)
        attention(c, dst, q, k, v, bias, scale, is_causal);
}
