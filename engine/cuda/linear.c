/*
 * Linear layers by cuBLASLt: x [M, K] times W [N, K] transposed, bias and tanh-GELU in the epilogue; other activations, and shapes
 * whose epilogue cuBLASLt lacks, take a pass of their own, over a float32 result so that nothing is rounded twice. Weights of another dtype (fp8, or bf16 under f16) are widened into scratch
 * first; the scale of a scaled fp8 weight is a factor of the product, read from the device.
 */
#include "engine/cuda/cuda.h"

#include <string.h>

void rg_cuda_finish(rg_ctx *c, rg_tensor *out, rg_tensor *sums, const rg_tensor *bias, int unary_kind)
{
    const rg_tensor *wide = bias ? rg_expand(c, bias, sums->n_dims, sums->shape) : NULL;

    if (wide)
        rg_cuda_binary(c, sums, sums, wide, RG_ADD);
    if (unary_kind >= 0 && !c->error)
        rg_cuda_unary(c, out, sums, (rg_unary_kind)unary_kind);
    else if (out != sums && !c->error)
        rg_cuda_copy(c, out, sums);
}

void rg_cuda_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    const int64_t K = rg_dim(x, -1), N = rg_dim(w->weight, 0), M = N ? rg_numel(out) / N : 0;
    const bool has_gelu = unary_kind == RG_GELU_TANH;
    rg_cuda_product p;
    rg_tensor *sums = out;              /* what the product writes */

    if (M == 0 || N == 0)
        return;
    if (x->dtype != RG_F32 && x->dtype != RG_F16 && x->dtype != RG_BF16) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "linear on the GPU computes in F32, F16 or BF16, not %s", rg_dtype_name(x->dtype));
        return;
    }
    const int s = rg_scope_begin(c);
    memset(&p, 0, sizeof p);
    if (unary_kind >= 0 && !has_gelu && x->dtype != RG_F32)
        sums = rg_tensor_new(c, RG_F32, out->n_dims, out->shape);
    p.dtype = x->dtype;
    p.d_dtype = sums ? sums->dtype : RG_F32;
    p.M = M, p.N = N, p.K = K, p.n_batches = 1;
    p.a_pitch = p.b_pitch = K;
    p.b_is_turned = true;
    p.d_pitch = sums && rg_is_contiguous(sums) ? N : out->stride[0];     /* a matrix of 2 dims then */
    if (K == 0) {                       /* an empty sum */
        const rg_tensor *zeros = rg_tensor_zeros(c, out->dtype, out->n_dims, out->shape);
        if (zeros)
            rg_cuda_copy(c, out, zeros);
        if (!c->error)
            rg_cuda_finish(c, out, out, w->bias, unary_kind);
    } else {
        rg_tensor on_device = *w->weight;       /* a header of this call alone */
        const bool is_streamed = w->weight->device.type == RG_CPU;
        if (is_streamed) {
            on_device.data = (void *)rg_cuda_stream_weight(c, w->weight->data, rg_nbytes(w->weight));
            on_device.device = c->device;
        }
        const void *weight = on_device.data ? rg_cuda_rows(c, &on_device, x->dtype) : NULL, *bias = NULL;
        const float *scale = w->scale ? (const float *)w->scale->data : NULL;
        const bool must_round = sums == out;    /* a float32 result takes a bias of x's type in no epilogue: it is added after */
        if (w->bias && must_round) {
            const rg_tensor *aligned = ((uintptr_t)w->bias->data & 15) && w->bias->dtype == x->dtype ? rg_clone(c, w->bias) : w->bias;
            bias = aligned ? rg_cuda_rows(c, aligned, x->dtype) : NULL;
        }
        p.epilogue = bias ? (has_gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                          : (has_gelu ? CUBLASLT_EPILOGUE_GELU : CUBLASLT_EPILOGUE_DEFAULT);
        if (!c->error && rg_cuda_product_run(c, &p, sums->data, x->data, weight, bias, scale)) {
            rg_cuda_finish(c, out, sums, bias ? NULL : w->bias, has_gelu ? -1 : unary_kind);
        } else if (!c->error && p.epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
            p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
            if (rg_cuda_product_run(c, &p, sums->data, x->data, weight, NULL, scale))
                rg_cuda_finish(c, out, sums, w->bias, unary_kind);
        }
        if (is_streamed)
            rg_cuda_stream_done(c);
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "linear");
}
