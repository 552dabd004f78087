/* BasicGuider and CFGGuider: a model and what steers it. Source: ComfyUI comfy_extras/nodes_custom_sampler.py. */
#include "engine/diffusion/sampling.h"
#include "nodes/give.h"

struct args {
    const rg_model *model;
    const rg_cond *positive, *negative; /* positive: "conditioning" of BasicGuider */
    double cfg;
};

static const rg_input basic_inputs[] = {
    RG_LINK("model",        model,    RG_MODEL),
    RG_LINK("conditioning", positive, RG_CONDITIONING),
    RG_END
};

static const rg_input cfg_inputs[] = {
    RG_LINK ("model",    model,    RG_MODEL),
    RG_LINK ("positive", positive, RG_CONDITIONING),
    RG_LINK ("negative", negative, RG_CONDITIONING),
    RG_FLOAT("cfg",      cfg,      8.0, 0.0, 100.0, .step = 0.1, .round = 0.01),
    RG_END
};

static int execute_basic(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_GUIDER, rg_guider_new(a->model, a->positive, NULL, 1.0));
}

static int execute_cfg(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_GUIDER, rg_guider_new(a->model, a->positive, a->negative, a->cfg));
}

const rg_node rg_node_basic_guider = {
    .class_type    = "BasicGuider",
    .display_name  = "BasicGuider",
    .category      = "sampling/custom_sampling/guiders",
    .description   = "Steer a model by one conditioning alone.",
    .inputs        = basic_inputs,
    .outputs       = { { "GUIDER", RG_GUIDER } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_basic,
};

const rg_node rg_node_cfg_guider = {
    .class_type    = "CFGGuider",
    .display_name  = "CFGGuider",
    .category      = "sampling/custom_sampling/guiders",
    .description   = "Steer a model towards one conditioning and away from another.",
    .inputs        = cfg_inputs,
    .outputs       = { { "GUIDER", RG_GUIDER } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_cfg,
};
