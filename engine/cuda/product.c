/*
 * Matrix products by cuBLASLt, for linear.c, matmul.c and conv2d.c. What is row-major here is column-major there, so it computes
 * D^T [N, M] = B^T A^T: our B is its A, our A its B. The heuristic is asked once per shape and its answer kept. float32 stays
 * float32: TF32 would break the accuracy contract.
 */
#include "engine/cuda/cuda.h"

#include <string.h>

typedef struct product_plan {
    struct product_plan *next;
    rg_cuda_product key;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;     /* as cuBLASLt counts: its A is our B */
    cublasLtMatmulAlgo_t algo;
    bool is_supported;
} product_plan;

static void plan_free(product_plan *p)
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

void rg_cuda_product_release(rg_cuda_state *s)
{
    while (s->product_plans) {
        product_plan *p = s->product_plans;
        s->product_plans = p->next;
        plan_free(p);
    }
}

static cudaDataType_t data_type(rg_dtype t)
{
    return t == RG_BF16 ? CUDA_R_16BF : t == RG_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* A row-major [rows, columns] (turned: [columns, rows] read across) as cuBLASLt sees it. */
static bool make_layout(cublasLtMatrixLayout_t *l, cudaDataType_t type, int64_t rows, int64_t columns, bool is_turned, int64_t pitch, int64_t n_batches,
                        int64_t step)
{
    const int32_t count = (int32_t)n_batches;

    return cublasLtMatrixLayoutCreate(l, type, (uint64_t)(is_turned ? rows : columns), (uint64_t)(is_turned ? columns : rows), pitch) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step) == CUBLAS_STATUS_SUCCESS;
}

/* bias: set before the heuristics are asked, which look at it (and at what it lies on) */
static bool make_plan(rg_cuda_state *s, product_plan *p, const void *bias)
{
    const rg_cuda_product *k = &p->key;
    const cudaDataType_t type = data_type(k->dtype), d_type = data_type(k->d_dtype);
    const cublasOperation_t ta = k->b_is_turned ? CUBLAS_OP_T : CUBLAS_OP_N, tb = k->a_is_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int32_t pointer_mode = k->has_scale ? CUBLASLT_POINTER_MODE_DEVICE : CUBLASLT_POINTER_MODE_HOST;
    const size_t workspace = RG_CUDA_WORKSPACE;
    const uint32_t align_a = (uint32_t)k->b_alignment, align_b = (uint32_t)k->a_alignment, align_d = (uint32_t)k->d_alignment;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n_found = 0;
#define DESC(name, value) (cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_##name, &(value), sizeof(value)) == CUBLAS_STATUS_SUCCESS)
#define PREF(name, value) (cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_##name, &(value), sizeof(value)) == CUBLAS_STATUS_SUCCESS)
    const bool is_ok = cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
                       DESC(TRANSA, ta) && DESC(TRANSB, tb) && DESC(EPILOGUE, k->epilogue) && DESC(POINTER_MODE, pointer_mode) && (!bias || DESC(BIAS_POINTER, bias)) &&
                       make_layout(&p->a, type, k->K, k->N, k->b_is_turned, k->b_pitch, k->n_batches, k->b_step) &&
                       make_layout(&p->b, type, k->M, k->K, k->a_is_turned, k->a_pitch, k->n_batches, k->a_step) &&
                       make_layout(&p->d, d_type, k->M, k->N, false, k->d_pitch, k->n_batches, k->d_step) &&
                       cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS && PREF(MAX_WORKSPACE_BYTES, workspace) &&
                       PREF(MIN_ALIGNMENT_A_BYTES, align_a) && PREF(MIN_ALIGNMENT_B_BYTES, align_b) && PREF(MIN_ALIGNMENT_C_BYTES, align_d) &&
                       PREF(MIN_ALIGNMENT_D_BYTES, align_d) &&
                       cublasLtMatmulAlgoGetHeuristic(s->blas, p->desc, p->a, p->b, p->d, p->d, preference, 1, &found, &n_found) ==
                           CUBLAS_STATUS_SUCCESS && n_found > 0;
#undef DESC
#undef PREF

    if (is_ok)
        p->algo = found.algo;
    if (preference)
        cublasLtMatmulPreferenceDestroy(preference);
    return is_ok;
}

/* The largest power of two, up to 256, that divides the address of every matrix of a batch. */
static int alignment_of(const void *data, int64_t step, rg_dtype dtype)
{
    const uintptr_t bits = (uintptr_t)data | (uintptr_t)step * rg_dtype_size(dtype) | 256;

    return (int)(bits & (~bits + 1));
}

bool rg_cuda_product_run(rg_ctx *c, const rg_cuda_product *wanted, void *d, const void *a, const void *b, const void *bias, const float *scale)
{
    const float one = 1.0f, zero = 0.0f;
    rg_cuda_state *s = rg_cuda_state_of(c);
    rg_cuda_product key;
    product_plan *p;

    memcpy(&key, wanted, sizeof key);   /* compared as bytes: the caller has cleared the gaps */
    key.has_scale = scale != NULL;
    key.a_alignment = alignment_of(a, key.a_step, key.dtype);
    key.b_alignment = alignment_of(b, key.b_step, key.dtype);
    key.d_alignment = alignment_of(d, key.d_step, key.d_dtype);
    for (p = s->product_plans; p && memcmp(&p->key, &key, sizeof key); p = p->next)
        ;
    if (!p) {
        if (!(p = rg_calloc(1, sizeof *p))) {
            rg_fail(c, RG_ERR_NOMEM, "out of memory for a matmul plan");
            return false;
        }
        memcpy(&p->key, &key, sizeof key);
        p->is_supported = make_plan(s, p, bias);
        p->next = s->product_plans;
        s->product_plans = p;
    }
    if (!p->is_supported) {
        if (key.epilogue == CUBLASLT_EPILOGUE_DEFAULT)
            rg_fail(c, RG_ERR_UNSUPPORTED, "cuBLASLt has no matmul for %s [%lld, %lld] x [%lld, %lld]", rg_dtype_name(key.dtype), (long long)key.M,
                    (long long)key.K, (long long)key.K, (long long)key.N);
        return false;
    }
    if (bias)
        cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    const cublasStatus_t status = cublasLtMatmul(s->blas, p->desc, scale ? scale : &one, b, p->a, a, p->b, scale ? s->zero : &zero, d, p->d, d, p->d, &p->algo, s->workspace,
                                                 RG_CUDA_WORKSPACE, (cudaStream_t)c->stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        rg_fail(c, RG_ERR_DEVICE, "cuBLASLt matmul: %s", cublasLtGetStatusString(status));
    return status == CUBLAS_STATUS_SUCCESS;
}

const void *rg_cuda_rows(rg_ctx *c, const rg_tensor *t, rg_dtype dtype)
{
    const rg_tensor *rows = rg_contiguous(c, t);
    const int64_t n = rg_numel(t);

    if (!rows || rows->dtype == dtype)
        return rows ? rows->data : NULL;
    void *converted = rg_cuda_scratch(c, (size_t)n * rg_dtype_size(dtype));
    if (converted)
        rg_cuda_convert(c, converted, dtype, rows->data, rows->dtype, n);
    return converted;
}
