/* SetLatentNoiseMask: which part of a latent is denoised. Source: ComfyUI nodes.py. */
#include "engine/diffusion/latent.h"
#include "nodes/give.h"

struct args {
    const rg_latent *samples;
    const rg_tensor *mask;
};

static const rg_input inputs[] = {
    RG_LINK("samples", samples, RG_LATENT),
    RG_LINK("mask",    mask,    RG_MASK),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_LATENT, rg_latent_with_mask(x->ctx, a->samples, a->mask));
}

const rg_node rg_node_set_latent_noise_mask = {
    .class_type    = "SetLatentNoiseMask",
    .display_name  = "Set Latent Noise Mask",
    .category      = "latent/inpaint",
    .description   = "Denoise only where the mask is 1; the rest of the latent stays.",
    .inputs        = inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
