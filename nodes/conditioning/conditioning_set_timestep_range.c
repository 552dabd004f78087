/* ConditioningSetTimestepRange: when a text counts. Source: ComfyUI nodes.py. */
#include "engine/diffusion/cond.h"
#include "nodes/give.h"

struct args {
    const rg_cond *conditioning;
    double start, end;
};

static const rg_input inputs[] = {
    RG_LINK ("conditioning", conditioning, RG_CONDITIONING),
    RG_FLOAT("start", start, 0.0, 0.0, 1.0, .step = 0.001),
    RG_FLOAT("end",   end,   1.0, 0.0, 1.0, .step = 0.001),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_cond *cond = rg_cond_clone(a->conditioning);

    for (int i = 0; cond && i < cond->n_entries; i++) {
        cond->entries[i].start_percent = a->start;
        cond->entries[i].end_percent = a->end;
    }
    return rg_give(x, &out[0], RG_CONDITIONING, cond);
}

const rg_node rg_node_conditioning_set_timestep_range = {
    .class_type    = "ConditioningSetTimestepRange",
    .display_name  = "ConditioningSetTimestepRange",
    .category      = "advanced/conditioning",
    .description   = "Let a text count only in part of the sampling, 0 being its start and 1 its end.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
