/* /prompt, /queue, /history, /interrupt and /free, with ComfyUI's bodies (server.py, execution.py of v0.3.64). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/comfy_inside.h"
#include "server/log.h"

static void put_string(struct json_object *o, const char *key, const char *s)
{
    json_object_object_add(o, key, s ? json_object_new_string(s) : NULL);
}

/* {"error": {...}, "node_errors": {}} for what is wrong before any node is looked at. */
static void refuse(rg_request *r, int status, const char *type, const char *message, const char *details)
{
    struct json_object *body = json_object_new_object(), *error = json_object_new_object();

    put_string(error, "type", type);
    put_string(error, "message", message);
    put_string(error, "details", details);
    json_object_object_add(error, "extra_info", json_object_new_object());
    json_object_object_add(body, "error", error);
    json_object_object_add(body, "node_errors", json_object_new_object());
    rg_respond_json(r, status, body);
}

/* ---- POST /prompt --------------------------------------------------------------------------------------------------------------- */

/* One accepted prompt until the queue has it on disk. */
typedef struct pushing {
    rg_comfy *comfy;
    rg_request *request;
    char *id, *client, *node_errors;
    bool is_float;                      /* the client gave a number: it comes back as a float */
} pushing;

static void number_text(double number, bool is_float, char out[40])
{
    if (!is_float && fabs(number) < 9e15) {
        snprintf(out, 40, "%lld", (long long)number);
        return;
    }
    struct json_object *v = json_object_new_double(number);
    char *text = rg_json_dump(v, 0);
    snprintf(out, 40, "%s", text ? text : "0.0");
    rg_free(text);
    json_object_put(v);
}

static void on_pushed(void *user, int code, const char *id, double number)
{
    pushing *p = user;
    char n[40];

    if (code < 0)
        rg_executor_unprepare(p->comfy->executor, p->id);
    if (code == 0) {
        struct json_object *s = json_object_new_string(id);
        char *id_text = rg_json_dump(s, 0);

        number_text(number, p->is_float, n);
        rg_respond_json_text(p->request, 200, rg_asprintf("{\"prompt_id\": %s, \"number\": %s, \"node_errors\": %s}", id_text ? id_text : "\"\"", n,
                                                          p->node_errors ? p->node_errors : "{}"));
        rg_free(id_text);
        json_object_put(s);
        comfy_send_status(p->comfy, p->client);
        rg_log(RG_LOG_INFO, "job queued", RG_LOG_TEXT("job", id));
    } else if (code == RG_ERR_BUSY) {
        rg_respond_header(p->request, "Retry-After", "5");
        refuse(p->request, 503, "queue_full", "The queue is full", "");
    } else if (code == RG_ERR_EXISTS) {
        refuse(p->request, 400, "duplicate_prompt_id", "A prompt with this prompt_id is waiting or running", id ? id : "");
    } else {
        rg_respond_error(p->request, 500);
    }
    rg_request_finish(p->request);
    rg_free(p->id);
    rg_free(p->client);
    rg_free(p->node_errors);
    rg_free(p);
}

/* Is id a key of the set? */
static bool is_in(struct json_object *set, const char *id)
{
    return json_object_object_get_ex(set, id, NULL);
}

static void add_to_set(struct json_object *set, struct json_object *list)
{
    for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
        struct json_object *v = json_object_array_get_idx(list, i);

        if (json_object_is_type(v, json_type_string))
            json_object_object_add(set, json_object_get_string(v), NULL);
    }
}

/* Ids of the outputs that will run: output nodes among the targets, less those that node_errors says depend on a broken node. */
static struct json_object *outputs_to_run(const rg_prompt *p, struct json_object *targets, struct json_object *node_errors)
{
    struct json_object *list = json_object_new_array(), *wanted = json_object_new_object(), *broken = json_object_new_object();

    add_to_set(wanted, targets);
    if (json_object_is_type(node_errors, json_type_object)) {
        json_object_object_foreach(node_errors, key, entry) {
            (void)key;
            add_to_set(broken, comfy_get(entry, "dependent_outputs"));
        }
    }
    for (int i = 0; i < rg_prompt_n_nodes(p); i++) {
        const rg_node *type;
        const char *id = rg_prompt_node(p, i, &type);

        if (type && type->is_output && (!targets || is_in(wanted, id)) && !is_in(broken, id))
            json_object_array_add(list, json_object_new_string(id));
    }
    json_object_put(wanted);
    json_object_put(broken);
    return list;
}

/* Python's float(): a number, a boolean, or a text that is one. False: ComfyUI would answer 500. */
static bool to_number(struct json_object *v, double *out)
{
    char *end;

    switch (json_object_get_type(v)) {
    case json_type_int:
    case json_type_double:
    case json_type_boolean:
        *out = json_object_get_double(v);
        break;
    case json_type_string:
        *out = strtod(json_object_get_string(v), &end);
        if (end == json_object_get_string(v) || strpbrk(json_object_get_string(v), "xX"))   /* hexadecimal is C's alone */
            return false;
        end += strspn(end, " \t\r\n");
        if (*end)
            return false;
        break;
    default:
        return false;
    }
    return isfinite(*out);
}

/* Something that keys can be looked for in; what Python cannot look into is an error there, too. */
static bool is_container(struct json_object *v)
{
    return json_object_is_type(v, json_type_object) || json_object_is_type(v, json_type_array) || json_object_is_type(v, json_type_string);
}

static void post_prompt(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = NULL, *graph, *extra = NULL, *targets, *answer = NULL, *request = NULL, *v;
    rg_prompt *p = NULL;
    const char **ids = NULL, *client_id;
    char *id = NULL, *text = NULL;
    rg_job_new job = { .kind = RG_JOB_PROMPT };
    pushing *push = NULL;
    int n_ids = 0, ret;
    /* the loop has one for messages of parsers; a large prompt is read on a worker */
    rg_ctx *own = rg_request_is_large(r) ? rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL) : NULL, *c = own ? own : f->ctx;

    if (rg_request_is_large(r) && !own) {
        rg_respond_error(r, 500);
        return;
    }
    rg_ctx_reset(c);
    if (!rg_request_json(r, &body) || !is_container(body)) {
        rg_respond_error(r, 500);
        goto done;
    }
    if (json_object_object_get_ex(body, "number", &v)) {
        if (!to_number(v, &job.number)) {
            rg_respond_error(r, 500);
            goto done;
        }
        job.has_number = true;
    }
    job.is_front = comfy_get_bool(body, "front");
    if (json_object_object_get_ex(body, "prompt", &graph) && !graph) {
        rg_respond_error(r, 500);       /* null is not the same as nothing */
        goto done;
    }
    if (!(graph = comfy_get(body, "prompt"))) {
        refuse(r, 400, "no_prompt", "No prompt provided", "No prompt provided");
        goto done;
    }
    if (json_object_is_type(graph, json_type_array) && json_object_array_length(graph) == 0) {
        refuse(r, 400, "prompt_no_outputs", "Prompt has no outputs", "");
        goto done;
    }
    json_object_get(graph);             /* out of the body: the prompt's alone */
    json_object_object_del(body, "prompt");
    if ((ret = rg_prompt_take_json(c, graph, &p)) < 0) {
        if (ret == RG_ERR_UNSUPPORTED)
            refuse(r, 400, "invalid_prompt", c->message, "");
        else
            rg_respond_error(r, 500);
        goto done;
    }
    targets = comfy_get(body, "partial_execution_targets");
    if (targets && !json_object_is_type(targets, json_type_array))
        targets = NULL;
    if (targets) {
        const size_t n = json_object_array_length(targets);

        if (!(ids = rg_calloc(n + 1, sizeof(*ids)))) {
            rg_respond_error(r, 500);
            goto done;
        }
        for (size_t i = 0; i < n; i++)
            if (json_object_is_type(v = json_object_array_get_idx(targets, i), json_type_string))
                ids[n_ids++] = json_object_get_string(v);
    }
    ret = rg_prompt_validate_targets(f->options.env, p, ids, n_ids, &answer);
    if (ret < 0) {
        if (answer)
            rg_respond_json(r, 400, json_object_get(answer));
        else
            rg_respond_error(r, 500);
        goto done;
    }

    /* what is stored: the prompt with constants converted, extra_data without credentials */
    v = comfy_get(body, "extra_data");
    if (json_object_is_type(v, json_type_object))
        extra = json_object_get(v);
    else
        extra = json_object_new_object();
    json_object_object_del(extra, "auth_token_comfy_org");
    json_object_object_del(extra, "api_key_comfy_org");
    if (json_object_is_type(v = comfy_get(body, "client_id"), json_type_string))
        json_object_object_add(extra, "client_id", json_object_get(v));
    client_id = comfy_get_string(extra, "client_id");
    request = json_object_new_object();
    json_object_object_add(request, "prompt", json_object_get(rg_prompt_json(p)));
    json_object_object_add(request, "extra_data", extra);
    if (targets)
        json_object_object_add(request, "targets", json_object_get(targets));
    json_object_object_add(request, "outputs", outputs_to_run(p, targets, comfy_get(answer, "node_errors")));
    if (job.has_number)
        json_object_object_add(request, "is_float", json_object_new_boolean(true));
    text = rg_json_dump(request, 0);
    if ((v = comfy_get(body, "prompt_id")) || (json_object_object_get_ex(body, "prompt_id", NULL) && !v)) {
        rg_text t = { 0 };

        rg_python_str(&t, v);
        id = rg_text_take(&t);
        job.replaces_ended = true;      /* ComfyUI runs it again and overwrites the entry in the history */
    } else if ((id = rg_malloc(37))) {
        rg_queue_make_id(id);
    }
    push = rg_calloc(1, sizeof(*push));
    if (!text || !id || !push) {
        rg_respond_error(r, 500);
        goto done;
    }
    *push = (pushing){ .comfy = f, .request = r, .id = id, .client = client_id ? rg_strdup(client_id) : NULL, .is_float = job.has_number };
    if (comfy_get(answer, "node_errors"))
        push->node_errors = rg_json_dump(comfy_get(answer, "node_errors"), 0);
    job.id = id;
    job.request = text;
    job.client_id = push->client;
    /* prompt and request go on to another thread, which may be at work on them before the push returns: nothing here holds a part */
    json_object_put(answer);
    json_object_put(body);
    rg_executor_prepare(f->executor, id, p, request);
    answer = body = request = NULL;
    p = NULL;
    id = NULL;
    rg_request_hold(r, NULL, NULL);
    if (rg_queue_push(f->queue, &job, on_pushed, push) < 0)
        on_pushed(push, RG_ERR_NOMEM, NULL, 0);
    push = NULL;
done:
    rg_free(push);
    rg_free(id);
    rg_free(text);
    rg_free(ids);
    json_object_put(request);
    json_object_put(answer);
    json_object_put(body);
    rg_prompt_free(p);
    rg_ctx_reset(c);
    rg_ctx_free(own);
}

static void get_prompt(rg_request *r, void *user)
{
    rg_comfy *f = user;
    rg_queue_counts n;

    rg_queue_count(f->queue, &n);
    rg_respond_json_text(r, 200, rg_asprintf("{\"exec_info\": {\"queue_remaining\": %lld}}", (long long)(n.queued + n.running)));
}

/* ---- items -------------------------------------------------------------------------------------------------------------------------- */

/* [number, id, prompt, extra_data, outputs] */
static void write_item(rg_text *t, const rg_job *job)
{
    struct json_object *request = NULL, *id = json_object_new_string(job->id), *v;
    char error[128], number[40];

    if (rg_json_read(job->request, strlen(job->request), 128, &request, error, sizeof(error)) < 0)
        request = NULL;
    number_text(job->number, comfy_get_bool(request, "is_float"), number);
    rg_text_format(t, "[%s, ", number);
    rg_json_write(t, id, 0);
    rg_text_add(t, ", ");
    if ((v = comfy_get(request, "prompt")))
        rg_json_write(t, v, 0);
    else
        rg_text_add(t, "{}");
    rg_text_add(t, ", ");
    if ((v = comfy_get(request, "extra_data")))
        rg_json_write(t, v, 0);
    else
        rg_text_add(t, "{}");
    rg_text_add(t, ", ");
    if ((v = comfy_get(request, "outputs")))
        rg_json_write(t, v, 0);
    else
        rg_text_add(t, "[]");
    rg_text_add(t, "]");
    json_object_put(id);
    json_object_put(request);
}

/* The body of POST /queue and /history: {"clear": true}, {"delete": [ids]}. False: answered. */
static bool read_wishes(rg_request *r, struct json_object **body)
{
    if (rg_request_json(r, body) && is_container(*body) && (!json_object_object_get_ex(*body, "delete", NULL) || is_container(comfy_get(*body, "delete"))))
        return true;
    json_object_put(*body);
    *body = NULL;
    rg_respond_error(r, 500);
    return false;
}

/* ---- /queue ---------------------------------------------------------------------------------------------------------------------------- */

static void get_queue(rg_request *r, void *user)
{
    static const struct { const char *key; unsigned state; } lists[] = {
        { "{\"queue_running\": [", 1u << RG_JOB_RUNNING }, { "], \"queue_pending\": [", 1u << RG_JOB_QUEUED },
    };
    rg_comfy *f = user;
    rg_text t = { 0 };

    for (int i = 0; i < 2; i++) {
        rg_job **jobs = NULL;

        rg_text_add(&t, lists[i].key);
        if (rg_queue_list(f->queue, lists[i].state, false, -1, 0, &jobs) < 0)
            t.is_failed = true;
        for (int j = 0; jobs && jobs[j]; j++) {
            if (j)
                rg_text_add(&t, ", ");
            write_item(&t, jobs[j]);
        }
        rg_jobs_free(jobs);
    }
    rg_text_add(&t, "]}");
    rg_respond_json_text(r, 200, rg_text_take(&t));
}

static void post_queue(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = NULL, *ids;

    if (!read_wishes(r, &body))
        return;
    if (comfy_get_bool(body, "clear")) {
        rg_executor_cancel_waiting(f->executor);
        comfy_send_status(f, NULL);
    }
    ids = comfy_get(body, "delete");
    for (size_t i = 0; json_object_is_type(ids, json_type_array) && i < json_object_array_length(ids); i++) {
        struct json_object *v = json_object_array_get_idx(ids, i);
        rg_job *job = json_object_is_type(v, json_type_string) ? rg_queue_get(f->queue, json_object_get_string(v)) : NULL;

        if (job && job->state == RG_JOB_QUEUED)
            rg_executor_cancel(f->executor, job->id);
        rg_job_free(job);
    }
    json_object_put(body);
    rg_respond_empty(r, 200);
}

/* ---- /history ----------------------------------------------------------------------------------------------------------------------------- */

enum { ENDED = 1u << RG_JOB_DONE | 1u << RG_JOB_FAILED | 1u << RG_JOB_CANCELLED };

/* "id": {entry}. False: the job never ran (cancelled while waiting), which ComfyUI's history does not know. */
static bool write_entry(rg_text *t, const rg_job *job, bool is_first)
{
    static const char *const parts[] = { "outputs", "status", "meta" };
    struct json_object *result = NULL, *id, *v;
    char error[128];

    if ((job->state == RG_JOB_CANCELLED && !(job->started > 0)) || !job->result || rg_json_read(job->result, strlen(job->result), 128, &result, error, sizeof(error)) < 0)
        return false;
    id = json_object_new_string(job->id);
    if (!is_first)
        rg_text_add(t, ", ");
    rg_json_write(t, id, 0);
    rg_text_add(t, ": {\"prompt\": ");
    write_item(t, job);
    for (int i = 0; i < 3; i++) {
        rg_text_format(t, ", \"%s\": ", parts[i]);
        if ((v = comfy_get(result, parts[i])))
            rg_json_write(t, v, 0);
        else
            rg_text_add(t, "{}");
    }
    rg_text_add(t, "}");
    json_object_put(id);
    json_object_put(result);
    return true;
}

/* Python's int() of a query value; false: 500. Absent: out is left alone. */
static bool read_int(const char *s, int *out)
{
    char *end;

    if (!s)
        return true;
    const long long n = strtoll(s, &end, 10);
    if (end == s || *end)
        return false;
    *out = n > 1000000000 ? 1000000000 : n < -1000000000 ? -1000000000 : (int)n;
    return true;
}

static void get_history(rg_request *r, void *user)
{
    rg_comfy *f = user;
    int max = -1, offset = -1, n = 0;
    rg_job **jobs = NULL;
    rg_text t = { 0 };

    if (!read_int(rg_request_query(r, "max_items"), &max) || !read_int(rg_request_query(r, "offset"), &offset)) {
        rg_respond_error(r, 500);
        return;
    }
    if (offset >= 0 && max < 1 && rg_request_query(r, "max_items"))
        max = 1;                        /* ComfyUI looks at the limit after it has added an entry */
    if (max < 0 && offset < 0 && rg_request_query(r, "max_items")) {
        rg_respond_json_text(r, 200, rg_strdup("{}"));      /* the last -1 of them */
        return;
    }
    const bool is_tail = max >= 0 && offset < 0;        /* the last max entries, still oldest first */
    if (rg_queue_list(f->queue, ENDED, is_tail, max < 0 ? -1 : max, offset < 0 ? 0 : offset, &jobs) < 0) {
        rg_respond_error(r, 500);
        return;
    }
    while (jobs[n])
        n++;
    rg_text_add(&t, "{");
    for (int i = 0, is_first = 1; i < n; i++)
        if (write_entry(&t, jobs[is_tail ? n - 1 - i : i], is_first))
            is_first = 0;
    rg_text_add(&t, "}");
    rg_jobs_free(jobs);
    rg_respond_json_text(r, 200, rg_text_take(&t));
}

static void get_history_one(rg_request *r, void *user)
{
    rg_comfy *f = user;
    rg_job *job = rg_queue_get(f->queue, rg_request_param(r, 0));
    rg_text t = { 0 };

    rg_text_add(&t, "{");
    if (job && job->state != RG_JOB_QUEUED && job->state != RG_JOB_RUNNING)
        write_entry(&t, job, true);
    rg_text_add(&t, "}");
    rg_job_free(job);
    rg_respond_json_text(r, 200, rg_text_take(&t));
}

static void post_history(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = NULL, *ids;

    if (!read_wishes(r, &body))
        return;
    if (comfy_get_bool(body, "clear"))
        rg_queue_forget(f->queue, NULL);
    ids = comfy_get(body, "delete");
    for (size_t i = 0; json_object_is_type(ids, json_type_array) && i < json_object_array_length(ids); i++)
        if (json_object_is_type(json_object_array_get_idx(ids, i), json_type_string))
            rg_queue_forget(f->queue, json_object_get_string(json_object_array_get_idx(ids, i)));
    json_object_put(body);
    rg_respond_empty(r, 200);
}

/* ---- /interrupt and /free --------------------------------------------------------------------------------------------------------------------- */

static void post_interrupt(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = NULL;
    const char *id;
    char running[256];

    if (rg_request_json(r, &body) && !json_object_is_type(body, json_type_object)) {
        json_object_put(body);
        rg_respond_error(r, 500);
        return;
    }
    id = comfy_get_string(body, "prompt_id");
    if (!id || !*id)
        rg_executor_cancel(f->executor, NULL);
    else if (rg_executor_running(f->executor, running, sizeof(running)) && !strcmp(running, id))
        rg_executor_cancel(f->executor, id);
    json_object_put(body);
    rg_respond_empty(r, 200);
}

static void post_free(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = NULL;

    if (!rg_request_json(r, &body) || !json_object_is_type(body, json_type_object)) {
        json_object_put(body);
        rg_respond_error(r, 500);
        return;
    }
    const bool free_memory = comfy_get_bool(body, "free_memory");
    const bool unload = comfy_get(body, "unload_models") ? comfy_get_bool(body, "unload_models") : free_memory;
    if (unload || free_memory)
        rg_executor_free_memory(f->executor, unload, free_memory);
    json_object_put(body);
    rg_respond_empty(r, 200);
}

void comfy_add_prompt_routes(rg_comfy *f)
{
    rg_server *s = f->server;

    rg_server_route(s, "POST", "/prompt", 0, post_prompt, f);
    rg_server_route(s, "GET", "/prompt", 0, get_prompt, f);
    rg_server_route(s, "GET", "/queue", RG_ROUTE_WORKER, get_queue, f);
    rg_server_route(s, "POST", "/queue", 0, post_queue, f);
    rg_server_route(s, "GET", "/history", RG_ROUTE_WORKER, get_history, f);
    rg_server_route(s, "GET", "/history/{prompt_id}", RG_ROUTE_WORKER, get_history_one, f);
    rg_server_route(s, "POST", "/history", 0, post_history, f);
    rg_server_route(s, "POST", "/interrupt", 0, post_interrupt, f);
    rg_server_route(s, "POST", "/free", 0, post_free, f);
}
