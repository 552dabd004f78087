/* EmptyImage: pictures of one colour. Source: ComfyUI nodes.py. */
#include "nodes/image/image_node.h"

struct args {
    int64_t width, height, batch_size, color;
};

static const rg_input inputs[] = {
    RG_INT("width",      width,      512, 1, MAX_RESOLUTION, .step_int = 1),
    RG_INT("height",     height,     512, 1, MAX_RESOLUTION, .step_int = 1),
    RG_INT("batch_size", batch_size, 1,   1, 4096),
    RG_INT("color",      color,      0,   0, 0xFFFFFF, .step_int = 1, .display = "color"),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_tensor *t = rg_image_new(x->ctx, 4, (const int64_t[]){ a->batch_size, a->height, a->width, 3 });
    float rgb[3], *v;

    if (!t)
        return x->ctx->error;
    for (int i = 0; i < 3; i++)
        rgb[i] = (float)((double)(a->color >> (16 - 8 * i) & 0xFF) / 255.0);
    v = t->data;
    for (int64_t i = 0; i < rg_numel(t); i++)
        v[i] = rgb[i % 3];
    return rg_give_tensor(x, &out[0], RG_IMAGE, t);
}

const rg_node rg_node_empty_image = {
    .class_type    = "EmptyImage",
    .display_name  = "EmptyImage",
    .category      = "image",
    .description   = "Make pictures of one colour, given as 0xRRGGBB.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};
