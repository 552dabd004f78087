/* SolidMask: one value everywhere. Source: ComfyUI comfy_extras/nodes_mask.py. */
#include "nodes/mask/mask_node.h"

struct args {
    double value;
    int64_t width, height;
};

static const rg_input inputs[] = {
    RG_FLOAT("value",  value,  1.0, 0.0, 1.0, .step = 0.01),
    RG_INT  ("width",  width,  512, 1, MAX_RESOLUTION, .step_int = 1),
    RG_INT  ("height", height, 512, 1, MAX_RESOLUTION, .step_int = 1),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_tensor *t = rg_image_new(x->ctx, 3, (const int64_t[]){ 1, a->height, a->width });
    float *v = t ? t->data : NULL;

    for (int64_t i = 0; t && i < a->width * a->height; i++)
        v[i] = (float)a->value;
    return rg_give_tensor(x, &out[0], RG_MASK, t);
}

const rg_node rg_node_solid_mask = {
    .class_type    = "SolidMask",
    .display_name  = "SolidMask",
    .category      = "mask",
    .description   = "Make a mask that has one value everywhere.",
    .inputs        = inputs,
    .outputs       = { { "MASK", RG_MASK } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_mask",
    .execute       = execute,
};
