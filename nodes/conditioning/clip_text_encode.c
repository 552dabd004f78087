/* CLIPTextEncode: a prompt to conditioning. Source: ComfyUI nodes.py. */
#include "engine/text/clip.h"
#include "nodes/node.h"

struct args {
    const char *text;
    const rg_clip *clip;
};

static const rg_input inputs[] = {
    RG_STRING("text", text, .is_multiline = true, .has_dynamic_prompts = true, .tooltip = "The prompt; (words:1.2) weighs them."),
    RG_LINK  ("clip", clip, RG_CLIP, .tooltip = "The text encoder."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_clip_texts texts = { .l = a->text, .t5xxl = a->text };
    rg_cond *cond = NULL;
    const int ret = rg_clip_encode(x->ctx, a->clip, &texts, &cond);

    if (ret == 0)
        out[0] = rg_value_object(RG_CONDITIONING, cond);
    return ret;
}

const rg_node rg_node_clip_text_encode = {
    .class_type    = "CLIPTextEncode",
    .display_name  = "CLIP Text Encode (Prompt)",
    .category      = "conditioning",
    .description   = "Encode a prompt for the diffusion model.",
    .inputs        = inputs,
    .outputs       = { { "CONDITIONING", RG_CONDITIONING } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
