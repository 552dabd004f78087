/* CheckpointLoaderSimple: an all-in-one file as diffusion model, text encoder and VAE. Source: ComfyUI nodes.py. */
#include "engine/models/load.h"
#include "nodes/node.h"

struct args {
    const char *ckpt_name;
};

static const rg_input inputs[] = {
    RG_FILE("ckpt_name", ckpt_name, "models:checkpoints", .tooltip = "The checkpoint file."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_model *model = NULL;
    rg_clip *clip = NULL;
    rg_vae *vae = NULL;
    char *path = NULL;
    int ret;

    if ((ret = rg_exec_model_path(x, "checkpoints", a->ckpt_name, &path)) < 0 ||
        (ret = rg_load_checkpoint(x->ctx, rg_exec_store(x), path, &model, &clip, &vae)) < 0)
        goto done;
    if (model)
        out[0] = rg_value_object(RG_MODEL, model);
    if (clip)
        out[1] = rg_value_object(RG_CLIP, clip);
    if (vae)
        out[2] = rg_value_object(RG_VAE, vae);
done:
    rg_free(path);
    return ret;
}

const rg_node rg_node_checkpoint_loader_simple = {
    .class_type    = "CheckpointLoaderSimple",
    .display_name  = "Load Checkpoint",
    .category      = "loaders",
    .description   = "Load a checkpoint file: diffusion model, text encoder and VAE in one.",
    .inputs        = inputs,
    .outputs       = { { "MODEL", RG_MODEL }, { "CLIP", RG_CLIP }, { "VAE", RG_VAE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
