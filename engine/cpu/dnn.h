/*
 * oneDNN as a maker of single-threaded tile kernels. Every op cuts its own work into tiles that depend on the shapes alone
 * and deals them to the threads; a tile is one oneDNN primitive running in the thread that calls it. So results do not depend
 * on the number of threads, by construction, and no K-split can sneak in. Primitives are kept by their description, because
 * making one costs about 0.1 ms and running a small one about 1 us.
 */
#ifndef RG_CPU_DNN_H
#define RG_CPU_DNN_H

#include "engine/ops/ops.h"

/* out[M, N] = a[M, K] b[K, N] (+ bias[N]) (+ out), then an activation. Strides in elements; one of a's and one of b's is 1. */
typedef struct rg_gemm_shape {
    int64_t M, N, K;
    int64_t a_row, a_col, b_row, b_col, out_row;
    rg_dtype dtype;                     /* of a and b: RG_F32, or RG_BF16 where the chip has it */
    rg_dtype out_dtype;                 /* RG_F32 or dtype */
    bool has_bias;                      /* float32 */
    bool is_added;                      /* to what out holds */
    int unary_kind;                     /* rg_unary_kind, or -1 */
    float scale;                        /* of the product, before the bias */
} rg_gemm_shape;

/* One picture, or a band of its rows, channels-last: zero padding at each side, weights as rg_dnn_conv_pack() leaves them. */
typedef struct rg_conv_shape {
    int64_t C, H, W, O, OH, OW, KH, KW; /* of the band: H rows in, OH rows out */
    int stride, top, left, bottom, right;
    rg_dtype dtype;
    bool has_bias;
} rg_conv_shape;

typedef struct rg_dnn rg_dnn;           /* a kept primitive */

/* Does the chip (through oneDNN) multiply this dtype as it is? f32 always; bf16 with instructions for it; oneDNN 2.6 has no f16 on CPUs. */
bool rg_dnn_has(rg_dtype dtype);

/* Can oneDNN apply this activation to a product in passing? */
bool rg_dnn_has_unary(int kind);

/* The primitive for a shape, made if new; let go of it with rg_dnn_release(). NULL and a failed context if oneDNN refuses. */
rg_dnn *rg_dnn_gemm(rg_ctx *c, const rg_gemm_shape *s);
rg_dnn *rg_dnn_conv(rg_ctx *c, const rg_conv_shape *s);
void rg_dnn_release(rg_dnn *p);

/* Bytes of scratch that one run needs, 64-byte aligned. */
size_t rg_dnn_scratch(const rg_dnn *p);

/* Run in the calling thread; any thread may, at the same time as others. Returns false if oneDNN reports an error. */
bool rg_dnn_run(const rg_dnn *p, const void *a, const void *b, const void *bias, void *out, void *scratch);

/* Bytes of a convolution's weights in the primitive's own order, whether two agree on it, and the
   rearranging of row-major [O, C, KH, KW] into it. */
size_t rg_dnn_conv_weight_bytes(const rg_dnn *p);
bool rg_dnn_conv_same_pack(const rg_dnn *p, const rg_dnn *q);
bool rg_dnn_conv_pack(rg_ctx *c, const rg_dnn *p, const void *weight, void *packed);

/* Around a parallel region whose threads run primitives: inside, oneDNN itself must use one thread. */
void rg_dnn_enter(void);                /* first thing in each thread of the region */

#endif
