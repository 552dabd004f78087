/* GetImageSize: width, height and number of pictures. Source: ComfyUI comfy_extras/nodes_images.py. */
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

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    out[0] = rg_value_int(rg_dim(a->image, 2));
    out[1] = rg_value_int(rg_dim(a->image, 1));
    out[2] = rg_value_int(rg_dim(a->image, 0));
    return 0;
}

const rg_node rg_node_get_image_size = {
    .class_type      = "GetImageSize",
    .display_name    = "Get Image Size",
    .category        = "image",
    .description     = "Tell the width and height of pictures, and how many there are.",
    .inputs          = inputs,
    .outputs         = { { "width", &rg_type_int }, { "height", &rg_type_int }, { "batch_size", &rg_type_int } },
    .args_size       = sizeof(struct args),
    .wants_unique_id = true,
    .python_module   = "comfy_extras.nodes_images",
    .execute         = execute,
};
