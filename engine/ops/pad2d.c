/* Pad the last two dims. Source: torch.nn.functional.pad, modes constant, replicate and circular. */
#include "engine/ops/define.h"

/* Which input row (or column) the output reads at i, or -1 for zero. */
static int64_t source(int64_t i, int64_t before, int64_t n, rg_pad_mode mode)
{
    const int64_t p = i - before;

    if (p >= 0 && p < n)
        return p;
    if (mode == RG_PAD_ZERO)
        return -1;
    if (mode == RG_PAD_REPLICATE)
        return p < 0 ? 0 : n - 1;
    return p < 0 ? p + n : p - n;       /* circular; the op has checked that once around is enough */
}

void rg_def_pad2d(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode)
{
    const int64_t H = rg_dim(x, -2), W = rg_dim(x, -1), OH = rg_dim(out, -2), OW = rg_dim(out, -1);
    const int64_t n_planes = OH > 0 && OW > 0 ? rg_numel(out) / (OH * OW) : 0;

    for (int64_t p = 0; p < n_planes; p++)
        for (int64_t y = 0; y < OH; y++)
            for (int64_t i = 0; i < OW; i++) {
                const int64_t sy = source(y, top, H, mode), sx = source(i, left, W, mode);
                rg_set(out, (p * OH + y) * OW + i, sy < 0 || sx < 0 ? 0.0 : rg_get(x, (p * H + sy) * W + sx));
            }
}

rg_tensor *rg_pad2d(rg_ctx *c, const rg_tensor *x, int64_t left, int64_t right, int64_t top, int64_t bottom, rg_pad_mode mode)
{
    char text[128];

    if (!RG_READY(c, "pad2d", 1, x))
        return NULL;
    if (x->n_dims < 2 || left < 0 || right < 0 || top < 0 || bottom < 0) {
        rg_fail(c, RG_ERR_SHAPE, "pad2d got shape %s and padding %lld, %lld, %lld, %lld; wanted 2 dims or more and no negative padding",
                rg_shape_text(x, text, sizeof text), (long long)left, (long long)right, (long long)top, (long long)bottom);
        return NULL;
    }

    const int64_t H = rg_dim(x, -2), W = rg_dim(x, -1);
    if ((mode == RG_PAD_CIRCULAR && (left > W || right > W || top > H || bottom > H)) ||
        (mode == RG_PAD_REPLICATE && (H == 0 || W == 0))) {
        rg_fail(c, RG_ERR_SHAPE, "pad2d got shape %s, too small for its padding", rg_shape_text(x, text, sizeof text));
        return NULL;
    }

    rg_tensor *out = rg_new_picture_like(c, x, H + top + bottom, W + left + right);
    if (!out)
        return NULL;
    RG_RUN(c, pad2d, out, x, left, top, mode);
    return c->error ? NULL : out;
}
