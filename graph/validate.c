/*
 * Validation as ComfyUI does it at POST: depth first from each output node, every declared input, all errors collected.
 *
 * One pass over the graph with a stack of frames instead of recursion, because a prompt may be a chain of any length. An
 * "exception" is Python's: it throws away what the node collected and is reported by whoever asked for the node (raise() below).
 * Source: ComfyUI execution.py, validate_prompt() and validate_inputs().
 */
#include "graph/validate.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "graph/convert.h"
#include "graph/json_text.h"
#include "graph/object_info.h"

enum { MAX_STEPS = 10 * 1000 * 1000 };   /* of noting which outputs an error rejects, add_dependent() */

/* ---- small JSON helpers ------------------------------------------------------------------------------------------ */

static void put(struct json_object *o, const char *key, struct json_object *v)
{
    json_object_object_add(o, key, v);
}

static void put_string(struct json_object *o, const char *key, const char *s)
{
    put(o, key, json_object_new_string(s));
}

/* A string object from a text being built, which is released. */
static struct json_object *string_of(validation *v, rg_text *t)
{
    char *s = rg_text_take(t);
    struct json_object *o = s ? json_object_new_string(s) : NULL;

    if (!o)
        v->error = RG_ERR_NOMEM;
    rg_free(s);
    return o;
}

/* ---- errors of a node ---------------------------------------------------------------------------------------------- */

/* A node being checked. */
typedef struct frame {
    int node;
    const rg_input *input;              /* next to look at */
    bool has_invalid_source;
    struct json_object *reasons;        /* list, NULL while empty */
    /* the exception that ended it: type (NULL: none) and text */
    const char *exception_type;
    char *exception_text;
} frame;

static struct json_object *new_reason(const char *type, const char *message, struct json_object *details, struct json_object *extra)
{
    struct json_object *reason = json_object_new_object();

    put_string(reason, "type", type);
    put_string(reason, "message", message);
    put(reason, "details", details);
    put(reason, "extra_info", extra);
    return reason;
}

static void add_reason(frame *f, const char *type, const char *message, struct json_object *details, struct json_object *extra)
{
    if (!f->reasons)
        f->reasons = json_object_new_array();
    json_object_array_add(f->reasons, new_reason(type, message, details, extra));
}

/* {"input_name", "input_config", and "received_value" if `value` is given}; has_value because null is a value. */
static struct json_object *input_extra(validation *v, const frame *f, const rg_input *in, bool has_config, bool has_value, struct json_object *value)
{
    struct json_object *extra = json_object_new_object();

    put_string(extra, "input_name", in->name);
    if (has_config)
        put(extra, "input_config", rg_input_info(v->env, v->prompt->nodes[f->node].type, in));
    if (has_value)
        put(extra, "received_value", json_object_get(value));
    return extra;
}

static void raise_exception(validation *v, frame *f, const char *type, rg_text *text)
{
    f->exception_type = type;
    f->exception_text = rg_text_take(text);
    if (!f->exception_text)
        v->error = RG_ERR_NOMEM;
}

static void raise_text(validation *v, frame *f, const char *type, const char *format, const char *s) __attribute__((format(printf, 4, 0)));
static void raise_text(validation *v, frame *f, const char *type, const char *format, const char *s)
{
    rg_text t = { 0 };

    rg_text_format(&t, format, s);
    raise_exception(v, f, type, &t);
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

/* Any element of one comma list in the other; blanks around elements do not count. */
static bool have_common_type(const char *a, const char *b)
{
    for (const char *p = a; ; ) {
        const size_t n = strcspn(p, ",");
        const char *s = p + strspn(p, " ");
        size_t len = n - (size_t)(s - p < (ptrdiff_t)n ? s - p : (ptrdiff_t)n);

        while (len && s[len - 1] == ' ')
            len--;
        for (const char *q = b; ; ) {
            const size_t m = strcspn(q, ",");
            const char *t = q + strspn(q, " ");
            size_t other = m - (size_t)(t - q < (ptrdiff_t)m ? t - q : (ptrdiff_t)m);

            while (other && t[other - 1] == ' ')
                other--;
            if (len == other && !memcmp(s, t, len))
                return true;
            if (!q[m])
                break;
            q += m + 1;
        }
        if (!p[n])
            return false;
        p += n + 1;
    }
}

/* A combo of the older style has its list for a type, which no output of ours has. */
static bool has_list_type(const rg_input *in)
{
    return (in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE) && !in->is_v3_combo && !in->type_names;
}

static bool is_match(const char *received, const rg_input *in)
{
    if (!strcmp(received, rg_type_any.name) || !strcmp(rg_input_type_name(in), rg_type_any.name))
        return true;
    return !has_list_type(in) && have_common_type(received, rg_input_type_name(in));
}

/* The slot as Python indexes a tuple: -1 is the last. -1 here: out of range. */
static int python_slot(int64_t slot, int n_outputs)
{
    if (slot < 0)
        slot += n_outputs;
    return slot >= 0 && slot < n_outputs ? (int)slot : -1;
}

/* ---- links ----------------------------------------------------------------------------------------------------------- */

bool graph_follow(const validation *v, int node, const rg_input *in, int *source)
{
    const prompt_node *n = &v->prompt->nodes[node];
    struct json_object *value, *number;
    int slot;

    if (!n->inputs || !json_object_object_get_ex(n->inputs, in->name, &value) || !graph_link(v->prompt, value, source, &slot) || *source < 0)
        return false;
    number = json_object_array_get_idx(value, 1);
    if (!json_object_is_type(number, json_type_int))
        return false;
    const rg_node *type = v->prompt->nodes[*source].type;
    if (!type)
        return v->is_lenient;
    slot = python_slot(json_object_get_int64(number), graph_n_outputs(type));
    return slot >= 0 && (n->type->validate_types || is_match(rg_output_type_name(&type->outputs[slot]), in));
}

/* The text of Python's KeyError or TypeError for a key that no dict of strings has. */
static void raise_key_error(validation *v, frame *f, struct json_object *id)
{
    rg_text t = { 0 };

    if (json_object_is_type(id, json_type_array) || json_object_is_type(id, json_type_object)) {
        raise_text(v, f, "TypeError", "unhashable type: '%s'", json_object_is_type(id, json_type_array) ? "list" : "dict");
        return;
    }
    rg_python_repr(&t, id);
    raise_exception(v, f, "KeyError", &t);
}

/*
 * Look at a link.
 *   returns  the node to check next, -1 if there is nothing to descend into (an error was added or an exception raised)
 */
static int check_link(validation *v, frame *f, const rg_input *in, struct json_object *value)
{
    struct json_object *id = json_object_array_get_idx(value, 0), *number = json_object_array_get_idx(value, 1), *extra;
    const int source = json_object_is_type(id, json_type_string) ? graph_find(v->prompt, json_object_get_string(id)) : -1;
    const rg_node *type;
    const char *received;
    rg_text t = { 0 };
    int slot;

    if (source < 0) {
        raise_key_error(v, f, id);
        return -1;
    }
    type = v->prompt->nodes[source].type;
    if (!type)
        return v->is_lenient ? source : -1;
    if (rg_json_digits(number) || (json_object_is_type(number, json_type_int) && json_object_get_int64(number) >= 0
                                   && json_object_get_uint64(number) > INT64_MAX)) {
        raise_text(v, f, "IndexError", "cannot fit '%s' into an index-sized integer", "int");
        return -1;
    }
    if (!json_object_is_type(number, json_type_int) && !json_object_is_type(number, json_type_boolean)) {
        static const char *const names[] = { [json_type_null] = "NoneType", [json_type_double] = "float", [json_type_object] = "dict",
                                             [json_type_array] = "list", [json_type_string] = "str" };

        raise_text(v, f, "TypeError", "tuple indices must be integers or slices, not %s", names[json_object_get_type(number)]);
        return -1;
    }
    slot = python_slot(json_object_get_int64(number), graph_n_outputs(type));
    if (slot < 0) {
        raise_text(v, f, "IndexError", "%s index out of range", type->is_v3 ? "list" : "tuple");
        return -1;
    }
    received = rg_output_type_name(&type->outputs[slot]);
    if (is_match(received, in) || v->prompt->nodes[f->node].type->validate_types)
        return source;

    rg_text_format(&t, "%s, received_type(%s) mismatch input_type(", in->name, received);
    if (has_list_type(in)) {
        struct json_object *options = rg_input_options(v->env, in);

        rg_python_repr(&t, options);
        json_object_put(options);
    } else {
        rg_text_add(&t, rg_input_type_name(in));
    }
    rg_text_add(&t, ")");
    extra = input_extra(v, f, in, true, false, NULL);
    put_string(extra, "received_type", received);
    put(extra, "linked_node", json_object_get(value));
    add_reason(f, "return_type_mismatch", "Return type mismatch between linked nodes", string_of(v, &t), extra);
    return -1;
}

/* ---- constants --------------------------------------------------------------------------------------------------------- */

static bool is_named(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

static void add_conversion_error(validation *v, frame *f, const rg_input *in, struct json_object *value, const char *type, const char *why)
{
    struct json_object *extra = input_extra(v, f, in, true, true, value);
    char message[128];
    rg_text t = { 0 };

    put_string(extra, "exception_message", why);
    snprintf(message, sizeof(message), "Failed to convert an input value to a %s value", type);
    rg_text_format(&t, "%s, ", in->name);
    rg_python_str(&t, value);
    rg_text_format(&t, ", %s", why);
    add_reason(f, "invalid_input_type", message, string_of(v, &t), extra);
}

/* The input's value converted by its exact type name; it goes back into the prompt. False: an error was added. */
static bool convert_constant(validation *v, frame *f, const rg_input *in, struct json_object **value)
{
    struct json_object *inputs = v->prompt->nodes[f->node].inputs, *wrapped, *made = NULL;
    const char *type = rg_input_type_name(in);
    char why[256] = "";
    int ret = 0;

    if (json_object_is_type(*value, json_type_object) && json_object_object_get_ex(*value, "__value__", &wrapped)) {
        wrapped = json_object_get(wrapped);
        put(inputs, in->name, wrapped);
        *value = wrapped;
    }
    if (in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE)
        return true;
    if (!strcmp(type, "INT"))
        ret = graph_to_int(*value, &made, why, sizeof(why));
    else if (!strcmp(type, "FLOAT"))
        ret = graph_to_float(*value, &made, why, sizeof(why));
    else if (!strcmp(type, "STRING"))
        ret = graph_to_string(*value, &made);
    else if (!strcmp(type, "BOOLEAN"))
        ret = graph_to_boolean(*value, &made);
    else if (in->type == RG_ANY || in->type_names || (in->is_optional && !*value))
        return true;
    else {                              /* ComfyUI lets it through and fails when the node runs */
        snprintf(why, sizeof(why), "%s comes only from another node, as [\"node id\", slot]", type);
        ret = RG_ERR_INVALID;
    }
    if (ret == RG_ERR_NOMEM)
        v->error = ret;
    if (ret == RG_ERR_INVALID)
        add_conversion_error(v, f, in, *value, type, why);
    if (ret < 0)
        return false;
    put(inputs, in->name, made);
    *value = made;
    return true;
}

static void add_range_error(validation *v, frame *f, const rg_input *in, struct json_object *value, struct json_object *limit, bool is_min)
{
    rg_text t = { 0 };
    char *message;

    rg_text_add(&t, "Value ");
    rg_python_str(&t, value);
    rg_text_add(&t, is_min ? " smaller than min of " : " bigger than max of ");
    rg_python_str(&t, limit);
    message = rg_text_take(&t);
    if (!message)
        v->error = RG_ERR_NOMEM;
    add_reason(f, is_min ? "value_smaller_than_min" : "value_bigger_than_max", message ? message : "", json_object_new_string(in->name),
               input_extra(v, f, in, true, true, value));
    rg_free(message);
}

/* min and max as the wire form declares them, whatever the input's kind. */
static bool check_range(validation *v, frame *f, const rg_input *in, struct json_object *value)
{
    struct json_object *info, *options, *limit;
    bool is_good = true;

    if (in->kind != RG_INPUT_INT && in->kind != RG_INPUT_SEED && in->kind != RG_INPUT_FLOAT)
        return true;
    if (!(info = rg_input_info(v->env, v->prompt->nodes[f->node].type, in))) {
        v->error = RG_ERR_NOMEM;
        return false;
    }
    options = json_object_array_get_idx(info, 1);
    for (int i = 0; i < 2 && is_good; i++) {
        const bool is_min = i == 0;

        if (!json_object_object_get_ex(options, is_min ? "min" : "max", &limit))
            continue;
        is_good = rg_json_compare(value, limit) != (is_min ? -1 : 1);
        if (!is_good)
            add_range_error(v, f, in, value, limit, is_min);
    }
    json_object_put(info);
    return is_good;
}

/* ComfyUI does not look at the lists of the newer style; here a name outside any list is an error before anything runs. */
static void check_list(validation *v, frame *f, const rg_input *in, struct json_object *value)
{
    struct json_object *options;
    size_t n;
    rg_text t = { 0 };

    if ((in->kind != RG_INPUT_COMBO && in->kind != RG_INPUT_FILE) || in->is_unlisted_allowed)
        return;
    if (!(options = rg_input_options(v->env, in))) {
        v->error = RG_ERR_NOMEM;
        return;
    }
    n = json_object_array_length(options);
    for (size_t i = 0; i < n; i++) {
        if (rg_json_equal(json_object_array_get_idx(options, i), value)) {
            json_object_put(options);
            return;
        }
    }
    rg_text_format(&t, "%s: '", in->name);
    rg_python_str(&t, value);
    rg_text_add(&t, "' not in ");
    if (n > 20)
        rg_text_format(&t, "(list of length %zu)", n);
    else
        rg_python_repr(&t, options);
    json_object_put(options);

    struct json_object *extra = input_extra(v, f, in, false, false, NULL);
    put(extra, "input_config", n > 20 ? NULL : rg_input_info(v->env, v->prompt->nodes[f->node].type, in));
    put(extra, "received_value", json_object_get(value));
    add_reason(f, "value_not_in_list", "Value not in list", string_of(v, &t), extra);
}

static void check_constant(validation *v, frame *f, const rg_input *in, struct json_object *value)
{
    const rg_node *type = v->prompt->nodes[f->node].type;

    if (!convert_constant(v, f, in, &value) || ((type->validate || type->validate_types) && is_named(type->validated_inputs, in->name)))
        return;
    if (check_range(v, f, in, value))
        check_list(v, f, in, value);
}

/* ---- a node's own validator ------------------------------------------------------------------------------------------------ */

/* Per declared input what it is linked to, NULL where it is not; rg_free() it. NULL if no memory. */
static const char **types_of_links(const validation *v, int node)
{
    const prompt_node *n = &v->prompt->nodes[node];
    const char **types = rg_calloc((size_t)graph_n_inputs(n->type) + 1, sizeof(*types));

    for (int i = 0; types && i < graph_n_inputs(n->type); i++) {
        struct json_object *value;
        int source, slot;

        if (!json_object_object_get_ex(n->inputs, n->type->inputs[i].name, &value) || !graph_link(v->prompt, value, &source, &slot)
            || source < 0 || !v->prompt->nodes[source].type)
            continue;
        slot = python_slot(slot, graph_n_outputs(v->prompt->nodes[source].type));
        if (slot >= 0)
            types[i] = rg_output_type_name(&v->prompt->nodes[source].type->outputs[slot]);
    }
    return types;
}

/* The validator's text about the inputs it takes, once for each input that the prompt gives. */
static void run_validator(validation *v, frame *f)
{
    const prompt_node *n = &v->prompt->nodes[f->node];
    const char **types = NULL;
    graph_call call = { 0 };
    char text[512] = "";
    int ret = 0;

    if (!n->type->validate && !n->type->validate_types)
        return;
    for (const char *const *name = n->type->validated_inputs; name && *name; name++) {
        const rg_input *in = graph_input(n->type, *name);
        struct json_object *value;
        rg_text t = { 0 };

        if (!json_object_object_get_ex(n->inputs, *name, &value)) {
            if (!strcmp(*name, "input_types") || (in && in->is_optional))
                continue;
            rg_text_format(&t, "%s.VALIDATE_INPUTS() missing 1 required positional argument: '%s'", n->type->class_type, *name);
            raise_exception(v, f, "TypeError", &t);
            return;
        }
        /* a link: its value is not there yet; only an input for anything can show that in args */
        if (json_object_is_type(value, json_type_array) && !n->type->validate_types && in && !graph_takes_any(in))
            return;
    }
    if (n->type->validate_types && !(types = types_of_links(v, f->node)))
        ret = RG_ERR_NOMEM;
    if (!ret && (ret = graph_call_from_constants(&call, v->prompt, f->node)) == 0)
        ret = types ? n->type->validate_types(v->env, call.args, types, text, sizeof(text))
                    : n->type->validate(v->env, call.args, text, sizeof(text));
    graph_call_release(&call);
    rg_free(types);
    if (ret == RG_ERR_NOMEM)
        v->error = ret;
    if (ret >= 0)
        return;
    for (const char *const *name = n->type->validated_inputs; name && *name; name++) {
        struct json_object *extra;
        rg_text t = { 0 };

        if (!json_object_object_get_ex(n->inputs, *name, NULL) && strcmp(*name, "input_types"))
            continue;
        rg_text_format(&t, text[0] ? "%s - %s" : "%s", *name, text);
        extra = json_object_new_object();
        put_string(extra, "input_name", *name);
        add_reason(f, "custom_validation_failed", "Custom validation failed for node", string_of(v, &t), extra);
    }
}

/* ---- the walk ---------------------------------------------------------------------------------------------------------------- */

typedef struct stack {
    frame *frames;
    int n, capacity;
} stack;

static bool push(validation *v, stack *s, int node)
{
    if (s->n == s->capacity) {
        const int capacity = s->capacity ? 2 * s->capacity : 32;
        frame *frames = rg_realloc(s->frames, (size_t)capacity * sizeof(*frames));

        if (!frames) {
            v->error = RG_ERR_NOMEM;
            return false;
        }
        s->frames = frames;
        s->capacity = capacity;
    }
    s->frames[s->n++] = (frame){ .node = node, .input = v->prompt->nodes[node].type ? v->prompt->nodes[node].type->inputs : NULL };
    v->results[node].state = STATE_OPEN;
    return true;
}

/* The nodes from `source` up the stack and back to it: "4 (VAEDecode) -> 5 (VAEEncode) -> 4 (VAEDecode)". */
static void add_cycle_error(validation *v, stack *s, const rg_input *in, struct json_object *link, int source)
{
    frame *f = &s->frames[s->n - 1];
    struct json_object *extra = input_extra(v, f, in, true, false, NULL), *ids = json_object_new_array();
    rg_text t = { 0 };
    int start = s->n - 1;

    while (s->frames[start].node != source)
        start--;
    rg_text_format(&t, "%s, each of these nodes waits for the next: ", in->name);
    for (int i = start; i <= s->n; i++) {
        const prompt_node *n = &v->prompt->nodes[i < s->n ? s->frames[i].node : source];

        if (i - start == 8 && s->n - i > 8) {
            rg_text_format(&t, " -> (%d more)", s->n - i - 4);
            i = s->n - 4;
            continue;
        }
        rg_text_format(&t, "%s%s (%s)", i > start ? " -> " : "", n->id, n->type ? n->type->class_type : "?");
        if (i < s->n)
            json_object_array_add(ids, json_object_new_string(n->id));
    }
    put(extra, "linked_node", json_object_get(link));
    put(extra, "cycle", ids);
    add_reason(f, "dependency_cycle", "Dependency cycle", string_of(v, &t), extra);
}

/* Look at the top frame's inputs until one leads to a node that is not checked yet (then it is pushed) or all are done. */
static void advance(validation *v, stack *s)
{
    const int node = s->frames[s->n - 1].node;
    const prompt_node *n = &v->prompt->nodes[node];
    frame *f = &s->frames[s->n - 1];

    if (!n->inputs && n->type && f->input == n->type->inputs) {
        struct json_object *inputs;

        if (!json_object_object_get_ex(n->json, "inputs", &inputs))
            raise_text(v, f, "KeyError", "%s", "'inputs'");
        else
            raise_text(v, f, "TypeError", "the inputs of a node are an object, not a %s", json_type_to_name(json_object_get_type(inputs)));
        f->input = NULL;
        return;
    }
    while (f->input && f->input->kind != RG_INPUT_END && !f->exception_type && !v->error) {
        const rg_input *in = f->input;
        struct json_object *value;
        int source;

        if (!json_object_object_get_ex(n->inputs, in->name, &value)) {
            if (!in->is_optional && !in->is_hidden)
                add_reason(f, "required_input_missing", "Required input is missing", json_object_new_string(in->name),
                           input_extra(v, f, in, false, false, NULL));
            f->input++;
            continue;
        }
        if (!json_object_is_type(value, json_type_array)) {
            check_constant(v, f, in, value);
            f->input++;
            continue;
        }
        if (json_object_array_length(value) != 2) {
            add_reason(f, "bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", json_object_new_string(in->name),
                       input_extra(v, f, in, true, true, value));
            f->input++;
            continue;
        }
        source = check_link(v, f, in, value);
        if (source >= 0 && v->results[source].state == STATE_NEW) {
            push(v, s, source);         /* come back to this input when it is done */
            return;
        }
        if (source >= 0 && v->results[source].state == STATE_OPEN) {
            add_cycle_error(v, s, in, value, source);
        } else if (source >= 0 && v->results[source].state == STATE_INVALID) {
            f->has_invalid_source = true;
        }
        f->input++;
    }
    f->input = NULL;
    if (!f->exception_type && !v->error && n->type)
        run_validator(v, f);
}

/* The top frame is done: its result is noted; an exception is reported by the frame below, or for an output by itself. */
static void finish(validation *v, stack *s)
{
    frame *f = &s->frames[s->n - 1], *below = s->n > 1 ? &s->frames[s->n - 2] : NULL;
    node_result *r = &v->results[f->node];
    struct json_object *extra;

    if (f->exception_type) {
        json_object_put(f->reasons);
        f->reasons = NULL;
        if (below) {
            struct json_object *link;

            extra = input_extra(v, below, below->input, true, false, NULL);
            put_string(extra, "exception_message", f->exception_text ? f->exception_text : "");
            if (json_object_object_get_ex(v->prompt->nodes[below->node].inputs, below->input->name, &link))
                put(extra, "linked_node", json_object_get(link));
        } else {
            extra = json_object_new_object();
        }
        put_string(extra, "exception_type", f->exception_type);
        put(extra, "traceback", json_object_new_array());
        add_reason(f, below ? "exception_during_inner_validation" : "exception_during_validation",
                   below ? "Exception when validating inner node" : "Exception when validating node",
                   json_object_new_string(f->exception_text ? f->exception_text : ""), extra);
        rg_free(f->exception_text);
    }
    r->reasons = f->reasons;
    r->state = f->reasons || f->has_invalid_source ? STATE_INVALID : STATE_VALID;
    s->n--;
}

bool graph_validate_output(validation *v, int node)
{
    stack s = { 0 };

    if (v->results[node].state == STATE_NEW)
        push(v, &s, node);
    while (s.n > 0) {
        const int n = s.n;

        if (!v->error)
            advance(v, &s);
        if (s.n == n)
            finish(v, &s);
    }
    rg_free(s.frames);
    return v->results[node].state == STATE_VALID;
}

int graph_validation_init(validation *v, rg_env *env, rg_prompt *p, bool is_lenient)
{
    *v = (validation){ .env = env, .prompt = p, .is_lenient = is_lenient, .steps_left = MAX_STEPS };
    v->results = rg_calloc((size_t)p->n_nodes + 1, sizeof(*v->results));
    return v->error = v->results ? 0 : RG_ERR_NOMEM;
}

void graph_validation_release(validation *v)
{
    for (int i = 0; v->results && i < v->prompt->n_nodes; i++)
        json_object_put(v->results[i].reasons);
    rg_free(v->results);
    v->results = NULL;
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------------- */

static struct json_object *new_error(const char *type, const char *message, const char *details)
{
    struct json_object *error = json_object_new_object();

    put_string(error, "type", type);
    put_string(error, "message", message);
    put_string(error, "details", details);
    put(error, "extra_info", json_object_new_object());
    return error;
}

/* The first node without a class_type, or of an unknown class, rejects the whole prompt, used or not. */
static struct json_object *check_classes(validation *v)
{
    const rg_prompt *p = v->prompt;

    for (int i = 0; i < p->n_nodes; i++) {
        struct json_object *class_type, *error;
        char *message, *details;
        rg_text t = { 0 };

        if (p->nodes[i].type)
            continue;
        if (!json_object_is_type(p->nodes[i].json, json_type_object) || !json_object_object_get_ex(p->nodes[i].json, "class_type", &class_type)) {
            rg_text_add(&t, "Cannot execute because a node is missing the class_type property.");
        } else {
            rg_text_add(&t, "Cannot execute because node ");
            rg_python_str(&t, class_type);
            rg_text_add(&t, " does not exist.");
        }
        message = rg_text_take(&t);
        details = rg_asprintf("Node ID '#%s'", p->nodes[i].id);
        error = message && details ? new_error("invalid_prompt", message, details) : NULL;
        if (!error)
            v->error = RG_ERR_NOMEM;
        rg_free(message);
        rg_free(details);
        return error;
    }
    return NULL;
}

static bool is_target(const char *const *targets, int n_targets, const char *id)
{
    if (!targets)
        return true;
    for (int i = 0; i < n_targets; i++)
        if (!strcmp(targets[i], id))
            return true;
    return false;
}

/*
 * Note the output at every node with errors that it was rejected through; each node is visited once per output. Thousands of
 * outputs over thousands of shared nodes would take minutes, so after MAX_STEPS only an output's own errors name it.
 */
static void add_dependent(validation *v, struct json_object *node_errors, int output, int *seen, int *todo)
{
    const rg_prompt *p = v->prompt;
    int n = 0;

    todo[n++] = output;
    seen[output] = output + 1;
    while (n > 0) {
        const int node = todo[--n];
        const node_result *r = &v->results[node];

        if (r->state == STATE_INVALID && r->reasons) {
            struct json_object *entry, *outputs;

            if (!json_object_object_get_ex(node_errors, p->nodes[node].id, &entry)) {
                entry = json_object_new_object();
                put(entry, "errors", json_object_get(r->reasons));
                put(entry, "dependent_outputs", json_object_new_array());
                put_string(entry, "class_type", p->nodes[node].type->class_type);
                put(node_errors, p->nodes[node].id, entry);
            }
            outputs = json_object_object_get(entry, "dependent_outputs");
            json_object_array_add(outputs, json_object_new_string(p->nodes[output].id));
        }
        for (const rg_input *in = p->nodes[node].type->inputs; in && in->kind != RG_INPUT_END; in++) {
            int source;

            if (v->steps_left-- > 0 && graph_follow(v, node, in, &source) && seen[source] != output + 1 && v->results[source].state == STATE_INVALID) {
                seen[source] = output + 1;
                todo[n++] = source;
            }
        }
    }
}

/* One line per error of the output node itself. */
static void add_details(rg_text *t, struct json_object *reasons)
{
    for (size_t i = 0; reasons && i < json_object_array_length(reasons); i++) {
        struct json_object *reason = json_object_array_get_idx(reasons, i);

        rg_text_format(t, "%s%s: ", t->n_bytes ? "\n" : "", json_object_get_string(json_object_object_get(reason, "message")));
        rg_text_add(t, json_object_get_string(json_object_object_get(reason, "details")));
    }
}

static int finish_answer(validation *v, struct json_object *error, struct json_object *node_errors, struct json_object **answer)
{
    graph_validation_release(v);
    if (v->error) {
        json_object_put(error);
        json_object_put(node_errors);
        *answer = NULL;
        return v->error;
    }
    if (!error && json_object_object_length(node_errors) == 0) {
        json_object_put(node_errors);
        *answer = NULL;
        return 0;
    }
    *answer = json_object_new_object();
    put(*answer, "error", error);
    put(*answer, "node_errors", node_errors);
    return error ? RG_ERR_INVALID : 0;
}

int rg_prompt_validate_targets(rg_env *env, rg_prompt *p, const char *const *targets, int n_targets, struct json_object **answer)
{
    struct json_object *node_errors = json_object_new_object(), *error = NULL;
    rg_text details = { 0 };
    int n_outputs = 0, n_good = 0, *seen, *todo;
    validation v;

    if (graph_validation_init(&v, env, p, false) < 0)
        return finish_answer(&v, NULL, node_errors, answer);
    error = check_classes(&v);
    if (error || v.error)
        return finish_answer(&v, error, node_errors, answer);

    seen = rg_calloc((size_t)p->n_nodes + 1, 2 * sizeof(*seen));
    if (!seen) {
        v.error = RG_ERR_NOMEM;
        return finish_answer(&v, NULL, node_errors, answer);
    }
    todo = seen + p->n_nodes + 1;
    for (int i = 0; i < p->n_nodes; i++) {
        prompt_node *n = &p->nodes[i];

        n->is_wanted = n->type->is_output && is_target(targets, n_targets, n->id);
        if (!n->is_wanted)
            continue;
        n_outputs++;
        n->is_wanted = graph_validate_output(&v, i);
        n_good += n->is_wanted;
        if (n->is_wanted || v.error)
            continue;
        add_details(&details, v.results[i].reasons);
        add_dependent(&v, node_errors, i, seen, todo);
    }
    rg_free(seen);
    if (n_outputs == 0)
        error = new_error("prompt_no_outputs", "Prompt has no outputs", "");
    else if (n_good == 0)
        error = new_error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details.data ? details.data : "");
    if (details.is_failed)
        v.error = RG_ERR_NOMEM;
    rg_text_release(&details);
    p->is_validated = n_good > 0 && !v.error;
    return finish_answer(&v, error, node_errors, answer);
}

int rg_prompt_validate(rg_env *env, rg_prompt *p, struct json_object **answer)
{
    return rg_prompt_validate_targets(env, p, NULL, 0, answer);
}
