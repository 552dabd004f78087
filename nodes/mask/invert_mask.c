/* InvertMask: 1 - mask. Source: ComfyUI comfy_extras/nodes_mask.py. */
#include "nodes/mask/mask_node.h"

struct args {
    const rg_tensor *mask;
};

static const rg_input inputs[] = {
    RG_LINK("mask", mask, RG_MASK),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give_tensor(x, &out[0], RG_MASK, rg_image_inverted(x->ctx, a->mask));
}

const rg_node rg_node_invert_mask = {
    .class_type    = "InvertMask",
    .display_name  = "InvertMask",
    .category      = "mask",
    .description   = "Exchange what a mask covers and what it leaves free.",
    .inputs        = inputs,
    .outputs       = { { "MASK", RG_MASK } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_mask",
    .execute       = execute,
};
