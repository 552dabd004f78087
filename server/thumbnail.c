/* Small pictures: each pixel is the mean of those it covers (area averaging), in two passes, which keeps thin lines visible. */
#include "server/thumbnail.h"

#include "engine/media/picture.h"

/*
 * Shrink n_lines lines of n_from pixels to n_to each; pixel i of a line is at from[line * line_step + i * pixel_step] (channels values).
 * A pixel's share is counted in n_to-ths, so that whole numbers do: the sum of shares is n_from.
 */
static void shrink(const uint8_t *from, int64_t n_from, int64_t from_step, int64_t from_line, uint8_t *to, int64_t n_to, int64_t to_step,
                   int64_t to_line, int64_t n_lines, int channels)
{
    for (int64_t line = 0; line < n_lines; line++) {
        for (int64_t i = 0; i < n_to; i++) {
            const int64_t begin = i * n_from, end = begin + n_from;
            int64_t sum[4] = { 0 };
            for (int64_t k = begin / n_to; k * n_to < end; k++) {
                const int64_t a = k * n_to > begin ? k * n_to : begin, b = (k + 1) * n_to < end ? (k + 1) * n_to : end;
                for (int ch = 0; ch < channels; ch++)
                    sum[ch] += (b - a) * from[line * from_line + k * from_step + ch];
            }
            for (int ch = 0; ch < channels; ch++)
                to[line * to_line + i * to_step + ch] = (uint8_t)((sum[ch] + n_from / 2) / n_from);
        }
    }
}

int rg_thumbnail(const void *bytes, size_t n_bytes, int width, uint8_t **out, size_t *n_out, const char **type)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    rg_picture *p = NULL;
    uint8_t *pixels = NULL, *wide = NULL, *small = NULL;
    int ret = c ? rg_picture_decode(c, bytes, n_bytes, &p) : RG_ERR_NOMEM;

    if (ret < 0)
        goto done;
    const int64_t W = p->width, H = p->height, longer = W > H ? W : H;
    const int64_t w = longer <= width ? W : W * width / longer > 0 ? W * width / longer : 1;
    const int64_t h = longer <= width ? H : H * width / longer > 0 ? H * width / longer : 1;
    const int channels = p->alpha ? 4 : 3;
    const uint8_t *from = p->rgb;

    ret = RG_ERR_NOMEM;
    if (p->alpha) {
        if (!(pixels = rg_malloc((size_t)(W * H * 4))))
            goto done;
        for (int64_t i = 0; i < W * H; i++) {
            for (int ch = 0; ch < 3; ch++)
                pixels[4 * i + ch] = p->rgb[3 * i + ch];
            pixels[4 * i + 3] = p->alpha[i];
        }
        from = pixels;
    }
    if (!(wide = rg_malloc((size_t)(w * H * channels))) || !(small = rg_malloc((size_t)(w * h * channels))))
        goto done;
    shrink(from, W, channels, W * channels, wide, w, channels, w * channels, H, channels);
    shrink(wide, H, w * channels, channels, small, h, w * channels, channels, w, channels);
    *type = p->alpha ? "image/webp" : "image/jpeg";
    ret = p->alpha ? rg_webp_encode(c, small, w, h, 4, 80, false, NULL, 0, out, n_out) : rg_jpeg_encode(c, small, w, h, 85, NULL, 0, out, n_out);
done:
    rg_free(pixels);
    rg_free(wide);
    rg_free(small);
    rg_picture_free(p);
    rg_ctx_free(c);
    return ret;
}
