/*
 * A device is a struct of function pointers, one row per op. Plain C definitions fill every CPU row first, faster
 * versions overwrite them (engine/cpu); CUDA fills what it has (engine/cuda). An empty row is an honest
 * RG_ERR_UNSUPPORTED that names op and dtype: never a silent copy to the host.
 *
 * A row gets operands that the public op (ops.h) has checked, and an output of the right shape and dtype to fill.
 * It reports failure with rg_fail() and returns nothing.
 */
#ifndef RG_OPS_BACKEND_H
#define RG_OPS_BACKEND_H

#include "engine/ops/ops.h"

typedef enum rg_binary_kind { RG_ADD, RG_SUB, RG_MUL, RG_DIV, RG_MAXIMUM, RG_MINIMUM, RG_N_BINARY } rg_binary_kind;

typedef struct rg_attention_args {
    float scale;                        /* never 0 here */
    bool is_causal;
} rg_attention_args;

/* A device as people see it. */
typedef struct rg_device_info {
    char name[128];                     /* "NVIDIA L40S" */
    int64_t n_bytes, n_free;            /* of its memory: in all, and not taken by anybody */
} rg_device_info;

typedef struct rg_backend {
    const char *name;                   /* "cpu", "cuda" */

    /*
     * True if the rows linear, attention and norm_rope write an out whose last dim alone lies without gaps (linear: 2 dims
     * then; norm_rope: over its own operand too). Otherwise they only get row-major ones, and the op copies.
     */
    bool writes_strided;

    /* True if the row linear takes weights that lie on the host (row-major), as those do for which c->weight_budget has no room. */
    bool streams_weights;

    void (*copy)(rg_ctx *c, rg_tensor *out, const rg_tensor *x);    /* any dtype and strides to any; shapes equal */
    void (*binary)(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind);  /* a, b expanded to out's shape */
    void (*affine)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift);
    void (*div_scalar)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor);
    void (*add_scaled)(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s);
    void (*clamp)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max);
    void (*unary)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind);
    void (*gated_unary)(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind);
    void (*pad2d)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode);
    void (*embedding)(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids);
    void (*sum)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean);      /* out keeps the dim, size 1 */
    void (*softmax)(rg_ctx *c, rg_tensor *out, const rg_tensor *x);                          /* last dim, row-major */
    void (*linear)(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind);  /* -1: none; x row-major */
    void (*matmul)(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b);       /* same leading dims, expanded */
    void (*attention)(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v,
                      const rg_tensor *bias, const rg_attention_args *args);                /* bias expanded to [B, H, N, M] or NULL */
    void (*conv2d)(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding);
    void (*layer_norm)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps);
    void (*rms_norm)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps);
    void (*group_norm)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight,
                       const rg_tensor *bias, float eps, bool has_silu);
    void (*modulated_norm)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps);  /* scale, shift [B, D] */
    void (*gated_add)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y);             /* gate [B, D] */
    void (*norm_rope)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe);
    void (*rope_table)(rg_ctx *c, rg_tensor *out, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta);
    void (*timestep_embedding)(rg_ctx *c, rg_tensor *out, const rg_tensor *t, float max_period, float time_factor);
    void (*interpolate)(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode);

    int (*ctx_init)(rg_ctx *c);                                     /* set up c->stream and c->backend_data; 0 or a code; may be NULL */

    void (*bind)(rg_ctx *c);                                        /* before each row: make c's device the calling thread's; may be NULL */

    /* memory of the device */
    void *(*alloc)(rg_ctx *c, size_t nbytes);                       /* 64-byte aligned at least; NULL when there is none */
    void (*free)(void *data);
    void (*synchronize)(rg_ctx *c);                                 /* wait for the stream; reports its errors */
    void (*ctx_release)(rg_ctx *c);                                 /* end c->backend_data */

    /*
     * Record what the rows launch from begin to end instead of running it; begin is false where that is not possible now, end returns what
     * replay takes, or NULL. Rows that wait for the device or take memory from it end the recording. All four or none.
     */
    bool (*capture_begin)(rg_ctx *c);
    void *(*capture_end)(rg_ctx *c);
    void (*capture_replay)(rg_ctx *c, void *run);
    void (*capture_free)(rg_ctx *c, void *run);

    /* open a range for the vendor's profiler (name), or close the innermost (NULL); may be NULL */
    void (*range)(rg_ctx *c, const char *name);

    /* how many threads the device holds at once (processors times threads each); NULL: it has no such number */
    int64_t (*resident_threads)(rg_ctx *c);

    /* what device number `index` is and how much memory it has, from any thread; false: it cannot be asked; NULL: main memory */
    bool (*describe)(int index, rg_device_info *out);
} rg_backend;

/* The plain C definitions alone: the truth that test_ops compares every device with. */
const rg_backend *rg_backend_reference(void);

/* The CPU as it runs: definitions overwritten by engine/cpu. */
const rg_backend *rg_backend_cpu(void);

/* The GPU, or NULL when this build or this machine has none. */
const rg_backend *rg_backend_cuda(void);

/* The name of the first op whose row is empty, or NULL when the device offers all: what --device auto asks. */
const char *rg_backend_missing_row(const rg_backend *b);

#endif
