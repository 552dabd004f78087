/*
 * ImageCompositeMasked: pictures laid over others at a place, through a mask. Source: ComfyUI comfy_extras/nodes_mask.py, composite.
 * Easy to get wrong: the mask is stretched over the whole source before anything is cut off; fewer sources than destinations
 * start again from the first.
 */
#include <string.h>

#include "nodes/mask/mask_node.h"

struct args {
    const rg_tensor *destination, *source;
    int64_t left, top;
    bool is_resized;
    const rg_tensor *mask;
};

static const rg_input inputs[] = {
    RG_LINK   ("destination",   destination, RG_IMAGE),
    RG_LINK   ("source",        source,      RG_IMAGE),
    RG_INT    ("x",             left,        0, 0, MAX_RESOLUTION, .step_int = 1),
    RG_INT    ("y",             top,         0, 0, MAX_RESOLUTION, .step_int = 1),
    RG_BOOLEAN("resize_source", is_resized,  false),
    RG_LINK   ("mask",          mask,        RG_MASK, .is_optional = true),
    RG_END
};

/* The mask stretched to the source, [B, H, W] in main memory; NULL after rg_fail(). */
static const rg_tensor *fit_mask(rg_ctx *c, const rg_tensor *mask, const rg_tensor *source)
{
    if (!(mask = mask_batch(c, mask, "mask")))
        return NULL;
    mask = rg_common_upscale(c, rg_unsqueeze(c, rg_image_host(c, mask), 1), rg_dim(source, 2), rg_dim(source, 1), RG_RESIZE_BILINEAR, false);
    return rg_image_host(c, rg_squeeze(c, mask, 1));
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *to, *from, *mask = NULL;
    int64_t B, H, W, C, h, w, tall, wide;
    rg_tensor *t;

    if (rg_image_check(x->ctx, a->destination, "destination") < 0 || rg_image_check(x->ctx, a->source, "source") < 0)
        return x->ctx->error;
    to = rg_image_host(x->ctx, a->destination);
    from = a->source;
    if (to && a->is_resized)
        from = rg_image_upscale(x->ctx, from, rg_dim(to, 2), rg_dim(to, 1), RG_RESIZE_BILINEAR, false);
    from = rg_image_host(x->ctx, from);
    if (!to || !from || (a->mask && !(mask = fit_mask(x->ctx, a->mask, from))))
        return x->ctx->error;
    B = rg_dim(to, 0);
    H = rg_dim(to, 1);
    W = rg_dim(to, 2);
    C = rg_dim(to, 3);
    h = rg_dim(from, 1);
    w = rg_dim(from, 2);
    if (rg_dim(from, 3) < C)            /* more channels than needed are left out */
        return rg_fail(x->ctx, RG_ERR_SHAPE, "source has %lld channels, destination %lld", (long long)rg_dim(from, 3), (long long)C);
    if (!(t = rg_image_new(x->ctx, 4, to->shape)))
        return x->ctx->error;
    memcpy(t->data, to->data, rg_nbytes(t));
    tall = a->top >= H ? 0 : h < H - a->top ? h : H - a->top;
    wide = a->left >= W ? 0 : w < W - a->left ? w : W - a->left;
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < tall; i++) {
            const float *p = (const float *)from->data + (b % rg_dim(from, 0) * h + i) * w * rg_dim(from, 3);
            const float *m = mask ? (const float *)mask->data + (b % rg_dim(mask, 0) * h + i) * w : NULL;
            float *q = (float *)t->data + ((b * H + a->top + i) * W + a->left) * C;

            for (int64_t j = 0; j < wide; j++, p += rg_dim(from, 3), q += C) {
                const float k = m ? m[j] : 1.0f, rest = 1.0f - k;
                for (int64_t ch = 0; ch < C; ch++)
                    q[ch] = k * p[ch] + rest * q[ch];
            }
        }
    }
    return rg_give_tensor(x, &out[0], RG_IMAGE, t);
}

const rg_node rg_node_image_composite_masked = {
    .class_type    = "ImageCompositeMasked",
    .display_name  = "ImageCompositeMasked",
    .category      = "image",
    .description   = "Lay pictures over others, where a mask says so.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_mask",
    .execute       = execute,
};
