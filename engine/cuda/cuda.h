/* What the files of the CUDA backend share: the state behind a context, and error checks. C and CUDA C. */
#ifndef RG_CUDA_CUDA_H
#define RG_CUDA_CUDA_H

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn_graph.h>

#ifdef __cplusplus
#include "engine/core/atomic.h"         /* C++ templates must not stand inside extern "C" */
extern "C" {
#endif
#include "engine/ops/backend.h"

/* Behind c->backend_data: library handles, one workspace for all of them, and what was planned for each shape. */
typedef struct rg_cuda_state {
    cublasLtHandle_t blas;
    cudnnHandle_t dnn;
    void *workspace;                    /* RG_CUDA_WORKSPACE bytes; one stream, so one user at a time */
    struct linear_plan *linear_plans;   /* linear.c */
    struct attention_plan *attention_plans;     /* attention.c */
    bool must_sync;                     /* RG_SYNC=1: wait after each launch, so that an error names its op */
} rg_cuda_state;
enum { RG_CUDA_WORKSPACE = 64 << 20 };

static inline rg_cuda_state *rg_cuda_state_of(const rg_ctx *c)
{
    return (rg_cuda_state *)c->backend_data;
}

/* Latch a failure of the runtime after a launch, naming the op. True if all is well. */
bool rg_cuda_check(rg_ctx *c, const char *op);

/* Bytes on c's device that live until the current scope ends; NULL, latched, without memory. */
void *rg_cuda_scratch(rg_ctx *c, size_t nbytes);

/* The rows. */
void rg_cuda_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x);
void rg_cuda_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind);
void rg_cuda_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v,
                       const rg_tensor *bias, const rg_attention_args *args);
void rg_cuda_layer_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps);
void rg_cuda_rms_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps);
void rg_cuda_modulated_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps);

/* Ends what the rows planned. */
void rg_cuda_linear_release(rg_cuda_state *s);
void rg_cuda_attention_release(rg_cuda_state *s);

/* Kernel launchers that C files call (copy.cu). */
void rg_cuda_convert(rg_ctx *c, void *out, rg_dtype out_dtype, const void *in, rg_dtype in_dtype, int64_t n, const float *scale);

#ifdef __cplusplus
}
#endif
#endif
