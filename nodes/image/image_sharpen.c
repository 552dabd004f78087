/*
 * ImageSharpen: add what a Gaussian blur takes away. Source: ComfyUI comfy_extras/nodes_post_processing.py, Sharpen.
 * Easy to get wrong: sigma is measured in kernel radii, so a larger radius blurs wider by itself; the kernel sums to 1 with
 * everything but its middle negative, ten times alpha in all.
 */
#include <math.h>

#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
    int64_t radius;
    double sigma, alpha;
};

static const rg_input inputs[] = {
    RG_LINK ("image",          image,  RG_IMAGE),
    RG_INT  ("sharpen_radius", radius, 1,   1,   31,   .step_int = 1),
    RG_FLOAT("sigma",          sigma,  1.0, 0.1, 10.0, .step = 0.01),
    RG_FLOAT("alpha",          alpha,  1.0, 0.0, 5.0,  .step = 0.01),
    RG_END
};

enum { MOST = 2 * 31 + 1 };

/* n x n weights in float32. */
static void kernel(float *k, int n, double sigma, double alpha)
{
    const float width = (float)(2.0 * sigma * sigma), by = (float)-(alpha * 10.0);
    const int middle = n / 2 * n + n / 2;
    double sum = 0.0;

    for (int i = 0; i < n * n; i++) {
        const float y = -1.0f + 2.0f * (float)(i / n) / (float)(n - 1), x = -1.0f + 2.0f * (float)(i % n) / (float)(n - 1);
        const float d = sqrtf(x * x + y * y);

        k[i] = expf(-(d * d) / width);
        sum += k[i];
    }
    for (int i = 0; i < n * n; i++)
        k[i] = k[i] / (float)sum * by;
    sum = 0.0;
    for (int i = 0; i < n * n; i++)
        sum += k[i];
    k[middle] = k[middle] - (float)sum + 1.0f;
}

/* Beyond the edge the picture goes on mirrored, without the edge itself twice. */
static int64_t mirrored(int64_t i, int64_t n)
{
    return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const int64_t r = a->radius, n = 2 * r + 1;
    float weights[MOST * MOST];
    int64_t columns[MOST];
    const rg_tensor *image;
    int64_t H, W, C;
    rg_tensor *t;

    if (rg_image_check(x->ctx, a->image, "image") < 0 || !(image = rg_image_host(x->ctx, a->image)))
        return x->ctx->error;
    H = rg_dim(image, 1);
    W = rg_dim(image, 2);
    C = rg_dim(image, 3);
    if (r >= H || r >= W)
        return rg_fail(x->ctx, RG_ERR_SHAPE, "a picture of %lld x %lld is too small to be sharpened with radius %lld", (long long)W, (long long)H, (long long)r);
    if (!(t = rg_image_new(x->ctx, 4, image->shape)))
        return x->ctx->error;
    kernel(weights, (int)n, a->sigma, a->alpha);
    for (int64_t b = 0; b < rg_dim(image, 0); b++) {
        const float *from = (const float *)image->data + b * H * W * C;
        float *to = (float *)t->data + b * H * W * C;

        for (int64_t y = 0; y < H; y++) {
            if (rg_check(x->ctx) < 0)
                return x->ctx->error;
            for (int64_t i = 0; i < W; i++) {
                for (int64_t k = 0; k < n; k++)
                    columns[k] = mirrored(i + k - r, W) * C;
                for (int64_t ch = 0; ch < C; ch++) {
                    double sum = 0.0;

                    for (int64_t j = 0; j < n; j++) {
                        const float *row = from + mirrored(y + j - r, H) * W * C + ch, *w = weights + j * n;
                        for (int64_t k = 0; k < n; k++)
                            sum += (double)w[k] * row[columns[k]];
                    }
                    *to++ = sum < 0.0 ? 0.0f : sum > 1.0 ? 1.0f : (float)sum;
                }
            }
        }
    }
    return rg_give_tensor(x, &out[0], RG_IMAGE, t);
}

const rg_node rg_node_image_sharpen = {
    .class_type    = "ImageSharpen",
    .category      = "image/postprocessing",
    .description   = "Make pictures crisper.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_post_processing",
    .execute       = execute,
};
