/* ImageInvert: the negative. Source: ComfyUI nodes.py. */
#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
};

static const rg_input inputs[] = {
    RG_LINK("image", image, RG_IMAGE),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_image_inverted(x->ctx, a->image));
}

const rg_node rg_node_image_invert = {
    .class_type    = "ImageInvert",
    .display_name  = "Invert Image",
    .category      = "image",
    .description   = "Turn pictures into their negatives.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
