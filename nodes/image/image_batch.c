/* ImageBatch: join two batches of pictures. Source: ComfyUI nodes.py. */
#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image1, *image2;
};

static const rg_input inputs[] = {
    RG_LINK("image1", image1, RG_IMAGE),
    RG_LINK("image2", image2, RG_IMAGE),
    RG_END
};

/* Pictures of another size are cropped and resized to that of the first. */
static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *image2 = a->image2;

    if (rg_image_check(x->ctx, a->image1, "image1") < 0 || rg_image_check(x->ctx, image2, "image2") < 0)
        return x->ctx->error;
    if (rg_dim(a->image1, 1) != rg_dim(image2, 1) || rg_dim(a->image1, 2) != rg_dim(image2, 2))
        image2 = rg_image_upscale(x->ctx, image2, rg_dim(a->image1, 2), rg_dim(a->image1, 1), RG_RESIZE_BILINEAR, true);
    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_image_joined(x->ctx, a->image1, image2));
}

const rg_node rg_node_image_batch = {
    .class_type    = "ImageBatch",
    .display_name  = "Batch Images",
    .category      = "image",
    .description   = "Put pictures together into one batch; the second ones take the size of the first.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
