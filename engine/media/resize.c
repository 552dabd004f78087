/*
 * ComfyUI's common_upscale: the crop, the choice of method, and bislerp. Source: ComfyUI comfy/utils.py. Lanczos is in
 * lanczos.c, the methods of torch are the op rg_interpolate().
 */
#include "engine/media/resize.h"

#include <math.h>

#include "engine/media/image.h"
#include "engine/ops/ops.h"

/* x through 8-bit pictures and Pillow's resampling. */
static rg_tensor *lanczos(rg_ctx *c, const rg_tensor *x, int64_t width, int64_t height)
{
    const int64_t B = rg_dim(x, 0), C = rg_dim(x, 1), H = rg_dim(x, 2), W = rg_dim(x, 3);
    const rg_tensor *image;
    uint8_t *in = NULL, *out = NULL;
    rg_tensor *result = NULL;

    if (C > 4) {
        rg_fail(c, RG_ERR_SHAPE, "lanczos resizes pictures of 1 to 4 channels, not of %lld", (long long)C);
        return NULL;
    }
    if (!(image = rg_image_host(c, rg_permute4(c, x, 0, 2, 3, 1))))
        return NULL;
    in = rg_malloc((size_t)(H * W * C));
    out = rg_malloc((size_t)(B * height * width * C));
    if (!in || !out) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for resizing to %lld x %lld", (long long)width, (long long)height);
        goto done;
    }
    for (int64_t i = 0; i < B; i++) {
        rg_image_to_u8(image, i, in);
        if (rg_lanczos_u8(c, in, W, H, out + i * height * width * C, width, height, (int)C) < 0)
            goto done;
    }
    result = rg_permute4(c, rg_image_from_u8(c, out, 4, (const int64_t[]){ B, height, width, C }), 0, 3, 1, 2);
done:
    rg_free(in);
    rg_free(out);
    return result;
}

/* ---- bislerp ---------------------------------------------------------------------------------------------------------- */

/* Where a row or column of the result lies between two of the source. */
struct between {
    int64_t a, b;
    float ratio;
};

/*
 * The places as ComfyUI finds them: it lets torch interpolate the numbers 0, 1, 2, ... and 1, 2, 3, ..., n - 1 linearly, in
 * float32, and takes them apart again. torch multiplies and adds in one rounding; the low bits of the ratio come from there.
 */
static struct between place(int64_t i, int64_t in, int64_t out)
{
    const float scale = (float)in / (float)out;
    const float position = fmaxf(scale * ((float)i + 0.5f) - 0.5f, 0.0f);
    const int64_t first = (int64_t)position < in - 1 ? (int64_t)position : in - 1, second = first < in - 1 ? first + 1 : first;
    const float x = fminf(position - (float)first, 1.0f), rest = 1.0f - x;
    const float one = fmaf((float)second, x, (float)first * rest);
    const float next_first = (float)(first + 1 < in ? first + 1 : in - 1), next_second = (float)(second + 1 < in ? second + 1 : in - 1);
    const float two = fmaf(next_second, x, next_first * rest);

    return (struct between){ (int64_t)one, (int64_t)two, one - floorf(one) };
}

/*
 * Between two pixels of C values: along the great circle between their directions, lengths linearly.
 * p, q step apart by the channel strides; nearly equal directions give p itself, opposite ones the straight line, as there.
 */
static void slerp(float *out, int64_t out_step, const float *p, const float *q, int64_t step, int64_t C, float r)
{
    float pp = 0.0f, qq = 0.0f, dot = 0.0f, omega, sine, from, to, length;

    for (int64_t i = 0; i < C; i++) {
        pp += p[i * step] * p[i * step];
        qq += q[i * step] * q[i * step];
    }
    pp = sqrtf(pp);
    qq = sqrtf(qq);
    for (int64_t i = 0; i < C; i++)
        dot += (pp == 0.0f ? 0.0f : p[i * step] / pp) * (qq == 0.0f ? 0.0f : q[i * step] / qq);
    if (dot > 1.0f - 1e-5f) {
        for (int64_t i = 0; i < C; i++)
            out[i * out_step] = p[i * step];
        return;
    }
    if (dot < 1e-5f - 1.0f) {
        for (int64_t i = 0; i < C; i++)
            out[i * out_step] = p[i * step] * (1.0f - r) + q[i * step] * r;
        return;
    }
    omega = acosf(dot);
    sine = sinf(omega);
    from = sinf((1.0f - r) * omega) / sine;
    to = sinf(r * omega) / sine;
    length = pp * (1.0f - r) + qq * r;
    for (int64_t i = 0; i < C; i++) {
        const float a = pp == 0.0f ? 0.0f : p[i * step] / pp, b = qq == 0.0f ? 0.0f : q[i * step] / qq;
        out[i * out_step] = (from * a + to * b) * length;
    }
}

/* First along the rows, then along the columns. Both pictures are [B, C, H, W], row-major. */
static rg_tensor *bislerp(rg_ctx *c, const rg_tensor *x, int64_t width, int64_t height)
{
    const int64_t B = rg_dim(x, 0), C = rg_dim(x, 1), H = rg_dim(x, 2), W = rg_dim(x, 3);
    rg_tensor *wide = rg_image_new(c, 4, (const int64_t[]){ B, C, H, width });
    rg_tensor *out = rg_image_new(c, 4, (const int64_t[]){ B, C, height, width });
    const float *from;
    float *between, *to;

    if (!(x = rg_image_host(c, x)) || !wide || !out)
        return NULL;
    from = x->data;
    between = wide->data;
    to = out->data;
    for (int64_t b = 0; b < B; b++, from += C * H * W, between += C * H * width, to += C * height * width) {
        for (int64_t i = 0; i < width; i++) {
            const struct between k = place(i, W, width);
            for (int64_t y = 0; y < H; y++)
                slerp(between + y * width + i, H * width, from + y * W + k.a, from + y * W + k.b, H * W, C, k.ratio);
        }
        for (int64_t y = 0; y < height; y++) {
            const struct between k = place(y, H, height);
            for (int64_t i = 0; i < width; i++)
                slerp(to + y * width + i, height * width, between + k.a * width + i, between + k.b * width + i, H * width, C, k.ratio);
        }
    }
    return out;
}

/* ---- torch's methods ---------------------------------------------------------------------------------------------------- */

/* The op on a picture in main memory while c computes elsewhere: by a context of its own. */
static rg_tensor *interpolate_here(rg_ctx *c, const rg_tensor *x, int64_t width, int64_t height, rg_interp mode)
{
    int code = RG_ERR_NOMEM;
    rg_ctx *here = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, &code);
    rg_tensor *t;

    if (!here) {
        rg_fail(c, code, "no context for resizing in main memory");
        return NULL;
    }
    if ((t = rg_ref(rg_interpolate(here, x, height, width, mode))))
        t = rg_tensor_adopt(c, t);
    else
        rg_fail(c, here->error, "%s", here->message);
    rg_ctx_free(here);
    return t;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------- */

rg_tensor *rg_common_upscale(rg_ctx *c, const rg_tensor *x, int64_t width, int64_t height, rg_resize_method method, bool is_center_crop)
{
    static const rg_interp modes[] = { RG_NEAREST_EXACT, RG_BILINEAR, RG_AREA, RG_BICUBIC };
    char text[128];
    int64_t W, H;

    if (!x || c->error)
        return NULL;
    if (x->n_dims != 4 || x->shape[1] < 1 || x->shape[2] < 1 || x->shape[3] < 1 || width < 1 || height < 1) {
        rg_fail(c, RG_ERR_SHAPE, "no picture of shape %s can be resized to %lld x %lld", rg_shape_text(x, text, sizeof text), (long long)width, (long long)height);
        return NULL;
    }
    H = x->shape[2];
    W = x->shape[3];
    if (is_center_crop) {               /* doubles and round-half-even, as Python's */
        const double old_aspect = (double)W / (double)H, new_aspect = (double)width / (double)height;
        int64_t left = 0, top = 0;

        if (old_aspect > new_aspect)
            left = (int64_t)rint(((double)W - (double)W * (new_aspect / old_aspect)) / 2.0);
        else if (old_aspect < new_aspect)
            top = (int64_t)rint(((double)H - (double)H * (old_aspect / new_aspect)) / 2.0);
        if (2 * left >= W || 2 * top >= H) {
            rg_fail(c, RG_ERR_SHAPE, "nothing is left of %lld x %lld when cropped to the shape of %lld x %lld", (long long)W, (long long)H, (long long)width, (long long)height);
            return NULL;
        }
        x = rg_slice(c, rg_slice(c, x, 2, top, H - top), 3, left, W - left);
        if (!x)
            return NULL;
    }
    if (method == RG_RESIZE_LANCZOS)
        return lanczos(c, x, width, height);
    if (method == RG_RESIZE_BISLERP)
        return bislerp(c, x, width, height);
    if (x->device.type == RG_CPU && c->device.type != RG_CPU)
        return interpolate_here(c, x, width, height, modes[method]);
    return rg_interpolate(c, x, height, width, modes[method]);
}

rg_tensor *rg_image_upscale(rg_ctx *c, const rg_tensor *image, int64_t width, int64_t height, rg_resize_method method, bool is_center_crop)
{
    if (!image || rg_image_check(c, image, "the picture to resize") < 0)
        return NULL;
    image = rg_to_device(c, image, (rg_device){ RG_CPU, 0 });
    return rg_permute4(c, rg_common_upscale(c, rg_permute4(c, image, 0, 3, 1, 2), width, height, method, is_center_crop), 0, 2, 3, 1);
}
