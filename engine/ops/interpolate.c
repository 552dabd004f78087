/*
 * Resize pictures and latents. Source: torch.nn.functional.interpolate (align_corners=False), cubic kernel of Keys 1981
 * with a = -0.75, area as adaptive average pooling.
 */
#include "engine/ops/define.h"

int64_t rg_interp_taps(rg_interp mode, int64_t i, int64_t in, int64_t out, int64_t *first, float weights[4])
{
    const float scale = (float)in / (float)out, a = -0.75f;
    float position, x;

    switch (mode) {
    case RG_NEAREST:
    case RG_NEAREST_EXACT:
        position = mode == RG_NEAREST ? (float)i * scale : ((float)i + 0.5f) * scale;
        *first = (int64_t)floorf(position);
        weights[0] = 1.0f;
        return 1;
    case RG_BILINEAR:
        position = fmaxf(scale * ((float)i + 0.5f) - 0.5f, 0.0f);
        *first = (int64_t)position;
        if (*first > in - 1)
            *first = in - 1;
        x = fminf(position - (float)*first, 1.0f);
        weights[0] = 1.0f - x;
        weights[1] = x;
        return 2;
    case RG_BICUBIC:
        position = scale * ((float)i + 0.5f) - 0.5f;
        *first = (int64_t)floorf(position) - 1;
        x = position - floorf(position);
        for (int t = 0; t < 4; t++) {           /* distances 1 + x, x, 1 - x, 2 - x */
            const float d = fabsf(x + 1.0f - (float)t);
            weights[t] = d <= 1.0f ? ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f : ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a;
        }
        return 4;
    case RG_AREA:
        *first = i * in / out;
        return ((i + 1) * in + out - 1) / out - *first;
    }
    RG_BUG("interpolation mode %d", mode);
}

static int64_t clamped(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

void rg_def_interpolate(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode)
{
    const int64_t H = x->shape[2], W = x->shape[3], OH = out->shape[2], OW = out->shape[3];
    const int64_t n_planes = x->shape[0] * x->shape[1];
    double *v = rg_def_load(c, x);

    for (int64_t p = 0; p < n_planes && v; p++)
        for (int64_t y = 0; y < OH; y++)
            for (int64_t i = 0; i < OW; i++) {
                int64_t y0, x0;
                float wy[4], wx[4];
                const int64_t ny = rg_interp_taps(mode, y, H, OH, &y0, wy), nx = rg_interp_taps(mode, i, W, OW, &x0, wx);
                double sum = 0.0;

                for (int64_t ty = 0; ty < ny; ty++)
                    for (int64_t tx = 0; tx < nx; tx++) {
                        const double weight = mode == RG_AREA ? 1.0 / (double)(ny * nx) : (double)wy[ty] * wx[tx];
                        sum += weight * v[(p * H + clamped(y0 + ty, H)) * W + clamped(x0 + tx, W)];
                    }
                rg_set(out, (p * OH + y) * OW + i, sum);
            }
    rg_free(v);
}

rg_tensor *rg_interpolate(rg_ctx *c, const rg_tensor *x, int64_t OH, int64_t OW, rg_interp mode)
{
    char text[128];

    if (!RG_READY(c, "interpolate", 1, x) || !rg_op_float(c, "interpolate", x))
        return NULL;
    if (x->n_dims != 4 || x->shape[2] < 1 || x->shape[3] < 1 || OH < 1 || OW < 1) {
        rg_fail(c, RG_ERR_SHAPE, "interpolate got shape %s and size %lld x %lld, wanted [B, C, H, W] and a size of 1 or more",
                rg_shape_text(x, text, sizeof text), (long long)OH, (long long)OW);
        return NULL;
    }
    rg_tensor *out = rg_new_picture_like(c, x, OH, OW);
    if (!out)
        return NULL;
    RG_RUN(c, interpolate, out, x, mode);
    return c->error ? NULL : out;
}

rg_tensor *rg_upsample_nearest2x(rg_ctx *c, const rg_tensor *x)
{
    if (!RG_READY(c, "upsample_nearest2x", 1, x))
        return NULL;
    return rg_interpolate(c, x, 2 * rg_dim(x, -2), 2 * rg_dim(x, -1), RG_NEAREST);
}
