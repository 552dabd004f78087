/*
 * Widgets of an editor's workflow. A file lists a node's widget values without names ("widgets_values"): which is which follows from
 * the node's class and from the widgets that the editor adds by itself. Source: ComfyUI's front end 1.27.10.
 */
#include <math.h>
#include <string.h>
#include <sys/random.h>

#include "graph/json_text.h"
#include "graph/ui_graph.h"

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static int no_memory(const ui_workflow *w)
{
    return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
}

/* ---- the list of values ------------------------------------------------------------------------------------------------ */

bool ui_is_widget(const rg_input *in)
{
    static const char *const types[] = { "INT", "FLOAT", "BOOLEAN", "STRING", "COMBO" };
    const char *name = rg_input_type_name(in);

    for (size_t i = 0; i < sizeof types / sizeof *types && !in->is_force_input; i++) {
        if (!strcmp(name, types[i]))
            return true;
    }
    return false;
}

int ui_n_controls(const rg_input *in)
{
    const char *type = rg_input_type_name(in);

    if (!strcmp(type, "INT"))
        return in->has_control_after_generate || !strcmp(in->name, "seed") || !strcmp(in->name, "noise_seed");
    return !strcmp(type, "COMBO") && in->has_control_after_generate ? 2 : 0;
}

/*
 * Files from before an input became a socket still hold its value: they have one for each widget and each such input, and then
 * the editor leaves those of the inputs out. *is_left_out: per value.   returns the number left out
 */
static int left_out(const rg_node *type, size_t n_values, bool *is_left_out)
{
    size_t n = 0, at = 0;
    int n_out = 0;

    for (int optional = 0; optional < 2; optional++) {
        for (const rg_input *in = type->inputs; in && in->kind != RG_INPUT_END; in++) {
            if (in->is_optional != (bool)optional || !(ui_is_widget(in) || in->is_force_input))
                continue;
            n += in->has_control_after_generate || !strcmp(in->name, "seed") || !strcmp(in->name, "noise_seed") ? 2 : 1;
            n += !optional && in->has_image_upload;         /* the button that chooses a file */
        }
    }
    for (int optional = 0; optional < 2 && n == n_values; optional++) {
        for (const rg_input *in = type->inputs; in && in->kind != RG_INPUT_END; in++) {
            if (in->is_optional != (bool)optional || !(ui_is_widget(in) || in->is_force_input))
                continue;
            if (at < n_values && in->is_force_input) {
                is_left_out[at] = true;
                n_out++;
            }
            at++;
        }
    }
    return n_out;
}

/* What a new node of the class would have there; false: nothing that is known without looking into folders. */
static bool default_value(const rg_input *in, struct json_object **out)
{
    switch (in->kind) {
    case RG_INPUT_INT:
        *out = json_object_new_int64(in->has_default ? in->default_int : 0);
        return true;
    case RG_INPUT_SEED:
        *out = rg_json_seed(in->has_default ? (uint64_t)in->default_int : 0);
        return true;
    case RG_INPUT_FLOAT:
        *out = json_object_new_double(in->has_default ? in->default_float : 0);
        return true;
    case RG_INPUT_BOOLEAN:
        *out = json_object_new_boolean(in->has_default && in->default_int);
        return true;
    case RG_INPUT_STRING:
        *out = json_object_new_string(in->default_string ? in->default_string : "");
        return true;
    case RG_INPUT_COMBO:
        if (!in->options || !in->options[0])
            return false;
        *out = json_object_new_string(in->options[in->has_default ? in->default_int : 0]);
        return true;
    case RG_INPUT_FILE:
        if (!in->default_string)
            return false;
        *out = json_object_new_string(in->default_string);
        return true;
    default:
        return false;
    }
}

static int set_value(const ui_workflow *w, ui_node *node, const char *name, struct json_object *v)
{
    if (json_object_object_add(node->values, name, v) == 0)
        return 0;
    json_object_put(v);
    return no_memory(w);
}

/* KSampler's list once had names with "sample_" before them. */
static struct json_object *mended(const ui_node *node, const char *name, struct json_object *v)
{
    if (json_object_is_type(v, json_type_string) && !strcmp(name, "sampler_name") && !strncmp(json_object_get_string(v), "sample_", 7)
        && (!strcmp(node->class_type, "KSampler") || !strcmp(node->class_type, "KSamplerAdvanced")))
        return json_object_new_string(json_object_get_string(v) + 7);
    return json_object_get(v);
}

int ui_read_values(ui_workflow *w, ui_node *node)
{
    struct json_object *list = get(node->json, "widgets_values"), *v;
    const bool is_list = json_object_is_type(list, json_type_array);
    const size_t n = is_list ? json_object_array_length(list) : 0;
    bool *skip;
    size_t at = 0;
    int ret = 0;

    if (!node->type) {                  /* by name is the only way */
        if (json_object_is_type(list, json_type_object)) {
            json_object_object_foreach(list, name, value) {
                if (!ret && strcmp(name, "videopreview"))
                    ret = set_value(w, node, name, json_object_get(value));
            }
        }
        return ret;
    }
    if (!(skip = rg_calloc(n + 1, sizeof *skip)))
        return no_memory(w);
    left_out(node->type, n, skip);
    for (int optional = 0; optional < 2; optional++) {
        for (const rg_input *in = node->type->inputs; in && in->kind != RG_INPUT_END && !ret; in++) {
            if (in->is_optional != (bool)optional || !ui_is_widget(in))
                continue;
            while (at < n && skip[at])
                at++;
            if (at < n)
                ret = set_value(w, node, in->name, mended(node, in->name, json_object_array_get_idx(list, at)));
            else if (!is_list && json_object_is_type(list, json_type_object) && json_object_object_get_ex(list, in->name, &v))
                ret = set_value(w, node, in->name, mended(node, in->name, v));
            else if (default_value(in, &v))
                ret = set_value(w, node, in->name, v);
            at++;
            for (int i = ui_n_controls(in); i > 0; i--) {
                while (at < n && skip[at])
                    at++;
                at++;
            }
        }
    }
    rg_free(skip);
    return ret;
}

/* ---- values from elsewhere --------------------------------------------------------------------------------------------- */

static char *replaced_text(const ui_workflow *w, const char *text);

int ui_apply_primitives(ui_workflow *w, ui_graph *g)
{
    int ret = 0;

    for (int i = 0; i < g->n_nodes; i++) {
        ui_node *node = &g->nodes[i];

        for (int k = 0; k < node->n_inputs && node->kind == UI_NODE && !ret; k++) {
            const ui_input *in = &node->inputs[k];
            const ui_node *from = in->link ? in->link->from : NULL;
            struct json_object *values, *v;

            if (!from || from->kind != UI_PRIMITIVE || !in->widget)
                continue;
            values = get(from->json, "widgets_values");
            if (!json_object_is_type(values, json_type_array) || !json_object_array_length(values))
                continue;
            v = json_object_array_get_idx(values, 0);
            if (json_object_is_type(v, json_type_string)
                && json_object_get_boolean(get(get(from->json, "properties"), "Run widget replace on values"))) {
                char *text = replaced_text(w, json_object_get_string(v));

                if (!text)
                    return no_memory(w);
                ret = set_value(w, node, in->widget, json_object_new_string(text));
                rg_free(text);
            } else {
                ret = set_value(w, node, in->widget, json_object_get(v));
            }
        }
    }
    return ret;
}

/*
 * The first widget inside a subgraph that its input `slot` is linked to: the node and its input. NULL: none.
 * has_widget is 0 while its own answer is being looked for, so a circle ends.
 */
static const ui_node *widget_inside(const ui_graph *g, int slot, int *input)
{
    if (g->has_widget[slot] == 0)
        return NULL;
    if (g->has_widget[slot] < 0)
        g->has_widget[slot] = 0;
    for (int i = 0; i < g->n_links; i++) {
        const ui_link *link = &g->links[i];
        const ui_node *node;

        if (link->origin_slot != slot || !link->is_from_inputs || !(node = ui_find_node(g, link->target)))
            continue;
        for (int k = 0; k < node->n_inputs; k++) {
            const ui_input *in = &node->inputs[k];

            if (in->link != link)
                continue;
            if (node->kind == UI_SUBGRAPH ? k < ui_n_slots(node->subgraph->inputs) && ui_slot_has_widget(node->subgraph, k)
                                          : node->kind == UI_NODE && in->widget) {
                g->has_widget[slot] = 1;
                *input = k;
                return node;
            }
        }
    }
    return NULL;
}

bool ui_slot_has_widget(const ui_graph *g, int slot)
{
    int input;

    return g->has_widget[slot] >= 0 ? g->has_widget[slot] : widget_inside(g, slot, &input) != NULL;
}

bool ui_promoted_value(const ui_node *node, int slot, struct json_object **value)
{
    /* inwards through subgraphs until one has a value of its own, or the widget itself */
    for (int depth = 0; depth < 64; depth++) {
        struct json_object *values = get(node->json, "widgets_values");
        const ui_node *inner;
        int at = 0, input = 0;

        if (node->kind != UI_SUBGRAPH)
            return json_object_object_get_ex(node->values, node->inputs[slot].widget, value);
        if (slot >= ui_n_slots(node->subgraph->inputs) || !ui_slot_has_widget(node->subgraph, slot))
            return false;
        for (int i = 0; i < slot; i++)
            at += ui_slot_has_widget(node->subgraph, i);
        if (json_object_is_type(values, json_type_array) && (size_t)at < json_object_array_length(values)) {
            *value = json_object_array_get_idx(values, (size_t)at);
            return true;
        }
        if (!(inner = widget_inside(node->subgraph, slot, &input)))
            return false;
        node = inner;
        slot = input;
    }
    return false;
}

/* ---- as sent ------------------------------------------------------------------------------------------------------------- */

static size_t pick(size_t n)
{
    uint64_t x = 0;

    return getrandom(&x, sizeof x, GRND_NONBLOCK) == (ssize_t)sizeof x && n ? (size_t)(x % n) : 0;
}

/* Without comments: from two slashes to the line's end, and between slash-star and star-slash. */
static void strip_comments(rg_text *out, const char *s, size_t n)
{
    const char *end = s + n, *close;

    while (s < end) {
        if (end - s >= 2 && s[0] == '/' && s[1] == '/') {
            while (s < end && *s != '\n' && *s != '\r')
                s++;
        } else if (end - s >= 4 && s[0] == '/' && s[1] == '*' && (close = memmem(s + 2, (size_t)(end - s) - 2, "*/", 2))) {
            s = close + 2;
        } else {
            rg_text_add_bytes(out, s++, 1);
        }
    }
}

/* Ends of the entries of a list in braces that begins at s; *n_entries of them, the last ends at the closing brace or the end. */
static void entry_ends(const char *s, const char *end, int wanted, int *n_entries, const char **from, const char **to)
{
    int depth = 0;

    *n_entries = 0;
    *from = s;
    for (;; s++) {
        const bool is_end = s >= end || (*s == '}' && !depth);

        if (is_end || (*s == '|' && !depth)) {
            if ((*n_entries)++ == wanted) {
                *to = s;
                return;
            }
            *from = s + 1;
            if (is_end) {
                *to = s;
                return;
            }
        } else if (*s == '\\' && s + 1 < end) {
            s++;
        } else if (*s == '{') {
            depth++;
        } else if (*s == '}') {
            depth--;
        }
    }
}

/* One of {a|b|c} is taken, at every depth; then \{ \} \| are the characters themselves. */
static void choose(rg_text *out, const char *text, size_t n, int depth)
{
    rg_text plain = { 0 }, result = { 0 };
    const char *s, *end;

    strip_comments(&plain, text, n);
    s = plain.data ? plain.data : "";
    end = s + plain.n_bytes;
    while (s < end) {
        if (*s == '\\' && s + 1 < end) {
            rg_text_add_bytes(&result, s, 2);
            s += 2;
        } else if (*s == '{' && depth < 64) {
            const char *from, *to, *stop;
            int n_entries;

            entry_ends(s + 1, end, -1, &n_entries, &from, &stop);
            entry_ends(s + 1, end, (int)pick((size_t)n_entries), &n_entries, &from, &to);
            choose(&result, from, (size_t)(to - from), depth + 1);
            s = stop < end ? stop + 1 : end;
        } else {
            rg_text_add_bytes(&result, s++, 1);
        }
    }
    for (size_t i = 0; i < result.n_bytes; i++) {
        if (result.data[i] == '\\' && i + 1 < result.n_bytes && strchr("{}|", result.data[i + 1]))
            i++;
        rg_text_add_bytes(out, &result.data[i], 1);
    }
    out->is_failed |= plain.is_failed || result.is_failed;
    rg_text_release(&plain);
    rg_text_release(&result);
}

/* Nodes whose file name is looked through for "%Node.widget%". */
static bool is_saver(const char *class_type)
{
    static const char *const names[] = { "SaveImage", "SaveAnimatedWEBP", "SaveWEBM", "SaveAudio", "SaveGLB", "SaveAnimatedPNG", "CLIPSave",
                                         "VAESave", "ModelSave", "LoraSave", "SaveLatent" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(class_type, names[i]))
            return true;
    }
    return false;
}

/* The name that a node has in its properties; without one its class, which the editor gives to all but those that save. */
static const char *property_name(const ui_node *node)
{
    struct json_object *v = get(get(node->json, "properties"), "Node name for S&R");

    if (json_object_is_type(v, json_type_string))
        return json_object_get_string(v);
    return node->type && !is_saver(node->class_type) ? node->class_type : "";
}

/* The node that a file name means: by that name, else by its title; the workflow first, then the subgraphs. */
static const ui_node *named_node(const ui_workflow *w, const char *name, size_t n)
{
    for (int by_title = 0; by_title < 2; by_title++) {
        for (int i = 0; i < w->n_graphs; i++) {
            for (int k = 0; k < w->graphs[i].n_nodes; k++) {
                const ui_node *node = &w->graphs[i].nodes[k];
                const char *own = by_title ? node->title : property_name(node);

                if (strlen(own) == n && !memcmp(own, name, n))
                    return node;
            }
        }
    }
    return NULL;
}

/* A value as JavaScript writes it, with what no file name may hold made "_". */
static void add_value(rg_text *out, struct json_object *v)
{
    rg_text t = { 0 };

    if (json_object_is_type(v, json_type_boolean))
        rg_text_add(&t, json_object_get_boolean(v) ? "true" : "false");
    else if (json_object_is_type(v, json_type_double) && json_object_get_double(v) == floor(json_object_get_double(v))
             && fabs(json_object_get_double(v)) < 1e21)
        rg_text_format(&t, "%.0f", json_object_get_double(v));
    else if (v)
        rg_python_str(&t, v);
    out->is_failed |= t.is_failed;
    for (size_t i = 0; i < t.n_bytes; i++) {
        const unsigned char c = (unsigned char)t.data[i];

        rg_text_add_bytes(out, c < 0x20 || c == 0x7f || strchr("/?<>\\:*|\"", c) ? "_" : &t.data[i], 1);
    }
    rg_text_release(&t);
}

/* "%Node.widget%" becomes the widget's value; dates and sizes are left to the node that saves. NULL: no memory. */
static char *replaced_text(const ui_workflow *w, const char *text)
{
    rg_text t = { 0 };

    while (*text) {
        const char *close = *text == '%' ? strchr(text + 1, '%') : NULL, *dot;
        const ui_node *node;
        struct json_object *v;
        char *widget;

        if (!close || close == text + 1) {
            rg_text_add_bytes(&t, text++, 1);
            continue;
        }
        dot = memchr(text, '.', (size_t)(close - text));
        node = dot && !memchr(dot + 1, '.', (size_t)(close - dot - 1)) ? named_node(w, text + 1, (size_t)(dot - text - 1)) : NULL;
        widget = node ? rg_strndup(dot + 1, (size_t)(close - dot - 1)) : NULL;
        t.is_failed |= node && !widget;
        if (widget && json_object_object_get_ex(node->values, widget, &v))
            add_value(&t, v);
        else
            rg_text_add_bytes(&t, text, (size_t)(close + 1 - text));
        rg_free(widget);
        text = close + 1;
    }
    return rg_text_take(&t);
}

int ui_wrapped(const ui_workflow *w, struct json_object *value, struct json_object **out)
{
    if (!json_object_is_type(value, json_type_array)) {
        *out = json_object_get(value);
        return 0;
    }
    /* a list by itself would be taken for a link */
    if (!(*out = json_object_new_object()))
        return no_memory(w);
    json_object_object_add(*out, "__value__", json_object_get(value));
    return 0;
}

int ui_sent_value(const ui_workflow *w, const ui_node *node, const char *name, struct json_object *value, struct json_object **out)
{
    const rg_input *in = node->type ? node->type->inputs : NULL;
    char *text;

    while (in && in->kind != RG_INPUT_END && strcmp(in->name, name))
        in++;
    if (in && in->kind != RG_INPUT_END && in->has_dynamic_prompts && json_object_is_type(value, json_type_string)) {
        rg_text t = { 0 };

        choose(&t, json_object_get_string(value), (size_t)json_object_get_string_len(value), 0);
        text = rg_text_take(&t);
    } else if (node->type && !strcmp(name, "filename_prefix") && is_saver(node->class_type)
               && json_object_is_type(value, json_type_string)) {
        text = replaced_text(w, json_object_get_string(value));
    } else {
        return ui_wrapped(w, value, out);
    }
    if (!text)
        return no_memory(w);
    *out = json_object_new_string(text);
    rg_free(text);
    return 0;
}
