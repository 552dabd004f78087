/*
 * ModelSamplingFlux, ModelSamplingSD3 and ModelSamplingAuraFlow: the same model with its noise levels shifted. Source: ComfyUI
 * comfy_extras/nodes_model_advanced.py.
 */
#include <math.h>

#include "engine/diffusion/model.h"
#include "nodes/give.h"

struct args {
    const rg_model *model;
    double shift;
    double max_shift, base_shift;       /* Flux's */
    int64_t width, height;
};

static const rg_input flux_inputs[] = {
    RG_LINK ("model",      model,      RG_MODEL),
    RG_FLOAT("max_shift",  max_shift,  1.15, 0.0, 100.0, .step = 0.01),
    RG_FLOAT("base_shift", base_shift, 0.5,  0.0, 100.0, .step = 0.01),
    RG_INT  ("width",      width,      1024, 16, 16384, .step_int = 8),
    RG_INT  ("height",     height,     1024, 16, 16384, .step_int = 8),
    RG_END
};

static const rg_input sd3_inputs[] = {
    RG_LINK ("model", model, RG_MODEL),
    RG_FLOAT("shift", shift, 3.0, 0.0, 100.0, .step = 0.01),
    RG_END
};

static const rg_input aura_flow_inputs[] = {
    RG_LINK ("model", model, RG_MODEL),
    RG_FLOAT("shift", shift, 1.73, 0.0, 100.0, .step = 0.01),
    RG_END
};

static int shifted(rg_exec *x, const rg_model *model, rg_sampling_kind kind, double shift, double multiplier, rg_value *out)
{
    rg_model_sampling *s = rg_model_sampling_new(kind, RG_PREDICT_FLOW, shift, multiplier);
    rg_model *m = NULL;

    if (s && !isfinite(rg_model_sampling_max(s)))
        rg_fail(x->ctx, RG_ERR_INVALID, "a shift of %g leaves no noise levels: they come out as infinite or not a number", shift);
    else if (s)
        m = rg_model_with_sampling(model, s);
    rg_unref(s);
    return rg_give(x, &out[0], RG_MODEL, m);
}

static int execute_flux(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return shifted(x, a->model, RG_SAMPLING_FLUX, rg_flux_shift(a->max_shift, a->base_shift, a->width, a->height), 1, out);
}

static int execute_sd3(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return shifted(x, a->model, RG_SAMPLING_FLOW, a->shift, 1000, out);
}

static int execute_aura_flow(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return shifted(x, a->model, RG_SAMPLING_FLOW, a->shift, 1, out);
}

const rg_node rg_node_model_sampling_flux = {
    .class_type    = "ModelSamplingFlux",
    .display_name  = "ModelSamplingFlux",
    .category      = "advanced/model",
    .description   = "Shift Flux's noise levels to a picture size.",
    .inputs        = flux_inputs,
    .outputs       = { { "MODEL", RG_MODEL } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_model_advanced",
    .execute       = execute_flux,
};

const rg_node rg_node_model_sampling_sd3 = {
    .class_type    = "ModelSamplingSD3",
    .display_name  = "ModelSamplingSD3",
    .category      = "advanced/model",
    .description   = "Shift a flow model's noise levels; its timesteps count to 1000.",
    .inputs        = sd3_inputs,
    .outputs       = { { "MODEL", RG_MODEL } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_model_advanced",
    .execute       = execute_sd3,
};

const rg_node rg_node_model_sampling_aura_flow = {
    .class_type    = "ModelSamplingAuraFlow",
    .display_name  = "ModelSamplingAuraFlow",
    .category      = "advanced/model",
    .description   = "Shift a flow model's noise levels; its timesteps count to 1.",
    .inputs        = aura_flow_inputs,
    .outputs       = { { "MODEL", RG_MODEL } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_model_advanced",
    .execute       = execute_aura_flow,
};
