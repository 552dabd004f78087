/*
 * A tensor: element type, shape, strides, device and a pointer into counted storage. It is a value of the graph
 * (rg_object) and the operand of every op. Views share storage and cost one small header.
 *
 * Ownership: a tensor made by an op or by rg_tensor_new() belongs to the context's current scope (ctx.h) and dies with
 * it, unless kept by rg_scope_end() or held by rg_ref().
 */
#ifndef RG_CORE_TENSOR_H
#define RG_CORE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "engine/core/object.h"

typedef struct rg_ctx rg_ctx;

enum { RG_MAX_DIMS = 6 };               /* [B, C, T, H, W] and one for splitting heads */

/*  name      bytes  safetensors' name */
#define RG_DTYPE_LIST(X)               \
    X(F32,     4,    "F32")            \
    X(F16,     2,    "F16")            \
    X(BF16,    2,    "BF16")           \
    X(F8_E4M3, 1,    "F8_E4M3")        \
    X(F8_E5M2, 1,    "F8_E5M2")        \
    X(F64,     8,    "F64")            \
    X(I8,      1,    "I8")             \
    X(U8,      1,    "U8")             \
    X(I16,     2,    "I16")            \
    X(I32,     4,    "I32")            \
    X(I64,     8,    "I64")            \
    X(BOOL,    1,    "BOOL")

typedef enum rg_dtype {
#define X(name, bytes, text) RG_##name,
    RG_DTYPE_LIST(X)
#undef X
    RG_N_DTYPES
} rg_dtype;

size_t rg_dtype_size(rg_dtype t);
const char *rg_dtype_name(rg_dtype t);  /* safetensors' name: "BF16" */

typedef enum rg_device_type { RG_CPU, RG_CUDA } rg_device_type;

typedef struct rg_device {
    rg_device_type type;
    int index;                          /* which GPU; 0 for the CPU */
} rg_device;

/* Bytes that one or more tensors look into: malloc'ed, on a GPU, or a mapped file (then owner keeps the map alive). */
typedef struct rg_storage {
    rg_object base;
    void *data;
    size_t nbytes;
    rg_device device;
    bool is_read_only;                  /* a mapped file: never written in place */
    void *owner;                        /* an rg_object that data belongs to, or NULL */
    struct rg_pool *pool;               /* where freed bytes go back to, or NULL */
} rg_storage;

typedef struct rg_tensor {
    rg_object base;
    rg_dtype dtype;
    rg_device device;
    int n_dims;
    int64_t shape[RG_MAX_DIMS];
    int64_t stride[RG_MAX_DIMS];        /* in elements; 0 repeats a value along that dimension */
    void *data;                         /* first element; inside storage->data */
    rg_storage *storage;
} rg_tensor;

/* Shape. Negative dims count from the end, as in torch. A dim outside the tensor is a bug, not an error. */
int64_t rg_dim(const rg_tensor *t, int dim);
int64_t rg_numel(const rg_tensor *t);
size_t rg_nbytes(const rg_tensor *t);                       /* numel * element size */
bool rg_is_contiguous(const rg_tensor *t);                  /* row-major without gaps */
bool rg_is_channels_last(const rg_tensor *t);               /* 4 dims [B, C, H, W], C fastest, then W, H, B, no gaps */
bool rg_is_dense(const rg_tensor *t);                       /* any permutation of row-major without gaps or repeats */
bool rg_same_shape(const rg_tensor *a, const rg_tensor *b);
const char *rg_shape_text(const rg_tensor *t, char *buffer, size_t size);   /* "[1, 16, 32, 32]"; returns buffer */

/*
 * New tensor with undefined (new) or zero (zeros) contents on c's device; owned by c's scope.
 *   shape    n_dims sizes, each 0 or more
 *   returns  NULL once c has failed; errors RG_ERR_NOMEM, RG_ERR_SHAPE (more than RG_MAX_DIMS, negative, overflow)
 */
rg_tensor *rg_tensor_new(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape);
rg_tensor *rg_tensor_zeros(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape);
rg_tensor *rg_tensor_full(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape, double value);

/* The same with the shape written inline: rg_tensor_new4(c, RG_F32, B, C, H, W). */
#define rg_new1(c, t, a)             rg_tensor_new((c), (t), 1, (const int64_t[]){ (a) })
#define rg_new2(c, t, a, b)          rg_tensor_new((c), (t), 2, (const int64_t[]){ (a), (b) })
#define rg_new3(c, t, a, b, d)       rg_tensor_new((c), (t), 3, (const int64_t[]){ (a), (b), (d) })
#define rg_new4(c, t, a, b, d, e)    rg_tensor_new((c), (t), 4, (const int64_t[]){ (a), (b), (d), (e) })
#define rg_new5(c, t, a, b, d, e, f) rg_tensor_new((c), (t), 5, (const int64_t[]){ (a), (b), (d), (e), (f) })

/* As rg_tensor_new(), but with channels-last strides for 4 dims [B, C, H, W]: what convolutions read and write. */
rg_tensor *rg_tensor_new_channels_last(rg_ctx *c, rg_dtype dtype, int64_t B, int64_t C, int64_t H, int64_t W);

/*
 * A row-major CPU tensor over bytes that somebody else owns (a mapped file, a decoded picture). It holds `owner`
 * (an rg_object, or NULL if the bytes outlive everything). Not owned by a scope: the caller gets one hold. NULL if no memory.
 */
rg_tensor *rg_tensor_wrap(void *data, rg_dtype dtype, int n_dims, const int64_t *shape, bool is_read_only, void *owner);

/* Hand a tensor the caller holds to c's current scope (which lets go of it at its end). Returns t. */
rg_tensor *rg_tensor_adopt(rg_ctx *c, rg_tensor *t);

/* Read or write one element of a CPU tensor by its row-major index, through the strides; for definitions and tests. */
double rg_get(const rg_tensor *t, int64_t index);
void rg_set(rg_tensor *t, int64_t index, double value);

/* Views: no copy, no kernel; they read the same storage. NULL in gives NULL out. Errors: RG_ERR_SHAPE. */
rg_tensor *rg_view(rg_ctx *c, const rg_tensor *t, int n_dims, const int64_t *shape);   /* one size may be -1; strided input must allow it */
rg_tensor *rg_slice(rg_ctx *c, const rg_tensor *t, int dim, int64_t start, int64_t end);   /* end RG_TO_END; negatives from the end */
rg_tensor *rg_permute(rg_ctx *c, const rg_tensor *t, const int *order);                 /* order holds n_dims entries */
rg_tensor *rg_transpose(rg_ctx *c, const rg_tensor *t, int dim0, int dim1);
rg_tensor *rg_unsqueeze(rg_ctx *c, const rg_tensor *t, int dim);
rg_tensor *rg_squeeze(rg_ctx *c, const rg_tensor *t, int dim);
rg_tensor *rg_expand(rg_ctx *c, const rg_tensor *t, int n_dims, const int64_t *shape); /* torch's broadcasting, stride 0 */
#define RG_TO_END INT64_MAX

#define rg_view1(c, t, a)             rg_view((c), (t), 1, (const int64_t[]){ (a) })
#define rg_view2(c, t, a, b)          rg_view((c), (t), 2, (const int64_t[]){ (a), (b) })
#define rg_view3(c, t, a, b, d)       rg_view((c), (t), 3, (const int64_t[]){ (a), (b), (d) })
#define rg_view4(c, t, a, b, d, e)    rg_view((c), (t), 4, (const int64_t[]){ (a), (b), (d), (e) })
#define rg_view5(c, t, a, b, d, e, f) rg_view((c), (t), 5, (const int64_t[]){ (a), (b), (d), (e), (f) })
#define rg_view6(c, t, a, b, d, e, f, g) rg_view((c), (t), 6, (const int64_t[]){ (a), (b), (d), (e), (f), (g) })
#define rg_permute3(c, t, a, b, d)       rg_permute((c), (t), (const int[]){ (a), (b), (d) })
#define rg_permute4(c, t, a, b, d, e)    rg_permute((c), (t), (const int[]){ (a), (b), (d), (e) })
#define rg_permute5(c, t, a, b, d, e, f) rg_permute((c), (t), (const int[]){ (a), (b), (d), (e), (f) })
#define rg_permute6(c, t, a, b, d, e, f, g) rg_permute((c), (t), (const int[]){ (a), (b), (d), (e), (f), (g) })

#endif
