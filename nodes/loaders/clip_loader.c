/* CLIPLoader and DualCLIPLoader: one or two text encoder files. Which is which is found by content. Source: ComfyUI nodes.py. */
#include "engine/models/load.h"
#include "nodes/node.h"

static const char *const single_types[] = { "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos",
                                            "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image", NULL };
static const char *const dual_types[] = { "sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image", NULL };
static const char *const devices[] = { "default", "cpu", NULL };

struct args {
    const char *clip_name1, *clip_name2;
    int64_t type, device;
};

static const rg_input single_inputs[] = {
    RG_FILE ("clip_name", clip_name1, "models:text_encoders", .tooltip = "The text encoder file."),
    RG_COMBO("type",      type,       single_types, .tooltip = "The model family it is for."),
    RG_COMBO("device",    device,     devices, .is_optional = true, .is_advanced = true, .tooltip = "Where it runs."),
    RG_END
};

static const rg_input dual_inputs[] = {
    RG_FILE ("clip_name1", clip_name1, "models:text_encoders", .tooltip = "One text encoder file; the order does not matter."),
    RG_FILE ("clip_name2", clip_name2, "models:text_encoders", .tooltip = "The other."),
    RG_COMBO("type",       type,       dual_types, .tooltip = "The model family they are for."),
    RG_COMBO("device",     device,     devices, .is_optional = true, .is_advanced = true, .tooltip = "Where they run."),
    RG_END
};

static int load(rg_exec *x, const char *const *names, int n_names, const char *type, rg_value *out)
{
    char *paths[2] = { NULL, NULL };
    rg_clip *clip = NULL;
    int ret = 0;

    for (int i = 0; i < n_names && ret == 0; i++)
        ret = rg_exec_model_path(x, "text_encoders", names[i], &paths[i]);
    if (ret == 0 && (ret = rg_load_clip(x->ctx, rg_exec_store(x), (const char *const *)paths, n_names, type, &clip)) == 0)
        out[0] = rg_value_object(RG_CLIP, clip);
    rg_free(paths[0]);
    rg_free(paths[1]);
    return ret;
}

static int execute_single(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return load(x, (const char *const[]){ a->clip_name1 }, 1, single_types[a->type], out);
}

static int execute_dual(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return load(x, (const char *const[]){ a->clip_name1, a->clip_name2 }, 2, dual_types[a->type], out);
}

const rg_node rg_node_clip_loader = {
    .class_type    = "CLIPLoader",
    .display_name  = "Load CLIP",
    .category      = "advanced/loaders",
    .description   = "Load one text encoder.",
    .inputs        = single_inputs,
    .outputs       = { { "CLIP", RG_CLIP } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_single,
};

const rg_node rg_node_dual_clip_loader = {
    .class_type    = "DualCLIPLoader",
    .display_name  = "DualCLIPLoader",
    .category      = "advanced/loaders",
    .description   = "Load two text encoders that a model uses together: for Flux CLIP-L and T5.",
    .inputs        = dual_inputs,
    .outputs       = { { "CLIP", RG_CLIP } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_dual,
};
