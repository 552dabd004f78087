/* ImageToMask: one channel as a mask. Source: ComfyUI comfy_extras/nodes_mask.py. */
#include "nodes/mask/mask_node.h"

struct args {
    const rg_tensor *image;
    int64_t channel;
};

static const char *const channels[] = { "red", "green", "blue", "alpha", NULL };

static const rg_input inputs[] = {
    RG_LINK ("image",   image,   RG_IMAGE),
    RG_COMBO("channel", channel, channels),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    if (a->channel >= rg_dim(a->image, 3))
        return rg_fail(x->ctx, RG_ERR_SHAPE, "the picture has %lld channels and no %s one", (long long)rg_dim(a->image, 3), channels[a->channel]);
    return rg_give_tensor(x, &out[0], RG_MASK, rg_squeeze(x->ctx, rg_slice(x->ctx, a->image, 3, a->channel, a->channel + 1), 3));
}

const rg_node rg_node_image_to_mask = {
    .class_type    = "ImageToMask",
    .display_name  = "Convert Image to Mask",
    .category      = "mask",
    .description   = "Take one channel of pictures as a mask.",
    .inputs        = inputs,
    .outputs       = { { "MASK", RG_MASK } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_mask",
    .execute       = execute,
};
