/*
 * Links of an editor's workflow followed to what really gives the value: through reroutes, bypassed nodes, named links and the
 * borders of subgraphs. Source of the rules: ComfyUI's front end 1.27.10 (what its graphToPrompt sends); Get and Set nodes:
 * ComfyUI-KJNodes. No recursion: a circle costs steps, and steps are counted.
 */
#include <string.h>
#include <strings.h>

#include "graph/ui_graph.h"

enum { MOST_STEPS = 20000 };

static bool is_any(const char *type)
{
    return !type || !*type || !strcmp(type, "*") || !strcmp(type, "0");
}

/* The next part of a list with commas; false at its end. */
static bool next_type(const char **rest, const char **part, size_t *n)
{
    if (!*rest)
        return false;
    *part = *rest;
    *n = strcspn(*rest, ",");
    *rest = (*rest)[*n] ? *rest + *n + 1 : NULL;
    return true;
}

/* Can these be connected: equal but for case, or a part of one equal to a part of the other, or any of them anything. */
static bool fits(const char *a, const char *b)
{
    const char *rest_a = a, *part_a, *part_b;
    size_t n_a, n_b;

    if (is_any(a) || is_any(b))
        return true;
    while (next_type(&rest_a, &part_a, &n_a)) {
        const char *rest_b = b;

        while (next_type(&rest_b, &part_b, &n_b)) {
            if (!n_a || !n_b || (n_a == 1 && *part_a == '*') || (n_b == 1 && *part_b == '*'))
                return true;
            if (n_a == n_b && !strncasecmp(part_a, part_b, n_a))
                return true;
        }
    }
    return false;
}

/* The type of an output: the class's own, else the file's. */
static const char *output_type(const ui_node *node, int slot)
{
    struct json_object *outputs, *output, *type;

    if (node->type) {
        for (int i = 0; i < RG_MAX_OUTPUTS && node->type->outputs[i].type; i++) {
            if (i == slot)
                return rg_output_type_name(&node->type->outputs[i]);
        }
    }
    if (json_object_object_get_ex(node->json, "outputs", &outputs) && json_object_is_type(outputs, json_type_array)) {
        output = json_object_array_get_idx(outputs, (size_t)slot);
        if (json_object_is_type(output, json_type_object) && json_object_object_get_ex(output, "type", &type)
            && json_object_is_type(type, json_type_string))
            return json_object_get_string(type);
    }
    return "*";
}

/* The input that a bypassed node passes on at this output to a target of this type; -1: none. */
static int bypass_input(const ui_node *node, int slot, const char *type)
{
    const char *own;

    if (is_any(type))
        return node->n_inputs > slot ? slot : node->n_inputs ? 0 : -1;
    own = output_type(node, slot);
    if (slot < node->n_inputs && fits(node->inputs[slot].type, own) && fits(node->inputs[slot].type, type))
        return slot;
    for (int i = 0; i < node->n_inputs; i++) {
        if (!strcmp(node->inputs[i].type, type))
            return i;
    }
    for (int i = 0; i < node->n_inputs; i++) {
        if (fits(node->inputs[i].type, own) && fits(node->inputs[i].type, type))
            return i;
    }
    return -1;
}

/* The name that a Get or Set node goes by: its only widget. */
static const char *virtual_name(const ui_node *node)
{
    struct json_object *values, *name = NULL;

    if (!json_object_object_get_ex(node->json, "widgets_values", &values))
        return NULL;
    if (json_object_is_type(values, json_type_array))
        name = json_object_array_get_idx(values, 0);
    else if (json_object_is_type(values, json_type_object))
        json_object_object_get_ex(values, "Constant", &name);
    return json_object_is_type(name, json_type_string) && *json_object_get_string(name) ? json_object_get_string(name) : NULL;
}

/* The Set node of that name, in the frame or the nearest around it; *f becomes where it is. */
static const ui_node *find_setter(const ui_frame **f, const char *name)
{
    for (const ui_frame *at = *f; name && at; at = at->parent) {
        for (int i = 0; i < at->graph->n_nodes; i++) {
            const ui_node *n = &at->graph->nodes[i];
            const char *other = n->kind == UI_SET ? virtual_name(n) : NULL;

            if (other && !strcmp(other, name)) {
                *f = at;
                return n;
            }
        }
    }
    return NULL;
}

/*
 * One hop back from the output `*slot` of *node. Returns the input of *node (which may have changed) to go on from; -1: nothing
 * gives a value there; -2: *node is what gives it. *type is what the target wants, NULL where the next input says it itself.
 */
static int hop(const ui_frame **f, const ui_node **node, int *slot, const char **type)
{
    if ((*node)->mode == UI_BYPASSED) {
        const int input = bypass_input(*node, *slot, *type);

        *type = NULL;
        return input;
    }
    switch ((*node)->kind) {
    case UI_NODE:
        return -2;
    case UI_REROUTE:
    case UI_SET:
        return *slot < (*node)->n_inputs ? *slot : -1;
    case UI_GET:
        *node = find_setter(f, virtual_name(*node));
        return *node && (*node)->n_inputs ? 0 : -1;
    default:
        return -1;                      /* a primitive gives its value as a widget's, a note nothing */
    }
}

int ui_resolve(const ui_workflow *w, const ui_frame *f, const ui_node *node, int input, ui_source *out)
{
    const char *name = node->inputs[input].name, *path = f->path, *id = node->id, *type = NULL;
    bool is_from_inside = false;        /* of the subgraph whose input is looked at */

    *out = (ui_source){ .kind = UI_NOTHING };
    for (int steps = 0; steps < MOST_STEPS; steps++) {
        const ui_input *in = &node->inputs[input];
        const ui_link *link = in->link;
        int slot;

        if (!link) {
            if (is_from_inside && ui_promoted_value(node, input, &out->value))
                out->kind = UI_VALUE;
            return 0;
        }
        if (f->parent && link->is_from_inputs) {
            if (link->origin_slot < 0 || link->origin_slot >= f->node->n_inputs)
                return 0;
            node = f->node;
            f = f->parent;
            input = link->origin_slot;
            type = NULL;
            is_from_inside = true;
            continue;
        }
        is_from_inside = false;
        slot = link->origin_slot;
        if (!(node = link->from) || slot < 0)
            return 0;
        if (!type)
            type = in->type;
        /* down into subgraphs, as long as what gives the value there is one again */
        while (node->kind == UI_SUBGRAPH && node->mode != UI_BYPASSED) {
            const ui_frame *inner = f->children[node - f->graph->nodes];

            if (++steps >= MOST_STEPS || !inner || !(link = ui_output_link(node->subgraph, slot)) || link->origin_slot < 0)
                return 0;
            slot = link->origin_slot;
            if (link->is_from_inputs)
                break;                  /* straight through */
            if (!(node = link->from))
                return 0;
            f = inner;
        }
        if (node->kind == UI_SUBGRAPH && node->mode != UI_BYPASSED) {
            if (slot >= node->n_inputs)
                return 0;
            input = slot;
            type = NULL;
            is_from_inside = true;
            continue;
        }
        input = hop(&f, &node, &slot, &type);
        if (input == -2)
            *out = (ui_source){ .kind = UI_OUTPUT, .frame = f, .node = node, .slot = slot };
        if (input < 0)
            return 0;
    }
    return rg_fail(w->ctx, RG_ERR_INVALID, "the links to input %s of node %s%s run in a circle", name, path, id);
}
