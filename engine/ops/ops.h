/*
 * The ops: everything a model or a sampler computes with, named as torch names it. Each op has one file here with its
 * shape checks and its plain C float32 definition; a device fills one row of rg_backend (backend.h) for it.
 *
 * Common to all
 *   result     new, on c's device, owned by c's current scope; NULL once c has failed; a NULL operand gives NULL
 *   dtype      of the first operand unless said otherwise; sums are taken in float32 or wider
 *   strides    any view is accepted; a row that needs row-major copies by itself
 *   errors     RG_ERR_SHAPE, RG_ERR_DTYPE, RG_ERR_NOMEM, RG_ERR_UNSUPPORTED (the device has no row), RG_ERR_DEVICE
 */
#ifndef RG_OPS_OPS_H
#define RG_OPS_OPS_H

#include "engine/core/ctx.h"

/* ---- moving and converting ---------------------------------------------------------------------------------- */

/* The same values as `dtype`, rounded to nearest even; t itself when it has that dtype already. fp8 saturates as torch's cast does not: NaN past the range of e4m3fn. */
rg_tensor *rg_to(rg_ctx *c, const rg_tensor *t, rg_dtype dtype);

/* The same values on another device; t itself when it is there already. */
rg_tensor *rg_to_device(rg_ctx *c, const rg_tensor *t, rg_device device);

/* Row-major without gaps; t itself when it is so already. */
rg_tensor *rg_contiguous(rg_ctx *c, const rg_tensor *t);

/* Always a fresh row-major copy. */
rg_tensor *rg_clone(rg_ctx *c, const rg_tensor *t);

/* Write src (same shape or broadcastable, any dtype) into dst, a view the caller made of a tensor it alone holds. */
void rg_copy_into(rg_ctx *c, rg_tensor *dst, const rg_tensor *src);

/* Join along dim; all other sizes equal, dtype of the first. */
rg_tensor *rg_concat(rg_ctx *c, const rg_tensor *a, const rg_tensor *b, int dim);
rg_tensor *rg_concat_n(rg_ctx *c, const rg_tensor *const *parts, int n, int dim);

/* torch.nn.functional.pad, constant zero or edge values, on the last two dims of [..., H, W]. */
typedef enum rg_pad_mode { RG_PAD_ZERO, RG_PAD_REPLICATE, RG_PAD_CIRCULAR } rg_pad_mode;
rg_tensor *rg_pad2d(rg_ctx *c, const rg_tensor *x, int64_t left, int64_t right, int64_t top, int64_t bottom, rg_pad_mode mode);

/* rows of table [n, D] by ids [...], I32 or I64: [..., D]. An id outside the table is RG_ERR_INVALID. */
rg_tensor *rg_embedding(rg_ctx *c, const rg_tensor *table, const rg_tensor *ids);

/* ---- elementwise, with torch's broadcasting --------------------------------------------------------------------- */

rg_tensor *rg_add(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);
rg_tensor *rg_sub(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);
rg_tensor *rg_mul(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);
rg_tensor *rg_div(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);
rg_tensor *rg_maximum(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);
rg_tensor *rg_minimum(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);

/* x * scale + shift, with scalars: two float32 roundings (multiply, then add), as torch does it. scale 1 or shift 0 is skipped. */
rg_tensor *rg_affine(rg_ctx *c, const rg_tensor *x, float scale, float shift);

/* x / divisor, a scalar: a true division, as torch does it. */
rg_tensor *rg_div_scalar(rg_ctx *c, const rg_tensor *x, float divisor);

/* a + s * b, one float32 multiply then one add (no fused multiply-add): the step of every sampler. Same shape. */
rg_tensor *rg_add_scaled(rg_ctx *c, const rg_tensor *a, const rg_tensor *b, float s);

rg_tensor *rg_clamp(rg_ctx *c, const rg_tensor *x, float min, float max);

typedef enum rg_unary_kind {
    RG_EXP, RG_LOG, RG_SQRT, RG_SIN, RG_COS, RG_TANH, RG_SIGMOID, RG_ABS, RG_NEG, RG_RECIPROCAL, RG_ROUND, RG_FLOOR,
    RG_RELU,
    RG_SILU,                            /* x * sigmoid(x) */
    RG_GELU,                            /* x * Phi(x), exact (erf) */
    RG_GELU_TANH,                       /* the tanh approximation: T5 v1.1 and Flux's MLPs */
    RG_QUICK_GELU,                      /* x * sigmoid(1.702 x): CLIP-L */
    RG_NAN_TO_NUM,                      /* NaN to 0, infinities to 65504 of their sign: f16 activations between blocks */
    RG_N_UNARY
} rg_unary_kind;
rg_tensor *rg_unary(rg_ctx *c, const rg_tensor *x, rg_unary_kind kind);

/* ---- reductions --------------------------------------------------------------------------------------------------- */

rg_tensor *rg_sum(rg_ctx *c, const rg_tensor *x, int dim, bool keep_dim);
rg_tensor *rg_mean(rg_ctx *c, const rg_tensor *x, int dim, bool keep_dim);
rg_tensor *rg_softmax(rg_ctx *c, const rg_tensor *x, int dim);

/* ---- matrix products ------------------------------------------------------------------------------------------------ */

/*
 * A linear layer as a checkpoint stores it. The weight may have another dtype than x (bf16 or fp8 file, f32 compute):
 * then it is widened on the way. `scale` is ComfyUI's scale_weight of a scaled fp8 file: the weight is scale * weight.
 */
typedef struct rg_linear_weight {
    const rg_tensor *weight;            /* [n_out, n_in] */
    const rg_tensor *bias;              /* [n_out] or NULL */
    const rg_tensor *scale;             /* scalar float32 or NULL */
} rg_linear_weight;

/* x [..., n_in] -> [..., n_out]: x W^T + b. torch.nn.functional.linear. */
rg_tensor *rg_linear(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x);

/* The same followed by an activation, in one pass over the result where the device can. */
rg_tensor *rg_linear_unary(rg_ctx *c, const rg_linear_weight *w, const rg_tensor *x, rg_unary_kind kind);

/* a [..., M, K] times b [..., K, N] -> [..., M, N]; leading dims broadcast. torch.matmul for 2 or more dims. */
rg_tensor *rg_matmul(rg_ctx *c, const rg_tensor *a, const rg_tensor *b);

/*
 * softmax(q k^T * scale + bias) v without ever storing the N x N scores.
 *   q [B, H, N, D]   k [B, Hkv, M, D]   v [B, Hkv, M, Dv]   any strides; Hkv divides H
 *   bias     NULL, or added to the scores: broadcastable to [B, H, N, M], float32 or dtype of q; -inf masks
 *   scale    0 means 1 / sqrt(D); T5 uses 1
 *   is_causal  token i sees tokens 0..i (M == N)
 *   returns  [B, N, H * Dv], row-major: ready for the output projection
 *   source   torch.nn.functional.scaled_dot_product_attention; Dao et al. 2022, arXiv:2205.14135
 */
rg_tensor *rg_attention(rg_ctx *c, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                        float scale, bool is_causal);

/*
 * linear, attention and norm_rope (below) into a place that the caller made, a slice of a joined buffer for instance, which
 * spares the copy of a concat. dst has the result's shape and dtype and no gaps in its last dim; nobody else reads it yet.
 */
void rg_linear_into(rg_ctx *c, rg_tensor *dst, const rg_linear_weight *w, const rg_tensor *x);
void rg_linear_unary_into(rg_ctx *c, rg_tensor *dst, const rg_linear_weight *w, const rg_tensor *x, rg_unary_kind kind);
void rg_attention_into(rg_ctx *c, rg_tensor *dst, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                       float scale, bool is_causal);

/* As rg_linear_weight, for convolutions: weight [C_out, C_in, KH, KW] (or [C_out, C_in, KT, KH, KW] later), bias [C_out] or NULL. */
typedef struct rg_conv_weight {
    const rg_tensor *weight, *bias;
} rg_conv_weight;

/*
 * 2-D convolution, zero padding on all four sides.
 *   x [B, C_in, H, W], best channels-last   returns [B, C_out, OH, OW], always channels-last
 */
rg_tensor *rg_conv2d(rg_ctx *c, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding);

/* ---- norms ------------------------------------------------------------------------------------------------------------ */

/* Over the last dim D; weight, bias [D] or NULL. torch.nn.functional.layer_norm. eps is added to the variance. */
rg_tensor *rg_layer_norm(rg_ctx *c, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps);

/* x / sqrt(mean(x^2) + eps) * weight over the last dim; weight [D] or NULL. */
rg_tensor *rg_rms_norm(rg_ctx *c, const rg_tensor *x, const rg_tensor *weight, float eps);

/* x [B, C, H, W] in n_groups groups of channels, weight and bias [C]; then SiLU if has_silu. Keeps x's memory format. */
rg_tensor *rg_group_norm(rg_ctx *c, const rg_tensor *x, int n_groups, const rg_tensor *weight, const rg_tensor *bias,
                         float eps, bool has_silu);

/* ---- fused steps of diffusion transformers -------------------------------------------------------------------------------- */

/* layer_norm(x, no weights, eps) * (1 + scale) + shift.  x [B, N, D]   scale, shift [B, 1, D] or [B, D], any float dtype */
rg_tensor *rg_modulated_norm(rg_ctx *c, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps);

/* x + gate * y.  x, y [B, N, D]   gate [B, 1, D] or [B, D], any float dtype */
rg_tensor *rg_gated_add(rg_ctx *c, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y);

/*
 * RMS norm per head, then rotary embedding of adjacent pairs: what Flux does to q and k.
 *   x       [B, H, N, D], any strides     weight [D], dtype any, or NULL for no norm
 *   pe      [B or 1, 1, N, D/2, 2, 2] float32 rotation matrices, as rg_rope_table() makes them, or NULL for none
 *   returns [B, H, N, D], row-major
 */
rg_tensor *rg_norm_rope(rg_ctx *c, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe);

/* The same into dst (see rg_linear_into), which may be x itself. */
void rg_norm_rope_into(rg_ctx *c, rg_tensor *dst, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe);

/*
 * Rotation matrices for positions with several axes (row, column, ...).
 *   ids     [B, N, n_axes] float32 positions   axes_dim  n_axes even sizes that sum to D   theta  10000 in Flux
 *   returns [B, 1, N, D/2, 2, 2] float32: [[cos, -sin], [sin, cos]]; angles are computed in float64, as ComfyUI does
 *   source  Su et al. 2021, arXiv:2104.09864; ComfyUI ldm/flux/math.py, rope
 */
rg_tensor *rg_rope_table(rg_ctx *c, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta);

/*
 * Sinusoidal embedding of times: [cos, sin] halves.  t [B] float32   dim even   returns [B, dim] float32
 *   frequencies exp(-ln(max_period) * i / (dim/2)), times time_factor * t. ComfyUI: ldm/flux/layers.py, timestep_embedding.
 */
rg_tensor *rg_timestep_embedding(rg_ctx *c, const rg_tensor *t, int dim, float max_period, float time_factor);

/* gelu_tanh(gate) * up: the gated MLP of T5 v1.1 (and, with RG_SILU, of Llama-like models). Same shapes. */
rg_tensor *rg_gated_unary(rg_ctx *c, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind);

/* ---- pictures and latents ------------------------------------------------------------------------------------------------- */

/* Repeat each pixel 2 x 2. x [B, C, H, W]; keeps the memory format. */
rg_tensor *rg_upsample_nearest2x(rg_ctx *c, const rg_tensor *x);

/*
 * torch.nn.functional.interpolate(size=(OH, OW), align_corners=False, no antialias) on [B, C, H, W].
 * Float32 source positions are computed as torch computes them, so nearest-exact picks the same pixels.
 */
typedef enum rg_interp { RG_NEAREST, RG_NEAREST_EXACT, RG_BILINEAR, RG_BICUBIC, RG_AREA } rg_interp;
rg_tensor *rg_interpolate(rg_ctx *c, const rg_tensor *x, int64_t OH, int64_t OW, rg_interp mode);

#endif
