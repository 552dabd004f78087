/*
 * ImagePadForOutpaint: a grey border around pictures, and a mask that is 1 on it and fades into the picture.
 * Source: ComfyUI nodes.py.
 */
#include <string.h>

#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
    int64_t left, top, right, bottom, feathering;
};

static const rg_input inputs[] = {
    RG_LINK("image",      image,      RG_IMAGE),
    RG_INT ("left",       left,       0,  0, MAX_RESOLUTION, .step_int = 8),
    RG_INT ("top",        top,        0,  0, MAX_RESOLUTION, .step_int = 8),
    RG_INT ("right",      right,      0,  0, MAX_RESOLUTION, .step_int = 8),
    RG_INT ("bottom",     bottom,     0,  0, MAX_RESOLUTION, .step_int = 8),
    RG_INT ("feathering", feathering, 40, 0, MAX_RESOLUTION, .step_int = 1),
    RG_END
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How much of the pixel in row i, column j is to be painted anew: the square of its nearness to a padded side. */
static float feather(const struct args *a, int64_t i, int64_t j, int64_t H, int64_t W)
{
    const int64_t down = least(a->top ? i : H, a->bottom ? H - i : H), across = least(a->left ? j : W, a->right ? W - j : W);
    const int64_t d = least(down, across);
    const double v = (double)(a->feathering - d) / (double)a->feathering;

    return d < a->feathering ? (float)(v * v) : 0.0f;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    int64_t B, H, W, C, tall, wide;
    const rg_tensor *image;
    rg_tensor *padded, *mask;
    bool has_feather;
    float *v;

    if (rg_image_check(x->ctx, a->image, "image") < 0 || !(image = rg_image_host(x->ctx, a->image)))
        return x->ctx->error;
    B = rg_dim(image, 0);
    H = rg_dim(image, 1);
    W = rg_dim(image, 2);
    C = rg_dim(image, 3);
    tall = a->top + H + a->bottom;
    wide = a->left + W + a->right;
    padded = rg_image_new(x->ctx, 4, (const int64_t[]){ B, tall, wide, C });
    mask = rg_image_new(x->ctx, 3, (const int64_t[]){ 1, tall, wide });
    if (!padded || !mask)
        return x->ctx->error;

    v = padded->data;
    for (int64_t i = 0; i < rg_numel(padded); i++)
        v[i] = 0.5f;
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < H; i++)
            memcpy(v + ((b * tall + a->top + i) * wide + a->left) * C, (const float *)image->data + (b * H + i) * W * C, (size_t)(W * C) * sizeof *v);
    }
    v = mask->data;
    for (int64_t i = 0; i < tall * wide; i++)
        v[i] = 1.0f;
    has_feather = a->feathering > 0 && a->feathering * 2 < H && a->feathering * 2 < W;
    for (int64_t i = 0; i < H; i++) {
        for (int64_t j = 0; j < W; j++)
            v[(a->top + i) * wide + a->left + j] = has_feather ? feather(a, i, j, H, W) : 0.0f;
    }
    rg_give_tensor(x, &out[0], RG_IMAGE, padded);
    return rg_give_tensor(x, &out[1], RG_MASK, mask);
}

const rg_node rg_node_image_pad_for_outpaint = {
    .class_type    = "ImagePadForOutpaint",
    .display_name  = "Pad Image for Outpainting",
    .category      = "image",
    .description   = "Put a border around pictures, with a mask of what is to be painted.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE }, { "MASK", RG_MASK } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
