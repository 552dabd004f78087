/* UNETLoader: a diffusion model from a file of its own. Source: ComfyUI nodes.py. */
#include "engine/models/load.h"
#include "nodes/node.h"

/* In the order of rg_weight_dtype. */
static const char *const weight_dtypes[] = { "default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2", NULL };

struct args {
    const char *unet_name;
    int64_t weight_dtype;
};

static const rg_input inputs[] = {
    RG_FILE ("unet_name",    unet_name,    "models:diffusion_models", .tooltip = "The model file."),
    RG_COMBO("weight_dtype", weight_dtype, weight_dtypes, .tooltip = "How weights are kept in memory; default: as the file has them."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_model *model = NULL;
    char *path = NULL;
    int ret;

    if ((ret = rg_exec_model_path(x, "diffusion_models", a->unet_name, &path)) == 0 &&
        (ret = rg_load_diffusion_model(x->ctx, rg_exec_store(x), path, (rg_weight_dtype)a->weight_dtype, &model)) == 0)
        out[0] = rg_value_object(RG_MODEL, model);
    rg_free(path);
    return ret;
}

const rg_node rg_node_unet_loader = {
    .class_type    = "UNETLoader",
    .display_name  = "Load Diffusion Model",
    .category      = "advanced/loaders",
    .description   = "Load a diffusion model (UNet or transformer) without text encoder and VAE.",
    .inputs        = inputs,
    .outputs       = { { "MODEL", RG_MODEL } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
