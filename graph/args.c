/* From values on edges and constants in JSON to the struct args that a node's execute() reads. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/json_text.h"

/* ---- values of an input's kind ------------------------------------------------------------------------------------ */

static int string_value(struct json_object *json, rg_value *out)
{
    const char *text = json_object_get_string(json);    /* of anything that is no string: its JSON */

    *out = rg_value_object(&rg_type_string, rg_string_new(text ? text : ""));
    return out->type ? 0 : RG_ERR_NOMEM;
}

static void delete_value(struct json_object *json, void *value)
{
    rg_value_unref(value);
    rg_free(value);
}

int graph_json_of(const rg_value *v, struct json_object **out)
{
    const rg_link *link = v->type == &rg_type_link ? v->object : NULL;
    rg_value *kept;

    *out = NULL;
    if (!v->type)
        return 0;
    if (link) {
        if ((*out = json_object_new_array())) {
            json_object_array_add(*out, json_object_new_string(link->node_id));
            json_object_array_add(*out, json_object_new_int(link->slot));
        }
    } else if (v->type == &rg_type_int) {
        *out = json_object_new_int64(v->i);
    } else if (v->type == &rg_type_float) {
        *out = json_object_new_double(v->f);
    } else if (v->type == &rg_type_boolean) {
        *out = json_object_new_boolean(v->b);
    } else if (v->type == &rg_type_string || v->type == &rg_type_combo) {
        *out = json_object_new_string(((const rg_string *)v->object)->text);
    } else if ((kept = rg_malloc(sizeof(*kept)))) {
        *kept = rg_value_ref(v);
        if ((*out = json_object_new_string(v->type->name)))
            json_object_set_userdata(*out, kept, delete_value);
        else
            delete_value(NULL, kept);
    }
    return *out ? 0 : RG_ERR_NOMEM;
}

/* The reader gives strings no user data. */
const rg_value *graph_value_of(struct json_object *json)
{
    return json_object_is_type(json, json_type_string) ? json_object_get_userdata(json) : NULL;
}

int graph_constant(const rg_input *in, struct json_object *json, rg_value *out)
{
    const bool is_number = rg_json_is_number(json);
    const rg_value *value = graph_value_of(json);

    *out = (rg_value){ 0 };
    if (value) {
        *out = rg_value_ref(value);
        return 0;
    }
    switch (in->kind) {
    case RG_INPUT_INT:
    case RG_INPUT_SEED:
        if (is_number)                  /* a seed's upper half uses the sign bit */
            *out = rg_value_int(json_object_get_int64(json) < 0 ? json_object_get_int64(json) : (int64_t)json_object_get_uint64(json));
        return 0;
    case RG_INPUT_FLOAT:
        if (is_number)
            *out = rg_value_float(json_object_get_double(json));
        return 0;
    case RG_INPUT_BOOLEAN:
        if (is_number)
            *out = rg_value_boolean(json_object_get_boolean(json));
        return 0;
    case RG_INPUT_STRING:
    case RG_INPUT_COMBO:
    case RG_INPUT_FILE:
        return json ? string_value(json, out) : 0;
    default:
        break;
    }
    switch (json_object_get_type(json)) {   /* on an input for anything, a constant is what its JSON says */
    case json_type_null:
        return 0;
    case json_type_boolean:
        *out = rg_value_boolean(json_object_get_boolean(json));
        return 0;
    case json_type_int:
        *out = rg_value_int(json_object_get_int64(json) < 0 ? json_object_get_int64(json) : (int64_t)json_object_get_uint64(json));
        return 0;
    case json_type_double:
        *out = rg_value_float(json_object_get_double(json));
        return 0;
    default:
        return string_value(json, out);
    }
}

/* ---- one field ------------------------------------------------------------------------------------------------------ */

bool graph_takes_any(const rg_input *in)
{
    return in->kind == RG_INPUT_LINK && (in->type == RG_ANY || in->type_names || in->is_raw_link);
}

static void set_default(const rg_input *in, char *field)
{
    switch (in->kind) {
    case RG_INPUT_INT:
    case RG_INPUT_SEED:
    case RG_INPUT_COMBO:
        memcpy(field, &in->default_int, sizeof(int64_t));
        break;
    case RG_INPUT_FLOAT:
        memcpy(field, &in->default_float, sizeof(double));
        break;
    case RG_INPUT_BOOLEAN:
        *(bool *)field = in->default_int != 0;
        break;
    case RG_INPUT_STRING:
    case RG_INPUT_FILE:
        memcpy(field, &in->default_string, sizeof(in->default_string));
        break;
    default:
        break;                          /* a link that is not connected stays NULL */
    }
}

static int wrong_type(const rg_input *in, const rg_value *v, char *error, size_t size)
{
    snprintf(error, size, "%s wants %s, it got %s", in->name, rg_input_type_name(in), v->type ? v->type->name : "nothing");
    return RG_ERR_INVALID;
}

static bool as_int(const rg_value *v, int64_t *out)
{
    if (v->type == &rg_type_int)
        *out = v->i;
    else if (v->type == &rg_type_boolean)
        *out = v->b;
    else if (v->type == &rg_type_float && v->f > -9.2e18 && v->f < 9.2e18)
        *out = (int64_t)v->f;
    else
        return false;
    return true;
}

static int set_combo(const rg_input *in, const rg_value *v, char *field, char *error, size_t size)
{
    const char *text = v->type == &rg_type_string || v->type == &rg_type_combo ? ((const rg_string *)v->object)->text : NULL;

    if (!text)
        return wrong_type(in, v, error, size);
    for (int64_t i = 0; in->options[i]; i++) {
        if (!strcmp(in->options[i], text)) {
            memcpy(field, &i, sizeof(i));
            return 0;
        }
    }
    snprintf(error, size, "%s: \"%.100s\" is not in its list", in->name, text);
    return RG_ERR_INVALID;
}

/* Write a value into the field as the input's kind says; v stays alive as long as the args are read. */
static int set_field(const rg_input *in, rg_value *v, char *field, char *error, size_t size)
{
    int64_t i;
    double f;

    if (!v->type) {
        if (!in->is_optional && !in->is_lazy && !graph_takes_any(in))
            return wrong_type(in, v, error, size);
        set_default(in, field);
        return 0;
    }
    if (graph_takes_any(in)) {
        memcpy(field, &v, sizeof(v));
        return 0;
    }
    switch (in->kind) {
    case RG_INPUT_INT:
    case RG_INPUT_SEED:
        if (!as_int(v, &i))
            return wrong_type(in, v, error, size);
        memcpy(field, &i, sizeof(i));
        return 0;
    case RG_INPUT_FLOAT:
        if (v->type == &rg_type_float)
            f = v->f;
        else if (as_int(v, &i))
            f = (double)i;
        else
            return wrong_type(in, v, error, size);
        memcpy(field, &f, sizeof(f));
        return 0;
    case RG_INPUT_BOOLEAN:
        if (!as_int(v, &i))
            return wrong_type(in, v, error, size);
        *(bool *)field = v->type == &rg_type_float ? v->f != 0.0 : i != 0;
        return 0;
    case RG_INPUT_COMBO:
        return set_combo(in, v, field, error, size);
    case RG_INPUT_STRING:
    case RG_INPUT_FILE: {
        const char *text = v->type == &rg_type_string || v->type == &rg_type_combo ? ((const rg_string *)v->object)->text : NULL;

        if (!text)
            return wrong_type(in, v, error, size);
        memcpy(field, &text, sizeof(text));
        return 0;
    }
    default:
        if (strcmp(v->type->name, in->type->name))
            return wrong_type(in, v, error, size);
        memcpy(field, &v->object, sizeof(v->object));
        return 0;
    }
}

/* ---- a call ------------------------------------------------------------------------------------------------------------ */

int graph_call_init(graph_call *call, const rg_node *type)
{
    *call = (graph_call){ .type = type, .n_inputs = graph_n_inputs(type) };
    call->args = rg_calloc(1, type->args_size ? type->args_size : 1);
    call->values = rg_calloc((size_t)call->n_inputs + 1, sizeof(*call->values));
    call->lists = rg_calloc((size_t)call->n_inputs + 1, sizeof(*call->lists));
    if (call->args && call->values && call->lists)
        return 0;
    graph_call_release(call);
    return RG_ERR_NOMEM;
}

static void let_go(graph_call *call)
{
    for (int i = 0; i < call->n_inputs; i++) {
        if (call->values)
            rg_value_unref(&call->values[i]);
        if (call->lists) {
            rg_unref(call->lists[i]);
            call->lists[i] = NULL;
        }
    }
}

void graph_call_release(graph_call *call)
{
    let_go(call);
    rg_free(call->args);
    rg_free(call->values);
    rg_free(call->lists);
    call->args = NULL;
    call->values = NULL;
    call->lists = NULL;
}

int graph_call_fill(graph_call *call, rg_list *const *resolved, int index, char *error, size_t error_size)
{
    const rg_node *type = call->type;

    let_go(call);
    memset(call->args, 0, type->args_size);
    for (int i = 0; i < call->n_inputs; i++) {
        const rg_input *in = &type->inputs[i];
        char *field = (char *)call->args + in->offset;
        const rg_list *list = resolved[i];
        int ret;

        if (in->offset + rg_input_field_size(type, in) > type->args_size)
            RG_BUG("%s: input %s lies outside of struct args", type->class_type, in->name);
        if (!list) {
            if (!type->is_input_list)
                set_default(in, field);
            continue;
        }
        if (type->is_input_list) {
            call->lists[i] = rg_ref(list);
            memcpy(field, &list, sizeof(list));
            continue;
        }
        if (list->n_items == 0) {
            snprintf(error, error_size, "%s got an empty list", in->name);
            return RG_ERR_INVALID;
        }
        call->values[i] = rg_value_ref(&list->items[index < list->n_items ? index : list->n_items - 1]);
        if ((ret = set_field(in, &call->values[i], field, error, error_size)) < 0)
            return ret;
    }
    return 0;
}

int graph_call_from_constants(graph_call *call, const rg_prompt *p, int node)
{
    const prompt_node *n = &p->nodes[node];
    char unused[64];
    int ret = graph_call_init(call, n->type);

    for (int i = 0; !ret && i < call->n_inputs; i++) {
        const rg_input *in = &n->type->inputs[i];
        char *field = (char *)call->args + in->offset;
        struct json_object *json;

        if (n->type->is_input_list)
            continue;
        if (!json_object_object_get_ex(n->inputs, in->name, &json)) {
            set_default(in, field);
            continue;
        }
        if (json_object_is_type(json, json_type_array))
            continue;
        ret = graph_constant(in, json, &call->values[i]);
        if (!ret && call->values[i].type)
            set_field(in, &call->values[i], field, unused, sizeof(unused));     /* what does not fit has its own error by now */
    }
    return ret;
}
