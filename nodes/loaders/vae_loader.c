/* VAELoader: an autoencoder from a file of its own. Source: ComfyUI nodes.py. */
#include <string.h>

#include "engine/models/load.h"
#include "nodes/node.h"

static const char *const fixed_names[] = { "pixel_space", NULL };

struct args {
    const char *vae_name;
};

static const rg_input inputs[] = {
    RG_FILE("vae_name", vae_name, "models:vae", .fixed_options = fixed_names, .tooltip = "The VAE file."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_vae *vae = NULL;
    char *path = NULL;
    int ret;

    if (!strcmp(a->vae_name, "pixel_space"))
        return rg_fail(x->ctx, RG_ERR_UNSUPPORTED, "the pixel_space VAE is not here yet: choose a VAE file");
    if ((ret = rg_exec_model_path(x, "vae", a->vae_name, &path)) == 0 && (ret = rg_load_vae(x->ctx, rg_exec_store(x), path, &vae)) == 0)
        out[0] = rg_value_object(RG_VAE, vae);
    rg_free(path);
    return ret;
}

const rg_node rg_node_vae_loader = {
    .class_type    = "VAELoader",
    .display_name  = "Load VAE",
    .category      = "loaders",
    .description   = "Load an autoencoder.",
    .inputs        = inputs,
    .outputs       = { { "VAE", RG_VAE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
