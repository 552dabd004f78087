/*
 * Lanczos resampling of 8-bit pictures, bit for bit as Pillow does it: weights in double, normalised, rounded to 22 fractional
 * bits; rows first, then columns, with 8 bits in between; pixels with alpha are multiplied by it before and divided after.
 * Downscaling widens the kernel, so every source pixel counts.
 *
 * Sources: Duchon 1979, "Lanczos filtering in one and two dimensions"; Pillow's Image.resize for the arithmetic.
 */
#include <math.h>
#include <string.h>

#include "engine/media/resize.h"

enum { FRACTION = 22, LOBES = 3 };      /* 8 bits of result and 2 for what leaves 0..1 on the way: 32 in all */

/* Which source pixels make result pixel i, and how much of each. */
struct taps {
    int64_t first, n;
    const int32_t *weight;
};

struct kernel {
    struct taps *taps;                  /* one per result pixel */
    int32_t *weights;
};

static double sinc(double x)
{
    return x == 0.0 ? 1.0 : sin(x * M_PI) / (x * M_PI);
}

static double window(double x)
{
    return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0.0;
}

static void kernel_release(struct kernel *k)
{
    rg_free(k->taps);
    rg_free(k->weights);
}

/* Weights of a row of `in` pixels resized to `out`. */
static int kernel_init(rg_ctx *c, struct kernel *k, int64_t in, int64_t out)
{
    const double scale = (double)in / (double)out, width = scale < 1.0 ? 1.0 : scale, support = LOBES * width, shrink = 1.0 / width;
    const int64_t most = (int64_t)ceil(support) * 2 + 1;
    double *w = rg_malloc((size_t)most * sizeof *w);

    k->taps = rg_malloc((size_t)out * sizeof *k->taps);
    k->weights = rg_malloc((size_t)(out * most) * sizeof *k->weights);
    if (!w || !k->taps || !k->weights) {
        rg_free(w);
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for resizing %lld pixels to %lld", (long long)in, (long long)out);
    }
    for (int64_t i = 0; i < out; i++) {
        const double center = ((double)i + 0.5) * scale;
        const int64_t low = (int64_t)(center - support + 0.5), high = (int64_t)(center + support + 0.5);
        const int64_t first = low < 0 ? 0 : low, n = (high > in ? in : high) - first;
        int32_t *weight = k->weights + i * most;
        double sum = 0.0;

        for (int64_t t = 0; t < n; t++) {
            w[t] = window(((double)(t + first) - center + 0.5) * shrink);
            sum += w[t];
        }
        for (int64_t t = 0; t < n; t++) {
            const double v = (sum != 0.0 ? w[t] / sum : w[t]) * (1 << FRACTION);
            weight[t] = (int32_t)(v < 0.0 ? v - 0.5 : v + 0.5);
        }
        k->taps[i] = (struct taps){ first, n, weight };
    }
    rg_free(w);
    return 0;
}

static uint8_t rounded(int32_t sum)
{
    const int32_t v = sum >> FRACTION;  /* rounded down, also below 0 */

    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* n pixels of `channels` from rows that lie `step` bytes apart, weighed by the taps of one result row. */
static void weigh_rows(uint8_t *out, const uint8_t *in, int64_t step, const struct taps *k, int64_t n_bytes)
{
    enum { RUN = 256 };                 /* sums of this many bytes stay in the cache while the rows go by */

    for (int64_t at = 0; at < n_bytes; at += RUN) {
        const int64_t n = n_bytes - at < RUN ? n_bytes - at : RUN;
        int32_t sum[RUN];

        for (int64_t i = 0; i < n; i++)
            sum[i] = 1 << (FRACTION - 1);
        for (int64_t t = 0; t < k->n; t++) {
            const uint8_t *row = in + (k->first + t) * step + at;
            const int32_t w = k->weight[t];
            for (int64_t i = 0; i < n; i++)
                sum[i] += row[i] * w;
        }
        for (int64_t i = 0; i < n; i++)
            out[at + i] = rounded(sum[i]);
    }
}

/* One row of pixels, each result pixel a weighed run of source pixels. */
static void weigh_pixels(uint8_t *out, const uint8_t *in, const struct taps *taps, int64_t width, int channels)
{
    for (int64_t i = 0; i < width; i++, out += channels) {
        const uint8_t *p = in + taps[i].first * channels;
        int32_t sum[4];

        for (int k = 0; k < channels; k++)
            sum[k] = 1 << (FRACTION - 1);
        for (int64_t t = 0; t < taps[i].n; t++, p += channels) {
            for (int k = 0; k < channels; k++)
                sum[k] += p[k] * taps[i].weight[t];
        }
        for (int k = 0; k < channels; k++)
            out[k] = rounded(sum[k]);
    }
}

/* Colours times alpha over 255, rounded in 8.8 fixed point; and back, rounded down, where alpha is neither 0 nor 255. */
static void multiply_alpha(uint8_t *p, int64_t n_pixels, int channels)
{
    for (; n_pixels > 0; n_pixels--, p += channels) {
        for (int i = 0; i < channels - 1; i++) {
            const int v = p[i] * p[channels - 1] + 128;
            p[i] = (uint8_t)(((v >> 8) + v) >> 8);
        }
    }
}

static void divide_alpha(uint8_t *p, int64_t n_pixels, int channels)
{
    for (; n_pixels > 0; n_pixels--, p += channels) {
        const int alpha = p[channels - 1];
        for (int i = 0; i < channels - 1 && alpha != 0 && alpha != 255; i++) {
            const int v = 255 * p[i] / alpha;
            p[i] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

int rg_lanczos_u8(rg_ctx *c, const uint8_t *in, int64_t W, int64_t H, uint8_t *out, int64_t width, int64_t height, int channels)
{
    const bool has_alpha = channels == 2 || channels == 4, is_wider = width != W, is_higher = height != H;
    struct kernel across = { 0 }, down = { 0 };
    uint8_t *multiplied = NULL, *wide = NULL;

    if (!is_wider && !is_higher) {
        memcpy(out, in, (size_t)(W * H * channels));
        return 0;
    }
    if (has_alpha) {
        if (!(multiplied = rg_malloc((size_t)(W * H * channels))))
            goto no_memory;
        memcpy(multiplied, in, (size_t)(W * H * channels));
        multiply_alpha(multiplied, W * H, channels);
        in = multiplied;
    }
    if (is_wider) {
        uint8_t *to = out;

        if (is_higher && !(to = wide = rg_malloc((size_t)(width * H * channels))))
            goto no_memory;
        if (kernel_init(c, &across, W, width) < 0)
            goto done;
#pragma omp parallel for schedule(static)
        for (int64_t y = 0; y < H; y++)
            weigh_pixels(to + y * width * channels, in + y * W * channels, across.taps, width, channels);
        in = to;
    }
    if (is_higher) {
        if (kernel_init(c, &down, H, height) < 0)
            goto done;
#pragma omp parallel for schedule(static)
        for (int64_t y = 0; y < height; y++)
            weigh_rows(out + y * width * channels, in, width * channels, &down.taps[y], width * channels);
    }
    if (has_alpha)
        divide_alpha(out, width * height, channels);
    goto done;
no_memory:
    rg_fail(c, RG_ERR_NOMEM, "out of memory for resizing to %lld x %lld", (long long)width, (long long)height);
done:
    kernel_release(&across);
    kernel_release(&down);
    rg_free(multiplied);
    rg_free(wide);
    return c->error;
}
