/* FluxGuidance: distilled guidance. Source: ComfyUI comfy_extras/nodes_flux.py. */
#include "engine/diffusion/cond.h"
#include "nodes/give.h"

struct args {
    const rg_cond *conditioning;
    double guidance;
};

static const rg_input inputs[] = {
    RG_LINK ("conditioning", conditioning, RG_CONDITIONING),
    RG_FLOAT("guidance", guidance, 3.5, 0.0, 100.0, .step = 0.1),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_cond *cond = rg_cond_clone(a->conditioning);

    for (int i = 0; cond && i < cond->n_entries; i++) {
        cond->entries[i].has_guidance = true;
        cond->entries[i].guidance = a->guidance;
    }
    return rg_give(x, &out[0], RG_CONDITIONING, cond);
}

const rg_node rg_node_flux_guidance = {
    .class_type    = "FluxGuidance",
    .category      = "advanced/conditioning/flux",
    .description   = "How strongly Flux dev follows the text; it was trained to take this as an input.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_flux",
    .execute       = execute,
};
