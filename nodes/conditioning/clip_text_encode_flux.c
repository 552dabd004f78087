/* CLIPTextEncodeFlux: a prompt for each of Flux's two text encoders, and the guidance. Source: ComfyUI comfy_extras/nodes_flux.py. */
#include "engine/text/clip.h"
#include "nodes/node.h"

struct args {
    const rg_clip *clip;
    const char *clip_l, *t5xxl;
    double guidance;
};

static const rg_input inputs[] = {
    RG_LINK  ("clip",     clip,     RG_CLIP),
    RG_STRING("clip_l",   clip_l,   .is_multiline = true, .has_dynamic_prompts = true, .tooltip = "For CLIP-L: style and subject."),
    RG_STRING("t5xxl",    t5xxl,    .is_multiline = true, .has_dynamic_prompts = true, .tooltip = "For T5: the scene in sentences."),
    RG_FLOAT ("guidance", guidance, 3.5, 0.0, 100.0, .step = 0.1, .tooltip = "Distilled guidance of Flux dev."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_clip_texts texts = { .l = a->clip_l, .t5xxl = a->t5xxl };
    rg_cond *cond = NULL;
    const int ret = rg_clip_encode(x->ctx, a->clip, &texts, &cond);

    if (ret < 0)
        return ret;
    for (int i = 0; i < cond->n_entries; i++) {     /* nobody else holds it yet */
        cond->entries[i].has_guidance = true;
        cond->entries[i].guidance = a->guidance;
    }
    out[0] = rg_value_object(RG_CONDITIONING, cond);
    return 0;
}

const rg_node rg_node_clip_text_encode_flux = {
    .class_type    = "CLIPTextEncodeFlux",
    .category      = "advanced/conditioning/flux",
    .description   = "Encode a prompt for each of Flux's text encoders and set the guidance.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_flux",
    .execute       = execute,
};
