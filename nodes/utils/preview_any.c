/* PreviewAny: show any value as text. Source: ComfyUI comfy_extras/nodes_preview_any.py. */
#include "nodes/node.h"
#include "nodes/utils/float_text.h"

struct args {
    const rg_value *source;
};

static const rg_input inputs[] = {
    RG_LINK("source", source, RG_ANY, .tooltip = "What to show: text and numbers as they are, tensors by their shape."),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const rg_value *v = ((const struct args *)in)->source;
    char number[RG_FLOAT_TEXT_SIZE], shape[96];
    char *text;
    int ret;

    if (!v || !v->type)
        return rg_exec_ui_text(x, "text", "None");
    if (v->type == &rg_type_string)
        return rg_exec_ui_text(x, "text", ((const rg_string *)v->object)->text);
    if (v->type == &rg_type_boolean)
        return rg_exec_ui_text(x, "text", v->b ? "True" : "False");
    if (v->type == &rg_type_float)
        return rg_exec_ui_text(x, "text", rg_float_text(v->f, number));

    if (v->type == &rg_type_int)
        text = rg_asprintf("%lld", (long long)v->i);
    else if (v->type == RG_IMAGE || v->type == RG_MASK || v->type == RG_SIGMAS)
        text = rg_asprintf("%s %s", v->type->name, rg_shape_text(v->object, shape, sizeof(shape)));
    else
        text = rg_asprintf("%s", v->type->name);
    if (!text)
        return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a text");
    ret = rg_exec_ui_text(x, "text", text);
    rg_free(text);
    return ret;
}

const rg_node rg_node_preview_any = {
    .class_type    = "PreviewAny",
    .display_name  = "Preview Any",
    .category      = "utils",
    .description   = "Show a value as text.",
    .inputs        = inputs,
    .args_size     = sizeof(struct args),
    .is_output     = true,
    .python_module = "comfy_extras.nodes_preview_any",
    .execute       = execute,
};
