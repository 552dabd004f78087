/*
 * SamplerCustom and SamplerCustomAdvanced: denoise with a sampler, sigmas and a guider of one's own. Source: ComfyUI
 * comfy_extras/nodes_custom_sampler.py.
 */
#include "engine/diffusion/sampling.h"
#include "nodes/give.h"

struct args {
    const rg_model *model;              /* SamplerCustom's */
    bool add_noise;
    uint64_t noise_seed;
    double cfg;
    const rg_cond *positive, *negative;

    const rg_noise *noise;              /* SamplerCustomAdvanced's */
    const rg_guider *guider;

    const rg_sampler *sampler;
    const rg_tensor *sigmas;
    const rg_latent *latent;
};

static const rg_input inputs[] = {
    RG_LINK   ("model",        model,      RG_MODEL),
    RG_BOOLEAN("add_noise",    add_noise,  true),
    RG_SEED   ("noise_seed",   noise_seed, 0),
    RG_FLOAT  ("cfg",          cfg,        8.0, 0.0, 100.0, .step = 0.1, .round = 0.01),
    RG_LINK   ("positive",     positive,   RG_CONDITIONING),
    RG_LINK   ("negative",     negative,   RG_CONDITIONING),
    RG_LINK   ("sampler",      sampler,    RG_SAMPLER),
    RG_LINK   ("sigmas",       sigmas,     RG_SIGMAS),
    RG_LINK   ("latent_image", latent,     RG_LATENT),
    RG_END
};

static const rg_input advanced_inputs[] = {
    RG_LINK("noise",        noise,   RG_NOISE),
    RG_LINK("guider",       guider,  RG_GUIDER),
    RG_LINK("sampler",      sampler, RG_SAMPLER),
    RG_LINK("sigmas",       sigmas,  RG_SIGMAS),
    RG_LINK("latent_image", latent,  RG_LATENT),
    RG_END
};

static int sample(rg_exec *x, const struct args *a, const rg_noise *noise, const rg_guider *guider, rg_value *out)
{
    rg_latent *latent = NULL, *denoised = NULL;
    int ret = rg_sampler_custom_advanced(x->ctx, noise, guider, a->sampler, a->sigmas, a->latent, &latent, &denoised);

    if (ret < 0)
        return ret;
    ret = rg_give(x, &out[1], RG_LATENT, denoised);
    const int second = rg_give(x, &out[0], RG_LATENT, latent);
    return ret < 0 ? ret : second;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_noise *noise = rg_noise_new(!a->add_noise, a->noise_seed);
    rg_guider *guider = rg_guider_new(a->model, a->positive, a->negative, a->cfg);
    const int ret = noise && guider ? sample(x, a, noise, guider, out) : rg_fail(x->ctx, RG_ERR_NOMEM, "out of memory for a guider");

    rg_unref(noise);
    rg_unref(guider);
    return ret;
}

static int execute_advanced(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return sample(x, a, a->noise, a->guider, out);
}

const rg_node rg_node_sampler_custom = {
    .class_type    = "SamplerCustom",
    .display_name  = "SamplerCustom",
    .category      = "sampling/custom_sampling",
    .description   = "Denoise a latent with a sampler and sigmas of your own.",
    .inputs        = inputs,
    .outputs       = { { "output", RG_LATENT }, { "denoised_output", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute,
};

const rg_node rg_node_sampler_custom_advanced = {
    .class_type    = "SamplerCustomAdvanced",
    .display_name  = "SamplerCustomAdvanced",
    .category      = "sampling/custom_sampling",
    .description   = "Denoise a latent with noise, guider, sampler and sigmas of your own.",
    .inputs        = advanced_inputs,
    .outputs       = { { "output", RG_LATENT }, { "denoised_output", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_advanced,
};
