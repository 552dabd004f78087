/*
 * The calls of one node: inputs gathered as lists, one call per element, and what they gave put together again.
 * Source: ComfyUI execution.py, get_input_data() and what maps a node over lists.
 */
#include <stdio.h>
#include <string.h>

#include "graph/json_text.h"
#include "graph/readonly.h"
#include "engine/ops/profile.h"
#include "graph/run.h"

/* A node's inputs, resolved: one list per declared input (NULL: not given), then the links on other inputs. */
typedef struct input_lists {
    const rg_node *type;
    int n, n_more;                      /* declared; others */
    rg_list **lists;                    /* n + n_more */
    const char **names;                 /* of the others */
} input_lists;

static int no_memory(graph_run *run)
{
    return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for the inputs of a node");
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------ */

/* A new list of one value, which is taken over. */
static rg_list *list_of(rg_value v)
{
    rg_list *l = rg_list_new(1);

    if (!l) {
        rg_value_unref(&v);
        return NULL;
    }
    l->items[0] = v;
    return l;
}

/* What a link leads to: the source's values, or one empty value when they are not there. */
static int resolve_link(graph_run *run, int source, int slot, rg_list **out)
{
    const graph_result *r = source >= 0 ? graph_result_of(run, source) : NULL;

    if (r && slot < 0)
        slot += r->n_slots;
    if (r && slot >= 0 && slot < r->n_slots && r->slots[slot])
        *out = rg_ref(r->slots[slot]);
    else
        *out = list_of((rg_value){ 0 });
    return *out ? 0 : no_memory(run);
}

static int resolve_input(graph_run *run, const prompt_node *n, const rg_input *in, rg_list **out)
{
    struct json_object *json;
    int source, slot;
    rg_value v;

    if (!json_object_object_get_ex(n->inputs, in->name, &json))
        return 0;
    if (graph_link(run->prompt, json, &source, &slot)) {
        if (!in->is_raw_link)
            return resolve_link(run, source, slot, out);
        v = rg_value_link(json_object_get_string(json_object_array_get_idx(json, 0)), slot);
        return v.type && (*out = list_of(v)) ? 0 : no_memory(run);
    }
    return graph_constant(in, json, &v) == 0 && (*out = list_of(v)) ? 0 : no_memory(run);
}

static void release_lists(input_lists *in)
{
    for (int i = 0; in->lists && i < in->n + in->n_more; i++)
        rg_unref(in->lists[i]);
    rg_free(in->lists);
    rg_free(in->names);
}

/* Links on inputs that the class does not have reach a function that takes them; elsewhere they fail as in Python. Constants are dropped. */
static int resolve_more(graph_run *run, const prompt_node *n, input_lists *in)
{
    json_object_object_foreach(n->inputs, name, value) {
        int source, slot;

        if (!graph_link(run->prompt, value, &source, &slot) || graph_input(n->type, name))
            continue;
        if (!n->type->takes_any_input)
            return rg_fail(run->options->ctx, RG_ERR_INVALID, "%s has no input %s, which node %s is linked to", n->type->class_type, name,
                           source >= 0 ? run->prompt->nodes[source].id : "?");
        in->names[in->n_more] = name;
        const int ret = resolve_link(run, source, slot, &in->lists[in->n + in->n_more]);
        if (ret < 0)
            return ret;
        in->n_more++;
    }
    return 0;
}

static int resolve(graph_run *run, int node, input_lists *in)
{
    const prompt_node *n = &run->prompt->nodes[node];
    const size_t n_given = (size_t)json_object_object_length(n->inputs);
    int ret = 0;

    *in = (input_lists){ .type = n->type, .n = graph_n_inputs(n->type) };
    in->lists = rg_calloc((size_t)in->n + n_given + 1, sizeof(*in->lists));
    in->names = rg_calloc(n_given + 1, sizeof(*in->names));
    if (!in->lists || !in->names)
        return no_memory(run);
    ret = resolve_more(run, n, in);
    for (int i = 0; !ret && i < in->n; i++)
        ret = resolve_input(run, n, &n->type->inputs[i], &in->lists[i]);
    for (int i = 0; !ret && graph_readonly_is_on() && i < in->n + in->n_more; i++)
        if (in->lists[i])
            ret = graph_readonly_list(run->options->ctx, &in->lists[i]);
    return ret;
}

static int longest(const input_lists *in)
{
    int most = 0;

    if (in->type->is_input_list)
        return 1;
    for (int i = 0; i < in->n + in->n_more; i++)
        if (in->lists[i] && in->lists[i]->n_items > most)
            most = in->lists[i]->n_items;
    return most ? most : 1;             /* no inputs, or nothing but empty lists: one call */
}

static const rg_value *element(const rg_list *l, int index)
{
    return l->n_items ? &l->items[index < l->n_items ? index : l->n_items - 1] : NULL;
}

/* The blocker that this call would get (or, for a node that takes lists, any of theirs); NULL: none. */
static const rg_blocker *find_blocker(const input_lists *in, int index)
{
    for (int i = 0; i < in->n + in->n_more; i++) {
        const rg_list *l = in->lists[i];

        for (int j = 0; l && in->type->is_input_list && j < l->n_items; j++)
            if (l->items[j].type == &rg_type_blocker)
                return l->items[j].object;
        if (!l || in->type->is_input_list || !element(l, index))
            continue;
        if (element(l, index)->type == &rg_type_blocker)
            return element(l, index)->object;
    }
    return NULL;
}

/* {"seed": [7], "image": ["IMAGE [1, 64, 64, 3]"]}: what an error message shows; NULL without memory. */
static struct json_object *describe_inputs(const input_lists *in)
{
    struct json_object *all = json_object_new_object();

    for (int i = 0; all && in->lists && i < in->n + in->n_more; i++) {
        struct json_object *list = json_object_new_array();

        for (int j = 0; list && in->lists[i] && j < in->lists[i]->n_items; j++) {
            const rg_value *v = &in->lists[i]->items[j];
            const bool is_tensor = v->type == RG_IMAGE || v->type == RG_MASK || v->type == RG_SIGMAS;
            struct json_object *json = NULL;
            char text[128], shape[96];

            if (is_tensor || (v->type && v->type != &rg_type_int && v->type != &rg_type_float && v->type != &rg_type_boolean
                              && v->type != &rg_type_string && v->type != &rg_type_combo && v->type != &rg_type_link)) {
                snprintf(text, sizeof(text), is_tensor ? "%.20s %s" : "%.100s", v->type->name,
                         is_tensor ? rg_shape_text(v->object, shape, sizeof(shape)) : "");
                json = json_object_new_string(text);
            } else {
                graph_json_of(v, &json);
            }
            json_object_array_add(list, json);
        }
        if (in->lists[i])
            json_object_object_add(all, i < in->n ? in->type->inputs[i].name : in->names[i - in->n], list);
        else
            json_object_put(list);
    }
    return all;
}

/* ---- one call ------------------------------------------------------------------------------------------------------------ */

void graph_exec_release(graph_exec *e)
{
    for (int i = 0; e->more && i < e->x.n_more; i++)
        rg_value_unref(&e->more[i].value);
    rg_free(e->more);
    rg_free(e->own_state);
    *e = (graph_exec){ 0 };
}

/* What call number `index` gets besides its struct args. */
static int fill_exec(graph_run *run, int node, int index, const input_lists *in, call_result *result, graph_exec *e)
{
    const prompt_node *n = &run->prompt->nodes[node];
    const rg_run *o = run->options;

    *e = (graph_exec){ .run = run, .node = node, .index = index, .result = result, .is_async = n->type->is_async };
    e->x = (rg_exec){
        .ctx = o->ctx, .env = o->env, .node_id = n->id, .private_data = e,
        .prompt_json = n->type->wants_prompt ? run->prompt_text : NULL,
        .extra_keys = o->extra_keys, .extra_texts = o->extra_texts,
        .n_extra = n->type->wants_extra_pnginfo && o->env->has_metadata ? o->n_extra : 0,
        .state = &run->states[node],
    };
    if (!in->n_more)
        return 0;
    if (!(e->more = rg_calloc((size_t)in->n_more, sizeof(*e->more))))
        return no_memory(run);
    for (int i = 0; i < in->n_more; i++) {
        rg_list *l = in->lists[in->n + i];

        e->more[i].name = in->names[i];
        if (n->type->is_input_list)
            e->more[i].value = rg_value_object(RG_LIST, rg_ref(l));
        else if (element(l, index))
            e->more[i].value = rg_value_ref(element(l, index));
        e->x.n_more++;
    }
    e->x.more = e->more;
    return 0;
}

/* args of one call and its surroundings; errors are latched. */
static int prepare_call(graph_run *run, int node, int index, const input_lists *in, call_result *result, graph_call *call, graph_exec *e)
{
    rg_ctx *c = run->options->ctx;
    char error[256];
    int ret = rg_check(c);

    if (ret < 0)
        return ret;
    if (!call->type && graph_call_init(call, in->type) < 0)
        return no_memory(run);
    ret = graph_call_fill(call, in->lists, index, error, sizeof(error));
    if (ret < 0)
        return ret == RG_ERR_NOMEM ? no_memory(run) : rg_fail(c, ret, "%s", error);
    return fill_exec(run, node, index, in, result, e);
}

/* The node's function on this thread, its temporary tensors in a scope of their own. */
static int call_here(graph_run *run, int (*f)(rg_exec *, const void *, rg_value *), graph_exec *e, const graph_call *call)
{
    rg_ctx *c = run->options->ctx;
    const int scope = rg_scope_begin(c);
    const double span = rg_span_begin(c, call->type->class_type);
    int ret = f ? f(&e->x, call->args, e->result->out) : call->type->check_lazy(&e->x, call->args);

    rg_span_end(c, call->type->class_type, span);
    if (ret < 0 && !c->error)
        rg_fail(c, ret, "%s", rg_error_text(ret));
    rg_scope_end(c, scope, NULL);
    return c->error ? c->error : 0;
}

/* Ask for lazy inputs, once per list element. 1: some are missing and will be run first. */
static int check_lazy(graph_run *run, int node, const input_lists *in)
{
    const rg_node *type = in->type;
    const int n_calls = longest(in);
    graph_call call = { 0 };
    call_result unused = { 0 };
    int ret = 0;

    run->n_needed = 0;
    for (int i = 0; !ret && type->check_lazy && i < n_calls; i++) {
        graph_exec e = { 0 };

        if (find_blocker(in, i))
            continue;
        ret = prepare_call(run, node, i, in, &unused, &call, &e);
        e.is_lazy_check = true;
        if (!ret)
            ret = call_here(run, NULL, &e, &call);
        graph_exec_release(&e);
    }
    graph_call_release(&call);
    json_object_put(unused.ui);
    json_object_put(unused.expansion);
    for (int i = 0; !ret && i < run->n_needed; i++)
        if (worklist_wait(&run->work, node, run->needed[i], graph_has_result, run) < 0)
            ret = rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for a run");
    return ret < 0 ? ret : run->n_needed > 0;
}

/* All outputs of a blocked call are blockers, but clients hear of the reason only once. */
static int block_call(graph_run *run, int node, const rg_blocker *b, call_result *result)
{
    const int n_outputs = graph_n_outputs(run->prompt->nodes[node].type);

    if (b->message[0]) {
        rg_event e = graph_node_event(run, RG_EVENT_BLOCKED, node);
        char *text = rg_asprintf("Execution Blocked: %s", b->message);

        e.exception_type = "ExecutionBlocked";
        e.message = text ? text : b->message;
        e.tip = "";
        graph_send(run, e);
        rg_free(text);
    }
    for (int i = 0; i < n_outputs; i++)
        if (!(result->out[i] = rg_value_blocked(NULL)).type)
            return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for the outputs of a node");
    return 0;
}

int graph_call_node(graph_run *run, int node)
{
    const rg_node *type = run->prompt->nodes[node].type;
    node_calls *calls = NULL;
    graph_call call = { 0 };
    input_lists in = { 0 };
    const double started = graph_now();
    int ret = resolve(run, node, &in);

    if (!ret)
        ret = check_lazy(run, node, &in);
    if (ret)
        goto done;

    const int n_calls = longest(&in);
    calls = rg_calloc(1, sizeof(*calls));
    if (!calls || !(calls->results = rg_calloc((size_t)n_calls, sizeof(*calls->results)))) {
        rg_free(calls);
        ret = no_memory(run);
        goto done;
    }
    calls->n_calls = n_calls;
    calls->started = started;
    run->calls[node] = calls;
    for (int i = 0; !ret && i < n_calls; i++) {
        const rg_blocker *b = find_blocker(&in, i);
        graph_exec e = { 0 };

        if (b) {
            ret = block_call(run, node, b, &calls->results[i]);
            continue;
        }
        ret = prepare_call(run, node, i, &in, &calls->results[i], &call, &e);
        e.x.private_data = &e;
        if (!ret)
            ret = type->is_async ? graph_async_start(run, &e, &call, calls) : call_here(run, type->execute, &e, &call);
        graph_exec_release(&e);
    }
    if (calls->n_running > 0) {
        worklist_hold(&run->work, node);
        ret = ret < 0 ? ret : 1;
    }
done:
    if (ret < 0 && run->calls[node] && !type->is_async)
        run->calls[node]->inputs = describe_inputs(&in);
    else if (ret < 0 && !run->calls[node] && (run->calls[node] = rg_calloc(1, sizeof(node_calls))))
        run->calls[node]->inputs = describe_inputs(&in);
    graph_call_release(&call);
    release_lists(&in);
    return ret;
}

int rg_exec_need(rg_exec *x, const char *input)
{
    graph_exec *e = x->private_data;
    graph_run *run = e->run;
    struct json_object *json;
    int source, slot;

    if (!e->is_lazy_check)
        return rg_fail(x->ctx, RG_ERR_INVALID, "%s is asked for too late: the node runs already", input);
    if (!json_object_object_get_ex(run->prompt->nodes[e->node].inputs, input, &json) || !graph_link(run->prompt, json, &source, &slot))
        return rg_fail(x->ctx, RG_ERR_INVALID, "node %s has no link on its input %s, which it asks for", x->node_id, input);
    if (source < 0)
        return rg_fail(x->ctx, RG_ERR_NOT_FOUND, "input %s of node %s is linked to a node that is not there", input, x->node_id);
    if (graph_has_result(run, source))
        return 0;
    for (int i = 0; i < run->n_needed; i++)
        if (run->needed[i] == source)
            return 0;
    if (run->n_needed == run->needed_capacity) {
        const int capacity = run->needed_capacity ? 2 * run->needed_capacity : 8;
        int *more = rg_realloc(run->needed, (size_t)capacity * sizeof(*more));

        if (!more)
            return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a run");
        run->needed = more;
        run->needed_capacity = capacity;
    }
    run->needed[run->n_needed++] = source;
    return 0;
}

/* ---- outputs --------------------------------------------------------------------------------------------------------------- */

void graph_calls_free(node_calls *calls)
{
    if (!calls)
        return;
    for (int i = 0; i < calls->n_calls; i++) {
        for (int slot = 0; slot < RG_MAX_OUTPUTS; slot++)
            rg_value_unref(&calls->results[i].out[slot]);
        json_object_put(calls->results[i].ui);
        json_object_put(calls->results[i].expansion);
        rg_free(calls->results[i].message);
    }
    rg_free(calls->results);
    json_object_put(calls->inputs);
    rg_free(calls);
}

/* The values that one call's output stands for: those of a list, those that a link leads to, or the one value. */
static int values_of(graph_run *run, const rg_output *slot, const rg_value *v, rg_list **out)
{
    const rg_link *link = v->type == &rg_type_link ? v->object : NULL;

    if (link)
        return resolve_link(run, graph_find(run->prompt, link->node_id), link->slot, out);
    *out = slot->is_list && v->type == RG_LIST ? rg_ref(v->object) : list_of(rg_value_ref(v));
    return *out ? 0 : rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for the outputs of a node");
}

static int collect_slot(graph_run *run, const rg_output *slot, int number, const node_calls *calls, rg_list **out)
{
    rg_list **parts = rg_calloc((size_t)calls->n_calls, sizeof(*parts));
    rg_list *all = NULL;
    int n = 0, ret = parts ? 0 : no_memory(run);

    for (int i = 0; !ret && i < calls->n_calls; i++)
        if ((ret = values_of(run, slot, &calls->results[i].out[number], &parts[i])) == 0)
            n += parts[i]->n_items;
    if (!ret && calls->n_calls == 1) {
        all = rg_ref(parts[0]);
    } else if (!ret) {
        all = rg_list_new(n);
        if (!all)
            ret = rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for the outputs of a node");
        n = 0;
        for (int i = 0; all && i < calls->n_calls; i++)
            for (int j = 0; j < parts[i]->n_items; j++)
                all->items[n++] = rg_value_ref(&parts[i]->items[j]);
    }
    for (int i = 0; parts && i < calls->n_calls; i++)
        rg_unref(parts[i]);
    rg_free(parts);
    *out = all;
    return ret;
}

/* Lists under the same key are joined; the first call that shows anything says which keys there are. */
static struct json_object *join_ui(const node_calls *calls)
{
    struct json_object *ui = NULL;

    for (int i = 0; i < calls->n_calls; i++) {
        struct json_object *more = calls->results[i].ui;

        if (!ui || !more) {
            ui = ui ? ui : json_object_get(more);
            continue;
        }
        json_object_object_foreach(ui, key, list) {
            struct json_object *others = json_object_object_get(more, key);

            for (size_t j = 0; others && j < json_object_array_length(others); j++)
                json_object_array_add(list, json_object_get(json_object_array_get_idx(others, j)));
        }
    }
    return ui;
}

int graph_finish_calls(graph_run *run, int node, graph_result *result)
{
    const rg_node *type = run->prompt->nodes[node].type;
    node_calls *calls = run->calls[node];
    int ret = 0;

    result->n_slots = graph_n_outputs(type);
    for (int i = 0; !ret && i < result->n_slots; i++)
        ret = collect_slot(run, &type->outputs[i], i, calls, &result->slots[i]);
    result->ui = join_ui(calls);
    result->is_there = true;
    if (ret < 0)
        graph_result_release(result);
    graph_calls_free(calls);
    run->calls[node] = NULL;
    return ret;
}
