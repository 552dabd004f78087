/* The thread that runs jobs. Everything a job leaves behind (history entry, files, seconds) is collected here, from the run's events. */
#include "server/executor.h"

#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/weights/store.h"
#include "graph/json_text.h"

/* A job's prompt as it was validated when it came. */
typedef struct prepared {
    struct prepared *next;
    rg_prompt *prompt;
    struct json_object *request;
    int n_nodes;
    char id[];
} prepared;

enum { MAX_PREPARED_NODES = 20000 };

struct rg_executor {
    rg_executor_options options;
    rg_cache *cache;
    pthread_t thread;
    atomic_bool is_cancelled;           /* the ctx looks here within each step */

    pthread_mutex_t lock;               /* all below */
    const char *running;                /* id of the job at hand, NULL: none */
    char *cancel_next;                  /* id of a job that was pulled, but not yet `running`, when somebody wanted it cancelled */
    prepared *prepared, **prepared_end; /* oldest first: the order in which most are run */
    int n_prepared_nodes;
    bool is_stopping, is_unload_wanted, is_forget_wanted, is_check_wanted, is_cancel_wanted;
    double load_seconds, compute_seconds, wait_seconds;
    int64_t n_run, n_cached;
    rg_class_seconds *classes;
    int n_classes, classes_capacity;
};

/* One job while it runs; the listener's user. */
typedef struct job_run {
    rg_executor *x;
    const rg_job *job;
    rg_prompt *prompt;
    struct json_object *outputs, *meta, *messages, *files;
    rg_job_seconds seconds;
    double node_started;                /* the node that runs now; 0: none */
    char failed_text[1400];             /* "node 8 (KSampler): ..." once something has failed */
} job_run;

static double now_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

static void notify(const job_run *run, rg_job_event e)
{
    e.job = run->job;
    e.prompt = run->prompt;
    if (run->x->options.listener)
        run->x->options.listener(run->x->options.listener_user, &e);
}

/* ---- what a run leaves behind ------------------------------------------------------------------------------------------ */

/* Files among what a node showed, with their paths on this machine's folders. */
static void collect_files(job_run *run, const char *node_id, struct json_object *ui)
{
    const rg_env *env = run->x->options.env;

    json_object_object_foreach(ui, key, list) {
        (void)key;
        if (!json_object_is_type(list, json_type_array))
            continue;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            struct json_object *item = json_object_array_get_idx(list, i), *filename, *subfolder, *type;
            if (!json_object_is_type(item, json_type_object) || !json_object_object_get_ex(item, "filename", &filename) ||
                !json_object_object_get_ex(item, "subfolder", &subfolder) || !json_object_object_get_ex(item, "type", &type))
                continue;
            const bool is_temp = !strcmp(json_object_get_string(type), "temp");
            const char *sub = json_object_get_string(subfolder);
            char *path = rg_asprintf("%s/%s%s%s", is_temp ? env->temp_dir : env->output_dir, sub, *sub ? "/" : "",
                                     json_object_get_string(filename));
            struct json_object *file = json_object_new_object();
            add_text(file, "node", node_id);
            add_text(file, "path", path);
            json_object_object_add(file, "type", json_object_get(type));
            json_object_array_add(run->files, file);
            rg_free(path);
        }
    }
}

static void collect_output(job_run *run, const rg_event *e)
{
    struct json_object *meta = json_object_new_object();

    json_object_object_add(run->outputs, e->node_id, json_object_get(e->ui));
    add_text(meta, "node_id", e->node_id);
    add_text(meta, "display_node", e->node_id);
    json_object_object_add(meta, "parent_node", NULL);
    add_text(meta, "real_node_id", e->node_id);
    json_object_object_add(run->meta, e->node_id, meta);
    collect_files(run, e->node_id, e->ui);
}

static void count_node(job_run *run, const rg_event *e)
{
    rg_executor *x = run->x;
    int i = 0;

    pthread_mutex_lock(&x->lock);
    while (i < x->n_classes && x->classes[i].class_type != e->class_type)       /* a descriptor's own text */
        i++;
    if (i == x->n_classes) {
        const rg_node *node = rg_node_find(e->class_type);
        if (x->n_classes == x->classes_capacity) {
            const int larger = x->classes_capacity ? 2 * x->classes_capacity : 32;
            rg_class_seconds *grown = rg_realloc(x->classes, (size_t)larger * sizeof *grown);
            if (grown) {
                x->classes = grown;
                x->classes_capacity = larger;
            }
        }
        if (x->n_classes < x->classes_capacity)
            x->classes[x->n_classes++] = (rg_class_seconds){ .class_type = e->class_type,
                                                             .is_load = node && node->category && strstr(node->category, "loaders") };
    }
    if (i < x->n_classes) {
        x->classes[i].n_runs += !e->is_cached;
        x->classes[i].seconds += e->seconds;
    }
    if (i < x->n_classes && x->classes[i].is_load)
        run->seconds.load += e->seconds;
    else
        run->seconds.compute += e->seconds;
    x->n_run += !e->is_cached;
    pthread_mutex_unlock(&x->lock);
}

/* The data of one of the five recorded messages, in ComfyUI's words. */
static struct json_object *message_data(const job_run *run, const rg_event *e)
{
    struct json_object *d = json_object_new_object();

    if (e->kind == RG_EVENT_CACHED) {
        struct json_object *nodes = json_object_new_array();
        for (int i = 0; i < e->n_cached; i++)
            json_object_array_add(nodes, json_object_new_string(e->cached[i]));
        json_object_object_add(d, "nodes", nodes);
    }
    add_text(d, "prompt_id", run->job->id);
    if (e->kind == RG_EVENT_ERROR || e->kind == RG_EVENT_INTERRUPTED) {
        add_text(d, "node_id", e->node_id);
        add_text(d, "node_type", e->class_type);
        struct json_object *executed = json_object_new_array();
        for (int i = 0; i < e->n_ids; i++)
            json_object_array_add(executed, json_object_new_string(e->ids[i]));
        json_object_object_add(d, "executed", executed);
    }
    if (e->kind == RG_EVENT_ERROR) {
        struct json_object *all = json_object_new_array();
        char *text = rg_asprintf("%s\n%s", e->message ? e->message : rg_error_text(e->code), e->tip ? e->tip : "");
        add_text(d, "exception_message", text ? text : "out of memory\n");
        rg_free(text);
        add_text(d, "exception_type", e->exception_type ? e->exception_type : rg_error_type(e->code));
        json_object_object_add(d, "traceback", json_object_new_array());
        json_object_object_add(d, "current_inputs", e->current_inputs ? json_object_get(e->current_inputs) : json_object_new_object());
        for (int i = 0; run->prompt && i < rg_prompt_n_nodes(run->prompt); i++)
            json_object_array_add(all, json_object_new_string(rg_prompt_node(run->prompt, i, NULL)));
        json_object_object_add(d, "current_outputs", all);
    }
    json_object_object_add(d, "timestamp", json_object_new_int64((int64_t)(now_wall() * 1000)));
    return d;
}

static void on_event(void *user, const rg_event *e)
{
    job_run *run = user;
    rg_queue *q = run->x->options.queue;
    rg_job_event out = { .kind = RG_JOB_EVENT_RUN, .e = e };

    switch (e->kind) {
    case RG_EVENT_START:       out.message = "execution_start"; break;
    case RG_EVENT_CACHED:
        out.message = "execution_cached";
        pthread_mutex_lock(&run->x->lock);
        run->x->n_cached += e->n_cached;
        pthread_mutex_unlock(&run->x->lock);
        break;
    case RG_EVENT_SUCCESS:     out.message = "execution_success"; break;
    case RG_EVENT_ERROR:       out.message = "execution_error"; break;
    case RG_EVENT_INTERRUPTED: out.message = "execution_interrupted"; break;
    case RG_EVENT_EXECUTING:
        run->node_started = now_wall();
        rg_queue_progress(q, run->job->id, e->node_id, 0, 0);
        break;
    case RG_EVENT_PROGRESS:
        rg_queue_progress(q, run->job->id, e->node_id, e->step, e->total);
        break;
    case RG_EVENT_EXECUTED:
        count_node(run, e);
        run->node_started = 0;
        if (e->ui)
            collect_output(run, e);
        break;
    case RG_EVENT_PROGRESS_STATE:
    case RG_EVENT_BLOCKED:
        break;                          /* for clients that watch; no part of the job's record */
    }
    if ((e->kind == RG_EVENT_ERROR || e->kind == RG_EVENT_INTERRUPTED) && e->class_type && run->node_started > 0) {
        rg_event cut_short = *e;        /* what it took until then was device time, too */
        cut_short.seconds = now_wall() - run->node_started;
        cut_short.is_cached = false;
        count_node(run, &cut_short);
        run->node_started = 0;
    }
    if (e->kind == RG_EVENT_ERROR)
        snprintf(run->failed_text, sizeof run->failed_text, "%s%.60s%s%.100s%s%.1000s", e->node_id ? "node " : "",
                 e->node_id ? e->node_id : "", e->node_id ? " (" : "", e->node_id && e->class_type ? e->class_type : "",
                 e->node_id ? "): " : "", e->message ? e->message : rg_error_text(e->code));
    if (out.message) {
        struct json_object *pair = json_object_new_array();
        out.data = message_data(run, e);
        json_object_array_add(pair, json_object_new_string(out.message));
        json_object_array_add(pair, out.data);
        json_object_array_add(run->messages, pair);
    }
    notify(run, out);
}

/* ---- jobs that need no reading ------------------------------------------------------------------------------------------ */

static void prepared_free(prepared *p)
{
    rg_prompt_free(p->prompt);
    json_object_put(p->request);
    rg_free(p);
}

void rg_executor_prepare(rg_executor *x, const char *id, rg_prompt *prompt, struct json_object *request)
{
    prepared *p = rg_malloc(sizeof *p + strlen(id) + 1);

    if (!p) {
        rg_prompt_free(prompt);
        json_object_put(request);
        return;
    }
    *p = (prepared){ .prompt = prompt, .request = request, .n_nodes = rg_prompt_n_nodes(prompt) + 1 };
    strcpy(p->id, id);
    pthread_mutex_lock(&x->lock);
    const bool has_room = x->n_prepared_nodes + p->n_nodes <= MAX_PREPARED_NODES;
    if (has_room) {
        *x->prepared_end = p;
        x->prepared_end = &p->next;
        x->n_prepared_nodes += p->n_nodes;
    }
    pthread_mutex_unlock(&x->lock);
    if (!has_room)
        prepared_free(p);
}

/* The oldest or the latest of an id; NULL: there is none. */
static prepared *take_prepared(rg_executor *x, const char *id, bool is_latest)
{
    prepared *p = NULL, **found = NULL;

    pthread_mutex_lock(&x->lock);
    for (prepared **at = &x->prepared; *at && (is_latest || !found); at = &(*at)->next)
        if (!strcmp((*at)->id, id))
            found = at;
    if (found) {
        p = *found;
        x->n_prepared_nodes -= p->n_nodes;
        if (!(*found = p->next))
            x->prepared_end = found;
    }
    pthread_mutex_unlock(&x->lock);
    return p;
}

void rg_executor_unprepare(rg_executor *x, const char *id)
{
    prepared *p = take_prepared(x, id, true);

    if (p)
        prepared_free(p);
}

/* Nothing waits: what is left belongs to jobs that were taken out of the queue. */
static void forget_prepared(rg_executor *x)
{
    pthread_mutex_lock(&x->lock);
    prepared *p = x->prepared;
    x->prepared = NULL;
    x->prepared_end = &x->prepared;
    x->n_prepared_nodes = 0;
    pthread_mutex_unlock(&x->lock);
    for (prepared *next; p; p = next) {
        next = p->next;
        prepared_free(p);
    }
}

/* ---- one job ------------------------------------------------------------------------------------------------------------- */

/* Text of what validation refused: the first error with its details. */
static void explain_answer(job_run *run, struct json_object *answer)
{
    struct json_object *error, *message, *details;

    if (answer && json_object_object_get_ex(answer, "error", &error) && json_object_object_get_ex(error, "message", &message))
        snprintf(run->failed_text, sizeof run->failed_text, "%.600s%s%.600s", json_object_get_string(message),
                 json_object_object_get_ex(error, "details", &details) && *json_object_get_string(details) ? ": " : "",
                 json_object_object_get_ex(error, "details", &details) ? json_object_get_string(details) : "");
    else
        snprintf(run->failed_text, sizeof run->failed_text, "the workflow is not valid");
}

/* A failure outside of any node: recorded as ComfyUI records those of nodes. */
static void fail_outside(job_run *run, int code)
{
    rg_event e = { .kind = RG_EVENT_ERROR, .code = code };
    char text[sizeof run->failed_text];

    snprintf(text, sizeof text, "%s", *run->failed_text ? run->failed_text : rg_error_text(code));
    e.message = text;
    on_event(run, &e);
}

/* extra_data.extra_pnginfo as keys and JSON texts; all in one block to rg_free(), keys borrowed from extra. */
static char **pnginfo(struct json_object *request, const char ***keys, int *n)
{
    struct json_object *extra, *info;
    char **texts = NULL;
    int i = 0;

    *n = 0;
    *keys = NULL;
    if (!json_object_object_get_ex(request, "extra_data", &extra) || !json_object_object_get_ex(extra, "extra_pnginfo", &info) ||
        !json_object_is_type(info, json_type_object))
        return NULL;
    const size_t count = (size_t)json_object_object_length(info) + 1;
    texts = rg_calloc(count, sizeof *texts);
    *keys = rg_calloc(count, sizeof **keys);
    if (!texts || !*keys)
        return texts;
    json_object_object_foreach(info, key, value) {
        if ((texts[i] = rg_json_dump(value, 0)) != NULL)
            (*keys)[i++] = key;
    }
    *n = i;
    return texts;
}

static int execute(job_run *run)
{
    rg_executor *x = run->x;
    rg_ctx *c = x->options.ctx;
    struct json_object *request = NULL, *graph, *targets, *answer = NULL;
    const char **ids = NULL, **keys = NULL;
    char **texts = NULL;
    int n_ids = 0, n_texts = 0, ret;

    rg_ctx_reset(c);
    prepared *ready = take_prepared(x, run->job->id, false);
    if (ready) {
        request = ready->request;
        run->prompt = ready->prompt;
        rg_free(ready);
        goto ready;
    }
    if ((ret = rg_json_parse(c, run->job->request, strlen(run->job->request), &request)) < 0)
        goto outside;
    if (!json_object_object_get_ex(request, "prompt", &graph)) {
        ret = rg_fail(c, RG_ERR_FORMAT, "the stored request holds no workflow");
        goto outside;
    }
    json_object_get(graph);             /* out of the request: the prompt's alone */
    json_object_object_del(request, "prompt");
    if ((ret = rg_prompt_take_json(c, graph, &run->prompt)) < 0)
        goto outside;
    if (json_object_object_get_ex(request, "targets", &targets) && json_object_is_type(targets, json_type_array)) {
        n_ids = (int)json_object_array_length(targets);
        if (!(ids = rg_calloc((size_t)n_ids + 1, sizeof *ids))) {
            ret = rg_fail(c, RG_ERR_NOMEM, "no memory for a run");
            goto outside;
        }
        for (int i = 0; i < n_ids; i++)
            ids[i] = json_object_get_string(json_object_array_get_idx(targets, (size_t)i));
    }
    if ((ret = rg_prompt_validate_targets(x->options.env, run->prompt, ids, n_ids, &answer)) < 0) {
        explain_answer(run, answer);
        fail_outside(run, ret);
        goto done;
    }
ready:
    texts = pnginfo(request, &keys, &n_texts);
    const rg_run options = { .ctx = c, .env = x->options.env, .cache = x->cache, .listener = on_event, .listener_user = run,
                             .extra_keys = keys, .extra_texts = (const char *const *)texts, .n_extra = n_texts };
    ret = rg_execute(&options, run->prompt);
    goto done;
outside:
    snprintf(run->failed_text, sizeof run->failed_text, "%s", *c->message ? c->message : rg_error_text(ret));
    fail_outside(run, ret);
done:
    for (int i = 0; i < n_texts; i++)
        rg_free(texts[i]);
    rg_free(texts);
    rg_free(keys);
    rg_free(ids);
    json_object_put(answer);
    json_object_put(request);
    rg_ctx_reset(c);
    return ret;
}

static char *result_text(const job_run *run, rg_job_state state, const char *error)
{
    struct json_object *r = json_object_new_object(), *status = json_object_new_object(), *seconds = json_object_new_object();

    json_object_object_add(r, "outputs", json_object_get(run->outputs));
    add_text(status, "status_str", state == RG_JOB_DONE ? "success" : "error");
    json_object_object_add(status, "completed", json_object_new_boolean(state == RG_JOB_DONE));
    json_object_object_add(status, "messages", json_object_get(run->messages));
    json_object_object_add(r, "status", status);
    json_object_object_add(r, "meta", json_object_get(run->meta));
    json_object_object_add(r, "files", json_object_get(run->files));
    json_object_object_add(seconds, "wait", json_object_new_double(run->seconds.wait));
    json_object_object_add(seconds, "load", json_object_new_double(run->seconds.load));
    json_object_object_add(seconds, "compute", json_object_new_double(run->seconds.compute));
    json_object_object_add(r, "seconds", seconds);
    if (error)
        add_text(r, "error", error);
    char *text = rg_json_dump(r, 0);
    json_object_put(r);
    return text;
}

static void run_job(rg_executor *x, const rg_job *job)
{
    job_run run = { .x = x, .job = job, .outputs = json_object_new_object(), .meta = json_object_new_object(),
                    .messages = json_object_new_array(), .files = json_object_new_array() };
    bool is_put_back;

    run.seconds.wait = job->started > job->created ? job->started - job->created : 0;
    notify(&run, (rg_job_event){ .kind = RG_JOB_EVENT_STARTED });
    const int ret = execute(&run);

    pthread_mutex_lock(&x->lock);
    x->running = NULL;
    is_put_back = ret == RG_ERR_CANCELLED && x->is_stopping && !x->is_cancel_wanted;
    x->load_seconds += run.seconds.load;
    x->compute_seconds += run.seconds.compute;
    x->wait_seconds += run.seconds.wait;
    pthread_mutex_unlock(&x->lock);
    if (is_put_back) {
        rg_queue_nack(x->options.queue, job->id);
    } else {
        const rg_job_state state = ret == 0 ? RG_JOB_DONE : ret == RG_ERR_CANCELLED ? RG_JOB_CANCELLED : RG_JOB_FAILED;
        const char *error = ret == 0 ? NULL : ret == RG_ERR_CANCELLED ? "cancelled" : run.failed_text;
        char *result = result_text(&run, state, error);
        /* a full disk must not turn a finished job into a lost one: try until it is stored or the server stops */
        while (rg_queue_ack(x->options.queue, job->id, state, result, error) == RG_ERR_IO) {
            pthread_mutex_lock(&x->lock);
            const bool is_stopping = x->is_stopping;
            pthread_mutex_unlock(&x->lock);
            if (is_stopping)
                break;
            nanosleep(&(struct timespec){ 0, 500000000 }, NULL);
        }
        notify(&run, (rg_job_event){ .kind = RG_JOB_EVENT_ENDED, .state = state, .result = result, .error = error, .seconds = run.seconds });
        rg_free(result);
    }
    if (ret == RG_ERR_NOMEM)
        rg_ctx_trim(x->options.ctx);
    rg_prompt_free(run.prompt);
    json_object_put(run.outputs);
    json_object_put(run.meta);
    json_object_put(run.messages);
    json_object_put(run.files);
}

/* Does what a node showed name a file that is not there any more? */
static bool names_missing_file(void *user, struct json_object *ui)
{
    job_run run = { .x = user, .files = json_object_new_array() };
    struct json_object *path;
    bool is_missing = false;

    collect_files(&run, "", ui);
    for (size_t i = 0; i < json_object_array_length(run.files); i++)
        if (json_object_object_get_ex(json_object_array_get_idx(run.files, i), "path", &path))
            is_missing |= access(json_object_get_string(path), F_OK) < 0;
    json_object_put(run.files);
    return is_missing;
}

/* Between jobs: what POST /free asked for, or a model file that has changed. */
static void free_memory(rg_executor *x)
{
    pthread_mutex_lock(&x->lock);
    const bool unload = x->is_unload_wanted, forget = x->is_forget_wanted, check = x->is_check_wanted;
    x->is_unload_wanted = x->is_forget_wanted = x->is_check_wanted = false;
    pthread_mutex_unlock(&x->lock);
    if (check && x->cache)
        rg_cache_drop(x->cache, names_missing_file, x);
    if (!unload && !forget)
        return;
    if (forget || unload) {             /* results hold the models */
        if (x->cache)
            rg_cache_clear(x->cache);
    }
    if (unload)
        rg_store_trim(x->options.env->store);
    rg_ctx_trim(x->options.ctx);
}

static void *thread_main(void *arg)
{
    rg_executor *x = arg;

    for (;;) {
        pthread_mutex_lock(&x->lock);
        const bool is_stopping = x->is_stopping;
        pthread_mutex_unlock(&x->lock);
        if (is_stopping)
            break;
        free_memory(x);
        /* a short wait, so that a wish to free memory is heard soon */
        rg_job *job = rg_queue_pull(x->options.queue, 0.5);
        if (!job) {
            forget_prepared(x);
            continue;
        }
        free_memory(x);                 /* asked for while it waited: a job sent afterwards must not see what was to go */
        pthread_mutex_lock(&x->lock);
        x->is_cancel_wanted = x->cancel_next && !strcmp(x->cancel_next, job->id);
        rg_free(x->cancel_next);
        x->cancel_next = NULL;
        atomic_store(&x->is_cancelled, x->is_stopping || x->is_cancel_wanted);
        x->running = job->id;
        pthread_mutex_unlock(&x->lock);
        run_job(x, job);
        rg_job_free(job);
    }
    return NULL;
}

rg_executor *rg_executor_start(const rg_executor_options *o)
{
    rg_executor *x = rg_calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->options = *o;
    x->prepared_end = &x->prepared;
    pthread_mutex_init(&x->lock, NULL);
    if (!o->is_cache_off)
        x->cache = o->cache_entries ? rg_cache_new_lru(o->cache_entries) : rg_cache_new();
    o->ctx->cancel = &x->is_cancelled;
    if ((!x->cache && !o->is_cache_off) || pthread_create(&x->thread, NULL, thread_main, x) != 0) {
        o->ctx->cancel = NULL;
        rg_cache_free(x->cache);
        pthread_mutex_destroy(&x->lock);
        rg_free(x);
        return NULL;
    }
    return x;
}

void rg_executor_stop(rg_executor *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->is_stopping = true;
    atomic_store(&x->is_cancelled, true);
    pthread_mutex_unlock(&x->lock);
    rg_queue_wake(x->options.queue);
    pthread_join(x->thread, NULL);
    x->options.ctx->cancel = NULL;
    forget_prepared(x);
    rg_cache_free(x->cache);
    rg_free(x->classes);
    rg_free(x->cancel_next);
    pthread_mutex_destroy(&x->lock);
    rg_free(x);
}

int rg_executor_cancel(rg_executor *x, const char *id)
{
    bool is_it, is_pulled = false;

    if (id) {
        rg_job *waiting = rg_queue_get(x->options.queue, id);
        const bool is_out = waiting && waiting->state == RG_JOB_QUEUED && rg_queue_cancel(x->options.queue, id) == 0;
        if (is_out && x->options.listener) {
            const rg_job_event e = { .kind = RG_JOB_EVENT_ENDED, .job = waiting, .state = RG_JOB_CANCELLED,
                                     .error = "cancelled before it ran" };
            x->options.listener(x->options.listener_user, &e);
        }
        is_pulled = waiting && (waiting->state == RG_JOB_RUNNING || waiting->state == RG_JOB_QUEUED);
        rg_job_free(waiting);
        if (is_out)
            return 0;
    }
    pthread_mutex_lock(&x->lock);
    is_it = x->running && (!id || !strcmp(x->running, id));
    if (is_it) {
        x->is_cancel_wanted = true;
        atomic_store(&x->is_cancelled, true);
    } else if (is_pulled && !x->running && !x->cancel_next) {
        x->cancel_next = rg_strdup(id);
        is_it = x->cancel_next != NULL;
    }
    pthread_mutex_unlock(&x->lock);
    return is_it ? 0 : RG_ERR_NOT_FOUND;
}

int rg_executor_cancel_waiting(rg_executor *x)
{
    rg_job **jobs = NULL;
    int n = 0;

    if (rg_queue_list(x->options.queue, 1u << RG_JOB_QUEUED, false, -1, 0, &jobs) < 0)
        return 0;
    for (rg_job **j = jobs; *j; j++)
        n += rg_executor_cancel(x, (*j)->id) == 0;
    rg_jobs_free(jobs);
    return n;
}

bool rg_executor_running(rg_executor *x, char *id, size_t id_size)
{
    pthread_mutex_lock(&x->lock);
    const bool is_running = x->running != NULL;
    snprintf(id, id_size, "%s", is_running ? x->running : "");
    pthread_mutex_unlock(&x->lock);
    return is_running;
}

void rg_executor_check_files(rg_executor *x)
{
    pthread_mutex_lock(&x->lock);
    x->is_check_wanted = true;
    pthread_mutex_unlock(&x->lock);
}

void rg_executor_free_memory(rg_executor *x, bool unload_models, bool forget_results)
{
    pthread_mutex_lock(&x->lock);
    x->is_unload_wanted |= unload_models;
    x->is_forget_wanted |= forget_results;
    pthread_mutex_unlock(&x->lock);
}

int rg_executor_get_totals(rg_executor *x, rg_executor_totals *out)
{
    pthread_mutex_lock(&x->lock);
    *out = (rg_executor_totals){ .load_seconds = x->load_seconds, .compute_seconds = x->compute_seconds, .wait_seconds = x->wait_seconds,
                                 .n_nodes_run = x->n_run, .n_nodes_cached = x->n_cached, .n_classes = x->n_classes,
                                 .classes = rg_calloc((size_t)x->n_classes + 1, sizeof *x->classes) };
    if (out->classes && x->n_classes)
        memcpy(out->classes, x->classes, (size_t)x->n_classes * sizeof *x->classes);
    pthread_mutex_unlock(&x->lock);
    return out->classes ? 0 : RG_ERR_NOMEM;
}
