/* ImageFlip, ImageRotate: mirrors and quarter turns. Source: ComfyUI comfy_extras/nodes_images.py. */
#include <string.h>

#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
    int64_t how;                        /* indexes flips or rotations */
};

static const char *const flips[] = { "x-axis: vertically", "y-axis: horizontally", NULL };
static const char *const rotations[] = { "none", "90 degrees", "180 degrees", "270 degrees", NULL };

static const rg_input flip_inputs[] = {
    RG_LINK ("image",       image, RG_IMAGE),
    RG_COMBO("flip_method", how,   flips),
    RG_END
};

static const rg_input rotate_inputs[] = {
    RG_LINK ("image",    image, RG_IMAGE),
    RG_COMBO("rotation", how,   rotations),
    RG_END
};

/*
 * The picture walked in another order. Result pixel (0, 0) comes from row `top`, column `left`; a step right in the result is
 * (right_y, right_x) in the source, a step down (down_y, down_x).
 */
struct walk {
    bool is_turned;                     /* width and height change places */
    int top, left;                      /* 0: the first, 1: the last row or column */
    int right_y, right_x, down_y, down_x;
};

static int walk(rg_exec *x, const rg_tensor *image, const struct walk *k, rg_value *out)
{
    int64_t B, H, W, C, tall, wide;
    rg_tensor *t;
    float *to;

    if (rg_image_check(x->ctx, image, "image") < 0 || !(image = rg_image_host(x->ctx, image)))
        return x->ctx->error;
    B = rg_dim(image, 0);
    H = rg_dim(image, 1);
    W = rg_dim(image, 2);
    C = rg_dim(image, 3);
    tall = k->is_turned ? W : H;
    wide = k->is_turned ? H : W;
    if (!(t = rg_image_new(x->ctx, 4, (const int64_t[]){ B, tall, wide, C })))
        return x->ctx->error;
    to = t->data;
    for (int64_t b = 0; b < B; b++) {
        const float *first = (const float *)image->data + ((b * H + k->top * (H - 1)) * W + k->left * (W - 1)) * C;

        for (int64_t i = 0; i < tall; i++) {
            for (int64_t j = 0; j < wide; j++, to += C)
                memcpy(to, first + ((i * k->down_y + j * k->right_y) * W + i * k->down_x + j * k->right_x) * C, (size_t)C * sizeof *to);
        }
    }
    return rg_give_tensor(x, &out[0], RG_IMAGE, t);
}

static int flip(rg_exec *x, const void *in, rg_value *out)
{
    static const struct walk walks[] = {
        { .top = 1,  .right_x = 1,  .down_y = -1 },
        { .left = 1, .right_x = -1, .down_y = 1 },
    };
    const struct args *a = in;

    return walk(x, a->image, &walks[a->how], out);
}

/* Clockwise. */
static int rotate(rg_exec *x, const void *in, rg_value *out)
{
    static const struct walk walks[] = {
        { 0 },
        { .is_turned = true, .top = 1,  .right_y = -1, .down_x = 1 },
        { .top = 1, .left = 1,          .right_x = -1, .down_y = -1 },
        { .is_turned = true, .left = 1, .right_y = 1,  .down_x = -1 },
    };
    const struct args *a = in;

    if (a->how == 0)
        return rg_give_tensor(x, &out[0], RG_IMAGE, a->image);
    return walk(x, a->image, &walks[a->how], out);
}

const rg_node rg_node_image_flip = {
    .class_type    = "ImageFlip",
    .display_name  = "ImageFlip",
    .category      = "image/transform",
    .description   = "Mirror pictures.",
    .inputs        = flip_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_images",
    .execute       = flip,
};

const rg_node rg_node_image_rotate = {
    .class_type    = "ImageRotate",
    .display_name  = "ImageRotate",
    .category      = "image/transform",
    .description   = "Turn pictures clockwise.",
    .inputs        = rotate_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_images",
    .execute       = rotate,
};
