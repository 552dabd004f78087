/* Parsing a workflow into numbered nodes. What its values mean is validate.c's business. */
#include "graph/prompt.h"

#include <math.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/json_text.h"
#include "graph/ui_workflow.h"

enum { MAX_DEPTH = 64 };

/* FNV-1a; ids are short and few, and the table is never handed out. */
static unsigned hash_id(const char *id)
{
    unsigned h = 2166136261u;

    for (; *id; id++)
        h = (h ^ (unsigned char)*id) * 16777619u;
    return h;
}

int graph_find(const rg_prompt *p, const char *id)
{
    for (unsigned i = hash_id(id) & p->index_mask; p->index[i] >= 0; i = (i + 1) & p->index_mask)
        if (!strcmp(p->nodes[p->index[i]].id, id))
            return p->index[i];
    return -1;
}

bool graph_link(const rg_prompt *p, struct json_object *v, int *source, int *slot)
{
    struct json_object *id, *number;

    if (!json_object_is_type(v, json_type_array) || json_object_array_length(v) != 2)
        return false;
    id = json_object_array_get_idx(v, 0);
    number = json_object_array_get_idx(v, 1);
    if (!json_object_is_type(id, json_type_string) || (!json_object_is_type(number, json_type_int) && !json_object_is_type(number, json_type_double)))
        return false;
    *source = graph_find(p, json_object_get_string(id));
    *slot = json_object_get_int(number);
    return true;
}

int graph_n_outputs(const rg_node *type)
{
    int n = 0;

    while (n < RG_MAX_OUTPUTS && type->outputs[n].type)
        n++;
    return n;
}

int graph_n_inputs(const rg_node *type)
{
    int n = 0;

    while (type->inputs && type->inputs[n].kind != RG_INPUT_END)
        n++;
    return n;
}

const rg_input *graph_input(const rg_node *type, const char *name)
{
    for (const rg_input *in = type->inputs; in && in->kind != RG_INPUT_END; in++)
        if (!strcmp(in->name, name))
            return in;
    return NULL;
}

int graph_real(const rg_prompt *p, int node)
{
    while (p->nodes[node].is_ephemeral)
        node = p->nodes[node].parent;
    return node;
}

static void index_nodes(rg_prompt *p)
{
    memset(p->index, 0xff, ((size_t)p->index_mask + 1) * sizeof(*p->index));
    for (int i = 0; i < p->n_nodes; i++) {
        unsigned at = hash_id(p->nodes[i].id) & p->index_mask;

        while (p->index[at] >= 0)
            at = (at + 1) & p->index_mask;
        p->index[at] = i;
    }
}

int graph_add_node(rg_prompt *p, const char *id, struct json_object *json, int parent)
{
    struct json_object *class_type = json_object_object_get(json, "class_type"), *display;
    const rg_node *type = rg_node_find(json_object_get_string(class_type));
    char *own = rg_strdup(id);
    prompt_node *n;
    int shown = -1;

    if (!own || !type) {
        rg_free(own);
        return own ? RG_ERR_NOT_FOUND : RG_ERR_NOMEM;
    }
    if (p->n_nodes >= p->capacity) {
        const int capacity = 2 * p->n_nodes + 16;
        prompt_node *nodes = rg_realloc(p->nodes, (size_t)capacity * sizeof(*nodes));

        if (!nodes) {
            rg_free(own);
            return RG_ERR_NOMEM;
        }
        p->nodes = nodes;
        p->capacity = capacity;
    }
    if (2u * ((unsigned)p->n_nodes + 1) > p->index_mask + 1) {
        const unsigned size = 2 * (p->index_mask + 1);
        int *index = rg_realloc(p->index, size * sizeof(*index));

        if (!index) {
            rg_free(own);
            return RG_ERR_NOMEM;
        }
        p->index = index;
        p->index_mask = size - 1;
        index_nodes(p);
    }
    if (json_object_object_get_ex(json, "override_display_id", &display))
        shown = graph_find(p, json_object_get_string(display));
    if (shown < 0)
        shown = parent;
    if (p->nodes[shown].is_ephemeral)
        shown = p->nodes[shown].display;
    n = &p->nodes[p->n_nodes];
    *n = (prompt_node){ .id = own, .json = json_object_get(json), .inputs = json_object_object_get(json, "inputs"), .type = type,
                        .is_ephemeral = true, .parent = parent, .display = shown };
    unsigned at = hash_id(own) & p->index_mask;
    while (p->index[at] >= 0)
        at = (at + 1) & p->index_mask;
    p->index[at] = p->n_nodes;
    return p->n_nodes++;
}

void graph_remove_added(rg_prompt *p)
{
    const int before = p->n_nodes;

    while (p->n_nodes > 0 && p->nodes[p->n_nodes - 1].is_ephemeral) {
        prompt_node *n = &p->nodes[--p->n_nodes];

        rg_free((char *)n->id);
        json_object_put(n->json);
    }
    if (p->n_nodes < before)
        index_nodes(p);
}

/* What people feed in by mistake gets its own words. */
static int refuse_other_forms(rg_ctx *c, struct json_object *json)
{
    struct json_object *other;

    if (!json_object_is_type(json, json_type_object))
        return rg_fail(c, RG_ERR_FORMAT, "a workflow is a JSON object of nodes, this is %s %s",
                       json_object_is_type(json, json_type_array) ? "a" : "one", json_object_is_type(json, json_type_array) ? "list" : "value");
    if (json_object_object_get_ex(json, "prompt", &other) && json_object_is_type(other, json_type_object)
        && !json_object_object_get_ex(other, "class_type", NULL) && json_object_object_length(json) <= 4)
        return rg_fail(c, RG_ERR_FORMAT, "this is the body of a request (\"prompt\" and more); the workflow is the value of its \"prompt\"");
    return 0;
}

/* Number the nodes of p->json and index their ids. */
static int number_nodes(rg_ctx *c, rg_prompt *p)
{
    const int n = json_object_object_length(p->json);
    unsigned size = 4;
    int i = 0;

    while (size < 2 * (unsigned)n)
        size *= 2;
    p->nodes = rg_calloc((size_t)n + 1, sizeof(*p->nodes));
    p->index = rg_malloc(size * sizeof(*p->index));
    if (!p->nodes || !p->index)
        return rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow of %d nodes", n);
    p->index_mask = size - 1;
    memset(p->index, 0xff, size * sizeof(*p->index));

    json_object_object_foreach(p->json, id, value) {
        prompt_node *node = &p->nodes[i];
        struct json_object *class_type;
        unsigned at = hash_id(id) & p->index_mask;

        node->id = id;
        node->json = value;
        if (json_object_is_type(value, json_type_object)) {
            if (json_object_object_get_ex(value, "inputs", &node->inputs) && !json_object_is_type(node->inputs, json_type_object))
                node->inputs = NULL;
            if (json_object_object_get_ex(value, "class_type", &class_type) && json_object_is_type(class_type, json_type_string))
                node->type = rg_node_find(json_object_get_string(class_type));
        }
        while (p->index[at] >= 0)
            at = (at + 1) & p->index_mask;
        p->index[at] = i++;
    }
    p->n_nodes = n;
    return 0;
}

int rg_json_parse(rg_ctx *c, const char *text, size_t n_bytes, struct json_object **out)
{
    char error[256];
    const int ret = rg_json_read(text, n_bytes, MAX_DEPTH, out, error, sizeof(error));

    return ret < 0 ? rg_fail(c, ret, "not JSON: %s", error) : 0;
}

int rg_prompt_take_json(rg_ctx *c, struct json_object *json, rg_prompt **out)
{
    struct json_object *workflow = NULL;
    rg_prompt *p = NULL;
    int ret;

    if (rg_ui_is(json)) {
        workflow = json;
        json = NULL;
        ret = rg_ui_to_api(c, workflow, &json);
    } else {
        ret = refuse_other_forms(c, json);
    }
    if (!ret && !(p = rg_calloc(1, sizeof(*p))))
        ret = rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
    if (ret < 0) {
        json_object_put(json);
        json_object_put(workflow);
        return ret;
    }
    p->json = json;
    p->workflow = workflow;
    ret = number_nodes(c, p);
    if (ret < 0) {
        rg_prompt_free(p);
        return ret;
    }
    *out = p;
    return 0;
}

int rg_prompt_parse(rg_ctx *c, const char *text, size_t n_bytes, rg_prompt **out)
{
    struct json_object *json = NULL;
    const int ret = rg_json_parse(c, text, n_bytes, &json);

    return ret < 0 ? ret : rg_prompt_take_json(c, json, out);
}

int rg_prompt_from_json(rg_ctx *c, struct json_object *json, rg_prompt **out)
{
    struct json_object *copy = NULL;

    if (json && json_object_deep_copy(json, &copy, NULL) < 0)
        return rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
    return rg_prompt_take_json(c, copy, out);
}

void rg_prompt_free(rg_prompt *p)
{
    if (!p)
        return;
    json_object_put(p->json);
    json_object_put(p->workflow);
    rg_free(p->nodes);
    rg_free(p->index);
    rg_free(p);
}

int rg_prompt_set(rg_ctx *c, rg_prompt *p, const char *node_id, const char *input, const char *value)
{
    const int i = graph_find(p, node_id);
    struct json_object *v = NULL;
    char error[128];
    const rg_input *in;

    if (i < 0)
        return rg_fail(c, RG_ERR_NOT_FOUND, "the workflow has no node %s to set %s of", node_id, input);
    if (!p->nodes[i].inputs)
        return rg_fail(c, RG_ERR_INVALID, "node %s has no inputs to set %s of", node_id, input);
    in = p->nodes[i].type ? graph_input(p->nodes[i].type, input) : NULL;
    if (p->nodes[i].type && !in)
        return rg_fail(c, RG_ERR_NOT_FOUND, "%s (node %s) has no input %s", p->nodes[i].type->class_type, node_id, input);
    /* a text that happens to look like a number stays a text where a text is wanted */
    if ((in && (in->kind == RG_INPUT_STRING || in->kind == RG_INPUT_FILE || in->kind == RG_INPUT_COMBO) && *value != '"' && *value != '[')
        || rg_json_read(value, strlen(value), MAX_DEPTH, &v, error, sizeof(error)) < 0)
        v = json_object_new_string(value);
    if (json_object_object_add(p->nodes[i].inputs, input, v) < 0) {
        json_object_put(v);
        return rg_fail(c, RG_ERR_NOMEM, "no memory to set %s", input);
    }
    return 0;
}

struct json_object *rg_prompt_json(const rg_prompt *p)
{
    return p->json;
}

struct json_object *rg_prompt_workflow(const rg_prompt *p)
{
    return p->workflow;
}

void rg_prompt_set_workflow(rg_prompt *p, struct json_object *workflow)
{
    json_object_put(p->workflow);
    p->workflow = json_object_get(workflow);
}

int rg_prompt_n_nodes(const rg_prompt *p)
{
    return p->n_nodes;
}

const char *rg_prompt_node(const rg_prompt *p, int i, const rg_node **type)
{
    if (type)
        *type = p->nodes[i].type;
    return p->nodes[i].id;
}
