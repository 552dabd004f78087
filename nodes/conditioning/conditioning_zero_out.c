/* ConditioningZeroOut: zeros instead of text. Source: ComfyUI nodes.py. */
#include "engine/diffusion/cond.h"
#include "nodes/give.h"

struct args {
    const rg_cond *conditioning;
};

static const rg_input inputs[] = {
    RG_LINK("conditioning", conditioning, RG_CONDITIONING),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_CONDITIONING, rg_cond_zero_out(x->ctx, a->conditioning));
}

const rg_node rg_node_conditioning_zero_out = {
    .class_type    = "ConditioningZeroOut",
    .display_name  = "ConditioningZeroOut",
    .category      = "advanced/conditioning",
    .description   = "Replace the text by zeros: a negative prompt that says nothing at all.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
