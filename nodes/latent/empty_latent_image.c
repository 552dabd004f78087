/* EmptyLatentImage and EmptySD3LatentImage: zeros to start a picture from. Source: ComfyUI nodes.py, comfy_extras/nodes_sd3.py. */
#include "engine/diffusion/latent.h"
#include "nodes/give.h"

struct args {
    int64_t width, height, batch_size;
};

static const rg_input inputs[] = {
    RG_INT("width",      width,      512, 16, 16384, .step_int = 8, .tooltip = "Width of the picture."),
    RG_INT("height",     height,     512, 16, 16384, .step_int = 8, .tooltip = "Height of the picture."),
    RG_INT("batch_size", batch_size, 1,   1,  4096, .tooltip = "How many pictures."),
    RG_END
};

static const rg_input sd3_inputs[] = {
    RG_INT("width",      width,      1024, 16, 16384, .step_int = 16),
    RG_INT("height",     height,     1024, 16, 16384, .step_int = 16),
    RG_INT("batch_size", batch_size, 1,    1,  4096),
    RG_END
};

static int make(rg_exec *x, const struct args *a, int64_t n_channels, rg_value *out)
{
    const int64_t shape[] = { a->batch_size, n_channels, a->height / 8, a->width / 8 };
    rg_tensor *samples = rg_tensor_zeros(x->ctx, RG_F32, 4, shape);

    return rg_give(x, &out[0], RG_LATENT, samples ? rg_latent_new(samples, NULL) : NULL);
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    return make(x, in, 4, out);         /* a model with more channels repeats them */
}

static int execute_sd3(rg_exec *x, const void *in, rg_value *out)
{
    return make(x, in, 16, out);
}

const rg_node rg_node_empty_latent_image = {
    .class_type    = "EmptyLatentImage",
    .display_name  = "Empty Latent Image",
    .category      = "latent",
    .description   = "Empty latents to denoise into new pictures.",
    .inputs        = inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};

const rg_node rg_node_empty_sd3_latent_image = {
    .class_type    = "EmptySD3LatentImage",
    .category      = "latent/sd3",
    .description   = "Empty latents of 16 channels: SD3, Flux and their kin.",
    .inputs        = sd3_inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_sd3",
    .execute       = execute_sd3,
};
