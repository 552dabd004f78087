/*
 * Loading an autoencoder: how many levels and blocks it has and how wide they are is read off the tensors, so that models
 * of other sizes than Stable Diffusion's and Flux's load too.
 */
#include <stdio.h>

#include "engine/models/vae_internal.h"

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

static int load_resnet(rg_ctx *c, rg_weights *w, vae_resnet *r, const char *stem)
{
    char name[96];

    snprintf(name, sizeof name, "%sconv1.weight", stem);
    const int64_t n_out = rg_weights_dim(w, name, 0), n_in = rg_weights_dim(w, name, 1);
    const rg_weight_row rows[] = {
        RG_W_VECTOR("norm1.weight", r->norm1.weight, n_in),
        RG_W_VECTOR("norm1.bias",   r->norm1.bias,   n_in),
        RG_W_CONV  ("conv1",        r->conv1,        n_out, n_in, 3, 3),
        RG_W_VECTOR("norm2.weight", r->norm2.weight, n_out),
        RG_W_VECTOR("norm2.bias",   r->norm2.bias,   n_out),
        RG_W_CONV  ("conv2",        r->conv2,        n_out, n_out, 3, 3),
        RG_W_CONV  ("nin_shortcut", r->nin_shortcut, n_out, n_in, 1, 1),    /* last: only where the width changes */
    };

    return rg_weights_load(c, w, rows, RG_W_COUNT(rows) - (n_in == n_out), "%s", stem);
}

static int load_attention(rg_ctx *c, rg_weights *w, vae_attention *a, int64_t C, const char *side)
{
    const rg_weight_row rows[] = {
        RG_W_VECTOR("norm.weight", a->norm.weight, C),
        RG_W_VECTOR("norm.bias",   a->norm.bias,   C),
        RG_W_CONV  ("q",           a->q,           C, C, 1, 1),
        RG_W_CONV  ("k",           a->k,           C, C, 1, 1),
        RG_W_CONV  ("v",           a->v,           C, C, 1, 1),
        RG_W_CONV  ("proj_out",    a->proj_out,    C, C, 1, 1),
    };

    return rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s.mid.attn_1.", side);
}

/* Levels "down" of the encoder or "up" of the decoder, with their down- or upsampling. */
static int load_levels(rg_ctx *c, rg_weights *w, vae_half *h, const char *side, const char *way)
{
    char stem[64], name[96];
    int ret = 0;

    snprintf(stem, sizeof stem, "%s.%s.", side, way);
    h->n_levels = rg_weights_count_blocks(w, stem);
    if (h->n_levels < 1 || h->n_levels > VAE_MAX_LEVELS)
        return rg_fail(c, RG_ERR_SHAPE, "%s: %s* has %d levels, wanted 1 to %d", rg_weights_path(w), stem, h->n_levels, VAE_MAX_LEVELS);
    for (int i = 0; i < h->n_levels && ret == 0; i++) {
        vae_level *l = &h->levels[i];

        snprintf(stem, sizeof stem, "%s.%s.%d.block.", side, way, i);
        l->n_blocks = rg_weights_count_blocks(w, stem);
        if (!(l->blocks = rg_calloc((size_t)l->n_blocks + 1, sizeof *l->blocks)))
            return rg_fail(c, RG_ERR_NOMEM, "out of memory for a VAE");
        for (int j = 0; j < l->n_blocks && ret == 0; j++) {
            snprintf(name, sizeof name, "%s%d.", stem, j);
            ret = load_resnet(c, w, &l->blocks[j], name);
        }
        if (ret == 0 && (way[0] == 'd' ? i < h->n_levels - 1 : i > 0)) {
            snprintf(name, sizeof name, "%s.%s.%d.%ssample.conv.weight", side, way, i, way);
            const int64_t C = rg_weights_dim(w, name, 0);
            const rg_weight_row rows[] = { RG_W_CONV("sample.conv", l->resample, C, C, 3, 3) };
            ret = rg_weights_load(c, w, rows, 1, "%s.%s.%d.%s", side, way, i, way);
        }
    }
    return ret;
}

/* n_in, n_out: channels that go in and come out; C, E: width after conv_in and before conv_out. */
static int load_half(rg_ctx *c, rg_weights *w, vae_half *h, const char *side, const char *way)
{
    char name[96];
    int64_t size[4];
    static const char *const ends[] = { "conv_in.weight", "conv_out.weight" };

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", side, ends[i / 2]);
        size[i] = rg_weights_dim(w, name, i % 2);
    }
    const int64_t C = size[0], n_in = size[1], n_out = size[2], E = size[3], mid = way[0] == 'd' ? E : C;
    const rg_weight_row rows[] = {
        RG_W_CONV  ("conv_in",         h->conv_in,         C, n_in, 3, 3),
        RG_W_VECTOR("norm_out.weight", h->norm_out.weight, E),
        RG_W_VECTOR("norm_out.bias",   h->norm_out.bias,   E),
        RG_W_CONV  ("conv_out",        h->conv_out,        n_out, E, 3, 3),
    };
    int ret = rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s.", side);

    snprintf(name, sizeof name, "%s.mid.block_1.", side);
    if (ret == 0)
        ret = load_resnet(c, w, &h->mid1, name);
    snprintf(name, sizeof name, "%s.mid.block_2.", side);
    if (ret == 0)
        ret = load_resnet(c, w, &h->mid2, name);
    if (ret == 0)
        ret = load_attention(c, w, &h->attn, mid, side);
    return ret ? ret : load_levels(c, w, h, side, way);
}

/* Each layer takes what the one before gives: the tables check layers by themselves, this checks the chain. */
static int check_chain(rg_ctx *c, const rg_weights *w, const vae_half *h, const char *side, bool is_decoder)
{
    int64_t at = h->conv_in.weight->shape[0];

    for (int k = 0; k < h->n_levels; k++) {
        const vae_level *l = &h->levels[is_decoder ? h->n_levels - 1 - k : k];
        for (int j = 0; j <= l->n_blocks; j++) {
            const rg_conv_weight *conv = j < l->n_blocks ? &l->blocks[j].conv1 : &l->resample;
            if (conv->weight && conv->weight->shape[1] != at)
                return rg_fail(c, RG_ERR_SHAPE, "%s: level %d of the VAE's %s passes on %lld channels where the next layer wants %lld",
                               rg_weights_path(w), is_decoder ? h->n_levels - 1 - k : k, side, (long long)at, (long long)conv->weight->shape[1]);
            at = conv->weight ? conv->weight->shape[0] : at;
        }
    }
    if (at % 32)
        return rg_fail(c, RG_ERR_SHAPE, "%s: the VAE's %s has %lld channels, which do not divide into 32 groups", rg_weights_path(w), side, (long long)at);
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
    vae->has_encoder = rg_weights_has(w, "encoder.conv_in.weight");
    vae->has_quant = rg_weights_has(w, "post_quant_conv.weight");
    vae->latent_channels = (int)rg_weights_dim(w, vae->has_quant ? "post_quant_conv.weight" : "decoder.conv_in.weight", 1);

    if ((ret = load_half(c, w, &vae->decoder, "decoder", "up")) < 0 || (ret = check_chain(c, w, &vae->decoder, "decoder", true)) < 0)
        goto done;
    if (vae->has_encoder && ((ret = load_half(c, w, &vae->encoder, "encoder", "down")) < 0 ||
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
        ret = rg_fail(c, RG_ERR_SHAPE, "%s: the encoder makes %lld channels, wanted mean and variance of %lld", rg_weights_path(w), (long long)z2, (long long)z);
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
