/* KSamplerSelect: a sampler by name. Source: ComfyUI comfy_extras/nodes_custom_sampler.py. */
#include "engine/diffusion/sampling.h"
#include "nodes/give.h"

struct args {
    int64_t sampler;
};

static const rg_input inputs[] = {
    RG_COMBO("sampler_name", sampler, rg_sampler_names),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_SAMPLER, rg_sampler_new((int)a->sampler));
}

const rg_node rg_node_ksampler_select = {
    .class_type    = "KSamplerSelect",
    .display_name  = "KSamplerSelect",
    .category      = "sampling/custom_sampling/samplers",
    .description   = "A sampler by its name, with default options.",
    .inputs        = inputs,
    .outputs       = { { "SAMPLER", RG_SAMPLER } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute,
};
