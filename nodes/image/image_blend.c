/* ImageBlend: mix two pictures, as layers of a paint program do. Source: ComfyUI comfy_extras/nodes_post_processing.py, Blend. */
#include <math.h>

#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image1, *image2;
    double blend_factor;
    int64_t mode;
};

enum { NORMAL, MULTIPLY, SCREEN, OVERLAY, SOFT_LIGHT, DIFFERENCE };
static const char *const modes[] = { "normal", "multiply", "screen", "overlay", "soft_light", "difference", NULL };

static const rg_input inputs[] = {
    RG_LINK ("image1",       image1,       RG_IMAGE),
    RG_LINK ("image2",       image2,       RG_IMAGE),
    RG_FLOAT("blend_factor", blend_factor, 0.5, 0.0, 1.0, .step = 0.01),
    RG_COMBO("blend_mode",   mode,         modes, .is_v3_combo = true),
    RG_END
};

static float mix(float a, float b, int64_t mode)
{
    switch (mode) {
    case MULTIPLY:
        return a * b;
    case SCREEN:
        return 1.0f - (1.0f - a) * (1.0f - b);
    case OVERLAY:
        return a <= 0.5f ? 2.0f * a * b : 1.0f - 2.0f * (1.0f - a) * (1.0f - b);
    case SOFT_LIGHT:
        if (b <= 0.5f)
            return a - (1.0f - 2.0f * b) * a * (1.0f - a);
        return a + (2.0f * b - 1.0f) * ((a <= 0.25f ? ((16.0f * a - 12.0f) * a + 4.0f) * a : sqrtf(a)) - a);
    case DIFFERENCE:
        return a - b;                   /* not its absolute value, as the name would have it; negatives are clamped later */
    default:
        return b;
    }
}

/* The second picture takes the size of the first; of two batch sizes one may be 1. */
static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const float factor = (float)a->blend_factor, rest = (float)(1.0 - a->blend_factor);
    const rg_tensor *p = a->image1, *q = a->image2;
    int64_t B, n, n_channels, n_q;
    rg_tensor *t;

    if (rg_image_check(x->ctx, p, "image1") < 0 || rg_image_check(x->ctx, q, "image2") < 0)
        return x->ctx->error;
    if (rg_dim(p, 1) != rg_dim(q, 1) || rg_dim(p, 2) != rg_dim(q, 2))
        q = rg_image_upscale(x->ctx, q, rg_dim(p, 2), rg_dim(p, 1), RG_RESIZE_BICUBIC, true);
    p = rg_image_host(x->ctx, p);
    q = rg_image_host(x->ctx, q);
    if (!p || !q)
        return x->ctx->error;
    n_channels = rg_dim(p, 3);
    n_q = rg_dim(q, 3);
    B = rg_dim(p, 0) > rg_dim(q, 0) ? rg_dim(p, 0) : rg_dim(q, 0);
    if (n_q < n_channels)               /* more channels than needed are left out */
        return rg_fail(x->ctx, RG_ERR_SHAPE, "image2 has %lld channels, image1 %lld", (long long)n_q, (long long)n_channels);
    if ((rg_dim(p, 0) != B && rg_dim(p, 0) != 1) || (rg_dim(q, 0) != B && rg_dim(q, 0) != 1))
        return rg_fail(x->ctx, RG_ERR_SHAPE, "image1 is a batch of %lld, image2 of %lld: they must be equal, or one of them 1",
                       (long long)rg_dim(p, 0), (long long)rg_dim(q, 0));
    if (!(t = rg_image_new(x->ctx, 4, (const int64_t[]){ B, rg_dim(p, 1), rg_dim(p, 2), n_channels })))
        return x->ctx->error;
    n = rg_dim(p, 1) * rg_dim(p, 2);
    for (int64_t b = 0; b < B; b++) {
        const float *v = (const float *)p->data + (rg_dim(p, 0) == 1 ? 0 : b) * n * n_channels;
        const float *w = (const float *)q->data + (rg_dim(q, 0) == 1 ? 0 : b) * n * n_q;
        float *to = (float *)t->data + b * n * n_channels;

        for (int64_t i = 0; i < n; i++, v += n_channels, w += n_q, to += n_channels) {
            for (int64_t k = 0; k < n_channels; k++) {
                const float m = v[k] * rest + mix(v[k], w[k], a->mode) * factor;
                to[k] = m < 0.0f ? 0.0f : m > 1.0f ? 1.0f : m;
            }
        }
    }
    return rg_give_tensor(x, &out[0], RG_IMAGE, t);
}

const rg_node rg_node_image_blend = {
    .class_type    = "ImageBlend",
    .category      = "image/postprocessing",
    .description   = "Mix two pictures.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_post_processing",
    .execute       = execute,
};
