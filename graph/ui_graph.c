/*
 * An editor's workflow, read: nodes with their inputs as the editor would show them, links, subgraphs and where they are used; and
 * the prompt written from it. Source: ComfyUI's front end 1.27.10 (its workflow schema 0.4 and 1; what graphToPrompt sends).
 */
#include "graph/ui_graph.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graph/json_text.h"

enum { MOST_NODES = 100000, MOST_DEPTH = 32, MOST_WARNINGS = 1000 };

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

static int get_int(struct json_object *o, const char *key)
{
    struct json_object *v = get(o, key);

    return json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double) ? json_object_get_int(v) : 0;
}

static size_t list_length(struct json_object *v)
{
    return json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
}

bool rg_ui_is(struct json_object *json)
{
    return json_object_is_type(get(json, "nodes"), json_type_array)
           && (json_object_is_type(get(json, "links"), json_type_array) || get(json, "last_node_id") || get(json, "state"));
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

static const char *keep_text(ui_workflow *w, const char *text, size_t n)
{
    struct json_object *s = json_object_new_string_len(text, (int)n);

    if (!s || json_object_array_add(w->texts, s) < 0) {
        json_object_put(s);
        w->is_out_of_memory = true;
        return NULL;
    }
    return json_object_get_string(s);
}

const char *ui_key(ui_workflow *w, struct json_object *v)
{
    char text[32];

    if (json_object_is_type(v, json_type_string))
        return json_object_get_string(v);
    if (json_object_is_type(v, json_type_int))
        snprintf(text, sizeof text, "%lld", (long long)json_object_get_int64(v));
    else if (json_object_is_type(v, json_type_double) && fabs(json_object_get_double(v)) < 1e15)
        snprintf(text, sizeof text, "%.15g", json_object_get_double(v));
    else
        return NULL;
    return keep_text(w, text, strlen(text));
}

/* The type of a slot: a name, a list of a combo's entries, or 0 for anything. */
static const char *slot_type(ui_workflow *w, struct json_object *v)
{
    rg_text t = { 0 };
    const char *type;

    if (json_object_is_type(v, json_type_string))
        return json_object_get_string(v);
    if (!json_object_is_type(v, json_type_array))
        return "*";
    for (size_t i = 0; i < json_object_array_length(v); i++) {
        if (i)
            rg_text_add(&t, ",");
        rg_python_str(&t, json_object_array_get_idx(v, i));
    }
    rg_text_add(&t, "");
    type = t.data ? keep_text(w, t.data, t.n_bytes) : NULL;
    w->is_out_of_memory |= t.is_failed;
    rg_text_release(&t);
    return type ? type : "*";
}

static int find_index(struct json_object *index, const char *key)
{
    struct json_object *v;

    return key && json_object_object_get_ex(index, key, &v) ? json_object_get_int(v) : -1;
}

const ui_node *ui_find_node(const ui_graph *g, const char *id)
{
    const int i = find_index(g->node_index, id);

    return i < 0 ? NULL : &g->nodes[i];
}

const ui_link *ui_find_link(const ui_graph *g, const char *key)
{
    const int i = find_index(g->link_index, key);

    return i < 0 ? NULL : &g->links[i];
}

int ui_n_slots(struct json_object *slots)
{
    return (int)list_length(slots);
}

const ui_link *ui_output_link(const ui_graph *g, int slot)
{
    struct json_object *output = slot < ui_n_slots(g->outputs) ? json_object_array_get_idx(g->outputs, (size_t)slot) : NULL;
    struct json_object *ids = get(output, "linkIds");
    char key[32];

    for (size_t i = 0; i < list_length(ids); i++) {
        struct json_object *id = json_object_array_get_idx(ids, i);
        const ui_link *link;

        snprintf(key, sizeof key, "%lld", (long long)json_object_get_int64(id));
        if ((link = ui_find_link(g, json_object_is_type(id, json_type_string) ? json_object_get_string(id) : key)))
            return link;
    }
    for (int i = 0; i < g->n_links; i++) {
        if (g->links[i].target_slot == slot && !strcmp(g->links[i].target, UI_OUTPUT_NODE))
            return &g->links[i];
    }
    return NULL;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------- */

static ui_kind kind_of(const char *class_type)
{
    static const struct { const char *name; ui_kind kind; } kinds[] = {
        { "Note", UI_NOTE }, { "MarkdownNote", UI_NOTE }, { "Label (rgthree)", UI_NOTE }, { "Bookmark (rgthree)", UI_NOTE },
        { "Fast Groups Muter (rgthree)", UI_NOTE }, { "Fast Groups Bypasser (rgthree)", UI_NOTE },
        { "Fast Muter (rgthree)", UI_NOTE }, { "Fast Bypasser (rgthree)", UI_NOTE }, { "Fast Actions Button (rgthree)", UI_NOTE },
        { "Mute / Bypass Relay (rgthree)", UI_NOTE }, { "Mute / Bypass Repeater (rgthree)", UI_NOTE },
        { "Anything Everywhere", UI_NOTE }, { "Anything Everywhere?", UI_NOTE }, { "Anything Everywhere3", UI_NOTE }, { "Prompts Everywhere", UI_NOTE },
        { "Random Unmuter (rgthree)", UI_NOTE }, { "Node Collector (rgthree)", UI_NOTE },
        { "Reroute", UI_REROUTE }, { "Reroute (rgthree)", UI_REROUTE }, { "PrimitiveNode", UI_PRIMITIVE },
        { "SetNode", UI_SET }, { "GetNode", UI_GET }, { "easy setNode", UI_SET }, { "easy getNode", UI_GET },
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(class_type, kinds[i].name))
            return kinds[i].kind;
    }
    return UI_NODE;
}

/* Classes that were misspelled or merged, as the editor renames them when it loads a file. */
static const char *renamed(const char *class_type)
{
    if (!strcmp(class_type, "T2IAdapterLoader"))
        return "ControlNetLoader";
    if (!strcmp(class_type, "ConditioningAverage "))
        return "ConditioningAverage";
    if (!strcmp(class_type, "SDV_img2vid_Conditioning"))
        return "SVD_img2vid_Conditioning";
    return class_type;
}

/* An input of the file: its link, and the widget it belongs to. */
static void read_input(ui_workflow *w, const ui_graph *g, struct json_object *json, ui_input *in)
{
    struct json_object *widget = get(json, "widget");

    in->name = get_text(json, "name");
    in->type = slot_type(w, get(json, "type"));
    in->link = ui_find_link(g, ui_key(w, get(json, "link")));
    in->widget = widget ? get_text(widget, "name") : NULL;
    if (!in->name)
        in->name = "";
    if (widget && !in->widget)
        in->widget = in->name;
}

static ui_input *find_input(ui_node *node, int n_declared, const char *name)
{
    for (int i = 0; i < n_declared; i++) {
        if (!strcmp(node->inputs[i].name, name))
            return &node->inputs[i];
    }
    return NULL;
}

/* The inputs that the node's class declares, in the editor's order: all sockets, then all widgets; required before optional. */
static void declare_inputs(ui_node *node)
{
    for (int pass = 0; node->type && pass < 4; pass++) {
        for (const rg_input *in = node->type->inputs; in && in->kind != RG_INPUT_END; in++) {
            if (ui_is_widget(in) != (pass >= 2) || in->is_optional != (pass % 2 == 1))
                continue;
            node->inputs[node->n_inputs++] = (ui_input){ in->name, rg_input_type_name(in), NULL, pass >= 2 ? in->name : NULL };
        }
    }
    for (int i = 0; node->subgraph && i < ui_n_slots(node->subgraph->inputs); i++) {
        struct json_object *slot = json_object_array_get_idx(node->subgraph->inputs, (size_t)i);
        const char *name = get_text(slot, "name"), *type = get_text(slot, "type");

        node->inputs[node->n_inputs++] = (ui_input){ name ? name : "", type ? type : "*", NULL, NULL };
    }
}

static int read_inputs(ui_workflow *w, const ui_graph *g, ui_node *node)
{
    struct json_object *list = get(node->json, "inputs");
    size_t room = list_length(list) + 1;
    const bool is_declared = node->type || node->subgraph;
    int n_declared;

    for (const rg_input *in = node->type ? node->type->inputs : NULL; in && in->kind != RG_INPUT_END; in++)
        room++;
    if (node->subgraph)
        room += (size_t)ui_n_slots(node->subgraph->inputs);
    if (!(node->inputs = rg_calloc(room, sizeof *node->inputs)))
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    declare_inputs(node);
    n_declared = node->n_inputs;
    for (size_t i = 0; i < list_length(list); i++) {
        ui_input in, *own;

        read_input(w, g, json_object_array_get_idx(list, i), &in);
        own = find_input(node, n_declared, in.name);
        if (own)
            own->link = own->link ? own->link : in.link;
        else if (!is_declared || !in.widget)            /* a widget that the class does not have is dropped, a socket kept */
            node->inputs[node->n_inputs++] = in;
    }
    return 0;
}

static const ui_graph *find_subgraph(const ui_workflow *w, const char *id)
{
    const int i = find_index(w->graph_index, id);

    return i < 0 ? NULL : &w->graphs[i];
}

static int read_node(ui_workflow *w, const ui_graph *g, struct json_object *json, ui_node *node)
{
    const char *class_type = get_text(json, "type"), *title = get_text(json, "title");
    int ret;

    node->json = json;
    node->class_type = renamed(class_type ? class_type : "");
    node->mode = get_int(json, "mode");
    if (!(node->values = json_object_new_object()))
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    if ((node->subgraph = find_subgraph(w, node->class_type))) {
        node->kind = UI_SUBGRAPH;
    } else if ((node->kind = kind_of(node->class_type)) == UI_NODE) {
        node->type = rg_node_find(node->class_type);
    }
    node->title = title && *title ? title : node->type && node->type->display_name ? node->type->display_name : node->class_type;
    if ((ret = read_inputs(w, g, node)) < 0)
        return ret;
    return node->kind == UI_NODE ? ui_read_values(w, node) : 0;
}

static int add_index(ui_workflow *w, struct json_object *index, const char *key, int i)
{
    struct json_object *number = json_object_new_int(i);

    if (number && json_object_object_add(index, key, number) == 0)
        return 0;
    json_object_put(number);
    return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
}

/* ---- graphs --------------------------------------------------------------------------------------------------------- */

/* [id, origin, slot, target, slot, type], or {"id", "origin_id", ...}. */
static int read_links(ui_workflow *w, ui_graph *g)
{
    static const char *const keys[] = { "id", "origin_id", "origin_slot", "target_id", "target_slot" };
    struct json_object *list = get(g->json, "links");
    const size_t n = list_length(list), n_broadcast = list_length(get(get(g->json, "extra"), "ue_links"));

    if (!(g->links = rg_calloc(n + n_broadcast + 1, sizeof *g->links)) || !(g->link_index = json_object_new_object()))
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    for (size_t i = 0; i < n; i++) {
        struct json_object *one = json_object_array_get_idx(list, i), *part[5];
        ui_link *link = &g->links[g->n_links];
        const char *id;

        for (size_t k = 0; k < 5; k++)
            part[k] = json_object_is_type(one, json_type_array) ? json_object_array_get_idx(one, k) : get(one, keys[k]);
        id = ui_key(w, part[0]);
        link->origin = ui_key(w, part[1]);
        link->target = ui_key(w, part[3]);
        if (!id || !link->origin || !link->target)
            continue;                   /* files keep nulls and stumps of deleted links */
        link->origin_slot = json_object_get_int(part[2]);
        link->target_slot = json_object_get_int(part[4]);
        if (add_index(w, g->link_index, id, g->n_links) < 0)
            return RG_ERR_NOMEM;
        g->n_links++;
    }
    return 0;
}

/*
 * Links without wires: what the "everywhere" nodes of cg-use-everywhere gave to inputs that were not linked when the file was saved. The
 * extension keeps the list of them in the file; nodes must be read.
 */
static void add_broadcasts(ui_workflow *w, ui_graph *g)
{
    struct json_object *list = get(get(g->json, "extra"), "ue_links");

    for (size_t i = 0; i < list_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i), *inputs, *input;
        const char *from = ui_key(w, get(one, "upstream")), *to = ui_key(w, get(one, "downstream")), *name;
        const ui_node *node = to ? ui_find_node(g, to) : NULL;
        const int slot = get_int(one, "downstream_slot");
        ui_link *link = &g->links[g->n_links];

        inputs = node ? get(node->json, "inputs") : NULL;
        input = slot >= 0 && (size_t)slot < list_length(inputs) ? json_object_array_get_idx(inputs, (size_t)slot) : NULL;
        name = get_text(input, "name");
        if (!from || !name || !get(one, "upstream_slot"))
            continue;
        *link = (ui_link){ .origin = from, .origin_slot = get_int(one, "upstream_slot"), .target = to, .target_slot = slot };
        for (int k = 0; k < node->n_inputs; k++) {
            if (strcmp(node->inputs[k].name, name) || node->inputs[k].link)
                continue;
            node->inputs[k].link = link;
            g->n_links++;
            break;
        }
    }
}

static int read_nodes(ui_workflow *w, ui_graph *g)
{
    struct json_object *list = get(g->json, "nodes");
    const size_t n = list_length(list);

    if (n > MOST_NODES)
        return rg_fail(w->ctx, RG_ERR_INVALID, "a workflow of %zu nodes, at most %d are read", n, MOST_NODES);
    if (!(g->nodes = rg_calloc(n + 1, sizeof *g->nodes)) || !(g->node_index = json_object_new_object()))
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    for (size_t i = 0; i < n; i++) {
        struct json_object *json = json_object_array_get_idx(list, i);
        ui_node *node = &g->nodes[g->n_nodes];
        int ret;

        if (!json_object_is_type(json, json_type_object))
            return rg_fail(w->ctx, RG_ERR_INVALID, "entry %zu of \"nodes\" is no node", i);
        if (!(node->id = ui_key(w, get(json, "id"))))
            return rg_fail(w->ctx, RG_ERR_INVALID, "entry %zu of \"nodes\" has no id", i);
        if (ui_find_node(g, node->id))
            return rg_fail(w->ctx, RG_ERR_INVALID, "two nodes have the id %s", node->id);
        g->n_nodes++;                   /* first, so that a half-read one is freed */
        if ((ret = read_node(w, g, json, node)) < 0 || (ret = add_index(w, g->node_index, node->id, g->n_nodes - 1)) < 0)
            return ret;
    }
    add_broadcasts(w, g);
    for (int i = 0; i < g->n_links; i++) {
        g->links[i].is_from_inputs = g->id && !strcmp(g->links[i].origin, UI_INPUT_NODE);
        g->links[i].from = ui_find_node(g, g->links[i].origin);
    }
    return 0;
}

static void release_graph(ui_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++) {
        rg_free(g->nodes[i].inputs);
        json_object_put(g->nodes[i].values);
    }
    rg_free(g->nodes);
    rg_free(g->links);
    rg_free(g->has_widget);
    json_object_put(g->node_index);
    json_object_put(g->link_index);
}

static void free_frame(ui_frame *f)
{
    if (!f)
        return;
    for (int i = 0; f->children && i < f->graph->n_nodes; i++)
        free_frame(f->children[i]);
    rg_free(f->children);
    rg_free(f->path);
    rg_free(f);
}

/* Every use of every subgraph, outside in. */
static int open_frame(ui_workflow *w, const ui_frame *parent, const ui_node *node, const ui_graph *g, int depth, ui_frame **out)
{
    ui_frame *f = *out = rg_calloc(1, sizeof *f);
    int ret = 0;

    for (const ui_frame *p = parent; p; p = p->parent) {
        if (p->graph == g)
            return rg_fail(w->ctx, RG_ERR_INVALID, "the subgraph %s is inside itself", g->name ? g->name : g->id);
    }
    if (depth > MOST_DEPTH)
        return rg_fail(w->ctx, RG_ERR_INVALID, "subgraphs nested deeper than %d", MOST_DEPTH);
    if ((w->n_expanded += g->n_nodes + 1) > MOST_NODES)
        return rg_fail(w->ctx, RG_ERR_INVALID, "subgraphs that make more than %d nodes", MOST_NODES);
    if (!f)
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    f->parent = parent;
    f->node = node;
    f->graph = g;
    f->path = parent ? rg_asprintf("%s%s:", parent->path, node->id) : rg_strdup("");
    f->children = rg_calloc((size_t)g->n_nodes + 1, sizeof *f->children);
    if (!f->path || !f->children)
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    for (int i = 0; i < g->n_nodes && !ret; i++) {
        if (g->nodes[i].kind == UI_SUBGRAPH)
            ret = open_frame(w, f, &g->nodes[i], g->nodes[i].subgraph, depth + 1, &f->children[i]);
    }
    return ret;
}

int ui_open(rg_ctx *c, struct json_object *json, ui_workflow *w)
{
    struct json_object *subgraphs;
    size_t n;
    int ret;

    *w = (ui_workflow){ .ctx = c, .texts = json_object_new_array() };
    if ((ret = ui_expand_groups(w, json, &w->expanded)) < 0)
        return ret;
    if (w->expanded)
        json = w->expanded;
    subgraphs = get(get(json, "definitions"), "subgraphs");
    n = list_length(subgraphs) + 1;
    if (n > MOST_NODES)
        return rg_fail(c, RG_ERR_INVALID, "a workflow of %zu subgraphs, at most %d are read", n - 1, MOST_NODES);
    if (!w->texts || !(w->graph_index = json_object_new_object()) || !(w->graphs = rg_calloc(n, sizeof *w->graphs)))
        return rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
    w->n_graphs = (int)n;
    for (size_t i = 0; i < n; i++) {
        ui_graph *g = &w->graphs[i];

        g->json = i ? json_object_array_get_idx(subgraphs, i - 1) : json;
        if (!i)
            continue;
        g->id = get_text(g->json, "id");
        g->name = get_text(g->json, "name");
        g->inputs = list_length(get(g->json, "inputs")) ? get(g->json, "inputs") : NULL;
        g->outputs = list_length(get(g->json, "outputs")) ? get(g->json, "outputs") : NULL;
        if (!(g->has_widget = rg_malloc((size_t)ui_n_slots(g->inputs) + 1)))
            return rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
        memset(g->has_widget, -1, (size_t)ui_n_slots(g->inputs) + 1);
        if (g->id && (ret = add_index(w, w->graph_index, g->id, (int)i)) < 0)
            return ret;
    }
    for (size_t i = 0; i < n && !ret; i++) {
        if (!(ret = read_links(w, &w->graphs[i])))
            ret = read_nodes(w, &w->graphs[i]);
    }
    for (size_t i = 0; i < n && !ret; i++)
        ret = ui_apply_primitives(w, &w->graphs[i]);
    if (!ret && w->is_out_of_memory)
        ret = rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
    return ret ? ret : open_frame(w, NULL, NULL, &w->graphs[0], 0, &w->root);
}

void ui_close(ui_workflow *w)
{
    free_frame(w->root);
    for (int i = 0; i < w->n_graphs && w->graphs; i++)
        release_graph(&w->graphs[i]);
    rg_free(w->graphs);
    json_object_put(w->graph_index);
    json_object_put(w->expanded);
    json_object_put(w->texts);
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */

static int put(const ui_workflow *w, struct json_object *o, const char *key, struct json_object *v)
{
    if (json_object_object_add(o, key, v) == 0)
        return 0;
    json_object_put(v);
    return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
}

/* ["12:3", slot] */
static int link_to(const ui_workflow *w, const ui_source *s, struct json_object **out)
{
    char *id = rg_asprintf("%s%s", s->frame->path, s->node->id);

    if (!id || !(*out = json_object_new_array())) {
        rg_free(id);
        return rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
    }
    json_object_array_add(*out, json_object_new_string(id));
    json_object_array_add(*out, json_object_new_int(s->slot));
    rg_free(id);
    return 0;
}

static int write_inputs(const ui_workflow *w, const ui_frame *f, const ui_node *node, struct json_object *inputs)
{
    struct json_object *v = NULL;
    int ret = 0;

    json_object_object_foreach(node->values, widget, value) {
        if ((ret = ui_sent_value(w, node, widget, value, &v)) < 0 || (ret = put(w, inputs, widget, v)) < 0)
            return ret;
    }
    for (int i = 0; i < node->n_inputs && !ret; i++) {
        const char *name = node->inputs[i].name;
        ui_source s;

        if ((ret = ui_resolve(w, f, node, i, &s)) < 0)
            return ret;
        if (s.kind == UI_OUTPUT && s.node->mode == UI_MUTED)
            json_object_object_del(inputs, name);
        else if (s.kind != UI_NOTHING && !(ret = s.kind == UI_OUTPUT ? link_to(w, &s, &v) : ui_wrapped(w, s.value, &v)))
            ret = put(w, inputs, name, v);
    }
    return ret;
}

static int write_node(const ui_workflow *w, const ui_frame *f, const ui_node *node, struct json_object *api)
{
    struct json_object *out = json_object_new_object(), *inputs = json_object_new_object(), *meta = json_object_new_object();
    struct json_object *unnamed = get(node->json, "widgets_values");
    char *id = rg_asprintf("%s%s", f->path, node->id);
    int ret = RG_ERR_NOMEM;

    if (!out || !inputs || !meta || !id || json_object_object_get_ex(api, id, NULL)) {
        json_object_put(out);
        json_object_put(inputs);
        json_object_put(meta);
        ret = id && out && inputs && meta ? rg_fail(w->ctx, RG_ERR_INVALID, "two nodes have the id %s", id)
                                          : rg_fail(w->ctx, RG_ERR_NOMEM, "no memory for a workflow");
        rg_free(id);
        return ret;
    }
    json_object_object_add(out, "inputs", inputs);
    json_object_object_add(out, "class_type", json_object_new_string(node->class_type));
    json_object_object_add(meta, "title", json_object_new_string(node->title));
    if (!node->type && list_length(unnamed))
        json_object_object_add(meta, "widgets_values", json_object_get(unnamed));
    json_object_object_add(out, "_meta", meta);
    ret = put(w, api, id, out);
    rg_free(id);
    return ret ? ret : write_inputs(w, f, node, inputs);
}

static int write_frame(const ui_workflow *w, const ui_frame *f, struct json_object *api)
{
    int ret = 0;

    for (int i = 0; i < f->graph->n_nodes && !ret; i++) {
        const ui_node *node = &f->graph->nodes[i];

        if (node->kind == UI_SUBGRAPH)
            ret = write_frame(w, f->children[i], api);
        else if (node->kind == UI_NODE && node->mode != UI_MUTED && node->mode != UI_BYPASSED)
            ret = write_node(w, f, node, api);
    }
    return ret;
}

int rg_ui_to_api(rg_ctx *c, struct json_object *ui, struct json_object **api)
{
    struct json_object *o = json_object_new_object();
    ui_workflow w;
    int ret = ui_open(c, ui, &w);

    if (!ret)
        ret = o ? write_frame(&w, w.root, o) : rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
    ui_close(&w);
    if (ret < 0)
        json_object_put(o);
    else
        *api = o;
    return ret;
}

/* ---- what was left out ----------------------------------------------------------------------------------------------- */

static void warn(struct json_object *list, const ui_frame *f, const ui_node *node, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void warn(struct json_object *list, const ui_frame *f, const ui_node *node, const char *format, ...)
{
    char text[300];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *line = rg_asprintf("node %s%s (%.100s)%s", f->path, node->id, node->class_type, text);
    if (line)
        json_object_array_add(list, json_object_new_string(line));
    rg_free(line);
}

static void warn_node(const ui_frame *f, const ui_node *node, struct json_object *list)
{
    struct json_object *slots = get(node->json, "inputs"), *unnamed = get(node->json, "widgets_values");

    if (node->kind == UI_NOTE)
        return;
    if (node->mode == UI_MUTED || node->mode == UI_BYPASSED) {
        if (node->kind == UI_NODE || node->kind == UI_SUBGRAPH)
            warn(list, f, node, " is %s", node->mode == UI_MUTED ? "muted: left out, and what only it gives" : "bypassed: left out, its inputs passed on");
        return;
    }
    if (node->kind == UI_NODE && !node->type) {
        if (list_length(unnamed))
            warn(list, f, node, ": this program has no such class; its %zu widget values could not be named and are in _meta.widgets_values",
                 list_length(unnamed));
        else
            warn(list, f, node, ": this program has no such class");
    }
    for (size_t i = 0; i < list_length(slots); i++) {
        struct json_object *slot = json_object_array_get_idx(slots, i), *link = get(slot, "link");
        char key[32];

        if (!link)
            continue;
        snprintf(key, sizeof key, "%lld", (long long)json_object_get_int64(link));
        const ui_link *found = ui_find_link(f->graph, json_object_is_type(link, json_type_string) ? json_object_get_string(link) : key);
        if (!found || (!found->from && !found->is_from_inputs))
            warn(list, f, node, ", input %.60s: its link %.30s begins nowhere", get_text(slot, "name") ? get_text(slot, "name") : "?", key);
    }
}

static void warn_frame(const ui_frame *f, struct json_object *list)
{
    for (int i = 0; i < f->graph->n_nodes && json_object_array_length(list) < MOST_WARNINGS; i++) {
        warn_node(f, &f->graph->nodes[i], list);
        if (f->children[i])
            warn_frame(f->children[i], list);
    }
}

struct json_object *rg_ui_warnings(rg_ctx *c, struct json_object *ui)
{
    struct json_object *list = json_object_new_array();
    ui_workflow w;
    const int ret = ui_open(c, ui, &w);

    if (!ret && list)
        warn_frame(w.root, list);
    ui_close(&w);
    if (ret < 0) {
        json_object_put(list);
        return NULL;
    }
    return list;
}
