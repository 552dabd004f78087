/* ImageCrop: cut out a rectangle. Source: ComfyUI comfy_extras/nodes_images.py. */
#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
    int64_t width, height, left, top;
};

static const rg_input inputs[] = {
    RG_LINK("image",  image,  RG_IMAGE),
    RG_INT ("width",  width,  512, 1, MAX_RESOLUTION, .step_int = 1),
    RG_INT ("height", height, 512, 1, MAX_RESOLUTION, .step_int = 1),
    RG_INT ("x",      left,   0,   0, MAX_RESOLUTION, .step_int = 1),
    RG_INT ("y",      top,    0,   0, MAX_RESOLUTION, .step_int = 1),
    RG_END
};

/* A corner outside moves to the last pixel; what would stick out is left off. */
static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    int64_t H, W, left, top, right, bottom;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    H = rg_dim(a->image, 1);
    W = rg_dim(a->image, 2);
    left = a->left < W - 1 ? a->left : W - 1;
    top = a->top < H - 1 ? a->top : H - 1;
    right = a->width < W - left ? left + a->width : W;
    bottom = a->height < H - top ? top + a->height : H;
    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_slice(x->ctx, rg_slice(x->ctx, a->image, 1, top, bottom), 2, left, right));
}

const rg_node rg_node_image_crop = {
    .class_type    = "ImageCrop",
    .display_name  = "Image Crop",
    .category      = "image/transform",
    .description   = "Cut a rectangle out of pictures.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_images",
    .execute       = execute,
};
