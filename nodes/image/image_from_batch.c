/* ImageFromBatch: take some pictures out of a batch. Source: ComfyUI comfy_extras/nodes_images.py. */
#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
    int64_t batch_index, length;
};

static const rg_input inputs[] = {
    RG_LINK("image",       image,       RG_IMAGE),
    RG_INT ("batch_index", batch_index, 0, 0, 4095),
    RG_INT ("length",      length,      1, 1, 4096),
    RG_END
};

/* An index past the end means the last one. */
static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    int64_t B, first, n;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    B = rg_dim(a->image, 0);
    first = a->batch_index < B - 1 ? a->batch_index : B - 1;
    n = a->length < B - first ? a->length : B - first;
    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_slice(x->ctx, a->image, 0, first, first + n));
}

const rg_node rg_node_image_from_batch = {
    .class_type    = "ImageFromBatch",
    .display_name  = "ImageFromBatch",
    .category      = "image/batch",
    .description   = "Take some pictures out of a batch.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_images",
    .execute       = execute,
};
