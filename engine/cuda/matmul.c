/*
 * Batched matrix products by cuBLASLt. An operand goes as it lies if one of its last two dims has no gaps; else a copy does. Leading
 * dims become one batch where all three step evenly; the others are looped over.
 */
#include "engine/cuda/cuda.h"

#include <string.h>

/* How a matrix [rows, columns] lies: row-major with a pitch, or as its transpose; false: neither. */
static bool lies(const rg_tensor *t, int *is_turned, int64_t *pitch)
{
    const int64_t rows = rg_dim(t, -2), columns = rg_dim(t, -1), down = t->stride[t->n_dims - 2], along = t->stride[t->n_dims - 1];

    *is_turned = false;
    if ((along == 1 || columns == 1) && (down >= columns || rows == 1)) {
        *pitch = rows == 1 ? columns : down;
        return true;
    }
    *is_turned = true;
    *pitch = columns == 1 ? rows : along;
    return (down == 1 || rows == 1) && (along >= rows || columns == 1);
}

void rg_cuda_matmul(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b)
{
    const int n_lead = out->n_dims - 2;
    const size_t size = rg_dtype_size(out->dtype);
    rg_cuda_product p;
    int inner = n_lead;                 /* dims inner..n_lead - 1 are the batch */
    int64_t n_outer = 1;

    if (rg_numel(out) == 0)
        return;
    if (out->dtype != RG_F32 && out->dtype != RG_F16 && out->dtype != RG_BF16) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "matmul on the GPU computes in F32, F16 or BF16, not %s", rg_dtype_name(out->dtype));
        return;
    }
    const int s = rg_scope_begin(c);
    memset(&p, 0, sizeof p);
    p.dtype = p.d_dtype = out->dtype;
    p.M = rg_dim(a, -2), p.N = rg_dim(b, -1), p.K = rg_dim(a, -1), p.n_batches = 1;
    p.d_pitch = p.N;
    p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    if (p.K == 0) {                     /* an empty sum */
        const rg_tensor *zeros = rg_tensor_zeros(c, out->dtype, out->n_dims, out->shape);
        if (zeros)
            rg_cuda_copy(c, out, zeros);
        rg_scope_end(c, s, NULL);
        return;
    }
    a = rg_to(c, a, out->dtype);
    b = rg_to(c, b, out->dtype);
    if (a && !lies(a, &p.a_is_turned, &p.a_pitch) && (a = rg_clone(c, a)))
        lies(a, &p.a_is_turned, &p.a_pitch);
    if (b && !lies(b, &p.b_is_turned, &p.b_pitch) && (b = rg_clone(c, b)))
        lies(b, &p.b_is_turned, &p.b_pitch);
    if (a && b) {
        for (int d = n_lead - 1; d >= 0; d--) {
            if (out->shape[d] == 1 && inner == d + 1) {
                inner = d;
                continue;
            }
            if (p.n_batches == 1) {
                p.a_step = a->stride[d], p.b_step = b->stride[d], p.d_step = out->stride[d];
            } else if (a->stride[d] != p.a_step * p.n_batches || b->stride[d] != p.b_step * p.n_batches || out->stride[d] != p.d_step * p.n_batches) {
                break;
            }
            p.n_batches *= out->shape[d];
            inner = d;
        }
        for (int d = 0; d < inner; d++)
            n_outer *= out->shape[d];
    }
    for (int64_t i = 0; i < n_outer && a && b && !c->error; i++) {
        int64_t rest = i, at_a = 0, at_b = 0, at_d = 0;
        for (int d = inner - 1; d >= 0; d--) {
            const int64_t at = rest % out->shape[d];
            rest /= out->shape[d];
            at_a += at * a->stride[d], at_b += at * b->stride[d], at_d += at * out->stride[d];
        }
        rg_cuda_product_run(c, &p, (char *)out->data + at_d * (int64_t)size, (const char *)a->data + at_a * (int64_t)size,
                            (const char *)b->data + at_b * (int64_t)size, NULL, NULL);
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "matmul");
}
