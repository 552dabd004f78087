/*
 * Pictures for WebSockets.
 *
 * latent2rgb: each latent pixel's channels times a small matrix. Figures: ComfyUI latent_formats.py, latent_preview.py (v0.3.64).
 */
#include "server/preview.h"

#include <math.h>
#include <string.h>

#include "engine/media/image.h"
#include "engine/media/picture.h"

static const float flux_factors[16][3] = {
    { -0.0346f, 0.0244f, 0.0681f }, { 0.0034f, 0.0210f, 0.0687f }, { 0.0275f, -0.0668f, -0.0433f }, { -0.0174f, 0.0160f, 0.0617f },
    { 0.0859f, 0.0721f, 0.0329f }, { 0.0004f, 0.0383f, 0.0115f }, { 0.0405f, 0.0861f, 0.0915f }, { -0.0236f, -0.0185f, -0.0259f },
    { -0.0245f, 0.0250f, 0.1180f }, { 0.1008f, 0.0755f, -0.0421f }, { -0.0515f, 0.0201f, 0.0011f }, { 0.0428f, -0.0012f, -0.0036f },
    { 0.0817f, 0.0765f, 0.0749f }, { -0.1264f, -0.0522f, -0.1103f }, { -0.0280f, -0.0881f, -0.0499f }, { -0.1262f, -0.0982f, -0.0778f },
};
static const float flux_bias[3] = { -0.0329f, -0.0718f, -0.0851f };

static const float sd15_factors[4][3] = {
    { 0.3512f, 0.2297f, 0.3227f }, { 0.3250f, 0.4974f, 0.2350f }, { -0.2829f, 0.1762f, 0.2721f }, { -0.2120f, -0.2616f, -0.7177f },
};
static const float no_bias[3];

/* x [C, H, W] of the first sample */
static void to_rgb(const rg_tensor *x, const float (*factors)[3], const float *bias, uint8_t *out)
{
    const int64_t C = rg_dim(x, 1), H = rg_dim(x, 2), W = rg_dim(x, 3), plane = H * W;
    const float *values = x->data;

    for (int64_t i = 0; i < plane; i++) {
        for (int rgb = 0; rgb < 3; rgb++) {
            float sum = bias[rgb];
            for (int64_t ch = 0; ch < C; ch++)
                sum += values[ch * plane + i] * factors[ch][rgb];
            sum = (sum + 1.0f) / 2.0f;
            sum = sum > 0.0f ? sum < 1.0f ? sum : 1.0f : 0.0f;      /* NaN too becomes 0 */
            out[3 * i + rgb] = (uint8_t)(sum * 255.0f);
        }
    }
}

bool rg_preview_jpeg(const rg_tensor *latent, int size, uint8_t **bytes, size_t *n_bytes)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    const rg_tensor *x = c && latent && latent->n_dims == 4 ? rg_image_host(c, latent) : NULL;
    const int64_t C = x ? rg_dim(x, 1) : 0;
    uint8_t *pixels = NULL;
    bool is_made = false;

    if (C == 16 || C == 4) {
        const int64_t H = rg_dim(x, 2), W = rg_dim(x, 3);

        if (H <= size && W <= size && (pixels = rg_malloc((size_t)(3 * H * W)))) {
            to_rgb(x, C == 16 ? flux_factors : sd15_factors, C == 16 ? flux_bias : no_bias, pixels);
            is_made = rg_jpeg_encode(c, pixels, W, H, 95, NULL, 0, bytes, n_bytes) == 0;
        }
    }
    rg_free(pixels);
    rg_ctx_free(c);
    return is_made;
}

bool rg_picture_png(const rg_tensor *images, int64_t frame, uint8_t **bytes, size_t *n_bytes)
{
    const int64_t H = rg_dim(images, 1), W = rg_dim(images, 2), C = rg_dim(images, 3);
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    uint8_t *pixels = c ? rg_malloc((size_t)(H * W * C)) : NULL;
    bool is_made = false;

    if (pixels) {
        rg_image_to_u8(images, frame, pixels);
        is_made = rg_png_encode(c, pixels, W, H, (int)C, 1, NULL, 0, bytes, n_bytes) == 0;
    }
    rg_free(pixels);
    rg_ctx_free(c);
    return is_made;
}
