/* MaskToImage: a mask as grey pictures. Source: ComfyUI comfy_extras/nodes_mask.py. */
#include "nodes/mask/mask_node.h"

struct args {
    const rg_tensor *mask;
};

static const rg_input inputs[] = {
    RG_LINK("mask", mask, RG_MASK),
    RG_END
};

/* Three channels that are the same memory: strides of 0. */
static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *m = mask_batch(x->ctx, a->mask, "mask");

    if (!m)
        return x->ctx->error;
    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_expand(x->ctx, rg_unsqueeze(x->ctx, m, 3), 4, (const int64_t[]){ rg_dim(m, 0), rg_dim(m, 1), rg_dim(m, 2), 3 }));
}

const rg_node rg_node_mask_to_image = {
    .class_type    = "MaskToImage",
    .display_name  = "Convert Mask to Image",
    .category      = "mask",
    .description   = "Show a mask as grey pictures.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_mask",
    .execute       = execute,
};
