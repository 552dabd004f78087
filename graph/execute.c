/*
 * Running a validated prompt: take the next ready node from the work list, gather its inputs as lists, call it once per
 * element, keep what it gave for those who need it.
 *
 * Memory: without a cache a result is let go of as soon as the last node that links to it has run; with a cache it stays until
 * a later prompt no longer has its key. Source: ComfyUI execution.py, PromptExecutor.
 */
#include "graph/execute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/json_text.h"
#include "graph/readonly.h"
#include "graph/run.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- events --------------------------------------------------------------------------------------------------------- */

static void send(const graph_run *run, rg_event e)
{
    if (run->options->listener)
        run->options->listener(run->options->listener_user, &e);
}

static rg_event node_event(const graph_run *run, rg_event_kind kind, int node)
{
    const prompt_node *n = &run->prompt->nodes[node];

    return (rg_event){ .kind = kind, .node_id = n->id, .class_type = n->type->class_type };
}

static void on_progress(void *user, int64_t step, int64_t total, const rg_tensor *preview)
{
    graph_run *run = user;
    rg_event e = node_event(run, RG_EVENT_PROGRESS, run->node);

    e.step = step;
    e.total = total;
    e.preview = preview;
    send(run, e);
}

/* The failure of a node, or of the run (-1), as an event; returns the code. */
static int failed(const graph_run *run, int node, int code)
{
    const rg_ctx *c = run->options->ctx;
    rg_event e = { 0 };

    if (node >= 0)
        e = node_event(run, RG_EVENT_ERROR, node);
    e.kind = code == RG_ERR_CANCELLED ? RG_EVENT_INTERRUPTED : RG_EVENT_ERROR;
    e.code = code;
    e.message = c->error ? c->message : rg_error_text(code);
    send(run, e);
    return code;
}

/* ---- inputs and outputs ------------------------------------------------------------------------------------------------ */

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

/* The list of values that one input of the node gets; *out NULL when the prompt does not give it. */
static int resolve_input(graph_run *run, const prompt_node *n, const rg_input *in, rg_list **out)
{
    rg_ctx *c = run->options->ctx;
    struct json_object *json;
    int source, slot;
    rg_value v;

    *out = NULL;
    if (!json_object_object_get_ex(n->inputs, in->name, &json))
        return 0;
    if (!graph_link(run->prompt, json, &source, &slot)) {
        if (graph_constant(in, json, &v) < 0 || !(*out = list_of(v)))
            return rg_fail(c, RG_ERR_NOMEM, "no memory for the inputs of a node");
        return 0;
    }
    if (source >= 0) {
        const graph_result *r = &run->results[source];

        if (slot < 0)
            slot += r->n_slots;
        if (slot >= 0 && slot < r->n_slots && r->slots[slot]) {
            *out = rg_ref(r->slots[slot]);
            return 0;
        }
    }
    if (!(*out = list_of((rg_value){ 0 })))
        return rg_fail(c, RG_ERR_NOMEM, "no memory for the inputs of a node");
    return 0;
}

/* A link on an input that the class does not have would reach ComfyUI's function and fail there; a constant is dropped. */
static int refuse_unknown_links(graph_run *run, const prompt_node *n)
{
    json_object_object_foreach(n->inputs, name, value) {
        int source, slot;

        if (graph_link(run->prompt, value, &source, &slot) && !graph_input(n->type, name))
            return rg_fail(run->options->ctx, RG_ERR_INVALID, "%s has no input %s, which node %s is linked to", n->type->class_type, name,
                           source >= 0 ? run->prompt->nodes[source].id : "?");
    }
    return 0;
}

/* Append what one call gave for an is_list slot (a list), or the single value. Values are taken over. */
static int collect(graph_run *run, const rg_output *slot, rg_value *v, rg_list **into)
{
    const rg_list *given = slot->is_list && v->type == RG_LIST ? v->object : NULL;
    const int n_old = *into ? (*into)->n_items : 0, n_new = given ? given->n_items : 1;
    rg_list *l = rg_list_new(n_old + n_new);

    if (!l)
        return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for the outputs of a node");
    for (int i = 0; i < n_old; i++)
        l->items[i] = rg_value_ref(&(*into)->items[i]);
    for (int i = 0; given && i < n_new; i++)
        l->items[n_old + i] = rg_value_ref(&given->items[i]);
    if (!given) {
        l->items[n_old] = *v;
        *v = (rg_value){ 0 };
    }
    rg_unref(*into);
    *into = l;
    return 0;
}

/* ---- one node ---------------------------------------------------------------------------------------------------------------- */

static int longest(rg_list *const *resolved, int n)
{
    int most = 0;
    bool is_any = false;

    for (int i = 0; i < n; i++) {
        if (!resolved[i])
            continue;
        is_any = true;
        if (resolved[i]->n_items > most)
            most = resolved[i]->n_items;
    }
    return is_any && most ? most : 1;   /* no inputs, or nothing but empty lists: one call */
}

/* One execute() of the node, its temporary tensors in a scope of their own. */
static int call_once(graph_run *run, const prompt_node *n, rg_exec *x, const void *args, graph_result *result)
{
    rg_ctx *c = run->options->ctx;
    rg_value out[RG_MAX_OUTPUTS] = { 0 };
    const int scope = rg_scope_begin(c);
    int ret = n->type->execute(x, args, out);

    if (ret == 0 && c->error)
        ret = c->error;
    else if (ret < 0 && !c->error)
        rg_fail(c, ret, "%s", rg_error_text(ret));
    rg_scope_end(c, scope, NULL);
    for (int i = 0; !ret && i < result->n_slots; i++)
        ret = collect(run, &n->type->outputs[i], &out[i], &result->slots[i]);
    for (int i = 0; i < RG_MAX_OUTPUTS; i++)
        rg_value_unref(&out[i]);
    return ret;
}

static int call_node(graph_run *run, int node, graph_result *result)
{
    const prompt_node *n = &run->prompt->nodes[node];
    const rg_run *options = run->options;
    rg_ctx *c = options->ctx;
    const int n_inputs = graph_n_inputs(n->type);
    rg_list **resolved = rg_calloc((size_t)n_inputs + 1, sizeof(*resolved));
    graph_call call = { 0 };
    rg_exec x = {
        .ctx = c, .env = options->env, .node_id = n->id, .private_data = run,
        .prompt_json = n->type->wants_prompt ? run->prompt_text : NULL,
        .extra_keys = options->extra_keys, .extra_texts = options->extra_texts,
        .n_extra = n->type->wants_extra_pnginfo && options->env->has_metadata ? options->n_extra : 0,
        .state = &run->states[node],
    };
    int ret = resolved && graph_call_init(&call, n->type) == 0 ? 0 : rg_fail(c, RG_ERR_NOMEM, "no memory for the inputs of a node");
    char error[256];

    if (options->cache)
        run->states[node] = graph_cache_state(options->cache, n->id, n->type->class_type);
    if (!ret)
        ret = refuse_unknown_links(run, n);
    for (int i = 0; !ret && i < n_inputs; i++)
        if ((ret = resolve_input(run, n, &n->type->inputs[i], &resolved[i])) == 0 && graph_readonly_is_on())
            ret = graph_readonly_list(c, &resolved[i]);

    result->n_slots = graph_n_outputs(n->type);
    const int n_calls = ret || n->type->is_input_list ? 1 : longest(resolved, n_inputs);
    for (int i = 0; !ret && i < n_calls; i++) {
        if ((ret = rg_check(c)) < 0)
            break;
        ret = graph_call_fill(&call, resolved, i, error, sizeof(error));
        if (ret < 0)
            rg_fail(c, ret, "%s", ret == RG_ERR_NOMEM ? "no memory for the inputs of a node" : error);
        else
            ret = call_once(run, n, &x, call.args, result);
    }
    if (options->cache && graph_cache_keep_state(options->cache, n->id, n->type->class_type, run->states[node]) == 0)
        run->states[node] = NULL;       /* the cache's now */
    graph_call_release(&call);
    for (int i = 0; resolved && i < n_inputs; i++)
        rg_unref(resolved[i]);
    rg_free(resolved);
    return ret;
}

/* Let go of a result in this run; the cache keeps its own hold. The ui stays until the end. */
static void drop_slots(graph_result *r)
{
    for (int i = 0; i < r->n_slots; i++) {
        rg_unref(r->slots[i]);
        r->slots[i] = NULL;
    }
}

static int run_node(graph_run *run, int node)
{
    rg_ctx *c = run->options->ctx;
    const graph_result *cached = run->keys ? graph_cache_get(run->options->cache, &run->keys[node]) : NULL;
    graph_result *result = &run->results[node];
    const double started = now();
    rg_event e;
    int ret;

    run->node = node;
    if (cached) {                       /* an output that was there from the start, or an equal node ran meanwhile */
        if (!result->is_there)
            *result = graph_result_ref(cached);
        e = node_event(run, RG_EVENT_EXECUTED, node);
        e.is_cached = true;
        e.ui = result->ui;
        send(run, e);
        return 0;
    }
    if ((ret = rg_check(c)) < 0)
        return failed(run, node, ret);
    send(run, node_event(run, RG_EVENT_EXECUTING, node));

    rg_progress_fn *progress = c->progress;
    void *progress_user = c->progress_user;
    c->progress = on_progress;
    c->progress_user = run;
    ret = call_node(run, node, result);
    c->progress = progress;
    c->progress_user = progress_user;
    result->is_there = true;
    result->ui = run->ui;
    run->ui = NULL;
    if (ret < 0) {
        graph_result_release(result);
        return failed(run, node, ret);
    }
    if (run->keys)
        graph_cache_put(run->options->cache, &run->keys[node], result);     /* without memory for it, it just runs again */
    e = node_event(run, RG_EVENT_EXECUTED, node);
    e.ui = result->ui;
    e.seconds = now() - started;
    send(run, e);
    return 0;
}

/* ---- the run ------------------------------------------------------------------------------------------------------------------- */

static bool has_result(void *user, int node)
{
    graph_run *run = user;

    return run->keys && graph_cache_get(run->options->cache, &run->keys[node]);
}

/* Results that the cache has are held for the run, so that nothing can take them away; their ids go to the listener. */
static int take_cached(graph_run *run)
{
    const char **ids = rg_calloc((size_t)run->prompt->n_nodes + 1, sizeof(*ids));
    int n = 0;

    if (!ids)
        return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for a run");
    for (int i = 0; i < run->prompt->n_nodes; i++) {
        const graph_result *cached = run->keys ? graph_cache_get(run->options->cache, &run->keys[i]) : NULL;

        if (!cached)
            continue;
        run->results[i] = graph_result_ref(cached);
        ids[n++] = run->prompt->nodes[i].id;
    }
    send(run, (rg_event){ .kind = RG_EVENT_CACHED, .cached = ids, .n_cached = n });
    rg_free(ids);
    return 0;
}

/* Nodes that write prove first that they can: a full minute of sampling is a bad moment to find out. */
static int check_folders(graph_run *run, int *node)
{
    const rg_env *env = run->options->env;
    bool is_output_good = false, is_temp_good = false;
    char text[900];

    for (int i = 0; i < run->work.n_order; i++) {
        const rg_node *type = run->prompt->nodes[run->work.order[i]].type;
        const bool is_temp = !graph_input(type, "filename_prefix");
        int ret;

        if (!type->is_output || !type->wants_prompt || (is_temp ? is_temp_good : is_output_good))
            continue;
        *node = run->work.order[i];
        ret = rg_env_check_writable(is_temp ? env->temp_dir : env->output_dir, text, sizeof(text));
        if (ret < 0)
            return rg_fail(run->options->ctx, ret, "%s", text);
        *(is_temp ? &is_temp_good : &is_output_good) = true;
    }
    *node = -1;
    return 0;
}

static int prepare(graph_run *run)
{
    rg_prompt *p = run->prompt;
    const rg_run *options = run->options;
    const size_t n = (size_t)p->n_nodes + 1;
    bool wants_prompt = false;

    if (!p->is_validated)
        return rg_fail(options->ctx, RG_ERR_INVALID, "the workflow is not validated");
    run->results = rg_calloc(n, sizeof(*run->results));
    run->states = rg_calloc(n, sizeof(*run->states));
    if (!run->results || !run->states || worklist_init(&run->work, p) < 0)
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    for (int i = 0; i < p->n_nodes; i++)
        wants_prompt |= p->nodes[i].type && p->nodes[i].type->wants_prompt;
    if (wants_prompt && options->env->has_metadata && !(run->prompt_text = rg_json_dump(p->json, 0)))
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    if (options->cache && !(run->keys = graph_keys(options->env, p)))
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    if (run->keys && graph_cache_trim(options->cache, p, run->keys) < 0)
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    return 0;
}

static int run_all(graph_run *run)
{
    rg_prompt *p = run->prompt;
    rg_ctx *c = run->options->ctx;
    int ret = prepare(run), node = -1;

    if (ret < 0 || (ret = take_cached(run)) < 0)
        return failed(run, -1, ret);
    for (int i = 0; !ret && i < p->n_nodes; i++)
        if (p->nodes[i].is_wanted && worklist_add(&run->work, i, has_result, run) < 0)
            ret = rg_fail(c, RG_ERR_NOMEM, "no memory for a run");
    if (ret < 0 || (ret = check_folders(run, &node)) < 0)
        return failed(run, node, ret);

    while (run->work.n_pending > 0) {
        node = worklist_pick(&run->work);
        if (node < 0)
            return failed(run, -1, rg_fail(c, RG_ERR_INVALID, "the nodes that are left wait for each other"));
        if ((ret = run_node(run, node)) < 0)
            return ret;
        worklist_done(&run->work, node);
        for (int i = 0; i < run->work.nodes[node].n_needs; i++) {
            const int source = run->work.nodes[node].needs[i];

            if (--run->work.nodes[source].n_users == 0)
                drop_slots(&run->results[source]);
        }
        if (run->work.nodes[node].n_users == 0)
            drop_slots(&run->results[node]);
    }
    send(run, (rg_event){ .kind = RG_EVENT_SUCCESS });
    return 0;
}

int rg_execute(const rg_run *options, rg_prompt *p)
{
    graph_run run = { .options = options, .prompt = p, .node = -1 };
    int ret;

    rg_ctx_reset(options->ctx);
    send(&run, (rg_event){ .kind = RG_EVENT_START });
    ret = run_all(&run);

    worklist_release(&run.work);
    for (int i = 0; run.results && i < p->n_nodes; i++)
        graph_result_release(&run.results[i]);
    for (int i = 0; run.states && i < p->n_nodes; i++)
        rg_free(run.states[i]);
    json_object_put(run.ui);
    rg_free(run.results);
    rg_free(run.states);
    rg_free(run.keys);
    rg_free(run.prompt_text);
    return ret;
}
