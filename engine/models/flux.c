/*
 * Flux.1 (dev, schnell and models of their shape): a rectified-flow transformer over picture patches and text tokens.
 *
 * The latent is cut into 2 x 2 patches, one token each. Double blocks keep separate weights for text and picture, which meet
 * in attention alone; single blocks then treat [txt, img] as one sequence, attention and MLP side by side. Every block is
 * modulated by one vector made of time, distilled guidance (dev) and pooled text. docs/models/flux.md has shapes and costs.
 *
 * Source: Black Forest Labs, Flux.1 (2024); Esser et al. 2024, arXiv:2403.03206 (MM-DiT); Dehghani et al. 2023,
 * arXiv:2302.05442 (parallel blocks); ComfyUI ldm/flux/model.py and layers.py, whose results this matches.
 */
#include "engine/models/flux.h"

#include <math.h>
#include <pthread.h>

#include "engine/models/dump.h"
#include "engine/ops/ops.h"

#define NORM_EPS 1e-6f
enum { PATCH = 2, TIME_DIM = 256 };

typedef struct flux_embed {             /* linear, SiLU, linear: time_in, guidance_in, vector_in */
    rg_linear_weight in_layer, out_layer;
} flux_embed;

typedef struct flux_stream {            /* one side of a double block: img_mod, img_attn, img_mlp, or txt_... */
    rg_linear_weight mod, qkv, proj, mlp_in, mlp_out;
    const rg_tensor *query_norm, *key_norm;
} flux_stream;

typedef struct flux_double {
    flux_stream img, txt;
} flux_double;

typedef struct flux_single {
    rg_linear_weight mod, linear1, linear2;
    const rg_tensor *query_norm, *key_norm;
} flux_single;

typedef struct flux {
    rg_denoiser base;
    rg_flux_config config;
    rg_weights *weights;                /* owns every tensor below; NULL for a synthetic model, whose tensors are in own */
    rg_tensor **own;
    int n_own;
    rg_linear_weight img_in, txt_in, final_mod, final_linear;
    flux_embed time_in, guidance_in, vector_in;
    flux_double *double_blocks;
    flux_single *single_blocks;

    /* the rotary table of the last sizes asked for: every step of a run asks for the same ones */
    pthread_mutex_t pe_lock;
    int64_t pe_txt, pe_rows, pe_cols;
    rg_tensor *pe;
} flux;

/* ---- the forward pass --------------------------------------------------------------------------------------------------
 * B batch, D hidden size, H heads, n_txt and n_img tokens, N = n_txt + n_img. vec [B, D] is past the SiLU that every
 * modulation begins with; it and what is made of it stay float32 whatever the blocks compute in: one row for all tokens
 * costs nothing, and its rounding would tilt them all the same way. */

typedef struct flux_mod {               /* [B, 1, D] each, float32 */
    rg_tensor *shift, *scale, *gate;
} flux_mod;

typedef struct flux_qkv {               /* [B, H, N, D / H] each */
    rg_tensor *q, *k, *v;
} flux_qkv;

/* f16 overflows in some trained models: between blocks NaN becomes 0 and an infinity the largest number, as in ComfyUI. */
static rg_tensor *keep_finite(rg_ctx *c, rg_tensor *x)
{
    return x && x->dtype == RG_F16 ? rg_unary(c, x, RG_NAN_TO_NUM) : x;
}

/* n triples [shift, scale, gate] from the modulation layer. */
static void modulation(rg_ctx *c, const rg_linear_weight *lin, const rg_tensor *vec, int n, flux_mod *out)
{
    rg_tensor *m = rg_linear(c, lin, vec);
    const int64_t D = m ? rg_dim(m, -1) / (3 * n) : 0;

    m = rg_unsqueeze(c, m, 1);
    for (int i = 0; i < n; i++) {
        out[i].shift = rg_slice(c, m, 2, (3 * i + 0) * D, (3 * i + 1) * D);
        out[i].scale = rg_slice(c, m, 2, (3 * i + 1) * D, (3 * i + 2) * D);
        out[i].gate  = rg_slice(c, m, 2, (3 * i + 2) * D, (3 * i + 3) * D);
    }
}

static rg_tensor *modulate(rg_ctx *c, const rg_tensor *x, const flux_mod *m)
{
    return rg_modulated_norm(c, x, m->scale, m->shift, NORM_EPS);
}

static rg_tensor *embed(rg_ctx *c, const flux_embed *w, const rg_tensor *x)
{
    return rg_linear(c, &w->out_layer, rg_linear_unary(c, &w->in_layer, x, RG_SILU));
}

static rg_tensor *mlp(rg_ctx *c, const flux_stream *w, const rg_tensor *x)
{
    return rg_linear(c, &w->mlp_out, rg_linear_unary(c, &w->mlp_in, x, RG_GELU_TANH));
}

/* Views of q, k and v in x [B, N, 3 * D]. */
static flux_qkv split_qkv(rg_ctx *c, const flux *f, const rg_tensor *x)
{
    const int64_t D = f->config.hidden, H = f->config.n_heads;
    rg_tensor *t = x ? rg_view5(c, x, x->shape[0], x->shape[1], 3, H, D / H) : NULL;
    rg_tensor *heads = rg_permute5(c, t, 2, 0, 3, 1, 4);            /* [3, B, H, N, D / H] */

    return (flux_qkv){
        .q = rg_squeeze(c, rg_slice(c, heads, 0, 0, 1), 0),
        .k = rg_squeeze(c, rg_slice(c, heads, 0, 1, 2), 0),
        .v = rg_squeeze(c, rg_slice(c, heads, 0, 2, 3), 0),
    };
}

/* Norm each head of tokens first .. last - 1 of q or k, then turn it by its token's part of the rotary table; in place. */
static void norm_rope(rg_ctx *c, rg_tensor *x, const rg_tensor *weight, const rg_tensor *pe, int64_t first, int64_t last)
{
    rg_tensor *part = rg_slice(c, x, 2, first, last);

    rg_norm_rope_into(c, part, part, weight, NORM_EPS, rg_slice(c, pe, 2, first, last));
}

/*
 * Attention of a double block over both streams.  im, tm: their first modulation
 *   returns [B, N, D], not yet projected
 * Both streams write their q, k and v into one buffer, so that nothing is joined. Easy to get wrong: tokens join as [txt, img].
 */
static rg_tensor *joint_attention(rg_ctx *c, const flux *f, const flux_double *w, const rg_tensor *img, const flux_mod *im,
                                  const rg_tensor *txt, const flux_mod *tm, const rg_tensor *pe)
{
    if (!img || !txt)
        return NULL;
    const int s = rg_scope_begin(c);
    const int64_t n_txt = txt->shape[1], N = n_txt + img->shape[1];
    rg_tensor *qkv = rg_new3(c, img->dtype, img->shape[0], N, 3 * f->config.hidden);
    rg_tensor *m = modulate(c, txt, tm);

    rg_linear_into(c, rg_slice(c, qkv, 1, 0, n_txt), &w->txt.qkv, m);
    rg_replace(c, &m, modulate(c, img, im));
    rg_linear_into(c, rg_slice(c, qkv, 1, n_txt, N), &w->img.qkv, m);
    rg_replace(c, &m, NULL);

    const flux_qkv h = split_qkv(c, f, qkv);
    norm_rope(c, h.q, w->txt.query_norm, pe, 0, n_txt);
    norm_rope(c, h.k, w->txt.key_norm, pe, 0, n_txt);
    norm_rope(c, h.q, w->img.query_norm, pe, n_txt, N);
    norm_rope(c, h.k, w->img.key_norm, pe, n_txt, N);
    rg_tensor *out = rg_attention(c, h.q, h.k, h.v, NULL, 0, false);
    rg_scope_end(c, s, &out, NULL);
    return out;
}

/* x + gate * y for both halves of a stream's block: the attention's projection, then the MLP. */
static rg_tensor *stream_update(rg_ctx *c, const flux_stream *w, const rg_tensor *x, const rg_tensor *attn, const flux_mod *m)
{
    const int s = rg_scope_begin(c);
    rg_tensor *h = rg_gated_add(c, x, m[0].gate, rg_linear(c, &w->proj, attn));
    rg_tensor *out = rg_gated_add(c, h, m[1].gate, mlp(c, w, modulate(c, h, &m[1])));

    rg_scope_end(c, s, &out, NULL);
    return out;
}

/*
 * Double-stream block: text and picture keep their own weights and meet only in attention.
 *   img [B, n_img, D]   txt [B, n_txt, D]   vec [B, D]   pe [1, 1, N, D / H / 2, 2, 2]
 */
static void double_block(rg_ctx *c, const flux *f, const flux_double *w, const rg_tensor *vec, const rg_tensor *pe,
                         rg_tensor **img, rg_tensor **txt)
{
    const int s = rg_scope_begin(c);
    const int64_t n_txt = *txt ? (*txt)->shape[1] : 0;
    flux_mod im[2], tm[2];

    modulation(c, &w->img.mod, vec, 2, im);
    modulation(c, &w->txt.mod, vec, 2, tm);
    rg_tensor *attn = joint_attention(c, f, w, *img, &im[0], *txt, &tm[0], pe);
    rg_tensor *new_img = stream_update(c, &w->img, *img, rg_slice(c, attn, 1, n_txt, RG_TO_END), im);
    rg_tensor *new_txt = keep_finite(c, stream_update(c, &w->txt, *txt, rg_slice(c, attn, 1, 0, n_txt), tm));

    rg_scope_end(c, s, &new_img, &new_txt, NULL);
    rg_replace(c, img, new_img);
    rg_replace(c, txt, new_txt);
}

/* Rows first .. last - 1 of a linear layer: some of its outputs. */
static rg_linear_weight rows_of(rg_ctx *c, const rg_linear_weight *w, int64_t first, int64_t last)
{
    return (rg_linear_weight){
        .weight = rg_slice(c, w->weight, 0, first, last),
        .bias = rg_slice(c, w->bias, 0, first, last),
        .scale = w->scale,
    };
}

/*
 * Single-stream block: linear1 makes q, k, v and the MLP's input, linear2 takes [attention, MLP] back. Both write their part
 * of its input in place.
 *   x [B, N, D]
 */
static rg_tensor *single_block(rg_ctx *c, const flux *f, const flux_single *w, const rg_tensor *vec, const rg_tensor *pe,
                               const rg_tensor *x)
{
    if (!x)
        return NULL;
    const int s = rg_scope_begin(c);
    const int64_t B = x->shape[0], N = x->shape[1], D = f->config.hidden, M = f->config.mlp_hidden;
    const rg_linear_weight qkv_rows = rows_of(c, &w->linear1, 0, 3 * D), mlp_rows = rows_of(c, &w->linear1, 3 * D, 3 * D + M);
    rg_tensor *both = rg_new3(c, x->dtype, B, N, D + M);
    flux_mod mod;

    modulation(c, &w->mod, vec, 1, &mod);
    rg_tensor *m = modulate(c, x, &mod);
    rg_linear_unary_into(c, rg_slice(c, both, 2, D, D + M), &mlp_rows, m, RG_GELU_TANH);
    rg_tensor *qkv = rg_linear(c, &qkv_rows, m);
    rg_replace(c, &m, NULL);

    const flux_qkv h = split_qkv(c, f, qkv);
    norm_rope(c, h.q, w->query_norm, pe, 0, N);
    norm_rope(c, h.k, w->key_norm, pe, 0, N);
    rg_attention_into(c, rg_slice(c, both, 2, 0, D), h.q, h.k, h.v, NULL, 0, false);
    rg_tensor *out = keep_finite(c, rg_gated_add(c, x, mod.gate, rg_linear(c, &w->linear2, both)));
    rg_scope_end(c, s, &out, NULL);
    return out;
}

/* Final layer: modulated norm, then to patches. Its modulation holds shift and scale only. */
static rg_tensor *final_layer(rg_ctx *c, const flux *f, const rg_tensor *x, const rg_tensor *vec)
{
    const int64_t D = f->config.hidden;
    rg_tensor *m = rg_linear(c, &f->final_mod, vec);

    return rg_linear(c, &f->final_linear,
                     rg_modulated_norm(c, x, rg_slice(c, m, 1, D, 2 * D), rg_slice(c, m, 1, 0, D), NORM_EPS));
}

/* [B, C, 2h, 2w] -> [B, h * w, C * 4]; odd sizes are first padded by wrapping around, as ComfyUI does. */
static rg_tensor *patchify(rg_ctx *c, const rg_tensor *x)
{
    if (!x)
        return NULL;
    const int64_t B = x->shape[0], C = x->shape[1], H = x->shape[2], W = x->shape[3];
    const int64_t h = (H + 1) / PATCH, w = (W + 1) / PATCH;
    const rg_tensor *even = H % PATCH || W % PATCH ? rg_pad2d(c, x, 0, W % PATCH, 0, H % PATCH, RG_PAD_CIRCULAR) : x;
    rg_tensor *t = rg_permute6(c, rg_view6(c, rg_contiguous(c, even), B, C, h, PATCH, w, PATCH), 0, 2, 4, 1, 3, 5);

    return rg_view3(c, rg_contiguous(c, t), B, h * w, C * PATCH * PATCH);
}

/* [B, h * w, C * 4] -> [B, C, H, W] float32, without the padding. */
static rg_tensor *unpatchify(rg_ctx *c, const rg_tensor *t, int64_t H, int64_t W)
{
    if (!t)
        return NULL;
    const int64_t B = t->shape[0], C = t->shape[2] / (PATCH * PATCH), h = (H + 1) / PATCH, w = (W + 1) / PATCH;
    rg_tensor *x = rg_permute6(c, rg_view6(c, t, B, h, w, C, PATCH, PATCH), 0, 3, 1, 4, 2, 5);

    x = rg_view4(c, rg_contiguous(c, rg_to(c, x, RG_F32)), B, C, h * PATCH, w * PATCH);
    return rg_contiguous(c, rg_slice(c, rg_slice(c, x, 2, 0, H), 3, 0, W));
}

/* Rotary table of n_txt text tokens at the origin and rows * cols patches. Positions have three axes: 0, row, column. */
static rg_tensor *make_pe(rg_ctx *c, const flux *f, int64_t n_txt, int64_t rows, int64_t cols)
{
    const int64_t N = n_txt + rows * cols;
    float *ids = rg_calloc((size_t)N * 3, sizeof *ids);
    rg_tensor *t = ids ? rg_tensor_wrap(ids, RG_F32, 3, (const int64_t[]){ 1, N, 3 }, true, NULL) : NULL, *pe = NULL;

    if (!t) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for the positions of %lld tokens", (long long)N);
        goto done;
    }
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < cols; x++) {
            float *id = ids + (n_txt + y * cols + x) * 3;
            id[1] = (float)y;
            id[2] = (float)x;
        }
    pe = rg_rope_table(c, rg_to_device(c, t, c->device), f->config.axes_dim, 3, f->config.theta);
done:
    rg_unref(t);
    rg_free(ids);
    return pe;
}

/* The table, kept from the last call with the same sizes; the caller's scope gets a hold. */
static rg_tensor *rotary(rg_ctx *c, flux *f, int64_t n_txt, int64_t rows, int64_t cols)
{
    rg_tensor *pe = NULL;

    pthread_mutex_lock(&f->pe_lock);
    if (f->pe && f->pe_txt == n_txt && f->pe_rows == rows && f->pe_cols == cols && f->pe->device.type == c->device.type &&
        f->pe->device.index == c->device.index)
        pe = rg_ref(f->pe);
    pthread_mutex_unlock(&f->pe_lock);
    if (pe)
        return rg_tensor_adopt(c, pe);

    pe = make_pe(c, f, n_txt, rows, cols);
    if (pe) {
        pthread_mutex_lock(&f->pe_lock);
        rg_unref(f->pe);
        f->pe = rg_ref(pe);
        f->pe_txt = n_txt;
        f->pe_rows = rows;
        f->pe_cols = cols;
        pthread_mutex_unlock(&f->pe_lock);
    }
    return pe;
}

/* time_in or guidance_in of B values. */
static rg_tensor *embed_time(rg_ctx *c, const flux_embed *w, const rg_tensor *t)
{
    return embed(c, w, rg_timestep_embedding(c, t, TIME_DIM, 10000.0f, 1000.0f));
}

/* time + guidance + pooled text, each through its own two layers; then the SiLU that every modulation begins with. Float32. */
static rg_tensor *conditioning(rg_ctx *c, const flux *f, const rg_tensor *timestep, const rg_denoiser_inputs *in)
{
    const rg_tensor *y = in->pooled;
    rg_tensor *vec = embed_time(c, &f->time_in, timestep);

    if (f->config.has_guidance && in->guidance)
        vec = rg_add(c, vec, embed_time(c, &f->guidance_in, in->guidance));
    if (!y)
        y = rg_tensor_zeros(c, RG_F32, 2, (const int64_t[]){ timestep->shape[0], f->config.vector_dim });
    vec = rg_add(c, vec, embed(c, &f->vector_in, rg_to(c, rg_slice(c, y, 1, 0, f->config.vector_dim), RG_F32)));
    return rg_unary(c, vec, RG_SILU);
}

static bool inputs_fit(rg_ctx *c, const flux *f, const rg_tensor *x, const rg_tensor *timestep, const rg_denoiser_inputs *in)
{
    const rg_flux_config *k = &f->config;
    const rg_tensor *txt = in->context, *y = in->pooled;
    const int64_t B = x->shape[0];
    char text[96];

    if (x->n_dims != 4 || x->shape[1] != k->in_channels || x->shape[2] < 1 || x->shape[3] < 1)
        rg_fail(c, RG_ERR_SHAPE, "latent has shape %s, Flux wants [B, %lld, H, W]", rg_shape_text(x, text, sizeof text),
                (long long)k->in_channels);
    else if (!txt || txt->n_dims != 3 || txt->shape[2] != k->context_dim || txt->shape[0] != B)
        rg_fail(c, RG_ERR_SHAPE, "text states have shape %s, Flux wants [%lld, N, %lld]: they come from another text encoder",
                txt ? rg_shape_text(txt, text, sizeof text) : "none", (long long)B, (long long)k->context_dim);
    else if (y && (y->n_dims != 2 || y->shape[1] < k->vector_dim || y->shape[0] != B))
        rg_fail(c, RG_ERR_SHAPE, "pooled text has shape %s, Flux wants [%lld, %lld]", rg_shape_text(y, text, sizeof text),
                (long long)B, (long long)k->vector_dim);
    else if (rg_numel(timestep) != x->shape[0] || (in->guidance && rg_numel(in->guidance) != x->shape[0]))
        rg_fail(c, RG_ERR_SHAPE, "%lld timesteps and %lld guidance values for a batch of %lld", (long long)rg_numel(timestep),
                (long long)(in->guidance ? rg_numel(in->guidance) : 0), (long long)x->shape[0]);
    else if (in->attention_mask)
        rg_fail(c, RG_ERR_UNSUPPORTED, "Flux takes no attention mask on text tokens");
    return !c->error;
}

static rg_tensor *flux_forward(rg_ctx *c, const rg_denoiser *m, const rg_tensor *x, const rg_tensor *timestep,
                               const rg_denoiser_inputs *in)
{
    const flux *f = (const flux *)m;

    if (c->error || !x || !timestep || !inputs_fit(c, f, x, timestep, in))
        return NULL;

    const int s = rg_scope_begin(c);
    const int64_t H = x->shape[2], W = x->shape[3], n_txt = in->context->shape[1];
    const rg_tensor *pe = rotary(c, (flux *)f, n_txt, (H + 1) / PATCH, (W + 1) / PATCH);
    rg_tensor *vec = conditioning(c, f, timestep, in);
    rg_tensor *img = rg_linear(c, &f->img_in, patchify(c, rg_to(c, x, c->compute_dtype)));
    rg_tensor *txt = rg_linear(c, &f->txt_in, rg_to(c, in->context, c->compute_dtype));

    rg_dump_add(c, "img_in", -1, img);
    rg_dump_add(c, "txt_in", -1, txt);
    for (int i = 0; i < f->config.depth && !rg_check(c); i++) {
        double_block(c, f, &f->double_blocks[i], vec, pe, &img, &txt);
        rg_dump_add(c, "double_blocks.%d.img", i, img);
        rg_dump_add(c, "double_blocks.%d.txt", i, txt);
    }
    rg_replace(c, &img, rg_concat(c, txt, keep_finite(c, img), 1));
    for (int i = 0; i < f->config.depth_single && !rg_check(c); i++) {
        rg_replace(c, &img, single_block(c, f, &f->single_blocks[i], vec, pe, img));
        rg_dump_add(c, "single_blocks.%d", i, img);
    }
    rg_tensor *out = unpatchify(c, final_layer(c, f, rg_slice(c, img, 1, n_txt, RG_TO_END), vec), H, W);
    rg_dump_add(c, "out", -1, out);
    rg_dump_end(c, "flux");
    rg_scope_end(c, s, &out, NULL);
    return out;
}

/* ---- loading ----------------------------------------------------------------------------------------------------------- */

int rg_flux_detect(rg_ctx *c, const rg_weights *w, rg_flux_config *out)
{
    const bool has_double = rg_weights_has(w, "double_blocks.0.img_attn.norm.key_norm.scale");
    const int64_t head = rg_weights_dim(w, has_double ? "double_blocks.0.img_attn.norm.key_norm.scale"
                                                      : "single_blocks.0.norm.key_norm.scale", 0);
    rg_flux_config k = {
        .hidden = rg_weights_dim(w, "img_in.weight", 0),
        .in_channels = rg_weights_dim(w, "img_in.weight", 1) / (PATCH * PATCH),
        .out_channels = rg_weights_dim(w, "final_layer.linear.weight", 0) / (PATCH * PATCH),
        .context_dim = rg_weights_dim(w, "txt_in.weight", 1),
        .vector_dim = rg_weights_dim(w, "vector_in.in_layer.weight", 1),
        .depth = rg_weights_count_blocks(w, "double_blocks."),
        .depth_single = rg_weights_count_blocks(w, "single_blocks."),
        .theta = 10000.0,
        .has_guidance = rg_weights_has(w, "guidance_in.in_layer.weight"),
    };

    if (head < 8 || head % 4 || k.hidden < head || k.hidden % head || k.in_channels < 1 || k.out_channels < 1)
        return rg_fail(c, RG_ERR_SHAPE, "%s: no Flux model has hidden size %lld, heads of %lld, %lld channels in and %lld out",
                       rg_weights_path(w), (long long)k.hidden, (long long)head, (long long)k.in_channels,
                       (long long)k.out_channels);
    k.n_heads = k.hidden / head;
    k.mlp_hidden = has_double ? rg_weights_dim(w, "double_blocks.0.img_mlp.0.weight", 0)
                              : rg_weights_dim(w, "single_blocks.0.linear1.weight", 0) - 3 * k.hidden;
    rg_flux_axes(head, k.axes_dim);
    *out = k;
    return 0;
}

/* No tensor shows how a head is divided among the axes: Flux has 1/8, 7/16, 7/16, kept even for heads of other sizes. */
void rg_flux_axes(int64_t head_dim, int axes_dim[3])
{
    axes_dim[1] = axes_dim[2] = 2 * (int)(7 * head_dim / 32);
    axes_dim[0] = (int)head_dim - 2 * axes_dim[1];
}

static void flux_free(void *self)
{
    flux *f = self;

    rg_unref(f->pe);
    pthread_mutex_destroy(&f->pe_lock);
    for (int i = 0; i < f->n_own; i++)
        rg_unref(f->own[i]);
    rg_free(f->own);
    rg_unref(f->weights);
    rg_unref(f->base.sampling);
    rg_free(f->double_blocks);
    rg_free(f->single_blocks);
    rg_free(f);
}

/* The struct for these sizes, without weights. */
static flux *flux_new(rg_ctx *c, const rg_flux_config *k)
{
    flux *f = rg_calloc(1, sizeof *f);

    if (f) {
        rg_object_init(f, flux_free);
        pthread_mutex_init(&f->pe_lock, NULL);
        f->config = *k;
        f->base.family = "flux";
        f->base.latent_format = &rg_latent_format_flux;
        f->base.uses_guidance = k->has_guidance;
        f->base.forward = flux_forward;
        f->double_blocks = rg_calloc((size_t)k->depth + 1, sizeof *f->double_blocks);
        f->single_blocks = rg_calloc((size_t)k->depth_single + 1, sizeof *f->single_blocks);
        /* ComfyUI supported_models.py: Flux, FluxSchnell */
        f->base.sampling = k->has_guidance ? rg_model_sampling_new(RG_SAMPLING_FLUX, RG_PREDICT_FLOW, 1.15, 1.0)
                                           : rg_model_sampling_new(RG_SAMPLING_FLOW, RG_PREDICT_FLOW, 1.0, 1.0);
        if (f->double_blocks && f->single_blocks && f->base.sampling)
            return f;
        rg_unref(f);
    }
    rg_fail(c, RG_ERR_NOMEM, "out of memory for a Flux model");
    return NULL;
}

/* Where a table's tensors come from: a file, or (synthetic) a generator. */
typedef struct source {
    rg_weights *weights;
    flux *synthetic;
    rg_dtype dtype;
    uint64_t seed;
} source;

static int fill_random(rg_ctx *c, source *from, const rg_weight_row *rows, int n_rows);

#define FILL(from, rows, ...) ((from)->weights ? rg_weights_load(c, (from)->weights, (rows), RG_W_COUNT(rows), __VA_ARGS__) \
                                               : fill_random(c, (from), (rows), RG_W_COUNT(rows)))

static int load_stream(rg_ctx *c, source *from, const rg_flux_config *k, int i, const char *side, flux_stream *w)
{
    const int64_t D = k->hidden, M = k->mlp_hidden, head = D / k->n_heads;
    const rg_weight_row rows[] = {
        RG_W_LINEAR("_mod.lin",                    w->mod,        6 * D, D),
        RG_W_LINEAR("_attn.qkv",                   w->qkv,        3 * D, D, .flags = RG_W_MAYBE_BIAS),
        RG_W_VECTOR("_attn.norm.query_norm.scale", w->query_norm, head),
        RG_W_VECTOR("_attn.norm.key_norm.scale",   w->key_norm,   head),
        RG_W_LINEAR("_attn.proj",                  w->proj,       D, D),
        RG_W_LINEAR("_mlp.0",                      w->mlp_in,     M, D),
        RG_W_LINEAR("_mlp.2",                      w->mlp_out,    D, M),
    };

    return FILL(from, rows, "double_blocks.%d.%s", i, side);
}

static int load_single(rg_ctx *c, source *from, const rg_flux_config *k, int i, flux_single *w)
{
    const int64_t D = k->hidden, M = k->mlp_hidden, head = D / k->n_heads;
    const rg_weight_row rows[] = {
        RG_W_LINEAR("modulation.lin",        w->mod,        3 * D, D),
        RG_W_LINEAR("linear1",               w->linear1,    3 * D + M, D),
        RG_W_LINEAR("linear2",               w->linear2,    D, D + M),
        RG_W_VECTOR("norm.query_norm.scale", w->query_norm, head),
        RG_W_VECTOR("norm.key_norm.scale",   w->key_norm,   head),
    };

    return FILL(from, rows, "single_blocks.%d.", i);
}

static int load_all(rg_ctx *c, source *from, flux *f)
{
    const rg_flux_config *k = &f->config;
    const int64_t D = k->hidden, P = PATCH * PATCH;
    const unsigned guidance = k->has_guidance ? 0 : RG_W_OPTIONAL;
    const rg_weight_row rows[] = {
        RG_W_LINEAR("img_in",                         f->img_in,                D, k->in_channels * P),
        RG_W_LINEAR("txt_in",                         f->txt_in,                D, k->context_dim),
        RG_W_LINEAR("time_in.in_layer",               f->time_in.in_layer,      D, TIME_DIM),
        RG_W_LINEAR("time_in.out_layer",              f->time_in.out_layer,     D, D),
        RG_W_LINEAR("vector_in.in_layer",             f->vector_in.in_layer,    D, k->vector_dim),
        RG_W_LINEAR("vector_in.out_layer",            f->vector_in.out_layer,   D, D),
        RG_W_LINEAR("guidance_in.in_layer",           f->guidance_in.in_layer,  D, TIME_DIM, .flags = guidance),
        RG_W_LINEAR("guidance_in.out_layer",          f->guidance_in.out_layer, D, D, .flags = guidance),
        RG_W_LINEAR("final_layer.adaLN_modulation.1", f->final_mod,             2 * D, D),
        RG_W_LINEAR("final_layer.linear",             f->final_linear,          k->out_channels * P, D),
    };
    int ret = FILL(from, rows, "%s", "");

    for (int i = 0; i < k->depth && ret == 0; i++)
        if ((ret = load_stream(c, from, k, i, "img", &f->double_blocks[i].img)) == 0)
            ret = load_stream(c, from, k, i, "txt", &f->double_blocks[i].txt);
    for (int i = 0; i < k->depth_single && ret == 0; i++)
        ret = load_single(c, from, k, i, &f->single_blocks[i]);
    return ret;
}

int rg_flux_load(rg_ctx *c, rg_weights *w, rg_denoiser **out)
{
    source from = { .weights = w };
    rg_flux_config k;
    flux *f = NULL;
    int ret;

    if ((ret = rg_flux_detect(c, w, &k)) < 0)
        return ret;
    if (!(f = flux_new(c, &k)))
        return c->error;
    f->weights = rg_ref(w);
    if ((ret = load_all(c, &from, f)) < 0 || (ret = rg_weights_finish(c, w, NULL)) < 0)
        goto done;
    f->base.weight_bytes = rg_weights_bytes(w);
    *out = &f->base;
    f = NULL;                           /* moved to the caller */
done:
    rg_unref(f);
    return ret;
}

/* ---- synthetic models: real sizes, no file ------------------------------------------------------------------------------ */

/* A tensor of uniform values in mean +- spread on c's device, held by the model. */
static const rg_tensor *random_tensor(rg_ctx *c, source *from, int n_dims, const int64_t *shape, float mean, float spread)
{
    flux *f = from->synthetic;
    const int64_t n = n_dims == 1 ? shape[0] : shape[0] * shape[1];
    const int s = rg_scope_begin(c);
    float *values = rg_malloc((size_t)n * sizeof *values);
    rg_tensor *host = values ? rg_tensor_wrap(values, RG_F32, n_dims, shape, true, NULL) : NULL, *t = NULL;
    rg_tensor **own = rg_realloc(f->own, (size_t)(f->n_own + 1) * sizeof *own);

    if (own)
        f->own = own;
    if (!host || !own) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for %lld random weights", (long long)n);
    } else {
        const uint64_t seed = from->seed++ * 0xd1342543de82ef95u;
#pragma omp parallel for
        for (int64_t i = 0; i < n; i++) {           /* splitmix64 by index: the same values for any number of threads */
            uint64_t z = seed + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
            z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
            values[i] = mean + spread * ((float)((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f);
        }
        t = rg_to(c, rg_to_device(c, host, c->device), from->dtype);
        if (t == host)                              /* float32 on the CPU: still the caller's bytes */
            t = rg_clone(c, t);
        if (t)
            f->own[f->n_own++] = rg_ref(t);
    }
    rg_unref(host);
    rg_free(values);
    rg_scope_end(c, s, NULL);
    return t;
}

static int fill_random(rg_ctx *c, source *from, const rg_weight_row *rows, int n_rows)
{
    for (int i = 0; i < n_rows && !c->error; i++) {
        const rg_weight_row *r = &rows[i];

        if (r->flags & RG_W_OPTIONAL)
            continue;
        if (r->kind == RG_W_KIND_TENSOR) {
            *r->to.tensor = random_tensor(c, from, 1, r->shape, 1.0f, 0.1f);
        } else {
            r->to.linear->weight = random_tensor(c, from, 2, r->shape, 0.0f, sqrtf(3.0f / (float)r->shape[1]));
            r->to.linear->bias = random_tensor(c, from, 1, r->shape, 0.0f, 0.1f);
        }
    }
    return c->error;
}

int rg_flux_synthetic(rg_ctx *c, const rg_flux_config *config, uint64_t seed, rg_dtype dtype, rg_denoiser **out)
{
    source from = { .dtype = dtype, .seed = seed };
    flux *f = from.synthetic = flux_new(c, config);

    if (!f)
        return c->error;
    if (load_all(c, &from, f) < 0) {
        rg_unref(f);
        return c->error;
    }
    for (int i = 0; i < f->n_own; i++)
        f->base.weight_bytes += rg_nbytes(f->own[i]);
    *out = &f->base;
    return 0;
}
