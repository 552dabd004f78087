/*
 * /object_info from descriptors. Two wire forms: V1 (a combo's type is its list; options only as declared) and V3 ("COMBO" with
 * options; hidden values in one-element lists; more fields always there). Source: ComfyUI server.py, comfy_api io.py.
 */
#include "graph/object_info.h"

#include <string.h>

#include "graph/json_text.h"

/* ---- building ---------------------------------------------------------------------------------------------------- */

static void put(struct json_object *o, const char *key, struct json_object *v)
{
    json_object_object_add(o, key, v);
}

static void put_string(struct json_object *o, const char *key, const char *s)
{
    put(o, key, json_object_new_string(s));
}

static void put_bool(struct json_object *o, const char *key, bool b)
{
    put(o, key, json_object_new_boolean(b));
}

static void put_true(struct json_object *o, const char *key, bool b)
{
    if (b)
        put_bool(o, key, true);
}

static void add_string(struct json_object *list, const char *s)
{
    json_object_array_add(list, json_object_new_string(s));
}

/* ---- inputs ------------------------------------------------------------------------------------------------------- */

struct json_object *rg_input_options(rg_env *env, const rg_input *in)
{
    struct json_object *list = json_object_new_array();
    char **names = NULL;

    if (!list)
        return NULL;
    for (const char *const *o = in->options; o && *o; o++)
        add_string(list, *o);
    if (in->source && env) {
        if (rg_env_list(env, in->source, &names) < 0) {
            json_object_put(list);
            return NULL;
        }
        for (char **n = names; *n; n++)
            add_string(list, *n);
        rg_names_free(names);
    }
    for (const char *const *o = in->fixed_options; o && *o; o++)
        add_string(list, *o);
    return list;
}

static bool has_list_type(const rg_input *in)
{
    return (in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE) && !in->is_v3_combo && !in->type_names;
}

static void put_number_options(struct json_object *o, const rg_input *in)
{
    if (in->kind == RG_INPUT_INT || in->kind == RG_INPUT_SEED) {
        const bool is_seed = in->kind == RG_INPUT_SEED;

        if (in->has_default)
            put(o, "default", is_seed ? rg_json_seed((uint64_t)in->default_int) : json_object_new_int64(in->default_int));
        if (in->min_int != in->max_int) {
            put(o, "min", is_seed ? rg_json_seed((uint64_t)in->min_int) : json_object_new_int64(in->min_int));
            put(o, "max", is_seed ? rg_json_seed((uint64_t)in->max_int) : json_object_new_int64(in->max_int));
        }
        if (in->step_int)
            put(o, "step", json_object_new_int64(in->step_int));
        return;
    }
    if (in->has_default)
        put(o, "default", json_object_new_double(in->default_float));
    if (in->min_int != in->max_int) {   /* a range declared in whole numbers */
        put(o, "min", json_object_new_int64(in->min_int));
        put(o, "max", json_object_new_int64(in->max_int));
    } else if (in->min < in->max) {
        put(o, "min", json_object_new_double(in->min));
        put(o, "max", json_object_new_double(in->max));
    }
    if (in->step > 0)
        put(o, "step", json_object_new_double(in->step));
    if (in->round > 0)
        put(o, "round", json_object_new_double(in->round));
}

struct json_object *rg_input_info(rg_env *env, const rg_node *node, const rg_input *in)
{
    struct json_object *pair = json_object_new_array(), *o = json_object_new_object(), *options = NULL;

    if (in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE)
        options = rg_input_options(env, in);
    if (!pair || !o || (!options && (in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE))) {
        json_object_put(pair);
        json_object_put(o);
        return NULL;
    }
    if (has_list_type(in))
        json_object_array_add(pair, json_object_get(options));
    else
        add_string(pair, rg_input_type_name(in));

    switch (in->kind) {
    case RG_INPUT_INT:
    case RG_INPUT_SEED:
    case RG_INPUT_FLOAT:
        put_number_options(o, in);
        break;
    case RG_INPUT_STRING:
        if (in->default_string)
            put_string(o, "default", in->default_string);
        if (node->is_v3 || in->is_multiline)
            put_bool(o, "multiline", in->is_multiline);
        break;
    case RG_INPUT_BOOLEAN:
        if (in->has_default)
            put_bool(o, "default", in->default_int != 0);
        break;
    case RG_INPUT_COMBO:
    case RG_INPUT_FILE:
        if (in->is_v3_combo)
            put_bool(o, "multiselect", false);
        if (in->is_v3_combo)
            put(o, "options", json_object_get(options));
        if (in->kind == RG_INPUT_COMBO && in->has_default)
            put_string(o, "default", in->options[in->default_int]);
        else if (in->default_string)
            put_string(o, "default", in->default_string);
        break;
    default:
        break;
    }
    put_true(o, "dynamicPrompts", in->has_dynamic_prompts);
    put_true(o, "forceInput", in->is_force_input);
    put_true(o, "lazy", in->is_lazy);
    put_true(o, "rawLink", in->is_raw_link);
    put_true(o, "control_after_generate", in->has_control_after_generate);
    put_true(o, "image_upload", in->has_image_upload);
    put_true(o, "advanced", in->is_advanced);
    if (in->display)
        put_string(o, "display", in->display);
    if (in->tooltip)
        put_string(o, "tooltip", in->tooltip);
    json_object_array_add(pair, o);
    json_object_put(options);
    return pair;
}

/* ---- a class ------------------------------------------------------------------------------------------------------ */

static struct json_object *hidden_value(const rg_node *node, const char *value)
{
    struct json_object *list;

    if (!node->is_v3)
        return json_object_new_string(value);
    list = json_object_new_array();
    if (list)
        add_string(list, value);
    return list;
}

/* "required", "optional" and "hidden" into input and input_order, in declared order. */
static int put_inputs(rg_env *env, const rg_node *node, struct json_object *info)
{
    static const char *const sections[] = { "required", "optional" };
    struct json_object *input = json_object_new_object(), *order = json_object_new_object();
    struct json_object *hidden = json_object_new_object(), *hidden_order = json_object_new_array();
    int ret = 0;

    for (int i = 0; i < 2; i++) {
        struct json_object *section = json_object_new_object(), *names = json_object_new_array();

        for (const rg_input *in = node->inputs; in && in->kind != RG_INPUT_END; in++) {
            struct json_object *pair;

            if (in->is_optional != (i == 1) || in->is_hidden)
                continue;
            if (!(pair = rg_input_info(env, node, in)))
                ret = RG_ERR_NOMEM;
            else if (!node->is_v3 && !json_object_object_length(json_object_array_get_idx(pair, 1)))
                json_object_array_del_idx(pair, 1, 1);      /* older nodes say nothing where there is nothing to say */
            put(section, in->name, pair);
            add_string(names, in->name);
        }
        if (i == 0 || json_object_object_length(section)) {
            put(input, sections[i], section);
            put(order, sections[i], names);
        } else {
            json_object_put(section);
            json_object_put(names);
        }
    }
    for (const rg_input *in = node->inputs; in && in->kind != RG_INPUT_END; in++) {
        struct json_object *pair;

        if (!in->is_hidden)
            continue;
        if (!(pair = json_object_new_array()))
            ret = RG_ERR_NOMEM;
        else
            add_string(pair, rg_input_type_name(in));
        put(hidden, in->name, pair);
        add_string(hidden_order, in->name);
    }
    const struct { bool is_wanted; const char *name, *value; } extras[] = {
        { node->wants_dynprompt, "dynprompt", "DYNPROMPT" }, { node->wants_unique_id, "unique_id", "UNIQUE_ID" }, { node->wants_prompt, "prompt", "PROMPT" },
        { node->wants_extra_pnginfo, "extra_pnginfo", "EXTRA_PNGINFO" },
    };
    for (int i = 0; i < 4; i++) {
        if (!extras[i].is_wanted)
            continue;
        put(hidden, extras[i].name, hidden_value(node, extras[i].value));
        add_string(hidden_order, extras[i].name);
    }
    if (json_object_object_length(hidden)) {
        put(input, "hidden", hidden);
        put(order, "hidden", hidden_order);
    } else {
        json_object_put(hidden);
        json_object_put(hidden_order);
    }
    put(info, "input", input);
    put(info, "input_order", order);
    return ret;
}

struct json_object *rg_node_info(rg_env *env, const rg_node *node)
{
    struct json_object *info = json_object_new_object();
    struct json_object *types = json_object_new_array(), *lists = json_object_new_array(), *names = json_object_new_array();
    struct json_object *tooltips = json_object_new_array();

    if (!info || !types || !lists || !names || !tooltips || put_inputs(env, node, info) < 0) {
        json_object_put(info);
        json_object_put(types);
        json_object_put(lists);
        json_object_put(names);
        json_object_put(tooltips);
        return NULL;
    }
    for (const rg_output *o = node->outputs; o < node->outputs + RG_MAX_OUTPUTS && o->type; o++) {
        add_string(types, rg_output_type_name(o));
        json_object_array_add(lists, json_object_new_boolean(o->is_list));
        add_string(names, o->name ? o->name : rg_output_type_name(o));
        add_string(tooltips, "");
    }
    put(info, "output", types);
    put(info, "output_is_list", lists);
    put(info, "output_name", names);
    put_string(info, "name", node->class_type);
    put_string(info, "display_name", node->display_name ? node->display_name : node->class_type);
    put_string(info, "description", node->description ? node->description : "");
    put_string(info, "python_module", node->python_module ? node->python_module : "nodes");
    put_string(info, "category", node->category ? node->category : "sd");
    put_bool(info, "output_node", node->is_output);
    if (node->is_v3) {
        put(info, "output_tooltips", tooltips);
        put_bool(info, "deprecated", node->is_deprecated);
        put_bool(info, "experimental", node->is_experimental);
        put_bool(info, "api_node", false);
    } else {
        json_object_put(tooltips);
        put_true(info, "deprecated", node->is_deprecated);
        put_true(info, "experimental", node->is_experimental);
    }
    return info;
}

struct json_object *rg_object_info(rg_env *env, const char *class_type)
{
    struct json_object *all = json_object_new_object();
    int n_nodes;
    const rg_node *const *nodes = rg_node_table(&n_nodes);

    for (int i = 0; all && i < n_nodes; i++) {
        struct json_object *info;

        if (class_type && strcmp(nodes[i]->class_type, class_type))
            continue;
        if (!(info = rg_node_info(env, nodes[i]))) {
            json_object_put(all);
            return NULL;
        }
        put(all, nodes[i]->class_type, info);
    }
    return all;
}
