/*
 * Expansion: nodes that a node makes while it runs. The builder (rg_expand_*) writes JSON nodes into the call's result; when all
 * calls are made, those become nodes of the graph for the rest of the run, and the node waits for the ones its outputs are linked
 * to. Source: ComfyUI execution.py and comfy_execution/graph.py (ephemeral nodes).
 */
#include <stdio.h>
#include <string.h>

#include "graph/run.h"

/* ---- the builder ------------------------------------------------------------------------------------------------------ */

static graph_exec *exec_of(rg_exec *x)
{
    return x->private_data;
}

static int no_memory(rg_exec *x)
{
    return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for an expansion");
}

int rg_expand_node(rg_exec *x, const char *class_type, const char *name)
{
    graph_exec *e = exec_of(x);
    struct json_object *node = NULL, *inputs = NULL;
    char *id = NULL, number[16];

    if (x->ctx->error)
        return x->ctx->error;
    if (!e->result->expansion && !(e->result->expansion = json_object_new_array()))
        return no_memory(x);
    if (!name) {
        snprintf(number, sizeof(number), "%d", ++e->result->n_unnamed);
        name = number;
    }
    const int n = (int)json_object_array_length(e->result->expansion);
    if (!(id = rg_asprintf("%s.%d.0.%s", x->node_id, e->index, name)))
        return no_memory(x);
    for (int i = 0; i < n; i++) {
        if (!strcmp(json_object_get_string(json_object_object_get(json_object_array_get_idx(e->result->expansion, (size_t)i), "id")), id)) {
            rg_free(id);
            return i;
        }
    }
    node = json_object_new_object();
    inputs = json_object_new_object();
    if (!node || !inputs || json_object_array_add(e->result->expansion, node) < 0) {
        json_object_put(node);
        json_object_put(inputs);
        rg_free(id);
        return no_memory(x);
    }
    json_object_object_add(node, "id", json_object_new_string(id));
    json_object_object_add(node, "class_type", json_object_new_string(class_type));
    json_object_object_add(node, "inputs", inputs);
    rg_free(id);
    return n;
}

/* New node number `node`, NULL after a failure, which is latched. */
static struct json_object *new_node(rg_exec *x, int node)
{
    graph_exec *e = exec_of(x);

    if (x->ctx->error)
        return NULL;
    if (node < 0 || !e->result->expansion || node >= (int)json_object_array_length(e->result->expansion)) {
        rg_fail(x->ctx, RG_ERR_INVALID, "an expansion has no node %d", node);
        return NULL;
    }
    return json_object_array_get_idx(e->result->expansion, (size_t)node);
}

int rg_expand_value(rg_exec *x, int node, const char *input, const rg_value *v)
{
    struct json_object *n = new_node(x, node), *json = NULL;

    if (!n)
        return x->ctx->error;
    if (graph_json_of(v ? v : &(rg_value){ 0 }, &json) < 0 || json_object_object_add(json_object_object_get(n, "inputs"), input, json) < 0)
        return no_memory(x);
    return 0;
}

int rg_expand_link(rg_exec *x, int node, const char *input, int source, int slot)
{
    rg_value v = rg_expand_output(x, source, slot);
    const int ret = x->ctx->error ? x->ctx->error : rg_expand_value(x, node, input, &v);

    rg_value_unref(&v);
    return ret;
}

int rg_expand_display(rg_exec *x, int node, const char *node_id)
{
    struct json_object *n = new_node(x, node);

    if (!n)
        return x->ctx->error;
    json_object_object_add(n, "override_display_id", json_object_new_string(node_id));
    return 0;
}

rg_value rg_expand_output(rg_exec *x, int node, int slot)
{
    struct json_object *n = new_node(x, node);
    rg_value v = { 0 };

    if (n && !(v = rg_value_link(json_object_get_string(json_object_object_get(n, "id")), slot)).type)
        no_memory(x);
    return v;
}

/* ---- the graph as nodes see it ------------------------------------------------------------------------------------------- */

/* Other threads must not look: the graph may grow meanwhile. */
static const prompt_node *node_of(rg_exec *x, const char *node_id)
{
    const graph_exec *e = exec_of(x);
    const int node = e->is_async ? -1 : graph_find(e->run->prompt, node_id);

    return node < 0 ? NULL : &e->run->prompt->nodes[node];
}

const char *rg_exec_class_of(rg_exec *x, const char *node_id)
{
    const prompt_node *n = node_of(x, node_id);

    return n && n->type ? n->type->class_type : NULL;
}

/* A constant as what its JSON says, whatever the input takes. */
static const rg_input for_anything = { .kind = RG_INPUT_LINK, .type = &rg_type_any };

bool rg_exec_input_of(rg_exec *x, const char *node_id, int i, const char **name, rg_value *v)
{
    const prompt_node *n = node_of(x, node_id);

    if (!n || !n->inputs || i < 0)
        return false;
    json_object_object_foreach(n->inputs, key, value) {
        int source, slot;

        if (i-- > 0)
            continue;
        *name = key;
        *v = (rg_value){ 0 };
        if (graph_link(exec_of(x)->run->prompt, value, &source, &slot)) {
            *v = rg_value_link(json_object_get_string(json_object_array_get_idx(value, 0)), slot);
            if (!v->type)
                no_memory(x);
        } else if (graph_constant(&for_anything, value, v) < 0) {
            no_memory(x);
        }
        return true;
    }
    return false;
}

/* ---- into the graph ----------------------------------------------------------------------------------------------------------- */

/* One new node. An id that is there already is an error, unless the same node expands again because its result was let go of. */
static int add_node(graph_run *run, int parent, struct json_object *json)
{
    rg_prompt *p = run->prompt;
    const char *id = json_object_get_string(json_object_object_get(json, "id"));
    const char *class_type = json_object_get_string(json_object_object_get(json, "class_type"));
    const int there = graph_find(p, id);
    int ret;

    if (there >= 0) {
        prompt_node *n = &p->nodes[there];

        if (run->keys || !n->is_ephemeral || n->parent != parent || run->work.nodes[there].is_pending || strcmp(n->type->class_type, class_type))
            return rg_fail(run->options->ctx, RG_ERR_INVALID, "expansion makes node %s, which is there already", id);
        json_object_put(n->json);
        n->json = json_object_get(json);
        n->inputs = json_object_object_get(json, "inputs");
        graph_result_release(&run->results[there]);
        return 0;
    }
    ret = graph_add_node(p, id, json, parent);
    if (ret == RG_ERR_NOT_FOUND)
        return rg_fail(run->options->ctx, ret, "expansion makes node %s of class %s, which there is not", id, class_type);
    return ret < 0 ? rg_fail(run->options->ctx, ret, "no memory for an expansion") : 0;
}

static int wait_for(graph_run *run, int node, int source)
{
    if (worklist_wait(&run->work, node, source, graph_has_result, run) < 0)
        return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for an expansion");
    return 0;
}

int graph_expand(graph_run *run, int node)
{
    const node_calls *calls = run->calls[node];
    rg_prompt *p = run->prompt;
    const int first = p->n_nodes;
    int ret = 0;

    for (int i = 0; !ret && i < calls->n_calls; i++) {
        struct json_object *list = calls->results[i].expansion;

        for (size_t j = 0; !ret && list && j < json_object_array_length(list); j++)
            ret = add_node(run, node, json_object_array_get_idx(list, j));
    }
    if (!ret && graph_run_grow(run) < 0)
        ret = rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for an expansion");
    if (!ret && run->keys && graph_keys_of_added(run->options->env, p, first, run->keys) < 0)
        ret = rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for an expansion");
    if (!ret && run->keys)
        graph_cache_expanded(run->options->cache, p, node, first, run->keys);

    for (int i = 0; !ret && i < calls->n_calls; i++) {
        for (int slot = 0; !ret && slot < graph_n_outputs(p->nodes[node].type); slot++) {
            const rg_value *v = &calls->results[i].out[slot];
            const rg_link *link = v->type == &rg_type_link ? v->object : NULL;
            const int source = link ? graph_find(p, link->node_id) : -1;

            if (link && source < 0)
                ret = rg_fail(run->options->ctx, RG_ERR_INVALID, "an expansion's result is linked to node %s, which there is not", link->node_id);
            else if (link)
                ret = wait_for(run, node, source);
        }
    }
    for (int i = first; !ret && i < p->n_nodes; i++)
        if (p->nodes[i].type->is_output)
            ret = wait_for(run, node, i);
    run->calls[node]->is_expanded = true;
    return ret < 0 ? ret : worklist_is_waiting(&run->work, node);
}
