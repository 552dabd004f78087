/*
 * What the op files share: checks of operands, the call into the device's row, and operands as plain double arrays for
 * the definitions.
 *
 * A public op reads:   check operands -> new output -> RG_RUN(c, row, out, ...) -> return out, or NULL once c has failed
 * A definition reads:  load operands as row-major doubles -> the formula -> store, rounding once
 */
#ifndef RG_OPS_DEFINE_H
#define RG_OPS_DEFINE_H

#include <math.h>
#include <stdlib.h>

#include "engine/ops/backend.h"
#include "engine/ops/profile.h"

/*
 * True if c is well and the operands can be used: the first n_needed are not NULL, and all that are not NULL lie on c's
 * device (RG_ERR_DEVICE names op and devices otherwise).
 */
bool rg_op_ready(rg_ctx *c, const char *op, int n_needed, int n, const rg_tensor *const *operands);
#define RG_READY(c, op, n_needed, ...) \
    rg_op_ready((c), (op), (n_needed), (int)(sizeof((const rg_tensor *const[]){ __VA_ARGS__ }) / sizeof(rg_tensor *)), \
                (const rg_tensor *const[]){ __VA_ARGS__ })

/* f32, f16, bf16 or f64: what arithmetic is done on. fp8 is for storage, but a definition takes it too. */
bool rg_is_float(rg_dtype t);

/* RG_ERR_SHAPE naming op and both shapes; returns NULL, so that `return rg_op_mismatch(...)` reads well. */
rg_tensor *rg_op_mismatch(rg_ctx *c, const char *op, const rg_tensor *a, const rg_tensor *b);

/* RG_ERR_DTYPE unless t holds floating-point numbers. */
bool rg_op_float(rg_ctx *c, const char *op, const rg_tensor *t);

/* A vector of n floats, or NULL: what weight and bias of a norm must be. RG_ERR_SHAPE otherwise. */
bool rg_op_vector(rg_ctx *c, const char *op, const char *what, const rg_tensor *t, int64_t n);

/* New tensor with x's shape, and x's memory order where x is dense (channels-last stays channels-last), else row-major. */
rg_tensor *rg_new_like(rg_ctx *c, const rg_tensor *x, rg_dtype dtype);

/* New [B, C, H, W] in x's memory format: channels-last if x is, else row-major. */
rg_tensor *rg_new_picture_like(rg_ctx *c, const rg_tensor *x, int64_t H, int64_t W);

/* The shape that a and b broadcast to, as in torch; returns its number of dims, or -1 when they do not fit. */
int rg_broadcast_shape(const rg_tensor *a, const rg_tensor *b, int64_t *shape);

/*
 * Call the device's row, or fail with RG_ERR_UNSUPPORTED where it is empty. This is where an op is timed (profile.h).
 */
#define RG_RUN(c, row, out, ...) do {                                                                    \
        if (!(c)->ops->row) { rg_op_missing((c), #row, (out)); break; }                                   \
        if ((c)->ops->bind) (c)->ops->bind(c);                                                            \
        const double rg_run_start = rg_profile_start((c), #row);                                                \
        (c)->ops->row((c), (out), __VA_ARGS__);                                                           \
        if (rg_run_start > 0) rg_profile_end((c), #row, rg_run_start, (out));                             \
    } while (0)

/*
 * For ops with a form "into dst": true if dst can take a result of x's dtype and this shape; fails otherwise. rg_into_begin() then
 * gives the out that the device's row can write, dst or a row-major stand-in, and rg_into_end() brings it home.
 */
bool rg_into_fits(rg_ctx *c, const char *op, const rg_tensor *dst, rg_dtype dtype, int n_dims, const int64_t *shape);
rg_tensor *rg_into_begin(rg_ctx *c, rg_tensor *dst, bool is_operand);
void rg_into_end(rg_ctx *c, rg_tensor *dst, rg_tensor *out);

void rg_op_missing(rg_ctx *c, const char *op, const rg_tensor *out);

/* The values of t in row-major order, as doubles; free with rg_free(). NULL for NULL, and (latched) without memory. */
double *rg_def_load(rg_ctx *c, const rg_tensor *t);

/* Write row-major values into out, rounding once to its dtype. */
void rg_def_store(rg_tensor *out, const double *values);

/* Every definition, in the order of rg_backend. */
void rg_def_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x);
void rg_def_binary(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind);
void rg_def_affine(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift);
void rg_def_div_scalar(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor);
void rg_def_add_scaled(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s);
void rg_def_clamp(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max);
void rg_def_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind);
void rg_def_gated_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind);
void rg_def_pad2d(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode);
void rg_def_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids);
void rg_def_sum(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean);
void rg_def_softmax(rg_ctx *c, rg_tensor *out, const rg_tensor *x);
void rg_def_linear(rg_ctx *c, rg_tensor *out, const rg_linear_weight *w, const rg_tensor *x, int unary_kind);
void rg_def_matmul(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b);
void rg_def_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v,
                      const rg_tensor *bias, const rg_attention_args *args);
void rg_def_conv2d(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding);
void rg_def_layer_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps);
void rg_def_rms_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps);
void rg_def_group_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight,
                       const rg_tensor *bias, float eps, bool has_silu);
void rg_def_modulated_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps);
void rg_def_gated_add(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y);
void rg_def_norm_rope(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe);
void rg_def_rope_table(rg_ctx *c, rg_tensor *out, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta);
void rg_def_timestep_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *t, float max_period, float time_factor);
void rg_def_interpolate(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode);

/* One value through an activation, in double. */
double rg_def_unary_value(double x, rg_unary_kind kind);

/*
 * Where output position i along one axis reads from, with float32 source positions as torch computes them, because their
 * rounding decides which pixel is picked. Tap t is pixel first + t, clamped into the axis, with weight weights[t];
 * RG_AREA weighs all alike and leaves weights alone. Returns the number of taps: 1, 2, 4, or any for RG_AREA.
 */
int64_t rg_interp_taps(rg_interp mode, int64_t i, int64_t in, int64_t out, int64_t *first, float weights[4]);

#endif
