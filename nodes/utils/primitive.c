/* The Primitive nodes: one widget passed on as a value. Source: ComfyUI comfy_extras/nodes_primitive.py. */
#include "nodes/node.h"

/* A range without a default, as ComfyUI declares it: the largest list index of a 64-bit machine, both ways. */
#define LARGEST 9223372036854775807LL

#define PRIMITIVE(symbol, class_, shown, what, type_)           \
    const rg_node rg_node_##symbol = {                          \
        .class_type    = class_,                                \
        .display_name  = shown,                                 \
        .category      = "utils/primitive",                     \
        .description   = "Pass on " what " to several inputs.", \
        .inputs        = symbol##_inputs,                       \
        .outputs       = { { NULL, type_ } },                   \
        .args_size     = sizeof(struct symbol##_args),          \
        .is_v3         = true,                                  \
        .python_module = "comfy_extras.nodes_primitive",        \
        .execute       = symbol##_execute,                      \
    }

struct primitive_string_args {
    const char *value;
};

static const rg_input primitive_string_inputs[] = {
    { .name = "value", .kind = RG_INPUT_STRING, .offset = offsetof(struct primitive_string_args, value) },
    RG_END
};

static int primitive_string_execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct primitive_string_args *a = in;

    out[0] = rg_value_object(&rg_type_string, rg_string_new(a->value));
    return out[0].type ? 0 : rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a text");
}
PRIMITIVE(primitive_string, "PrimitiveString", "String", "one line of text", &rg_type_string);

#define primitive_string_multiline_args primitive_string_args
#define primitive_string_multiline_execute primitive_string_execute
static const rg_input primitive_string_multiline_inputs[] = {
    { .name = "value", .kind = RG_INPUT_STRING, .offset = offsetof(struct primitive_string_args, value), .is_multiline = true },
    RG_END
};
PRIMITIVE(primitive_string_multiline, "PrimitiveStringMultiline", "String (Multiline)", "a text", &rg_type_string);

struct primitive_int_args {
    int64_t value;
};

static const rg_input primitive_int_inputs[] = {
    { .name = "value", .kind = RG_INPUT_INT, .offset = offsetof(struct primitive_int_args, value),
      .min_int = -LARGEST, .max_int = LARGEST, .has_control_after_generate = true },
    RG_END
};

static int primitive_int_execute(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_int(((const struct primitive_int_args *)in)->value);
    return 0;
}
PRIMITIVE(primitive_int, "PrimitiveInt", "Int", "a whole number", &rg_type_int);

struct primitive_float_args {
    double value;
};

static const rg_input primitive_float_inputs[] = {
    { .name = "value", .kind = RG_INPUT_FLOAT, .offset = offsetof(struct primitive_float_args, value),
      .min_int = -LARGEST, .max_int = LARGEST },
    RG_END
};

static int primitive_float_execute(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_float(((const struct primitive_float_args *)in)->value);
    return 0;
}
PRIMITIVE(primitive_float, "PrimitiveFloat", "Float", "a number", &rg_type_float);

struct primitive_boolean_args {
    bool value;
};

static const rg_input primitive_boolean_inputs[] = {
    { .name = "value", .kind = RG_INPUT_BOOLEAN, .offset = offsetof(struct primitive_boolean_args, value) },
    RG_END
};

static int primitive_boolean_execute(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_boolean(((const struct primitive_boolean_args *)in)->value);
    return 0;
}
PRIMITIVE(primitive_boolean, "PrimitiveBoolean", "Boolean", "a switch", &rg_type_boolean);
