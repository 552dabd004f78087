/*
 * The autoencoder of Stable Diffusion and Flux: ResNet levels around a middle with one attention layer, 8 times smaller.
 * Activations are channels-last throughout, so that a 1 x 1 convolution is a linear layer and a picture is a view.
 *
 * Source: Rombach et al. 2022, arXiv:2112.10752; Esser et al. 2021, arXiv:2012.09841; ComfyUI sd.py (class VAE),
 * ldm/models/autoencoder.py and ldm/modules/diffusionmodules/model.py, whose results this matches. docs/models/vae.md
 */
#include <stdio.h>

#include "engine/models/dump.h"
#include "engine/models/vae_internal.h"

#define NORM_EPS 1e-6f
enum { N_GROUPS = 32 };

/* ComfyUI runs this network in float32 or bf16 only: f16 overflows in its decoder. */
static rg_dtype vae_dtype(const rg_ctx *c)
{
    return c->compute_dtype == RG_F16 ? RG_F32 : c->compute_dtype;
}

/* ---- layers ------------------------------------------------------------------------------------------------------------- */

static rg_tensor *norm(rg_ctx *c, const rg_conv_weight *w, const rg_tensor *x, bool has_silu)
{
    return rg_group_norm(c, x, N_GROUPS, w->weight, w->bias, NORM_EPS, has_silu);
}

static rg_tensor *conv3x3(rg_ctx *c, const rg_conv_weight *w, const rg_tensor *x)
{
    return rg_conv2d(c, w, x, 1, 1);
}

/* A 1 x 1 convolution on pixels [..., C_in]: a linear layer. */
static rg_tensor *conv1x1(rg_ctx *c, const rg_conv_weight *w, const rg_tensor *pixels)
{
    const rg_linear_weight lin = { .weight = rg_view2(c, w->weight, w->weight->shape[0], w->weight->shape[1]), .bias = w->bias };

    return rg_linear(c, &lin, pixels);
}

/* [B, C, H, W] channels-last <-> its pixels [B, H, W, C], without a copy. */
static rg_tensor *to_pixels(rg_ctx *c, const rg_tensor *x)
{
    return rg_permute4(c, x, 0, 2, 3, 1);
}

static rg_tensor *from_pixels(rg_ctx *c, const rg_tensor *x)
{
    return rg_permute4(c, x, 0, 3, 1, 2);
}

/* x + conv2(silu(norm2(conv1(silu(norm1(x)))))). At most x and three more of its size are alive at once. */
static rg_tensor *resnet(rg_ctx *c, const vae_resnet *w, const rg_tensor *x)
{
    const int s = rg_scope_begin(c);
    rg_tensor *h = norm(c, &w->norm1, x, true);

    rg_replace(c, &h, conv3x3(c, &w->conv1, h));
    rg_replace(c, &h, norm(c, &w->norm2, h, true));
    rg_replace(c, &h, conv3x3(c, &w->conv2, h));
    if (w->nin_shortcut.weight)
        x = from_pixels(c, conv1x1(c, &w->nin_shortcut, to_pixels(c, x)));
    rg_replace(c, &h, rg_add(c, x, h));
    rg_scope_end(c, s, &h, NULL);
    return h;
}

/* x + proj_out(attention(q, k, v)) over all pixels, one head of C. */
static rg_tensor *attention(rg_ctx *c, const vae_attention *w, const rg_tensor *x)
{
    if (!x)
        return NULL;
    const int s = rg_scope_begin(c);
    const int64_t B = x->shape[0], C = x->shape[1], H = x->shape[2], W = x->shape[3];
    rg_tensor *h = rg_view4(c, to_pixels(c, norm(c, &w->norm, x, false)), B, 1, H * W, C);
    rg_tensor *attn = rg_attention(c, conv1x1(c, &w->q, h), conv1x1(c, &w->k, h), conv1x1(c, &w->v, h), NULL, 0, false);
    rg_tensor *out = rg_add(c, x, from_pixels(c, rg_view4(c, conv1x1(c, &w->proj_out, attn), B, H, W, C)));

    rg_scope_end(c, s, &out, NULL);
    return out;
}

static rg_tensor *middle(rg_ctx *c, const vae_half *w, rg_tensor *h)
{
    rg_replace(c, &h, resnet(c, &w->mid1, h));
    rg_replace(c, &h, attention(c, &w->attn, h));
    rg_replace(c, &h, resnet(c, &w->mid2, h));
    return h;
}

/* norm_out, SiLU, conv_out */
static rg_tensor *end(rg_ctx *c, const vae_half *w, rg_tensor *h)
{
    rg_replace(c, &h, norm(c, &w->norm_out, h, true));
    rg_replace(c, &h, conv3x3(c, &w->conv_out, h));
    return h;
}

/* Any [B, C, H, W] as channels-last in the network's dtype. */
static rg_tensor *channels_last(rg_ctx *c, const rg_tensor *x)
{
    if (!x)
        return NULL;
    rg_tensor *out = rg_tensor_new_channels_last(c, vae_dtype(c), x->shape[0], x->shape[1], x->shape[2], x->shape[3]);

    rg_copy_into(c, out, x);
    return out;
}

/* ---- the two networks --------------------------------------------------------------------------------------------------- */

rg_tensor *rg_vae_run_decoder(rg_ctx *c, const rg_vae *vae, const rg_tensor *z)
{
    const vae_half *w = &vae->decoder;
    const int s = rg_scope_begin(c);
    rg_tensor *h = channels_last(c, z);

    if (vae->has_quant)
        rg_replace(c, &h, from_pixels(c, conv1x1(c, &vae->post_quant_conv, to_pixels(c, h))));
    rg_replace(c, &h, conv3x3(c, &w->conv_in, h));
    h = middle(c, w, h);
    rg_dump_add(c, "mid", -1, h);
    for (int i = w->n_levels - 1; i >= 0 && !rg_check(c); i--) {
        const vae_level *l = &w->levels[i];
        for (int j = 0; j < l->n_blocks && !rg_check(c); j++)
            rg_replace(c, &h, resnet(c, &l->blocks[j], h));
        if (i > 0) {
            rg_replace(c, &h, rg_upsample_nearest2x(c, h));
            rg_replace(c, &h, conv3x3(c, &l->resample, h));
        }
        rg_dump_add(c, "up.%d", i, h);
    }
    h = end(c, w, h);
    rg_replace(c, &h, rg_to(c, h, RG_F32));
    rg_dump_add(c, "out", -1, h);
    rg_dump_end(c, "vae_decoder");
    rg_scope_end(c, s, &h, NULL);
    return h;
}

rg_tensor *rg_vae_run_encoder(rg_ctx *c, const rg_vae *vae, const rg_tensor *x)
{
    const vae_half *w = &vae->encoder;
    const int s = rg_scope_begin(c);
    rg_tensor *h = channels_last(c, x);

    rg_replace(c, &h, conv3x3(c, &w->conv_in, h));
    for (int i = 0; i < w->n_levels && !rg_check(c); i++) {
        const vae_level *l = &w->levels[i];
        for (int j = 0; j < l->n_blocks && !rg_check(c); j++)
            rg_replace(c, &h, resnet(c, &l->blocks[j], h));
        if (i < w->n_levels - 1) {      /* padded at the right and the bottom only */
            rg_replace(c, &h, rg_pad2d(c, h, 0, 1, 0, 1, RG_PAD_ZERO));
            rg_replace(c, &h, rg_conv2d(c, &l->resample, h, 2, 0));
        }
        rg_dump_add(c, "down.%d", i, h);
    }
    h = middle(c, w, h);
    h = end(c, w, h);
    if (vae->has_quant)
        rg_replace(c, &h, from_pixels(c, conv1x1(c, &vae->quant_conv, to_pixels(c, h))));
    /* the first half of the channels is the mean, the second the log variance: ComfyUI takes the mean, no sample */
    rg_tensor *mean = rg_contiguous(c, rg_to(c, rg_slice(c, h, 1, 0, vae->latent_channels), RG_F32));
    rg_dump_add(c, "out", -1, mean);
    rg_dump_end(c, "vae_encoder");
    rg_scope_end(c, s, &mean, NULL);
    return mean;
}

/* ---- pictures and latents ----------------------------------------------------------------------------------------------- */

rg_tensor *rg_vae_pixels_in(rg_ctx *c, const rg_vae *vae, const rg_tensor *pixels)
{
    char text[96];
    rg_tensor *x = (rg_tensor *)pixels;

    if (c->error || !pixels)
        return NULL;
    if (!vae->has_encoder) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "this VAE has no encoder: %s", rg_weights_path(vae->weights));
        return NULL;
    }
    if (pixels->n_dims != 4 || pixels->shape[3] < 3 || pixels->shape[1] < vae->scale || pixels->shape[2] < vae->scale) {
        rg_fail(c, RG_ERR_SHAPE, "picture has shape %s, the VAE wants [B, H, W, 3] with sides of %d or more",
                rg_shape_text(pixels, text, sizeof text), vae->scale);
        return NULL;
    }
    x = rg_slice(c, x, 3, 0, 3);
    for (int d = 1; d <= 2; d++) {
        const int64_t rest = pixels->shape[d] % vae->scale;
        x = rg_slice(c, x, d, rest / 2, rest / 2 + pixels->shape[d] - rest);
    }
    return from_pixels(c, rg_affine(c, rg_contiguous(c, rg_to(c, x, RG_F32)), 2.0f, -1.0f));
}

rg_tensor *rg_vae_pixels_out(rg_ctx *c, const rg_tensor *x)
{
    /* (x + 1) / 2; halving is exact, so one pass rounds as two would */
    return rg_contiguous(c, to_pixels(c, rg_clamp(c, rg_affine(c, x, 0.5f, 0.5f), 0.0f, 1.0f)));
}

bool rg_vae_is_latent(rg_ctx *c, const rg_vae *vae, const rg_tensor *samples)
{
    char text[96];

    if (c->error || !samples)
        return false;
    if (samples->n_dims != 4 || samples->shape[1] != vae->latent_channels || samples->shape[2] < 1 || samples->shape[3] < 1) {
        rg_fail(c, RG_ERR_SHAPE, "latent has shape %s, this VAE wants [B, %d, H, W]", rg_shape_text(samples, text, sizeof text),
                vae->latent_channels);
        return false;
    }
    return true;
}

/* Run one network on each picture of a batch by itself, which keeps memory down. Results are joined along the batch. */
static rg_tensor *one_by_one(rg_ctx *c, const rg_vae *vae, const rg_tensor *x,
                             rg_tensor *(*run)(rg_ctx *c, const rg_vae *vae, const rg_tensor *x))
{
    const int s = rg_scope_begin(c);
    rg_tensor *out = NULL;

    for (int64_t b = 0; b < x->shape[0] && !rg_check(c); b++) {
        rg_tensor *one = run(c, vae, rg_slice(c, x, 0, b, b + 1));

        if (x->shape[0] == 1) {
            out = one;
            break;
        }
        if (one && !out)
            out = rg_tensor_new(c, one->dtype, 4, (const int64_t[]){ x->shape[0], one->shape[1], one->shape[2], one->shape[3] });
        rg_copy_into(c, rg_slice(c, out, 0, b, b + 1), one);
        rg_replace(c, &one, NULL);
    }
    rg_scope_end(c, s, &out, NULL);
    return out;
}

static rg_tensor *decode_one(rg_ctx *c, const rg_vae *vae, const rg_tensor *z)
{
    const int s = rg_scope_begin(c);
    rg_tensor *x = rg_vae_run_decoder(c, vae, z), *out = rg_vae_pixels_out(c, x);

    rg_scope_end(c, s, &out, NULL);
    return out;
}

/* Out of memory: forget it, say so, and let the caller try in tiles. */
static bool should_tile(rg_ctx *c, const char *what)
{
    if (c->error != RG_ERR_NOMEM)
        return false;
    fprintf(stderr, "note: not enough memory to %s the picture at once, doing it in tiles\n", what);
    rg_ctx_reset(c);
    rg_ctx_trim(c);
    return true;
}

rg_tensor *rg_vae_decode(rg_ctx *c, const rg_vae *vae, const rg_tensor *samples)
{
    if (!rg_vae_is_latent(c, vae, samples))
        return NULL;
    rg_tensor *out = one_by_one(c, vae, samples, decode_one);
    return should_tile(c, "decode") ? rg_vae_decode_tiled(c, vae, samples, 64, 64, 16) : out;
}

rg_tensor *rg_vae_encode(rg_ctx *c, const rg_vae *vae, const rg_tensor *pixels)
{
    const int s = rg_scope_begin(c);
    rg_tensor *x = rg_vae_pixels_in(c, vae, pixels), *out = x ? one_by_one(c, vae, x, rg_vae_run_encoder) : NULL;

    rg_scope_end(c, s, &out, NULL);
    return should_tile(c, "encode") ? rg_vae_encode_tiled(c, vae, pixels, 512, 512, 64) : out;
}

int rg_vae_latent_channels(const rg_vae *vae)
{
    return vae->latent_channels;
}

int rg_vae_scale(const rg_vae *vae)
{
    return vae->scale;
}
