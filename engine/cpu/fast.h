/* The fast CPU rows, each in the file named in its group; cpu.c puts them into the table. */
#ifndef RG_CPU_FAST_H
#define RG_CPU_FAST_H

#include "engine/ops/backend.h"

/* elementwise.c */
void rg_cpu_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x);
void rg_cpu_binary(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind);
void rg_cpu_affine(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift);
void rg_cpu_div_scalar(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor);
void rg_cpu_add_scaled(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s);
void rg_cpu_clamp(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max);
void rg_cpu_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind);
void rg_cpu_gated_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind);

/* linear.c */
void rg_cpu_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind);
void rg_cpu_matmul(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b);

/* attention.c */
void rg_cpu_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v,
                      const rg_tensor *bias, const rg_attention_args *args);

/* conv2d.c */
void rg_cpu_conv2d(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding);

/* norm.c */
void rg_cpu_sum(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean);
void rg_cpu_softmax(rg_ctx *c, rg_tensor *out, const rg_tensor *x);
void rg_cpu_layer_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps);
void rg_cpu_rms_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps);
void rg_cpu_group_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight,
                       const rg_tensor *bias, float eps, bool has_silu);
void rg_cpu_modulated_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps);
void rg_cpu_gated_add(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y);
void rg_cpu_norm_rope(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe);

/* picture.c */
void rg_cpu_pad2d(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode);
void rg_cpu_interpolate(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode);
void rg_cpu_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids);

/*
 * How a product is cut into tiles: by its sizes alone, never by the number of threads. Enough tiles to go round many cores,
 * none so small that its overhead shows, none so large that one core waits long for another.
 */
void rg_cpu_tiles(int64_t M, int64_t N, int64_t K, int64_t *tile_m, int64_t *tile_n);

/* A temporary as x, in another dtype and row-major, from c's scope; x itself if nothing is to be done. */
const rg_tensor *rg_cpu_as(rg_ctx *c, const rg_tensor *x, rg_dtype dtype);

/* n bytes for each thread of the coming parallel region, each 64-byte aligned; from c's scope. NULL once c has failed. */
char *rg_cpu_scratch(rg_ctx *c, size_t nbytes, int *n_threads);
int rg_cpu_thread(void);                /* which part is the caller's */

#endif
