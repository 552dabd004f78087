/* BasicScheduler: the sigmas of a run. Source: ComfyUI comfy_extras/nodes_custom_sampler.py. */
#include "engine/diffusion/sampling.h"
#include "nodes/give.h"

struct args {
    const rg_model *model;
    int64_t scheduler, steps;
    double denoise;
};

static const rg_input inputs[] = {
    RG_LINK ("model",     model,     RG_MODEL),
    RG_COMBO("scheduler", scheduler, rg_scheduler_names),
    RG_INT  ("steps",     steps,     20,  1,   10000),
    RG_FLOAT("denoise",   denoise,   1.0, 0.0, 1.0, .step = 0.01),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give_tensor(x, &out[0], RG_SIGMAS, rg_schedule(x->ctx, a->model->sampling, (int)a->scheduler, a->steps, a->denoise));
}

const rg_node rg_node_basic_scheduler = {
    .class_type    = "BasicScheduler",
    .display_name  = "BasicScheduler",
    .category      = "sampling/custom_sampling/schedulers",
    .description   = "The noise levels of a run, by one of the common rules.",
    .inputs        = inputs,
    .outputs       = { { "SIGMAS", RG_SIGMAS } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute,
};
