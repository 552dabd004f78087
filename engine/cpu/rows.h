/*
 * Walk operands of equal shape, of any strides, row by row: dims that lie alike in all operands are merged, the longest
 * walk in memory becomes the row. The rows, cut into pieces, are dealt to the threads in a fixed order.
 */
#ifndef RG_CPU_ROWS_H
#define RG_CPU_ROWS_H

#include "engine/cpu/simd.h"

enum {
    ROWS_MAX = 3,                       /* operands: the output and at most two inputs */
    ROWS_PIECE = 2048,                  /* elements of a row handed out at once: three float pieces stay in L1 */
    ROWS_SERIAL = 1 << 15               /* below this many elements threads cost more than they bring */
};

typedef struct rg_rows {
    int n_operands, n_dims;             /* dims without the row itself */
    int64_t shape[RG_MAX_DIMS];
    int64_t stride[ROWS_MAX][RG_MAX_DIMS];      /* in bytes */
    char *data[ROWS_MAX];
    int64_t length, n_rows, n_pieces;   /* of a row, of the walk, of a row */
    int64_t step[ROWS_MAX];             /* along the row, in elements */
    rg_dtype dtype[ROWS_MAX];
} rg_rows;

/* Operand 0 is the output, whose memory order decides the walk. */
void rg_rows_init(rg_rows *r, int n_operands, const rg_tensor *const *operands);

/* One piece: pointers to the first element of each operand, n elements at r->step[]. */
typedef void rg_rows_fn(const rg_rows *r, char *const *at, int64_t n, void *user);
void rg_rows_run(const rg_rows *r, rg_rows_fn *fn, void *user);

/* n elements as floats: where they lie if they are a float row, else widened into buffer. */
const float *rg_rows_load(const rg_rows *r, int operand, const char *at, int64_t n, float *buffer);

/* Where to compute n floats of the output: in place if it is a float row, else buffer; then write them. */
float *rg_rows_target(const rg_rows *r, char *at, float *buffer);
void rg_rows_store(const rg_rows *r, char *at, const float *values, int64_t n);

/* f32, f16, bf16 or fp8: what these loops carry as floats without loss. */
bool rg_rows_as_float(const rg_tensor *t);

/* Float copy of a small vector (a weight of a norm) as a tensor of c's scope; t itself if it is one already. NULL for NULL. */
const float *rg_rows_vector(rg_ctx *c, const rg_tensor *t);

#endif
