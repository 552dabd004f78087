/*
 * Linear layers by cuBLASLt: x [M, K] times W [N, K] transposed, bias and tanh-GELU in the epilogue. What is row-major here is
 * column-major there, so it computes D^T [N, M] = W x^T: W is its A (transposed), x its B.
 * The heuristic is asked once per shape and its answer kept. Weights of another dtype (fp8, or bf16 under f16) are widened into
 * scratch first; a scaled fp8 weight takes its scale there.
 */
#include "engine/cuda/cuda.h"

#include <string.h>

typedef struct linear_plan {
    struct linear_plan *next;
    int64_t M, N, K;
    rg_dtype dtype;
    cublasLtEpilogue_t epilogue;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
} linear_plan;

static void plan_free(linear_plan *p)
{
    if (p->a)
        cublasLtMatrixLayoutDestroy(p->a);
    if (p->b)
        cublasLtMatrixLayoutDestroy(p->b);
    if (p->d)
        cublasLtMatrixLayoutDestroy(p->d);
    if (p->desc)
        cublasLtMatmulDescDestroy(p->desc);
    rg_free(p);
}

void rg_cuda_linear_release(rg_cuda_state *s)
{
    while (s->linear_plans) {
        linear_plan *p = s->linear_plans;
        s->linear_plans = p->next;
        plan_free(p);
    }
}

static cudaDataType_t data_type(rg_dtype t)
{
    return t == RG_BF16 ? CUDA_R_16BF : t == RG_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static int make_plan(rg_cuda_state *s, linear_plan *p)
{
    const cudaDataType_t type = data_type(p->dtype);
    const cublasOperation_t transpose = CUBLAS_OP_T;
    const size_t workspace = RG_CUDA_WORKSPACE;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n_found = 0;
    /* float32 stays float32: TF32 would break the accuracy contract */
    bool is_ok = cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &p->epilogue, sizeof p->epilogue) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatrixLayoutCreate(&p->a, type, (uint64_t)p->K, (uint64_t)p->N, p->K) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatrixLayoutCreate(&p->b, type, (uint64_t)p->K, (uint64_t)p->M, p->K) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatrixLayoutCreate(&p->d, type, (uint64_t)p->N, (uint64_t)p->M, p->N) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace) ==
                     CUBLAS_STATUS_SUCCESS &&
                 cublasLtMatmulAlgoGetHeuristic(s->blas, p->desc, p->a, p->b, p->d, p->d, preference, 1, &found, &n_found) ==
                     CUBLAS_STATUS_SUCCESS && n_found > 0;

    if (is_ok)
        p->algo = found.algo;
    if (preference)
        cublasLtMatmulPreferenceDestroy(preference);
    return is_ok ? 0 : RG_ERR_UNSUPPORTED;
}

static linear_plan *find_plan(rg_ctx *c, const linear_plan *wanted)
{
    rg_cuda_state *s = rg_cuda_state_of(c);
    linear_plan *p;

    for (p = s->linear_plans; p; p = p->next) {
        if (p->M == wanted->M && p->N == wanted->N && p->K == wanted->K && p->dtype == wanted->dtype && p->epilogue == wanted->epilogue)
            return p;
    }
    if (!(p = rg_malloc(sizeof *p))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a matmul plan");
        return NULL;
    }
    *p = *wanted;
    if (make_plan(s, p) < 0) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "cuBLASLt has no matmul for %s [%lld, %lld] x [%lld, %lld]", rg_dtype_name(p->dtype), (long long)p->M,
                (long long)p->K, (long long)p->N, (long long)p->K);
        plan_free(p);
        return NULL;
    }
    p->next = s->linear_plans;
    s->linear_plans = p;
    return p;
}

/* Row-major device bytes of t in dtype: its own, or widened into scratch. */
static const void *in_dtype(rg_ctx *c, const rg_tensor *t, rg_dtype dtype, const rg_tensor *scale)
{
    const rg_tensor *rows = rg_contiguous(c, t);
    const int64_t n = rg_numel(t);

    if (!rows || (rows->dtype == dtype && !scale))
        return rows ? rows->data : NULL;
    void *widened = rg_cuda_scratch(c, (size_t)n * rg_dtype_size(dtype));
    if (widened)
        rg_cuda_convert(c, widened, dtype, rows->data, rows->dtype, n, scale ? (const float *)scale->data : NULL);
    return widened;
}

void rg_cuda_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind)
{
    const float one = 1.0f, zero = 0.0f;
    const int64_t K = rg_dim(x, -1), N = rg_dim(w->weight, 0), M = K ? rg_numel(x) / K : 0;
    const bool has_gelu = unary_kind == RG_GELU_TANH;
    linear_plan wanted = { .M = M, .N = N, .K = K, .dtype = x->dtype };
    int s;

    if (M == 0 || N == 0)
        return;
    if (x->dtype != RG_F32 && x->dtype != RG_F16 && x->dtype != RG_BF16) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "linear on the GPU computes in F32, F16 or BF16, not %s", rg_dtype_name(x->dtype));
        return;
    }
    wanted.epilogue = w->bias ? (has_gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                              : (has_gelu ? CUBLASLT_EPILOGUE_GELU : CUBLASLT_EPILOGUE_DEFAULT);
    s = rg_scope_begin(c);
    linear_plan *p = find_plan(c, &wanted);
    const void *weight = p ? in_dtype(c, w->weight, x->dtype, w->scale) : NULL;
    const void *bias = p && w->bias ? in_dtype(c, w->bias, x->dtype, NULL) : NULL;
    if (weight && (bias || !w->bias)) {
        if (bias)
            cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
        const cublasStatus_t status = cublasLtMatmul(rg_cuda_state_of(c)->blas, p->desc, &one, weight, p->a, x->data, p->b, &zero, out->data,
                                                     p->d, out->data, p->d, &p->algo, rg_cuda_state_of(c)->workspace, RG_CUDA_WORKSPACE,
                                                     (cudaStream_t)c->stream);
        if (status != CUBLAS_STATUS_SUCCESS)
            rg_fail(c, RG_ERR_DEVICE, "cuBLASLt matmul: %s", cublasLtGetStatusString(status));
    }
    rg_scope_end(c, s, NULL);
    if (!c->error && unary_kind >= 0 && !has_gelu) {
        if (c->ops->unary)
            c->ops->unary(c, out, out, (rg_unary_kind)unary_kind);
        else
            rg_fail(c, RG_ERR_UNSUPPORTED, "the GPU has no activation but tanh-GELU after a linear yet");
    }
    rg_cuda_check(c, "linear");
}
