/*
 * KSampler and KSamplerAdvanced: denoise a latent with one sampler and one schedule. Source: ComfyUI nodes.py, common_ksampler.
 */
#include "engine/diffusion/sampling.h"
#include "nodes/give.h"

static const char *const enable_disable[] = { "enable", "disable", NULL };
static const char *const disable_enable[] = { "disable", "enable", NULL };

struct args {
    const rg_model *model;
    const rg_cond *positive, *negative;
    const rg_latent *latent;
    uint64_t seed;
    int64_t steps, sampler, scheduler;  /* the last two index the name lists */
    double cfg, denoise;
    int64_t add_noise, start_at_step, end_at_step, leftover_noise;      /* the advanced node's; 0 is the first name */
};

static const rg_input inputs[] = {
    RG_LINK ("model",        model,     RG_MODEL, .tooltip = "The model that denoises."),
    RG_SEED ("seed",         seed,      0, .tooltip = "Which noise to start from."),
    RG_INT  ("steps",        steps,     20,  1,   10000, .tooltip = "Denoising steps."),
    RG_FLOAT("cfg",          cfg,       8.0, 0.0, 100.0, .step = 0.1, .round = 0.01,
             .tooltip = "How far from the negative text to push; 1 leaves the negative text out, at half the cost."),
    RG_COMBO("sampler_name", sampler,   rg_sampler_names, .tooltip = "How a step is taken."),
    RG_COMBO("scheduler",    scheduler, rg_scheduler_names, .tooltip = "How noise levels are spread over the steps."),
    RG_LINK ("positive",     positive,  RG_CONDITIONING, .tooltip = "What the picture should show."),
    RG_LINK ("negative",     negative,  RG_CONDITIONING, .tooltip = "What it should not."),
    RG_LINK ("latent_image", latent,    RG_LATENT, .tooltip = "The latent to start from; empty for a new picture."),
    RG_FLOAT("denoise",      denoise,   1.0, 0.0, 1.0, .step = 0.01, .tooltip = "Below 1 keeps some of the latent."),
    RG_END
};

static const rg_input advanced_inputs[] = {
    RG_LINK ("model",          model,          RG_MODEL),
    RG_COMBO("add_noise",      add_noise,      enable_disable),
    RG_SEED ("noise_seed",     seed,           0),
    RG_INT  ("steps",          steps,          20,  1,   10000),
    RG_FLOAT("cfg",            cfg,            8.0, 0.0, 100.0, .step = 0.1, .round = 0.01),
    RG_COMBO("sampler_name",   sampler,        rg_sampler_names),
    RG_COMBO("scheduler",      scheduler,      rg_scheduler_names),
    RG_LINK ("positive",       positive,       RG_CONDITIONING),
    RG_LINK ("negative",       negative,       RG_CONDITIONING),
    RG_LINK ("latent_image",   latent,         RG_LATENT),
    RG_INT  ("start_at_step",  start_at_step,  0,     0, 10000),
    RG_INT  ("end_at_step",    end_at_step,    10000, 0, 10000),
    RG_COMBO("return_with_leftover_noise", leftover_noise, disable_enable),
    RG_END
};

static int sample(rg_exec *x, const struct args *a, const rg_ksampler_args *how, rg_value *out)
{
    rg_latent *latent = NULL;
    const int ret = rg_ksampler(x->ctx, a->model, a->positive, a->negative, a->latent, how, &latent);

    return ret < 0 ? ret : rg_give(x, &out[0], RG_LATENT, latent);
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_ksampler_args how = {
        .seed = a->seed, .steps = a->steps, .cfg = a->cfg, .sampler = (int)a->sampler, .scheduler = (int)a->scheduler,
        .denoise = a->denoise, .start_step = RG_STEP_UNSET, .last_step = RG_STEP_UNSET,
    };

    return sample(x, a, &how, out);
}

static int execute_advanced(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_ksampler_args how = {
        .seed = a->seed, .steps = a->steps, .cfg = a->cfg, .sampler = (int)a->sampler, .scheduler = (int)a->scheduler,
        .denoise = 1.0, .disable_noise = a->add_noise != 0, .start_step = a->start_at_step, .last_step = a->end_at_step,
        .force_full_denoise = a->leftover_noise == 0,
    };

    return sample(x, a, &how, out);
}

const rg_node rg_node_ksampler = {
    .class_type    = "KSampler",
    .display_name  = "KSampler",
    .category      = "sampling",
    .description   = "Denoise a latent under positive and negative conditioning.",
    .inputs        = inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};

const rg_node rg_node_ksampler_advanced = {
    .class_type    = "KSamplerAdvanced",
    .display_name  = "KSampler (Advanced)",
    .category      = "sampling",
    .description   = "Denoise over part of the schedule: with or without fresh noise, and with or without noise left at the end.",
    .inputs        = advanced_inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_advanced,
};
