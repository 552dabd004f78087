/*
 * Encoding and decoding in overlapping tiles. Each tile is weighed by a ramp that rises over the overlap from every side, edges
 * of the picture included; sums of weighed tiles are divided by sums of weights. Three passes with tiles of different
 * proportions are averaged, so that seams do not line up.
 *
 * Source: ComfyUI utils.py, tiled_scale, and sd.py, decode_tiled_ and encode_tiled_. Easy to get wrong: the last tile of a row
 * keeps its start and gets shorter; a ramp longer than a tile is left out altogether; sizes are rounded half to even, as Python
 * does.
 */
#include <math.h>
#include <string.h>

#include "engine/models/vae_internal.h"

typedef rg_tensor *tile_fn(rg_ctx *c, const rg_vae *vae, const rg_tensor *x);

typedef struct tiling {
    const rg_vae *vae;
    tile_fn *run;
    double scale;                       /* output pixels per input pixel */
    int64_t channels;                   /* of the output */
    int64_t overlap;
    int64_t step, total;                /* progress */
} tiling;

static int64_t scaled(const tiling *t, int64_t v)
{
    return (int64_t)rint(t->scale * (double)v);
}

/* How many tiles cover n: starts are 0, tile - overlap, 2 (tile - overlap), ... below n - overlap. */
static int64_t count_tiles(int64_t n, int64_t tile, int64_t overlap)
{
    return n <= tile ? 1 : (n - overlap + tile - overlap - 1) / (tile - overlap);
}

/*
 * Weights of a tile [1, 1, h, w] on c's device. Rows are weighed first, columns after, one float32 product at a time, as the
 * source does; a row may get both ramps when they meet.
 */
static rg_tensor *make_mask(rg_ctx *c, int64_t h, int64_t w, int64_t feather)
{
    float *m = rg_malloc((size_t)(h * w) * sizeof *m);
    rg_tensor *host = m ? rg_tensor_wrap(m, RG_F32, 4, (const int64_t[]){ 1, 1, h, w }, true, NULL) : NULL, *out;

    if (!host) {
        rg_free(m);
        rg_fail(c, RG_ERR_NOMEM, "out of memory for the weights of a tile");
        return NULL;
    }
    for (int64_t i = 0; i < h * w; i++)
        m[i] = 1.0f;
    for (int64_t i = 0; i < feather && feather < h; i++) {
        const float a = (float)((double)(i + 1) / (double)feather);
        for (int64_t x = 0; x < w; x++) {
            m[i * w + x] *= a;
            m[(h - 1 - i) * w + x] *= a;
        }
    }
    for (int64_t i = 0; i < feather && feather < w; i++) {
        const float a = (float)((double)(i + 1) / (double)feather);
        for (int64_t y = 0; y < h; y++) {
            m[y * w + i] *= a;
            m[y * w + w - 1 - i] *= a;
        }
    }
    out = rg_to_device(c, host, c->device);
    out = out == host ? rg_clone(c, host) : out;    /* on the CPU it is still m */
    rg_unref(host);
    rg_free(m);
    return out;
}

static rg_tensor *window(rg_ctx *c, const rg_tensor *t, int64_t y, int64_t x, int64_t h, int64_t w)
{
    return rg_slice(c, rg_slice(c, t, 2, y, y + h), 3, x, x + w);
}

/* into += x, in place. into is a view of a tensor that only this file holds. */
static void add_into(rg_ctx *c, rg_tensor *into, const rg_tensor *x)
{
    rg_copy_into(c, into, rg_add(c, into, x));
}

/* One picture [1, C, H, W] in one pass of tiles: [1, channels, scaled H, scaled W]. */
static rg_tensor *one_pass(rg_ctx *c, tiling *t, const rg_tensor *x, int64_t tile_y, int64_t tile_x)
{
    if (!x)
        return NULL;
    const int64_t H = x->shape[2], W = x->shape[3];
    const int64_t n_y = count_tiles(H, tile_y, t->overlap), n_x = count_tiles(W, tile_x, t->overlap);

    if (n_y == 1 && n_x == 1) {
        rg_tensor *out = t->run(c, t->vae, x);
        rg_report(c, ++t->step, t->total, NULL);
        return out;
    }

    const int s = rg_scope_begin(c);
    const int64_t shape[] = { 1, t->channels, scaled(t, H), scaled(t, W) };
    rg_tensor *sum = rg_tensor_zeros(c, RG_F32, 4, shape);
    rg_tensor *weights = rg_tensor_zeros(c, RG_F32, 4, (const int64_t[]){ 1, 1, shape[2], shape[3] });

    for (int64_t i = 0; i < n_y * n_x && !rg_check(c); i++) {
        const int in = rg_scope_begin(c);
        const int64_t y = i / n_x * (tile_y - t->overlap), x0 = i % n_x * (tile_x - t->overlap);
        const int64_t h = tile_y < H - y ? tile_y : H - y, w = tile_x < W - x0 ? tile_x : W - x0;

        rg_tensor *part = t->run(c, t->vae, window(c, x, y, x0, h, w));
        if (part) {
            const int64_t oh = part->shape[2], ow = part->shape[3], oy = scaled(t, y), ox = scaled(t, x0);
            rg_tensor *mask = make_mask(c, oh, ow, scaled(t, t->overlap));
            add_into(c, window(c, sum, oy, ox, oh, ow), rg_mul(c, part, mask));
            add_into(c, window(c, weights, oy, ox, oh, ow), mask);
        }
        rg_scope_end(c, in, NULL);
        rg_report(c, ++t->step, t->total, NULL);
    }
    rg_tensor *out = rg_div(c, sum, weights);
    rg_scope_end(c, s, &out, NULL);
    return out;
}

/* The mean of three passes over each picture of the batch, in the order in which the source adds them. */
static rg_tensor *three_passes(rg_ctx *c, tiling *t, const rg_tensor *x, const int64_t tiles[3][2])
{
    const int64_t B = x->shape[0], H = x->shape[2], W = x->shape[3];

    for (int i = 0; i < 3; i++) {
        const int64_t th = tiles[i][0], tw = tiles[i][1];
        if (t->overlap < 0 || th < 1 || tw < 1 || (H > th && th <= t->overlap) || (W > tw && tw <= t->overlap)) {
            rg_fail(c, RG_ERR_INVALID, "a tile of %lld x %lld is not larger than its overlap of %lld", (long long)tw,
                    (long long)th, (long long)t->overlap);
            return NULL;
        }
        t->total += B * count_tiles(H, th, t->overlap) * count_tiles(W, tw, t->overlap);
    }

    const int s = rg_scope_begin(c);
    rg_tensor *out = rg_tensor_new(c, RG_F32, 4, (const int64_t[]){ B, t->channels, scaled(t, H), scaled(t, W) });
    for (int64_t b = 0; b < B && !rg_check(c); b++) {
        const int in = rg_scope_begin(c);
        const rg_tensor *one = rg_slice(c, x, 0, b, b + 1);
        rg_tensor *sum = one_pass(c, t, one, tiles[0][0], tiles[0][1]);
        for (int i = 1; i < 3 && !rg_check(c); i++)
            rg_replace(c, &sum, rg_add(c, sum, one_pass(c, t, one, tiles[i][0], tiles[i][1])));
        rg_copy_into(c, rg_slice(c, out, 0, b, b + 1), rg_div_scalar(c, sum, 3.0f));
        rg_scope_end(c, in, NULL);
    }
    rg_scope_end(c, s, &out, NULL);
    return c->error ? NULL : out;
}

rg_tensor *rg_vae_decode_tiled(rg_ctx *c, const rg_vae *vae, const rg_tensor *samples, int64_t tile_x, int64_t tile_y,
                               int64_t overlap)
{
    tiling t = { .vae = vae, .run = rg_vae_run_decoder, .scale = vae->scale, .overlap = overlap,
                 .channels = vae->decoder.conv_out.weight->shape[0] };
    const int64_t tiles[3][2] = { { tile_y * 2, tile_x / 2 }, { tile_y / 2, tile_x * 2 }, { tile_y, tile_x } };

    if (!rg_vae_is_latent(c, vae, samples))
        return NULL;
    const int s = rg_scope_begin(c);
    rg_tensor *x = three_passes(c, &t, samples, tiles), *out = rg_vae_pixels_out(c, x);
    rg_scope_end(c, s, &out, NULL);
    return out;
}

rg_tensor *rg_vae_encode_tiled(rg_ctx *c, const rg_vae *vae, const rg_tensor *pixels, int64_t tile_x, int64_t tile_y,
                               int64_t overlap)
{
    tiling t = { .vae = vae, .run = rg_vae_run_encoder, .scale = 1.0 / vae->scale, .overlap = overlap,
                 .channels = vae->latent_channels };
    const int64_t tiles[3][2] = { { tile_y, tile_x }, { tile_y / 2, tile_x * 2 }, { tile_y * 2, tile_x / 2 } };
    const int s = rg_scope_begin(c);
    rg_tensor *x = rg_vae_pixels_in(c, vae, pixels), *out = x ? three_passes(c, &t, x, tiles) : NULL;

    rg_scope_end(c, s, &out, NULL);
    return out;
}
