/*
 * Calls of async nodes: each on a thread of its own with a CPU context of its own. The run's thread alone talks to the listener,
 * so a call leaves its progress under the lock, and the run passes it on when it comes by. Source: ComfyUI execution.py, where
 * these are coroutines; threads let nodes that compute go on beside them.
 */
#include <time.h>

#include "engine/ops/profile.h"
#include "graph/run.h"

typedef struct async_call {
    graph_exec exec;
    graph_call call;
    node_calls *calls;
    pthread_t thread;
    rg_ctx *ctx;
    bool is_done, has_progress;         /* with step and total under the run's lock */
    int64_t step, total;
    struct async_call *next;
} async_call;

static void on_progress(void *user, int64_t step, int64_t total, const rg_tensor *preview)
{
    async_call *a = user;
    graph_run *run = a->exec.run;

    pthread_mutex_lock(&run->lock);
    a->step = step;
    a->total = total;
    a->has_progress = true;
    pthread_cond_signal(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

static void *run_call(void *arg)
{
    async_call *a = arg;
    graph_run *run = a->exec.run;
    call_result *r = a->exec.result;
    const int scope = rg_scope_begin(a->ctx);
    const double span = rg_span_begin(a->ctx, a->call.type->class_type);
    int ret = a->call.type->execute(&a->exec.x, a->call.args, r->out);

    rg_span_end(a->ctx, a->call.type->class_type, span);

    if (ret >= 0 && a->ctx->error)
        ret = a->ctx->error;
    if (ret < 0)
        r->message = rg_strdup(a->ctx->error ? a->ctx->message : rg_error_text(ret));
    rg_scope_end(a->ctx, scope, NULL);
    pthread_mutex_lock(&run->lock);
    r->code = ret < 0 ? ret : 0;
    a->is_done = true;
    pthread_cond_signal(&run->changed);
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

static void free_call(async_call *a)
{
    if (!a)
        return;
    graph_call_release(&a->call);
    graph_exec_release(&a->exec);
    rg_ctx_free(a->ctx);
    rg_free(a);
}

int graph_async_start(graph_run *run, graph_exec *exec, graph_call *call, node_calls *calls)
{
    async_call *a = rg_calloc(1, sizeof(*a));

    if (!a)
        return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for a call");
    a->exec = *exec;
    a->call = *call;
    a->calls = calls;
    *exec = (graph_exec){ 0 };
    *call = (graph_call){ 0 };
    a->ctx = rg_ctx_new((rg_device){ .type = RG_CPU }, RG_F32, NULL);
    if (!a->ctx)
        goto fail;
    a->ctx->cancel = &run->stop;
    a->ctx->progress = on_progress;
    a->ctx->progress_user = a;
    a->exec.x.ctx = a->ctx;
    a->exec.x.private_data = &a->exec;
    a->exec.x.state = &a->exec.own_state;
    if (pthread_create(&a->thread, NULL, run_call, a))
        goto fail;
    a->next = run->async;
    run->async = a;
    run->n_async++;
    calls->n_running++;
    return 0;
fail:
    free_call(a);
    return rg_fail(run->options->ctx, RG_ERR_NOMEM, "no memory for a call on a thread of its own");
}

/* One call that has something to say, or NULL; is_done calls are taken out of the list. Waits a moment for one if asked to. */
static async_call *next_change(graph_run *run, bool is_waiting)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20 * 1000 * 1000;  /* how late an interrupt may be noticed */
    if (until.tv_nsec >= 1000 * 1000 * 1000) {
        until.tv_nsec -= 1000 * 1000 * 1000;
        until.tv_sec++;
    }
    for (;;) {
        for (async_call **at = &run->async; *at; at = &(*at)->next) {
            async_call *a = *at;

            if (a->is_done)
                *at = a->next;
            if (a->is_done || a->has_progress)
                return a;
        }
        if (!is_waiting || pthread_cond_timedwait(&run->changed, &run->lock, &until))
            return NULL;
    }
}

void graph_async_collect(graph_run *run, bool is_waiting)
{
    while (run->n_async > 0) {
        async_call *a;
        bool is_done, has_progress;
        int64_t step, total;

        pthread_mutex_lock(&run->lock);
        a = next_change(run, is_waiting);
        if (!a) {
            pthread_mutex_unlock(&run->lock);
            return;
        }
        is_done = a->is_done;
        has_progress = a->has_progress;
        step = a->step;
        total = a->total;
        a->has_progress = false;
        pthread_mutex_unlock(&run->lock);

        if (has_progress)
            graph_progress_step(run, a->exec.node, step, total, NULL);
        if (is_done) {
            const int node = a->exec.node;

            pthread_join(a->thread, NULL);
            run->n_async--;
            if (--a->calls->n_running == 0)
                worklist_release_hold(&run->work, node);
            free_call(a);
        }
        is_waiting = false;             /* something has changed: see what else has, then go on */
    }
}

int graph_async_node(const graph_run *run)
{
    return run->async ? run->async->exec.node : -1;
}

void graph_async_end(graph_run *run)
{
    atomic_store(&run->stop, true);
    while (run->async) {
        async_call *a = run->async;

        run->async = a->next;
        pthread_join(a->thread, NULL);
        free_call(a);
    }
    run->n_async = 0;
}
