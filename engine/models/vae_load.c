/*
 * Loading an autoencoder: how many levels and blocks it has and how wide they are is read off the tensors, so that models
 * of other sizes than Stable Diffusion's and Flux's load too. Files come with the original names or with those of diffusers,
 * which ComfyUI takes as well (diffusers_convert.py).
 */
#include <stdio.h>

#include "engine/models/vae_internal.h"

/* What tensors are called. Formats take the side (encoder, decoder), the way (down, up) and the number. */
typedef struct layout {
    const char *first;                  /* a name that tells the layout */
    const char *levels, *blocks, *sample;
    bool is_up_reversed;                /* up levels count from the smallest picture */
    const char *mid1, *mid2, *attn;
    const char *shortcut, *norm_out;
    const char *attn_norm, *q, *k, *v, *proj_out;
    int attn_dims;                      /* 4: 1 x 1 convolutions, 2: linear layers */
} layout;

static const layout layouts[] = {
    { "decoder.up_blocks.0.resnets.0.norm1.weight",
      "%s.%s_blocks.", "%s.%s_blocks.%d.resnets.", "%s.%s_blocks.%d.%ssamplers.0.", true,
      "%s.mid_block.resnets.0.", "%s.mid_block.resnets.1.", "%s.mid_block.attentions.0.", "conv_shortcut", "conv_norm_out",
      "group_norm", "to_q", "to_k", "to_v", "to_out.0", 2 },
    { "decoder.conv_in.weight",
      "%s.%s.", "%s.%s.%d.block.", "%s.%s.%d.%ssample.", false,
      "%s.mid.block_1.", "%s.mid.block_2.", "%s.mid.attn_1.", "nin_shortcut", "norm_out", "norm", "q", "k", "v", "proj_out", 4 },
};

/* A norm has a weight and a bias, as a convolution has, of one dim. */
#define NORM(name_, field_, C) { .name = (name_), .kind = RG_W_KIND_CONV, .to.conv = &(field_), .n_dims = 1, .shape = { (C) } }

static void vae_free(void *self)
{
    rg_vae *vae = self;

    for (int i = 0; i < VAE_MAX_LEVELS; i++) {
        rg_free(vae->encoder.levels[i].blocks);
        rg_free(vae->decoder.levels[i].blocks);
    }
    rg_unref(vae->weights);
    rg_free(vae);
}

static int load_resnet(rg_ctx *c, rg_weights *w, const layout *l, vae_resnet *r, const char *stem)
{
    char name[96];

    snprintf(name, sizeof name, "%sconv1.weight", stem);
    const int64_t n_out = rg_weights_dim(w, name, 0), n_in = rg_weights_dim(w, name, 1);
    const rg_weight_row rows[] = {
        NORM("norm1", r->norm1, n_in),
        RG_W_CONV("conv1", r->conv1, n_out, n_in, 3, 3),
        NORM("norm2", r->norm2, n_out),
        RG_W_CONV("conv2", r->conv2, n_out, n_out, 3, 3),
        RG_W_CONV(l->shortcut, r->nin_shortcut, n_out, n_in, 1, 1),     /* last: only where the width changes */
    };

    return rg_weights_load(c, w, rows, RG_W_COUNT(rows) - (n_in == n_out), "%s", stem);
}

static int load_attention(rg_ctx *c, rg_weights *w, const layout *l, vae_attention *a, int64_t C, const char *side)
{
    char stem[64], name[96];

    snprintf(stem, sizeof stem, l->attn, side);
    snprintf(name, sizeof name, "%squery.weight", stem);    /* diffusers' first names */
    const bool is_old = l->attn_dims == 2 && rg_weights_has(w, name);
    const rg_weight_row norm = NORM(l->attn_norm, a->norm, C);
    const char *const old[] = { "query", "key", "value", "proj_attn" }, *const current[] = { l->q, l->k, l->v, l->proj_out };
    rg_conv_weight *const fields[] = { &a->q, &a->k, &a->v, &a->proj_out };
    int ret = rg_weights_load(c, w, &norm, 1, "%s", stem);

    for (int i = 0; i < 4 && ret == 0; i++) {
        const rg_weight_row row = { .name = is_old ? old[i] : current[i], .kind = RG_W_KIND_CONV, .to.conv = fields[i], .n_dims = l->attn_dims,
                                    .shape = { C, C, 1, 1 } };
        ret = rg_weights_load(c, w, &row, 1, "%s", stem);
    }
    return ret;
}

/* Levels "down" of the encoder or "up" of the decoder, with their down- or upsampling. */
static int load_levels(rg_ctx *c, rg_weights *w, const layout *l, vae_half *h, const char *side, const char *way)
{
    char stem[64], name[96];
    int ret = 0;

    snprintf(stem, sizeof stem, l->levels, side, way);
    h->n_levels = rg_weights_count_blocks(w, stem);
    if (h->n_levels < 1 || h->n_levels > VAE_MAX_LEVELS)
        return rg_fail(c, RG_ERR_SHAPE, "%s: %s* has %d levels, wanted 1 to %d", rg_weights_path(w), stem, h->n_levels,
                       VAE_MAX_LEVELS);
    for (int i = 0; i < h->n_levels && ret == 0; i++) {
        const int number = l->is_up_reversed && way[0] == 'u' ? h->n_levels - 1 - i : i;
        vae_level *level = &h->levels[i];

        snprintf(stem, sizeof stem, l->blocks, side, way, number);
        level->n_blocks = rg_weights_count_blocks(w, stem);
        if (!(level->blocks = rg_calloc((size_t)level->n_blocks + 1, sizeof *level->blocks)))
            return rg_fail(c, RG_ERR_NOMEM, "out of memory for a VAE");
        for (int j = 0; j < level->n_blocks && ret == 0; j++) {
            snprintf(name, sizeof name, "%s%d.", stem, j);
            ret = load_resnet(c, w, l, &level->blocks[j], name);
        }
        if (ret == 0 && (way[0] == 'd' ? i < h->n_levels - 1 : i > 0)) {
            snprintf(stem, sizeof stem, l->sample, side, way, number, way);
            snprintf(name, sizeof name, "%sconv.weight", stem);
            const int64_t C = rg_weights_dim(w, name, 0);
            const rg_weight_row rows[] = { RG_W_CONV("conv", level->resample, C, C, 3, 3) };
            ret = rg_weights_load(c, w, rows, 1, "%s", stem);
        }
    }
    return ret;
}

static int load_half(rg_ctx *c, rg_weights *w, const layout *l, vae_half *h, const char *side, const char *way)
{
    char name[96];
    int64_t size[4];
    static const char *const ends[] = { "conv_in.weight", "conv_out.weight" };

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", side, ends[i / 2]);
        size[i] = rg_weights_dim(w, name, i % 2);
    }
    /* channels that go in and come out; width after conv_in, before conv_out, and in the middle, the narrowest picture */
    const int64_t C = size[0], n_in = size[1], n_out = size[2], E = size[3], mid = way[0] == 'd' ? E : C;
    const rg_weight_row rows[] = {
        RG_W_CONV("conv_in",  h->conv_in,  C, n_in, 3, 3),
        RG_W_CONV("conv_out", h->conv_out, n_out, E, 3, 3),
        NORM(l->norm_out, h->norm_out, E),
    };
    int ret = rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s.", side);

    snprintf(name, sizeof name, l->mid1, side);
    if (ret == 0)
        ret = load_resnet(c, w, l, &h->mid1, name);
    snprintf(name, sizeof name, l->mid2, side);
    if (ret == 0)
        ret = load_resnet(c, w, l, &h->mid2, name);
    if (ret == 0)
        ret = load_attention(c, w, l, &h->attn, mid, side);
    return ret ? ret : load_levels(c, w, l, h, side, way);
}

/* Each layer takes what the one before gives: the tables check layers by themselves, this checks the chain. */
static int check_chain(rg_ctx *c, const rg_weights *w, const vae_half *h, const char *side, bool is_decoder)
{
    int64_t at = h->conv_in.weight->shape[0];

    for (int k = 0; k < h->n_levels; k++) {
        const int number = is_decoder ? h->n_levels - 1 - k : k;
        const vae_level *l = &h->levels[number];

        for (int j = 0; j <= l->n_blocks; j++) {
            const rg_conv_weight *conv = j < l->n_blocks ? &l->blocks[j].conv1 : &l->resample;
            if (conv->weight && conv->weight->shape[1] != at)
                return rg_fail(c, RG_ERR_SHAPE, "%s: a layer in level %d of the VAE's %s gets %lld channels, wanted %lld", rg_weights_path(w),
                               number, side, (long long)at, (long long)conv->weight->shape[1]);
            at = conv->weight ? conv->weight->shape[0] : at;
        }
    }
    if (at % 32)
        return rg_fail(c, RG_ERR_SHAPE, "%s: the VAE's %s has %lld channels, which do not divide into 32 groups",
                       rg_weights_path(w), side, (long long)at);
    return 0;
}

int rg_vae_load(rg_ctx *c, rg_weights *w, rg_vae **out)
{
    rg_vae *vae = rg_calloc(1, sizeof *vae);
    int ret;

    if (!vae)
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a VAE");
    rg_object_init(vae, vae_free);
    vae->weights = rg_ref(w);
    const layout *l = &layouts[rg_weights_has(w, layouts[0].first) ? 0 : 1];
    vae->has_encoder = rg_weights_has(w, "encoder.conv_in.weight");
    vae->has_quant = rg_weights_has(w, "post_quant_conv.weight");
    vae->latent_channels = (int)rg_weights_dim(w, vae->has_quant ? "post_quant_conv.weight" : "decoder.conv_in.weight", 1);

    if ((ret = load_half(c, w, l, &vae->decoder, "decoder", "up")) < 0 ||
        (ret = check_chain(c, w, &vae->decoder, "decoder", true)) < 0)
        goto done;
    if (vae->has_encoder && ((ret = load_half(c, w, l, &vae->encoder, "encoder", "down")) < 0 ||
                             (ret = check_chain(c, w, &vae->encoder, "encoder", false)) < 0))
        goto done;
    const int64_t z = vae->decoder.conv_in.weight->shape[1], z2 = vae->has_encoder ? vae->encoder.conv_out.weight->shape[0] : 0;
    if (vae->has_quant) {
        const rg_weight_row rows[] = {
            RG_W_CONV("post_quant_conv", vae->post_quant_conv, z, vae->latent_channels, 1, 1),
            RG_W_CONV("quant_conv",      vae->quant_conv,      2 * vae->latent_channels, z2, 1, 1),
        };
        if ((ret = rg_weights_load(c, w, rows, vae->has_encoder ? 2 : 1, "%s", "")) < 0)
            goto done;
    } else if (vae->has_encoder && z2 != 2 * z) {
        ret = rg_fail(c, RG_ERR_SHAPE, "%s: the encoder makes %lld channels, wanted mean and variance of %lld",
                      rg_weights_path(w), (long long)z2, (long long)z);
        goto done;
    }
    if ((ret = rg_weights_finish(c, w, NULL)) < 0)
        goto done;
    vae->scale = 1 << (vae->decoder.n_levels - 1);
    *out = vae;
    vae = NULL;                         /* moved to the caller */
done:
    rg_unref(vae);
    return ret;
}
