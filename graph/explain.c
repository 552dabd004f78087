/*
 * What is wrong with a prompt, for people: the errors of validation in plain lines, with the nearest names, the folders that
 * were searched, and every unknown class instead of the first.
 */
#include <stdio.h>
#include <string.h>

#include "graph/json_text.h"
#include "graph/suggest.h"
#include "graph/validate.h"

typedef struct explanation {
    validation v;
    rg_text text;
    int n_problems;
} explanation;

static const char *get(struct json_object *o, const char *key)
{
    const char *s = json_object_get_string(json_object_object_get(o, key));

    return s ? s : "";
}

/* "node 4 (KSampler)", with its title when it has one that says more. */
static void add_node(explanation *e, int node)
{
    const prompt_node *n = &e->v.prompt->nodes[node];
    struct json_object *meta, *title;

    rg_text_format(&e->text, "node %s", n->id);
    if (!n->type)
        return;
    rg_text_format(&e->text, " (%s", n->type->class_type);
    if (json_object_object_get_ex(n->json, "_meta", &meta) && json_object_is_type(meta, json_type_object)
        && json_object_object_get_ex(meta, "title", &title) && json_object_is_type(title, json_type_string)
        && strcmp(json_object_get_string(title), n->type->class_type)
        && (!n->type->display_name || strcmp(json_object_get_string(title), n->type->display_name)))
        rg_text_format(&e->text, " \"%.60s\"", json_object_get_string(title));
    rg_text_add(&e->text, ")");
}

static void begin(explanation *e, int node, const char *input)
{
    e->n_problems++;
    add_node(e, node);
    if (input)
        rg_text_format(&e->text, ", input %s", input);
    rg_text_add(&e->text, ": ");
}

static void end(explanation *e)
{
    rg_text_add(&e->text, "\n");
}

/* ---- classes ------------------------------------------------------------------------------------------------------- */

/* Every class name, NULL-terminated; rg_free() the array. */
static const char **class_names(void)
{
    int n;
    const rg_node *const *nodes = rg_node_table(&n);
    const char **names = rg_calloc((size_t)n + 1, sizeof(*names));

    for (int i = 0; names && i < n; i++)
        names[i] = nodes[i]->class_type;
    return names;
}

static const char *class_of(const prompt_node *n)
{
    struct json_object *class_type;

    if (!json_object_is_type(n->json, json_type_object) || !json_object_object_get_ex(n->json, "class_type", &class_type))
        return NULL;
    return json_object_is_type(class_type, json_type_string) ? json_object_get_string(class_type) : "";
}

/* One line per unknown class, naming its nodes; one per node without any. */
static void explain_classes(explanation *e)
{
    const rg_prompt *p = e->v.prompt;
    const char **names = class_names(), *best[3];

    if (!names) {
        e->v.error = RG_ERR_NOMEM;
        return;
    }
    for (int i = 0; i < p->n_nodes; i++) {
        const char *class_type = class_of(&p->nodes[i]);
        int n_more = 0, n_best, j;

        if (p->nodes[i].type)
            continue;
        if (!class_type || !*class_type) {
            begin(e, i, NULL);
            rg_text_add(&e->text, class_type ? "its class_type is no name" : !json_object_is_type(p->nodes[i].json, json_type_object)
                        ? "a node is an object with class_type and inputs" : "it has no class_type");
            end(e);
            continue;
        }
        for (j = 0; j < i; j++)         /* said already? */
            if (!p->nodes[j].type && class_of(&p->nodes[j]) && !strcmp(class_of(&p->nodes[j]), class_type))
                break;
        if (j < i)
            continue;
        begin(e, i, NULL);
        rg_text_format(&e->text, "there is no class %s", class_type);
        for (j = i + 1; j < p->n_nodes; j++)
            if (!p->nodes[j].type && class_of(&p->nodes[j]) && !strcmp(class_of(&p->nodes[j]), class_type))
                rg_text_format(&e->text, "%s%s", n_more++ ? ", " : " (nor for node ", p->nodes[j].id);
        rg_text_add(&e->text, n_more ? ")" : "");
        n_best = rg_suggest_many(class_type, names, best, 3);
        for (j = 0; j < n_best; j++)
            rg_text_format(&e->text, "%s%s", j ? ", " : "; nearest: ", best[j]);
        end(e);
    }
    rg_free(names);
}

/* ---- inputs --------------------------------------------------------------------------------------------------------- */

/* An input that the prompt gives under a name the class does not have, and that looks like `name` misspelt; or NULL. */
static const char *misspelt(const prompt_node *n, const char *name)
{
    const char *const wanted[] = { name, NULL };

    json_object_object_foreach(n->inputs, key, value) {
        (void)value;
        if (!graph_input(n->type, key) && rg_suggest(key, wanted))
            return key;
    }
    return NULL;
}

static void explain_missing(explanation *e, int node, const rg_input *in)
{
    const prompt_node *n = &e->v.prompt->nodes[node];
    const char *key = misspelt(n, in->name);

    rg_text_format(&e->text, "is missing, %s wants ", n->type->class_type);
    if (in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE)
        rg_text_add(&e->text, "a name from a list");
    else
        rg_text_format(&e->text, in->kind == RG_INPUT_LINK ? "a link to a node that gives %s" : "%s", rg_input_type_name(in));
    if (key)
        rg_text_format(&e->text, "; it has %s instead, which %s does not know", key, n->type->class_type);
}

static void add_nearest(explanation *e, const char *wanted, const char *const *names, int n_show_all)
{
    const char *best[3];
    const int n = rg_suggest_many(wanted, names, best, 3);
    int n_all = 0;

    while (names && names[n_all])
        n_all++;
    for (int i = 0; i < n; i++)
        rg_text_format(&e->text, "%s%s", i ? ", " : "; nearest: ", best[i]);
    for (int i = 0; !n && n_all <= n_show_all && i < n_all; i++)
        rg_text_format(&e->text, "%s%s", i ? ", " : "; there are ", names[i]);
}

/* A name outside its list: for files the folders searched, for others the nearest. */
static void explain_list(explanation *e, const rg_input *in, struct json_object *extra)
{
    struct json_object *value = json_object_object_get(extra, "received_value");
    const char *name = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
    char text[900], *path = NULL;

    if (!name) {
        rg_text_add(&e->text, "wants a name, it got ");
        rg_python_repr(&e->text, value);
    } else if (in->source && !strncmp(in->source, "models:", 7)) {
        if (rg_env_model_path(e->v.env, in->source + 7, name, &path, text, sizeof(text)) < 0)
            rg_text_add(&e->text, text);
        else                            /* there, but its kind of file is not offered */
            rg_text_format(&e->text, "%s is no model file by its name", path);
        rg_free(path);
    } else {
        rg_text_format(&e->text, "%.200s is not in its list", name);
        add_nearest(e, name, in->options, 8);
    }
}

/* Links that lead nowhere come as Python exceptions; say it in words. */
static void explain_exception(explanation *e, int node, struct json_object *reason)
{
    struct json_object *extra = json_object_object_get(reason, "extra_info");
    const prompt_node *n = &e->v.prompt->nodes[node];
    const char *type = get(extra, "exception_type");
    bool is_said = false;

    if (!n->inputs) {
        begin(e, node, NULL);
        rg_text_add(&e->text, "it has no inputs object");
        end(e);
        return;
    }
    for (const rg_input *in = n->type->inputs; in && in->kind != RG_INPUT_END; in++) {
        struct json_object *value, *id, *slot;
        int source;

        if (!json_object_object_get_ex(n->inputs, in->name, &value) || !json_object_is_type(value, json_type_array)
            || json_object_array_length(value) != 2)
            continue;
        id = json_object_array_get_idx(value, 0);
        slot = json_object_array_get_idx(value, 1);
        source = json_object_is_type(id, json_type_string) ? graph_find(e->v.prompt, json_object_get_string(id)) : -1;
        if (source >= 0 && (!e->v.prompt->nodes[source].type || graph_follow(&e->v, node, in, &source)))
            continue;
        begin(e, node, in->name);
        is_said = true;
        if (source < 0) {
            rg_text_add(&e->text, "is linked to node ");
            rg_python_str(&e->text, id);
            rg_text_add(&e->text, json_object_is_type(id, json_type_string) ? ", which is not in the workflow" : ", but node ids are strings");
        } else if (!json_object_is_type(slot, json_type_int)) {
            rg_text_add(&e->text, "is linked to output ");
            rg_python_repr(&e->text, slot);
            rg_text_format(&e->text, " of node %s, but outputs are counted 0, 1, ...", e->v.prompt->nodes[source].id);
        } else {
            rg_text_format(&e->text, "is linked to output %s of ", json_object_get_string(slot));
            add_node(e, source);
            rg_text_format(&e->text, ", which has %d", graph_n_outputs(e->v.prompt->nodes[source].type));
        }
        end(e);
    }
    if (is_said)
        return;
    begin(e, node, NULL);
    rg_text_format(&e->text, "%s: %s", type, get(reason, "details"));
    end(e);
}

static void explain_reason(explanation *e, int node, struct json_object *reason)
{
    struct json_object *extra = json_object_object_get(reason, "extra_info");
    struct json_object *value = json_object_object_get(extra, "received_value");
    const prompt_node *n = &e->v.prompt->nodes[node];
    const char *type = get(reason, "type"), *input = get(extra, "input_name");
    const rg_input *in = n->type ? graph_input(n->type, input) : NULL;

    if (!strncmp(type, "exception_during_", 17)) {
        explain_exception(e, node, reason);
        return;
    }
    begin(e, node, *input ? input : NULL);
    if (!strcmp(type, "required_input_missing") && in) {
        explain_missing(e, node, in);
    } else if (!strcmp(type, "bad_linked_input")) {
        rg_text_add(&e->text, "a link is [\"node id\", output number], this is ");
        rg_python_repr(&e->text, value);
    } else if (!strcmp(type, "return_type_mismatch") && in) {
        struct json_object *link = json_object_object_get(extra, "linked_node");
        const int source = graph_find(e->v.prompt, json_object_get_string(json_object_array_get_idx(link, 0)));

        rg_text_format(&e->text, "wants %s, but ", in->kind == RG_INPUT_COMBO || in->kind == RG_INPUT_FILE ? "a name from its list" : rg_input_type_name(in));
        add_node(e, source);
        rg_text_format(&e->text, " gives %s", get(extra, "received_type"));
    } else if (!strcmp(type, "invalid_input_type")) {
        rg_python_repr(&e->text, value);
        rg_text_format(&e->text, " does not do: %s", get(extra, "exception_message"));
    } else if (!strcmp(type, "value_smaller_than_min") || !strcmp(type, "value_bigger_than_max")) {
        const bool is_min = !strcmp(type, "value_smaller_than_min");
        struct json_object *options = json_object_array_get_idx(json_object_object_get(extra, "input_config"), 1);

        rg_python_str(&e->text, value);
        rg_text_add(&e->text, is_min ? " is below the least allowed, " : " is above the most allowed, ");
        rg_python_str(&e->text, json_object_object_get(options, is_min ? "min" : "max"));
    } else if (!strcmp(type, "value_not_in_list") && in) {
        explain_list(e, in, extra);
    } else if (!strcmp(type, "custom_validation_failed") && in && in->source) {
        char text[900] = "", *path = NULL;

        if (json_object_object_get_ex(n->inputs, input, &value)
            && rg_env_input_path(e->v.env, json_object_get_string(value), &path, text, sizeof(text)) < 0)
            rg_text_add(&e->text, text);
        else
            rg_text_add(&e->text, get(reason, "details"));
        rg_free(path);
    } else {
        const char *details = get(reason, "details");   /* which begin with the input's name where they have one */
        const size_t n_name = strlen(input);

        rg_text_add(&e->text, n_name && !strncmp(details, input, n_name) && details[n_name] == ',' ? details + n_name + 2 : details);
    }
    end(e);
}

/* Links on inputs that the class does not have fail when the node runs. */
static void explain_unknown_links(explanation *e, int node)
{
    const prompt_node *n = &e->v.prompt->nodes[node];

    if (!n->inputs || !n->type)
        return;
    json_object_object_foreach(n->inputs, key, value) {
        const char *names[64 + 1];
        int source, slot, n_names = 0;

        if (graph_input(n->type, key) || !graph_link(e->v.prompt, value, &source, &slot))
            continue;
        for (const rg_input *in = n->type->inputs; in && in->kind != RG_INPUT_END && n_names < 64; in++)
            names[n_names++] = in->name;
        names[n_names] = NULL;
        begin(e, node, key);
        rg_text_format(&e->text, "%s has no such input", n->type->class_type);
        add_nearest(e, key, names, 8);
        end(e);
    }
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

/* Outputs, and what unknown nodes are linked to: those may be outputs, and somebody means them to run. */
static void validate_all(explanation *e)
{
    rg_prompt *p = e->v.prompt;

    for (int i = 0; i < p->n_nodes && !e->v.error; i++) {
        const prompt_node *n = &p->nodes[i];

        if (n->type && n->type->is_output)
            graph_validate_output(&e->v, i);
        if (n->type || !n->inputs)
            continue;
        json_object_object_foreach(n->inputs, key, value) {
            int source, slot;

            (void)key;
            if (graph_link(p, value, &source, &slot) && source >= 0 && p->nodes[source].type)
                graph_validate_output(&e->v, source);
        }
    }
}

char *rg_prompt_explain(rg_env *env, rg_prompt *p, int *n_problems)
{
    explanation e = { 0 };
    bool has_output = false, has_unknown = false;

    if (graph_validation_init(&e.v, env, p, true) == 0) {
        explain_classes(&e);
        validate_all(&e);
    }
    for (int i = 0; i < p->n_nodes && !e.v.error; i++) {
        struct json_object *reasons = e.v.results[i].reasons;

        has_output |= p->nodes[i].type && p->nodes[i].type->is_output;
        has_unknown |= !p->nodes[i].type;
        for (size_t j = 0; reasons && j < json_object_array_length(reasons); j++)
            explain_reason(&e, i, json_object_array_get_idx(reasons, j));
        if (e.v.results[i].state != STATE_NEW)
            explain_unknown_links(&e, i);
    }
    if (!e.v.error && !has_output && !has_unknown) {
        e.n_problems++;
        rg_text_add(&e.text, p->n_nodes ? "no node of the workflow saves or shows anything, so there is nothing to do; add SaveImage\n"
                                        : "the workflow has no nodes\n");
    }
    graph_validation_release(&e.v);
    if (e.v.error) {
        rg_text_release(&e.text);
        return NULL;
    }
    if (n_problems)
        *n_problems = e.n_problems;
    return rg_text_take(&e.text);
}

void rg_problems_print(rg_env *env, rg_prompt *p, struct json_object *answer, FILE *f, const char *file)
{
    char *text = rg_prompt_explain(env, p, NULL);

    if (!text) {
        fprintf(f, "%s: out of memory\n", file);
        return;
    }
    for (char *line = text, *end; *line; line = end + 1) {
        if (!(end = strchr(line, '\n')))
            break;
        fprintf(f, "%s: %.*s\n", file, (int)(end - line), line);
    }
    if (!*text && answer)               /* a complaint of validation's that has no line of its own here */
        fprintf(f, "%s: %s\n", file, json_object_to_json_string(answer));
    rg_free(text);
}
