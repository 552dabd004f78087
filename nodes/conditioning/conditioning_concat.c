/* ConditioningConcat: one text behind the other. Source: ComfyUI nodes.py. */
#include "engine/diffusion/cond.h"
#include "nodes/give.h"

struct args {
    const rg_cond *conditioning_to, *conditioning_from;
};

static const rg_input inputs[] = {
    RG_LINK("conditioning_to",   conditioning_to,   RG_CONDITIONING),
    RG_LINK("conditioning_from", conditioning_from, RG_CONDITIONING),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_CONDITIONING, rg_cond_concat(x->ctx, a->conditioning_to, a->conditioning_from));
}

const rg_node rg_node_conditioning_concat = {
    .class_type    = "ConditioningConcat",
    .display_name  = "Conditioning (Concat)",
    .category      = "conditioning",
    .description   = "Append one text to another, so that the model reads both at once.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
