/* ConditioningCombine: the entries of both. Source: ComfyUI nodes.py. */
#include "engine/diffusion/cond.h"
#include "nodes/give.h"

struct args {
    const rg_cond *conditioning_1, *conditioning_2;
};

static const rg_input inputs[] = {
    RG_LINK("conditioning_1", conditioning_1, RG_CONDITIONING),
    RG_LINK("conditioning_2", conditioning_2, RG_CONDITIONING),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_CONDITIONING, rg_cond_join(a->conditioning_1, a->conditioning_2));
}

const rg_node rg_node_conditioning_combine = {
    .class_type    = "ConditioningCombine",
    .display_name  = "Conditioning (Combine)",
    .category      = "conditioning",
    .description   = "Use both: each is predicted by itself and the results are averaged.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
