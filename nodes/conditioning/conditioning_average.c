/* ConditioningAverage: between two texts. Source: ComfyUI nodes.py. */
#include "engine/diffusion/cond.h"
#include "nodes/give.h"

struct args {
    const rg_cond *conditioning_to, *conditioning_from;
    double strength;
};

static const rg_input inputs[] = {
    RG_LINK ("conditioning_to",   conditioning_to,   RG_CONDITIONING),
    RG_LINK ("conditioning_from", conditioning_from, RG_CONDITIONING),
    RG_FLOAT("conditioning_to_strength", strength, 1.0, 0.0, 1.0, .step = 0.01),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_CONDITIONING, rg_cond_average(x->ctx, a->conditioning_to, a->conditioning_from, a->strength));
}

const rg_node rg_node_conditioning_average = {
    .class_type    = "ConditioningAverage",
    .display_name  = "ConditioningAverage",
    .category      = "conditioning",
    .description   = "A weighted mean of two texts, token by token.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
