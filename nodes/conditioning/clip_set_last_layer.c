/* CLIPSetLastLayer: stop the text encoder at an earlier layer ("clip skip"). Source: ComfyUI nodes.py. */
#include "engine/text/clip.h"
#include "nodes/node.h"

struct args {
    const rg_clip *clip;
    int64_t layer;
};

static const rg_input inputs[] = {
    RG_LINK("clip",               clip,  RG_CLIP),
    RG_INT ("stop_at_clip_layer", layer, -1, -24, -1, .step_int = 1, .tooltip = "-1 is the last layer, -2 the one before."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_clip *clip = rg_clip_with_layer(a->clip, (int)a->layer);

    if (!clip)
        return rg_fail(x->ctx, RG_ERR_NOMEM, "out of memory for a text encoder handle");
    out[0] = rg_value_object(RG_CLIP, clip);
    return 0;
}

const rg_node rg_node_clip_set_last_layer = {
    .class_type    = "CLIPSetLastLayer",
    .display_name  = "CLIP Set Last Layer",
    .category      = "conditioning",
    .description   = "Take the text encoder's states from an earlier layer.",
    .inputs        = inputs,
    .outputs       = { { "CLIP", RG_CLIP } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
