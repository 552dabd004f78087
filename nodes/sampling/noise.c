/* RandomNoise and DisableNoise: where a custom sampling starts from. Source: ComfyUI comfy_extras/nodes_custom_sampler.py. */
#include "engine/diffusion/sampling.h"
#include "nodes/give.h"

struct args {
    uint64_t noise_seed;
};

static const rg_input random_inputs[] = {
    RG_SEED("noise_seed", noise_seed, 0),
    RG_END
};

static const rg_input no_inputs[] = { RG_END };

static int execute_random(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_NOISE, rg_noise_new(false, a->noise_seed));
}

static int execute_disable(rg_exec *x, const void *in, rg_value *out)
{
    return rg_give(x, &out[0], RG_NOISE, rg_noise_new(true, 0));
}

const rg_node rg_node_random_noise = {
    .class_type    = "RandomNoise",
    .display_name  = "RandomNoise",
    .category      = "sampling/custom_sampling/noise",
    .description   = "Noise from a seed.",
    .inputs        = random_inputs,
    .outputs       = { { "NOISE", RG_NOISE } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_random,
};

const rg_node rg_node_disable_noise = {
    .class_type    = "DisableNoise",
    .display_name  = "DisableNoise",
    .category      = "sampling/custom_sampling/noise",
    .description   = "No noise: the latent already carries its own.",
    .inputs        = no_inputs,
    .outputs       = { { "NOISE", RG_NOISE } },
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_disable,
};
