/*
 * Group nodes, the forerunners of subgraphs: a node "workflow>NAME" (or "workflow/NAME") stands for the nodes that the file keeps under
 * extra.groupNodes.NAME. Each use is rewritten as a subgraph of its own before the workflow is read. Which inner inputs, widgets and
 * outputs a group node shows, under which names and in which order, are the rules of ComfyUI's front end 1.27.10.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/json_text.h"
#include "graph/ui_graph.h"

enum { MOST_INNER = 1000 };

/* A widget that the file also has as an input: its turn comes after all nodes'. */
typedef struct converted {
    struct json_object *node, *inputs, *values;         /* the inner node; what is made of it. Borrowed */
    const rg_input *in;                 /* NULL: of an unknown class; values is then a list, of all its widgets or (not the first) NULL */
    int index, slot;
} converted;

/* One use of a group node while it is rewritten. */
typedef struct group {
    ui_workflow *w;
    struct json_object *def;            /* {"nodes", "links", "external", "config"} */
    struct json_object *use;            /* the node that stands for it */
    struct json_object *nodes, *links, *inputs, *outputs;       /* of the subgraph being made */
    struct json_object *use_inputs;     /* of the rewritten node */
    struct json_object *seen;           /* names of inputs so far: how often, plus one */
    struct json_object *values;         /* the use's widgets_values, and how many of them are taken */
    size_t n_taken;
    int n_links;
    converted *later;
    int n_later, capacity;
} group;

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static const char *get_text(struct json_object *o, const char *key)
{
    struct json_object *v = get(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

static size_t list_length(struct json_object *v)
{
    return json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
}

static struct json_object *item(struct json_object *list, size_t i)
{
    return i < list_length(list) ? json_object_array_get_idx(list, i) : NULL;
}

/* "workflow>x" -> "x", else NULL. */
static const char *group_name(struct json_object *node)
{
    const char *type = get_text(node, "type");

    return type && !strncmp(type, "workflow", 8) && (type[8] == '>' || type[8] == '/') ? type + 9 : NULL;
}

/* ---- links inside ------------------------------------------------------------------------------------------------------- */

/* [from, slot, to, slot, ...]; false: it comes from outside, or is none. */
static bool read_link(const group *g, size_t i, int part[4])
{
    struct json_object *link = item(get(g->def, "links"), i);

    for (size_t k = 0; k < 4; k++) {
        if (!json_object_is_type(item(link, k), json_type_int))
            return false;
        part[k] = json_object_get_int(item(link, k));
    }
    return true;
}

/* The link that ends at this input of an inner node, -1: none. */
static int link_to(const group *g, int node, int slot)
{
    for (size_t i = 0; i < list_length(get(g->def, "links")); i++) {
        int part[4];
        if (read_link(g, i, part) && part[2] == node && part[3] == slot)
            return (int)i;
    }
    return -1;
}

static bool has_link_from(const group *g, int node, int slot)
{
    for (size_t i = 0; i < list_length(get(g->def, "links")); i++) {
        int part[4];
        if (read_link(g, i, part) && part[0] == node && (slot < 0 || part[1] == slot))
            return true;
    }
    return false;
}

/* Was the output also linked to something outside when the group was made? It stays visible then. */
static bool is_external(const group *g, int node, int slot)
{
    for (size_t i = 0; i < list_length(get(g->def, "external")); i++) {
        struct json_object *one = item(get(g->def, "external"), i), *from = item(one, 0);
        if (json_object_is_type(from, json_type_int) && json_object_get_int(from) == node && json_object_get_int(item(one, 1)) == slot)
            return true;
    }
    return false;
}

/* The settings that a person made for an inner node's input or output. */
static struct json_object *config_of(const group *g, int node, const char *kind, const char *name)
{
    char key[16];

    snprintf(key, sizeof key, "%d", node);
    return get(get(get(get(g->def, "config"), key), kind), name);
}

static bool is_shown(struct json_object *config, bool otherwise)
{
    struct json_object *v = get(config, "visible");

    return json_object_is_type(v, json_type_boolean) ? json_object_get_boolean(v) : otherwise;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------------ */

/* The place of an input in the inner node's own list; -1: not there. */
static int own_slot(struct json_object *node, const char *name)
{
    struct json_object *inputs = get(node, "inputs");

    for (size_t i = 0; i < list_length(inputs); i++) {
        const char *one = get_text(item(inputs, i), "name");
        if (one && !strcmp(one, name))
            return (int)i;
    }
    return -1;
}

/* The name under which the group shows an inner input: its own, a person's, or with the node's title before it when that is taken. */
static char *outer_name(group *g, struct json_object *node, int index, const char *name)
{
    const char *chosen = get_text(config_of(g, index, "input", name), "name"), *title = get_text(node, "title"), *type = get_text(node, "type");
    const int slot = own_slot(node, name);
    struct json_object *n;
    char *out;

    if (!chosen && slot >= 0)
        chosen = get_text(item(get(node, "inputs"), (size_t)slot), "label");
    if (!chosen)
        chosen = name;
    if (!title)
        title = type;
    if ((!strcmp(type, "PrimitiveNode") && get(node, "title")) || json_object_object_get_ex(g->seen, chosen, NULL)) {
        char *key = rg_asprintf("%s %s", title, name);
        out = key && json_object_object_get_ex(g->seen, key, &n) ? rg_asprintf("%s %d %s", title, json_object_get_int(n), name)
              : key ? rg_strdup(key) : NULL;
        if (key)
            json_object_object_add(g->seen, key, json_object_new_int((json_object_object_get_ex(g->seen, key, &n) ? json_object_get_int(n) : 1) + 1));
        rg_free(key);
        return out;
    }
    json_object_object_add(g->seen, chosen, json_object_new_int(2));
    return rg_strdup(chosen);
}

/* A widget's: only so that it is taken. */
static void take_name(group *g, struct json_object *node, int index, const char *name)
{
    char *shown = outer_name(g, node, index, name);

    g->w->is_out_of_memory |= !shown;
    rg_free(shown);
}

static struct json_object *new_link(group *g, int from, int from_slot, int to, int to_slot)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "id", json_object_new_int(++g->n_links));
    json_object_object_add(o, "origin_id", json_object_new_int(from));
    json_object_object_add(o, "origin_slot", json_object_new_int(from_slot));
    json_object_object_add(o, "target_id", json_object_new_int(to));
    json_object_object_add(o, "target_slot", json_object_new_int(to_slot));
    json_object_array_add(g->links, o);
    return o;
}

/* One more input of the inner node, with its link: from inside, or from a slot of the group that is made here. */
static void add_input(group *g, struct json_object *node, int index, const char *name, const char *type, bool is_widget, int link,
                      struct json_object *inner_inputs)
{
    struct json_object *o = json_object_new_object(), *outer = NULL, *use_inputs = get(g->use, "inputs");
    const int slot = (int)list_length(inner_inputs);
    int part[4];

    json_object_object_add(o, "name", json_object_new_string(name));
    json_object_object_add(o, "type", json_object_new_string(type));
    if (is_widget) {
        struct json_object *widget = json_object_new_object();
        json_object_object_add(widget, "name", json_object_new_string(name));
        json_object_object_add(o, "widget", widget);
    }
    json_object_array_add(inner_inputs, o);
    if (link >= 0 && read_link(g, (size_t)link, part)) {
        new_link(g, part[0], part[1], index, slot);
    } else {
        char *shown = outer_name(g, node, index, name);
        if (!shown) {
            g->w->is_out_of_memory = true;
            return;
        }
        if (!is_shown(config_of(g, index, "input", name), true)) {
            rg_free(shown);
            return;
        }
        for (size_t i = 0; i < list_length(use_inputs) && !outer; i++) {
            const char *one = get_text(item(use_inputs, i), "name");
            if (one && !strcmp(one, shown))
                outer = item(use_inputs, i);
        }
        new_link(g, -10, (int)list_length(g->inputs), index, slot);
        struct json_object *in = json_object_new_object(), *ids = json_object_new_array(), *use = json_object_new_object();
        json_object_array_add(ids, json_object_new_int(g->n_links));
        json_object_object_add(in, "name", json_object_new_string(shown));
        json_object_object_add(in, "type", json_object_new_string(type));
        json_object_object_add(in, "linkIds", ids);
        json_object_array_add(g->inputs, in);
        json_object_object_add(use, "name", json_object_new_string(shown));
        json_object_object_add(use, "type", json_object_new_string(type));
        json_object_object_add(use, "link", json_object_get(get(outer, "link")));
        json_object_array_add(g->use_inputs, use);
        rg_free(shown);
    }
    json_object_object_add(o, "link", json_object_new_int(g->n_links));
}

/* The next of the group's values; false: there are no more. */
static bool take_value(group *g, struct json_object **v)
{
    if (g->n_taken >= list_length(g->values))
        return false;
    *v = json_object_array_get_idx(g->values, g->n_taken++);
    return true;
}

static int by_slot_text(const void *a, const void *b)
{
    char one[16], other[16];

    snprintf(one, sizeof one, "%d", ((const converted *)a)->slot);
    snprintf(other, sizeof other, "%d", ((const converted *)b)->slot);
    return strcmp(one, other);
}

static void put_off(group *g, converted one)
{
    if (g->n_later == g->capacity) {
        const int larger = g->capacity ? 2 * g->capacity : 64;
        converted *grown = rg_realloc(g->later, (size_t)larger * sizeof *grown);
        if (!grown) {
            g->w->is_out_of_memory = true;
            return;
        }
        g->later = grown;
        g->capacity = larger;
    }
    g->later[g->n_later++] = one;
}

/* As many of the group's values as an unknown class has in the definition; there its own where the group has no more. */
static void take_values(group *g, struct json_object *own, struct json_object *values)
{
    struct json_object *v;

    for (size_t i = 0; i < list_length(own); i++)
        json_object_array_add(values, json_object_get(take_value(g, &v) ? v : json_object_array_get_idx(own, i)));
}

/* Of a class that is known: widgets take their values from the group, sockets and converted widgets become its slots. */
static void read_known(group *g, const rg_node *type, struct json_object *node, int index, struct json_object *inputs, struct json_object *made)
{
    struct json_object *values = json_object_new_object(), *own = get(node, "widgets_values"), *v;
    const int first_later = g->n_later;
    size_t n_own = 0;

    for (int optional = 0; optional < 2; optional++) {
        for (const rg_input *in = type->inputs; in && in->kind != RG_INPUT_END; in++) {
            if (in->is_optional != (bool)optional || !ui_is_widget(in))
                continue;
            const int slot = own_slot(node, in->name), n_more = ui_n_controls(in);
            if (slot >= 0 && get(item(get(node, "inputs"), (size_t)slot), "widget")) {
                put_off(g, (converted){ node, inputs, values, in, index, slot });
                if (item(own, n_own))   /* what it has as long as nobody gives another */
                    json_object_object_add(values, in->name, json_object_get(item(own, n_own)));
            } else if (take_value(g, &v)) {
                json_object_object_add(values, in->name, json_object_get(v));
                g->n_taken += (size_t)n_more;
                take_name(g, node, index, in->name);
            } else if (item(own, n_own)) {
                json_object_object_add(values, in->name, json_object_get(item(own, n_own)));
            }
            n_own += 1 + (size_t)n_more;
        }
    }
    for (int optional = 0; optional < 2; optional++) {
        for (const rg_input *in = type->inputs; in && in->kind != RG_INPUT_END; in++) {
            if (in->is_optional == (bool)optional && !ui_is_widget(in))
                add_input(g, node, index, in->name, rg_input_type_name(in), false, link_to(g, index, own_slot(node, in->name)), inputs);
        }
    }
    /* by their place in the node's list, as JavaScript sorts numbers: as texts */
    if (g->n_later > first_later)
        qsort(g->later + first_later, (size_t)(g->n_later - first_later), sizeof *g->later, by_slot_text);
    json_object_object_add(made, "widgets_values", values);
}

/* Converted widgets: linked inside, or a slot and a value of the group. */
static void read_converted(group *g)
{
    for (int i = 0; i < g->n_later; i++) {
        const converted *c = &g->later[i];
        const int link = link_to(g, c->index, c->slot);
        struct json_object *v, *own = item(get(c->node, "inputs"), (size_t)c->slot);

        if (!c->in) {
            if (c->values)
                take_values(g, get(c->node, "widgets_values"), c->values);
            const char *name = get_text(own, "name"), *type = get_text(own, "type");
            add_input(g, c->node, c->index, name ? name : "", type ? type : "*", true, link, c->inputs);
            continue;
        }
        if (link < 0 && take_value(g, &v)) {
            json_object_object_add(c->values, c->in->name, json_object_get(v));
            g->n_taken += (size_t)ui_n_controls(c->in);
        }
        add_input(g, c->node, c->index, c->in->name, rg_input_type_name(c->in), true, link, c->inputs);
    }
}

/* Of an unknown class, or one of the page's own: what the file says it has. */
static void read_unknown(group *g, struct json_object *node, int index, struct json_object *inputs, struct json_object *made)
{
    struct json_object *list = get(node, "inputs"), *values = json_object_new_array();
    bool is_later = false;
    const char *type = get_text(node, "type");
    const bool is_reroute = !strcmp(type, "Reroute"), is_inside = is_reroute && link_to(g, index, 0) >= 0 && has_link_from(g, index, -1) &&
                                                                 !is_external(g, index, 0);

    json_object_object_add(made, "widgets_values", values);
    for (size_t i = 0; i < list_length(list); i++) {    /* newer files have an input for each widget */
        if (get(item(list, i), "widget")) {
            put_off(g, (converted){ node, inputs, is_later ? NULL : values, NULL, index, (int)i });
            is_later = true;
        }
    }
    if (!is_later)
        take_values(g, get(node, "widgets_values"), values);
    if (!strcmp(type, "PrimitiveNode"))
        take_name(g, node, index, "value");
    for (size_t i = 0; i < list_length(list) && !(is_inside && i); i++) {
        const char *name = get_text(item(list, i), "name"), *slot_type = get_text(item(list, i), "type");
        if (get(item(list, i), "widget"))
            continue;
        if (is_reroute) {               /* its input goes by its type: that of where it leads, or of what comes */
            slot_type = get_text(item(get(node, "outputs"), 0), "type");
            for (size_t k = 0; k < list_length(get(g->def, "links")); k++) {
                struct json_object *link = item(get(g->def, "links"), k);
                struct json_object *to = item(get(item(get(g->def, "nodes"), (size_t)json_object_get_int(item(link, 2))), "inputs"),
                                              (size_t)json_object_get_int(item(link, 3)));
                if (item(link, 0) && json_object_get_int(item(link, 0)) == index && get_text(to, "type")) {
                    slot_type = get_text(to, "type");
                    break;
                }
            }
            name = slot_type;
        }
        add_input(g, node, index, name ? name : "", slot_type ? slot_type : "*", false, link_to(g, index, (int)i), inputs);
    }
}

/* ---- outputs, and the whole ------------------------------------------------------------------------------------------------- */

static int n_outputs(const rg_node *type, struct json_object *node)
{
    int n = 0;

    while (type && n < RG_MAX_OUTPUTS && type->outputs[n].type)
        n++;
    return type ? n : (int)list_length(get(node, "outputs"));
}

static void add_outputs(group *g, const rg_node *type, struct json_object *node, int index)
{
    const bool is_reroute = !strcmp(get_text(node, "type"), "Reroute");

    if (is_reroute && link_to(g, index, 0) >= 0 && has_link_from(g, index, -1) && !is_external(g, index, 0))
        return;
    for (int i = 0; i < n_outputs(type, node); i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        if (!is_shown(config_of(g, index, "output", key), !has_link_from(g, index, i) || is_external(g, index, i)))
            continue;
        struct json_object *out = json_object_new_object(), *ids = json_object_new_array();
        new_link(g, index, i, -20, (int)list_length(g->outputs));
        json_object_array_add(ids, json_object_new_int(g->n_links));
        json_object_object_add(out, "name", json_object_new_string(key));
        json_object_object_add(out, "type", json_object_get(get(item(get(node, "outputs"), (size_t)i), "type")));
        json_object_object_add(out, "linkIds", ids);
        json_object_array_add(g->outputs, out);
    }
}

static int add_node(group *g, int index)
{
    struct json_object *node = item(get(g->def, "nodes"), (size_t)index), *made, *inputs;
    const char *type_name = get_text(node, "type");
    const rg_node *type;
    const int mode = json_object_get_int(get(g->use, "mode"));

    if (!type_name)
        return rg_fail(g->w->ctx, RG_ERR_INVALID, "a group node's part %d is no node", index);
    if (group_name(node))
        return rg_fail(g->w->ctx, RG_ERR_INVALID, "group nodes inside group nodes (%s) are not taken apart: convert them to subgraphs in the editor",
                       type_name);
    type = rg_node_find(type_name);
    made = json_object_new_object();
    inputs = json_object_new_array();
    json_object_object_foreach(node, key, value) {
        if (strcmp(key, "inputs") && strcmp(key, "widgets_values") && strcmp(key, "id"))
            json_object_object_add(made, key, json_object_get(value));
    }
    json_object_object_add(made, "id", json_object_new_int(index));
    if (mode == UI_MUTED || mode == UI_BYPASSED)        /* of the whole */
        json_object_object_add(made, "mode", json_object_new_int(mode));
    json_object_object_add(made, "inputs", inputs);
    json_object_array_add(g->nodes, made);
    if (type)
        read_known(g, type, node, index, inputs, made);
    else
        read_unknown(g, node, index, inputs, made);
    add_outputs(g, type, node, index);
    return 0;
}

/* One use: its subgraph goes into the list, the node that stands for it is replaced. */
static int expand(ui_workflow *w, struct json_object *def, struct json_object *use, int number, struct json_object *subgraphs,
                  struct json_object **replaced)
{
    group g = { .w = w, .def = def, .use = use, .nodes = json_object_new_array(), .links = json_object_new_array(),
                .inputs = json_object_new_array(), .outputs = json_object_new_array(), .use_inputs = json_object_new_array(),
                .seen = json_object_new_object(), .values = get(use, "widgets_values") };
    struct json_object *subgraph = json_object_new_object(), *node = json_object_new_object();
    const size_t n = list_length(get(def, "nodes"));
    char *id = rg_asprintf("workflow>%s %d", group_name(use), number);
    int ret = id ? 0 : rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");

    if (n > MOST_INNER)
        ret = rg_fail(w->ctx, RG_ERR_INVALID, "a group node of %zu nodes, at most %d are read", n, MOST_INNER);
    for (size_t i = 0; i < n && !ret; i++)
        ret = add_node(&g, (int)i);
    if (!ret)
        read_converted(&g);
    rg_free(g.later);
    json_object_object_add(subgraph, "id", json_object_new_string(id ? id : ""));
    json_object_object_add(subgraph, "name", json_object_new_string(group_name(use)));
    json_object_object_add(subgraph, "nodes", g.nodes);
    json_object_object_add(subgraph, "links", g.links);
    json_object_object_add(subgraph, "inputs", g.inputs);
    json_object_object_add(subgraph, "outputs", g.outputs);
    json_object_array_add(subgraphs, subgraph);
    json_object_object_foreach(use, key, value) {
        if (strcmp(key, "inputs") && strcmp(key, "widgets_values") && strcmp(key, "type"))
            json_object_object_add(node, key, json_object_get(value));
    }
    json_object_object_add(node, "type", json_object_new_string(id ? id : ""));
    json_object_object_add(node, "inputs", g.use_inputs);
    json_object_put(g.seen);
    rg_free(id);
    *replaced = node;
    return ret;
}

int ui_expand_groups(ui_workflow *w, struct json_object *json, struct json_object **expanded)
{
    struct json_object *groups = get(get(json, "extra"), "groupNodes"), *nodes = get(json, "nodes"), *made, *made_nodes, *subgraphs, *definitions;
    struct json_object *old = get(get(json, "definitions"), "subgraphs");
    int n_uses = 0, ret = 0;

    *expanded = NULL;
    for (size_t i = 0; i < list_length(nodes); i++) {
        const char *name = group_name(item(nodes, i));
        n_uses += name && json_object_is_type(get(groups, name), json_type_object);
    }
    if (!n_uses)
        return 0;
    made = json_object_new_object();
    made_nodes = json_object_new_array();
    definitions = json_object_new_object();
    subgraphs = json_object_new_array();
    json_object_object_foreach(json, key, value) {
        if (strcmp(key, "nodes") && strcmp(key, "definitions"))
            json_object_object_add(made, key, json_object_get(value));
    }
    json_object_object_add(made, "nodes", made_nodes);
    json_object_object_add(made, "definitions", definitions);
    json_object_object_add(definitions, "subgraphs", subgraphs);
    for (size_t i = 0; i < list_length(old); i++)
        json_object_array_add(subgraphs, json_object_get(item(old, i)));
    for (size_t i = 0; i < list_length(nodes) && !ret; i++) {
        struct json_object *node = item(nodes, i), *def = group_name(node) ? get(groups, group_name(node)) : NULL, *replaced = json_object_get(node);
        if (json_object_is_type(def, json_type_object)) {
            json_object_put(replaced);
            ret = expand(w, def, node, (int)i, subgraphs, &replaced);
        }
        json_object_array_add(made_nodes, replaced);
    }
    *expanded = made;
    return ret;
}
