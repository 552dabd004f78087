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
    cudnnBackendDescriptor_t dnn_device;        /* where there is no handle: the device that plans are made for (tests/cuda/check_plans.c) */
    float *zero;                        /* 0 on the device: the other half of a product's scale there */
    void *workspace;                    /* RG_CUDA_WORKSPACE bytes; one stream, so one user at a time */
    struct product_plan *product_plans; /* product.c */
    struct attention_plan *attention_plans;     /* attention.c */
    struct conv_plan *conv_plans;       /* conv2d.c */
    struct { void *data; cudaEvent_t is_free; } stages[4];      /* pinned, RG_CUDA_STAGE_BYTES each; upload.c */
    int next_stage;
    struct weight_stream *weight_stream;        /* stream.c; NULL: every weight is on the device */
    bool must_sync;                     /* RG_SYNC=1: wait after each launch, so that an error names its op */
} rg_cuda_state;
enum { RG_CUDA_WORKSPACE = 64 << 20, RG_CUDA_STAGES = 4, RG_CUDA_STAGE_BYTES = 16 << 20 };

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

void rg_cuda_binary(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind);
void rg_cuda_affine(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift);
void rg_cuda_div_scalar(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor);
void rg_cuda_add_scaled(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s);
void rg_cuda_clamp(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max);
void rg_cuda_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind);
void rg_cuda_gated_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind);
void rg_cuda_pad2d(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode);
void rg_cuda_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids);
void rg_cuda_sum(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean);
void rg_cuda_softmax(rg_ctx *c, rg_tensor *out, const rg_tensor *x);
void rg_cuda_matmul(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b);
void rg_cuda_conv2d(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding);
void rg_cuda_group_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight, const rg_tensor *bias, float eps,
                        bool has_silu);
void rg_cuda_gated_add(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y);
void rg_cuda_norm_rope(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe);
void rg_cuda_rope_table(rg_ctx *c, rg_tensor *out, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta);
void rg_cuda_timestep_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *t, float max_period, float time_factor);
void rg_cuda_interpolate(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode);

/* attention where cuDNN has none: float32, other head sizes and strides (flash.cu). */
void rg_cuda_flash(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                   const rg_attention_args *args);

/* n bytes of pageable host memory to the device; they have been read when it returns. The caller checks (upload.c). */
void rg_cuda_upload(rg_ctx *c, cudaStream_t stream, void *to, const void *from, size_t n);
void rg_cuda_upload_release(rg_cuda_state *s);

/*
 * A weight that lies on the host, on the device for the product that is asked for next; NULL, latched, if it cannot be. Call done once that
 * product has been launched (stream.c).
 */
const void *rg_cuda_stream_weight(rg_ctx *c, const void *host, size_t n);
void rg_cuda_stream_done(rg_ctx *c);
void rg_cuda_stream_release(rg_cuda_state *s);

/* Recording and replaying (capture.c): the backend's rows of these names. */
bool rg_cuda_capture_begin(rg_ctx *c);
void *rg_cuda_capture_end(rg_ctx *c);
void rg_cuda_capture_replay(rg_ctx *c, void *run);
void rg_cuda_capture_free(rg_ctx *c, void *run);

/* Ends what the rows planned. */
void rg_cuda_product_release(rg_cuda_state *s);
void rg_cuda_attention_release(rg_cuda_state *s);
void rg_cuda_conv2d_release(rg_cuda_state *s);

/*
 * D [M, N] = A [M, K] B [K, N], batched, by cuBLASLt (product.c). Pitches and steps in elements; a turned operand lies as its
 * transpose. Clear the struct with memset first: it is compared as bytes. The alignments and has_scale are filled in.
 */
typedef struct rg_cuda_product {
    rg_dtype dtype, d_dtype;            /* of the operands; of the result: the same, or RG_F32 */
    cublasLtEpilogue_t epilogue;
    int64_t M, N, K, n_batches;
    int64_t a_pitch, b_pitch, d_pitch, a_step, b_step, d_step;
    int a_is_turned, b_is_turned;
    int a_alignment, b_alignment, d_alignment, has_scale;
} rg_cuda_product;

/*
 * bias [N] of the dtype, or NULL; scale: a factor of the product on the device, or NULL. False, with nothing latched, where cuBLASLt has no
 * such epilogue: run it without.
 */
bool rg_cuda_product_run(rg_ctx *c, const rg_cuda_product *p, void *d, const void *a, const void *b, const void *bias, const float *scale);

/* Row-major device bytes of t in dtype: its own, or converted into scratch. */
const void *rg_cuda_rows(rg_ctx *c, const rg_tensor *t, rg_dtype dtype);

/* out = activation(sums + bias): what an epilogue could not do. bias: a vector over the last dim, or NULL; -1: no activation; out may be sums. */
void rg_cuda_finish(rg_ctx *c, rg_tensor *out, rg_tensor *sums, const rg_tensor *bias, int unary_kind);

/* Kernel launchers that C files call: copy.cu; conv2d_unfold.cu. */
void rg_cuda_convert(rg_ctx *c, void *out, rg_dtype out_dtype, const void *in, rg_dtype in_dtype, int64_t n);

/* Rows first..first + n of the matrix [B OH OW, KH KW C] of a channels-last convolution: each output pixel's window. */
void rg_cuda_unfold(rg_ctx *c, void *rows, const rg_tensor *x, int KH, int KW, int stride, int padding, int64_t OH, int64_t OW, int64_t first, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
