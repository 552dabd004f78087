/* Batched matrix product. Source: torch.matmul for operands of 2 or more dims. */
#include "engine/ops/define.h"

#include <string.h>

void rg_def_matmul(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b)
{
    const int64_t M = rg_dim(a, -2), K = rg_dim(a, -1), N = rg_dim(b, -1);
    const int64_t n_batches = M > 0 && N > 0 ? rg_numel(out) / (M * N) : 0;
    double *va = rg_def_load(c, a), *vb = rg_def_load(c, b);

    if (!c->error) {
#pragma omp parallel for collapse(2) if (n_batches * M * N * K > 1 << 14)
        for (int64_t p = 0; p < n_batches; p++)
            for (int64_t i = 0; i < M; i++)
                for (int64_t j = 0; j < N; j++) {
                    double sum = 0.0;
                    for (int64_t k = 0; k < K; k++)
                        sum += va[(p * M + i) * K + k] * vb[(p * K + k) * N + j];
                    rg_set(out, (p * M + i) * N + j, sum);
                }
    }
    rg_free(va);
    rg_free(vb);
}

rg_tensor *rg_matmul(rg_ctx *c, const rg_tensor *a, const rg_tensor *b)
{
    int64_t shape[RG_MAX_DIMS], shape_a[RG_MAX_DIMS], shape_b[RG_MAX_DIMS];

    if (!RG_READY(c, "matmul", 2, a, b) || !rg_op_float(c, "matmul", a) || !rg_op_float(c, "matmul", b))
        return NULL;
    if (a->n_dims < 2 || b->n_dims < 2 || rg_dim(a, -1) != rg_dim(b, -2))
        return rg_op_mismatch(c, "matmul", a, b);

    /* the last two dims do not broadcast: hide them behind ones, then put them back */
    const int64_t M = rg_dim(a, -2), K = rg_dim(a, -1), N = rg_dim(b, -1);
    rg_tensor ha = *a, hb = *b;
    ha.shape[a->n_dims - 2] = ha.shape[a->n_dims - 1] = 1;
    hb.shape[b->n_dims - 2] = hb.shape[b->n_dims - 1] = 1;
    const int n_dims = rg_broadcast_shape(&ha, &hb, shape);
    if (n_dims < 0)
        return rg_op_mismatch(c, "matmul", a, b);
    memcpy(shape_a, shape, sizeof shape);
    memcpy(shape_b, shape, sizeof shape);
    shape[n_dims - 2] = shape_a[n_dims - 2] = M;
    shape_a[n_dims - 1] = shape_b[n_dims - 2] = K;
    shape[n_dims - 1] = shape_b[n_dims - 1] = N;

    const int s = rg_scope_begin(c);
    const rg_tensor *ea = rg_expand(c, a, n_dims, shape_a), *eb = rg_expand(c, b, n_dims, shape_b);
    rg_tensor *out = ea && eb ? rg_tensor_new(c, a->dtype, n_dims, shape) : NULL;

    if (out) {
        rg_work(2.0 * (double)rg_numel(out) * (double)K);
        RG_RUN(c, matmul, out, ea, eb);
    }
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}
