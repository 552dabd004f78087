/*
 * Running a validated prompt: take the next ready node from the work list, make its calls (call.c), keep what it gave for those
 * who need it. A node may come back several times: for lazy inputs, for calls on other threads (async.c), for what it expanded
 * into (expand.c).
 *
 * Memory: without a cache a result is let go of as soon as the last node that links to it has run; with a cache it stays until
 * a later prompt no longer has its key. Source: ComfyUI execution.py, PromptExecutor.
 */
#include "graph/execute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/weights/store.h"
#include "graph/json_text.h"
#include "graph/run.h"

double graph_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- events --------------------------------------------------------------------------------------------------------- */

void graph_send(const graph_run *run, rg_event e)
{
    if (run->options->listener)
        run->options->listener(run->options->listener_user, &e);
}

rg_event graph_node_event(const graph_run *run, rg_event_kind kind, int node)
{
    const prompt_node *n = &run->prompt->nodes[node];

    return (rg_event){ .kind = kind, .node_id = n->id, .class_type = n->type->class_type,
                       .display_id = n->is_ephemeral ? run->prompt->nodes[n->display].id : n->id };
}

static void on_progress(void *user, int64_t step, int64_t total, const rg_tensor *preview)
{
    graph_run *run = user;

    graph_progress_step(run, run->node, step, total, preview);
}

/* The failure of a node (clients hear of the submitted one), or of the run (-1), as an event; returns the code. */
static int fail_as(const graph_run *run, int node, int code, const char *exception_type)
{
    const rg_ctx *c = run->options->ctx;
    rg_event e = { 0 };

    if (node >= 0) {
        const int real = graph_real(run->prompt, node);

        e = graph_node_event(run, RG_EVENT_ERROR, real);
        e.current_inputs = run->calls && run->calls[node] ? run->calls[node]->inputs : NULL;
    }
    e.kind = code == RG_ERR_CANCELLED ? RG_EVENT_INTERRUPTED : RG_EVENT_ERROR;
    e.code = code;
    e.exception_type = exception_type ? exception_type : rg_error_type(code);
    e.message = c->error ? c->message : rg_error_text(code);
    e.tip = code == RG_ERR_NOMEM ? "All models were unloaded. If this workflow ran before, see whether batch_size or the picture has grown." : "";
    e.ids = run->executed;
    e.n_ids = run->n_executed;
    graph_send(run, e);
    return code;
}

static int failed(const graph_run *run, int node, int code)
{
    if (code == RG_ERR_NOMEM && run->options->env->store)
        rg_store_trim(run->options->env->store);
    return fail_as(run, node, code, NULL);
}

static void note_executed(graph_run *run, int node)
{
    if (run->n_executed == run->executed_capacity) {
        const int capacity = run->executed_capacity ? 2 * run->executed_capacity : 64;
        const char **more = rg_realloc(run->executed, (size_t)capacity * sizeof(*more));

        if (!more)
            return;                     /* an error message will lack it, no more */
        run->executed = more;
        run->executed_capacity = capacity;
    }
    run->executed[run->n_executed++] = run->prompt->nodes[node].id;
}

/* ---- results ------------------------------------------------------------------------------------------------------------ */

const graph_result *graph_result_of(const graph_run *run, int node)
{
    if (run->results[node].is_there)
        return &run->results[node];
    return run->keys ? graph_cache_get(run->options->cache, &run->keys[node]) : NULL;
}

bool graph_has_result(void *run, int node)
{
    return graph_result_of(run, node) != NULL;
}

/* ---- one node ---------------------------------------------------------------------------------------------------------------- */

/* Start a node's calls, with progress going to this node and its state in and out of the cache. As graph_call_node(). */
static int start_node(graph_run *run, int node)
{
    const prompt_node *n = &run->prompt->nodes[node];
    rg_cache *cache = run->options->cache;
    rg_ctx *c = run->options->ctx;
    rg_progress_fn *progress = c->progress;
    void *progress_user = c->progress_user;
    int ret;

    graph_progress_start(run, node);
    graph_send(run, graph_node_event(run, RG_EVENT_EXECUTING, node));
    if (cache)
        run->states[node] = graph_cache_state(cache, n->id, n->type->class_type);
    c->progress = on_progress;
    c->progress_user = run;
    ret = graph_call_node(run, node);
    c->progress = progress;
    c->progress_user = progress_user;
    if (cache && graph_cache_keep_state(cache, n->id, n->type->class_type, run->states[node]) == 0)
        run->states[node] = NULL;       /* the cache's now */
    return ret;
}

/* All calls of an async node have ended: the first that failed fails the node. */
static int check_async(graph_run *run, int node)
{
    const node_calls *calls = run->calls[node];

    for (int i = 0; i < calls->n_calls; i++)
        if (calls->results[i].code < 0)
            return rg_fail(run->options->ctx, calls->results[i].code, "%s",
                           calls->results[i].message ? calls->results[i].message : rg_error_text(calls->results[i].code));
    return 0;
}

/* One step of a node. 0: its result is there; 1: it waits; or a code. */
static int run_node(graph_run *run, int node)
{
    graph_result *result = &run->results[node];
    rg_event e;
    double started;
    int ret = rg_check(run->options->ctx);

    run->node = node;
    if (!run->calls[node]) {
        const graph_result *cached = run->keys ? graph_cache_get(run->options->cache, &run->keys[node]) : NULL;

        if (cached) {                   /* an output that was there from the start, or an equal node ran meanwhile */
            if (!result->is_there) {
                graph_result_release(result);
                *result = graph_result_ref(cached);
            }
            e = graph_node_event(run, RG_EVENT_EXECUTED, node);
            e.is_cached = true;
            e.ui = result->ui;
            graph_send(run, e);
            graph_progress_finish(run, node);
            return 0;
        }
        if (!ret)
            ret = start_node(run, node);
        if (ret)
            return ret < 0 ? failed(run, node, ret) : ret;
    }
    if (!ret && run->calls[node]->n_running > 0)
        return 1;
    if (!ret)
        ret = check_async(run, node);
    if (!ret && !run->calls[node]->is_expanded) {
        bool has_expansion = false;

        for (int i = 0; i < run->calls[node]->n_calls; i++)
            has_expansion |= run->calls[node]->results[i].expansion != NULL;
        if (has_expansion && (ret = graph_expand(run, node)) > 0)
            return 1;
    }
    if (ret < 0)
        return failed(run, node, ret);
    result = &run->results[node];       /* an expansion moves them */
    started = run->calls[node]->started;
    graph_result_release(result);
    if ((ret = graph_finish_calls(run, node, result)) < 0)
        return failed(run, node, ret);
    if (run->keys)
        graph_cache_put(run->options->cache, run->prompt, node, &run->keys[node], result);     /* without memory for it, it just runs again */
    e = graph_node_event(run, RG_EVENT_EXECUTED, node);
    e.ui = result->ui;
    e.seconds = graph_now() - started;
    graph_send(run, e);
    graph_progress_finish(run, node);
    note_executed(run, node);
    return 0;
}

/* Let go of a result in this run; the cache keeps its own hold. The ui stays until the end. */
static void drop_slots(graph_result *r)
{
    for (int i = 0; i < r->n_slots; i++) {
        rg_unref(r->slots[i]);
        r->slots[i] = NULL;
    }
    r->is_there = false;
}

/* ---- the run ------------------------------------------------------------------------------------------------------------------- */

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
    graph_send(run, (rg_event){ .kind = RG_EVENT_CACHED, .ids = ids, .n_ids = n, .cached = ids, .n_cached = n });
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

int graph_run_grow(graph_run *run)
{
    const rg_prompt *p = run->prompt;
    const int n = run->n_nodes ? 2 * p->n_nodes : p->n_nodes + 1;

    if (run->n_nodes < p->n_nodes || !run->n_nodes) {
        /* each array as soon as it has grown, so that a failure leaves all of them usable */
#define GROW(array) do {                                                                                    \
        void *more = rg_realloc(run->array, (size_t)n * sizeof(*run->array));                               \
        if (!more)                                                                                          \
            return RG_ERR_NOMEM;                                                                            \
        run->array = more;                                                                                  \
        memset(&run->array[run->n_nodes], 0, (size_t)(n - run->n_nodes) * sizeof(*run->array));             \
    } while (0)
        GROW(results);
        GROW(states);
        GROW(calls);
        GROW(progress_of);
        if (run->keys)
            GROW(keys);
#undef GROW
        for (int i = run->n_nodes; i < n; i++)
            run->progress_of[i] = -1;
        run->n_nodes = n;
    }
    return worklist_grow(&run->work);
}

/*
 * The fingerprint of each node that has one, put into the prompt for the run as ComfyUI does: pictures then carry it in their
 * metadata, and the keys take it from there. A node that always runs again gets none.
 */
static int note_changes(graph_run *run)
{
    rg_prompt *p = run->prompt;

    for (int i = 0; i < p->n_nodes; i++) {
        prompt_node *n = &p->nodes[i];
        struct json_object *list;
        graph_call call;
        char digits[65] = "";
        int ret;

        if (!n->type || !n->type->fingerprint || !n->inputs || json_object_object_get_ex(n->json, "is_changed", NULL))
            continue;
        ret = graph_call_from_constants(&call, p, i);
        if (!ret)
            ret = n->type->fingerprint(run->options->env, call.args, digits);
        graph_call_release(&call);
        if (ret == RG_ERR_NOMEM)
            return ret;
        if (ret || !(list = json_object_new_array()))
            continue;
        json_object_array_add(list, json_object_new_string(digits));
        json_object_object_add(n->json, "is_changed", list);
        n->has_noted_change = true;
    }
    return 0;
}

static void forget_changes(rg_prompt *p)
{
    for (int i = 0; i < p->n_nodes; i++) {
        if (p->nodes[i].has_noted_change)
            json_object_object_del(p->nodes[i].json, "is_changed");
        p->nodes[i].has_noted_change = false;
    }
}

static int prepare(graph_run *run)
{
    rg_prompt *p = run->prompt;
    const rg_run *options = run->options;
    bool wants_prompt = false;

    if (!p->is_validated)
        return rg_fail(options->ctx, RG_ERR_INVALID, "the workflow is not validated");
    if (worklist_init(&run->work, p) < 0 || graph_run_grow(run) < 0)
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    for (int i = 0; i < p->n_nodes; i++)
        wants_prompt |= p->nodes[i].type && p->nodes[i].type->wants_prompt;
    if (note_changes(run) < 0)
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    if (wants_prompt && options->env->has_metadata && !(run->prompt_text = rg_json_dump(p->json, 0)))
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    if (options->cache && !(run->keys = graph_keys(options->env, p)))
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    if (run->keys && graph_cache_trim(options->cache, p, run->keys) < 0)
        return rg_fail(options->ctx, RG_ERR_NOMEM, "no memory for a run");
    return 0;
}

/* Nothing is ready and nothing goes on: whoever expanded into the circle is to blame. */
static int fail_cycle(graph_run *run)
{
    const rg_prompt *p = run->prompt;
    int blamed = -1;

    for (int i = 0; i < run->work.n_order && blamed < 0; i++) {
        const int node = run->work.order[i];

        if (run->work.nodes[node].is_pending && p->nodes[node].is_ephemeral)
            blamed = p->nodes[node].display;
    }
    return fail_as(run, blamed, rg_fail(run->options->ctx, RG_ERR_INVALID, "Dependency cycle detected"), "graph.DependencyCycleError");
}

/* Who needed the node's sources, and the node itself if nobody waits for it, needs them no more. */
static void let_go(graph_run *run, int node)
{
    const work_node *n = &run->work.nodes[node];

    for (int i = 0; i < n->n_needs; i++)
        if (--run->work.nodes[n->needs[i]].n_users == 0)
            drop_slots(&run->results[n->needs[i]]);
    if (n->n_users == 0)
        drop_slots(&run->results[node]);
}

static int run_all(graph_run *run)
{
    rg_prompt *p = run->prompt;
    rg_ctx *c = run->options->ctx;
    int ret = prepare(run), node = -1;

    if (ret < 0 || (ret = take_cached(run)) < 0)
        return failed(run, -1, ret);
    for (int i = 0; !ret && i < p->n_nodes; i++)
        if (p->nodes[i].is_wanted && worklist_add(&run->work, i, graph_has_result, run) < 0)
            ret = rg_fail(c, RG_ERR_NOMEM, "no memory for a run");
    if (ret < 0 || (ret = check_folders(run, &node)) < 0)
        return failed(run, node, ret);

    while (run->work.n_pending > 0) {
        graph_async_collect(run, false);
        node = worklist_pick(&run->work);
        if (node >= 0) {
            if ((ret = run_node(run, node)) < 0)
                return ret;
            if (ret == 0) {
                worklist_done(&run->work, node);
                let_go(run, node);
            }
        } else if (run->n_async > 0) {
            if ((ret = rg_check(c)) < 0)
                return failed(run, graph_async_node(run), ret);
            graph_async_collect(run, true);
        } else {
            return fail_cycle(run);
        }
    }
    graph_send(run, (rg_event){ .kind = RG_EVENT_SUCCESS });
    return 0;
}

int rg_execute(const rg_run *options, rg_prompt *p)
{
    graph_run run = { .options = options, .prompt = p, .node = -1 };
    int ret;

    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.changed, NULL);
    rg_ctx_reset(options->ctx);
    graph_send(&run, (rg_event){ .kind = RG_EVENT_START });
    ret = run_all(&run);

    graph_async_end(&run);
    worklist_release(&run.work);
    for (int i = 0; i < run.n_nodes; i++) {
        graph_result_release(&run.results[i]);
        graph_calls_free(run.calls[i]);
        rg_free(run.states[i]);
    }
    graph_remove_added(p);
    forget_changes(p);
    rg_free(run.results);
    rg_free(run.states);
    rg_free(run.calls);
    rg_free(run.progress_of);
    rg_free(run.progress);
    rg_free(run.executed);
    rg_free(run.needed);
    rg_free(run.keys);
    rg_free(run.prompt_text);
    pthread_mutex_destroy(&run.lock);
    pthread_cond_destroy(&run.changed);
    return ret;
}
