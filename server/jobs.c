/*
 * The /jobs API over the queue, the events of each job as a stream (SSE), and what operators ask: /health, /endpoints.
 * A job's events are kept in memory for the last few hundred jobs, so that a client that lost its connection gets what it missed
 * (Last-Event-ID); of an older job there is still its end, from the store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph/json_text.h"
#include "graph/prompt.h"
#include "server/service_inside.h"
#include "server/thumbnail.h"

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *o, const char *key, double v)
{
    json_object_object_add(o, key, json_object_new_double(v));
}

/* ---- a job for clients ------------------------------------------------------------------------------------------------------- */

/* What was asked for, for people: the first text that a text encoder of the graph is given, cut to some 300 bytes and an ellipsis. NULL: none. */
static struct json_object *first_text(struct json_object *graph)
{
    if (!json_object_is_type(graph, json_type_object))
        return NULL;
    json_object_object_foreach(graph, id, node) {
        struct json_object *text = get(get(node, "inputs"), "text");
        const char *class_type = json_object_get_string(get(node, "class_type")), *s = json_object_get_string(text);
        (void)id;
        if (!json_object_is_type(text, json_type_string) || !class_type || !strstr(class_type, "TextEncode") || !*s)
            continue;
        size_t n = strlen(s);
        if (n > 300) {
            n = 300;
            while (n && ((unsigned char)s[n] & 0xc0) == 0x80)       /* not inside a character */
                n--;
        }
        char *cut = s[n] ? rg_asprintf("%.*s\u2026", (int)n, s) : NULL;
        struct json_object *made = json_object_new_string(cut ? cut : s);
        rg_free(cut);
        return made;
    }
    return NULL;
}

struct json_object *service_job_json(rg_service *s, const rg_job *j)
{
    struct json_object *o = json_object_new_object(), *request = json_tokener_parse(j->request);
    double load, compute, wait;
    char text[160];

    add_text(o, "id", j->id);
    add_text(o, "state", rg_job_state_name(j->state));
    add_text(o, "kind", j->kind == RG_JOB_PROMPT ? "prompt" : "endpoint");
    add_text(o, "endpoint", j->endpoint);
    add_number(o, "created", j->created);
    if (j->state == RG_JOB_QUEUED) {
        pthread_mutex_lock(&s->lock);
        const double mean = s->mean_seconds, since = s->running_since > 0 ? service_now() - s->running_since : mean;
        pthread_mutex_unlock(&s->lock);
        json_object_object_add(o, "position", json_object_new_int(j->position));
        /* until it is done: the rest of the one that runs, those before it, and itself */
        json_object_object_add(o, "estimated_seconds",
                               mean > 0 ? json_object_new_double((mean > since ? mean - since : 0) + mean * (j->position + 1)) : NULL);
    }
    if (j->started > 0 && j->state != RG_JOB_QUEUED)
        add_number(o, "started", j->started);
    json_object_object_add(o, "attempts", json_object_new_int(j->attempts));
    if (j->state == RG_JOB_RUNNING) {
        add_text(o, "node", j->node);
        add_text(o, "class_type", j->node ? json_object_get_string(get(get(get(request, "prompt"), j->node), "class_type")) : NULL);
        json_object_object_add(o, "step", json_object_new_int64(j->step));
        json_object_object_add(o, "steps", json_object_new_int64(j->total));
    }
    json_object_object_add(o, "seed", json_object_get(get(request, "seed")));
    json_object_object_add(o, "model", json_object_get(get(request, "model")));
    json_object_object_add(o, "text", first_text(get(request, "prompt")));
    if (j->state >= RG_JOB_DONE) {
        struct json_object *outputs = json_object_new_array(), *seconds = json_object_new_object();
        struct json_object *result = j->result ? json_tokener_parse(j->result) : NULL, *files = get(result, "files");
        const double total = service_seconds(j, &load, &compute, &wait);
        const int n = service_n_outputs(j);
        add_number(o, "ended", j->ended);
        add_number(seconds, "wait", wait);
        add_number(seconds, "load", load);
        add_number(seconds, "compute", compute);
        json_object_object_add(o, "seconds", seconds);
        snprintf(text, sizeof text, "%.6f", total * s->price);
        add_number(o, "cost_usd", strtod(text, NULL));
        add_text(o, "gpu_type", s->gpu);
        for (int i = 0; i < n; i++) {
            struct json_object *output = json_object_new_object();
            json_object_object_add(output, "n", json_object_new_int(i));
            snprintf(text, sizeof text, "/jobs/%.80s/outputs/%d", j->id, i);
            add_text(output, "url", text);
            const char *path = json_object_get_string(get(json_object_array_get_idx(files, (size_t)i), "path"));
            add_text(output, "content_type", rg_content_type(path ? path : ""));
            json_object_array_add(outputs, output);
        }
        json_object_put(result);
        json_object_object_add(o, "outputs", outputs);
        if (j->error)
            add_text(o, "error", j->error);
    }
    json_object_put(request);
    return o;
}

void service_accepted(rg_service *s, rg_request *r, const char *id, const call *c, int status)
{
    rg_job *j = rg_queue_get(s->queue, id);
    char location[120];

    if (!j) {                           /* gone through and forgotten already, or no memory */
        service_refuse(r, 500, NULL, "the job %s cannot be read", id);
        return;
    }
    snprintf(location, sizeof location, "/jobs/%.80s", id);
    rg_respond_header(r, "Location", location);
    service_headers(s, r, j, c->ignored);
    rg_respond_json(r, status, service_job_json(s, j));
    rg_job_free(j);
}

static void post_job(rg_request *r, void *user)
{
    rg_service *s = user;
    struct json_object *body = NULL, *fields = NULL, *owned = NULL;
    endpoint *e = NULL;
    char id[80];
    call c = { 0 };

    if (!rg_request_json(r, &body) || !json_object_is_type(body, json_type_object)) {
        service_refuse(r, 400, NULL, "the body must be one JSON object");
        json_object_put(body);
        return;
    }
    const char *name = json_object_get_string(get(body, "endpoint"));
    if (!name && !(rg_request_may(r) & RG_MAY_RUN)) {
        service_refuse(r, 403, NULL, "this key may call endpoints, and run no workflows of its own");
        json_object_put(body);
        return;
    }
    if (name && !(e = service_endpoint(s, name))) {
        service_refuse(r, 404, "endpoint", "there is no endpoint %s", name);
        json_object_put(body);
        return;
    }
    /* {"prompt": graph} is how ComfyUI's POST /prompt takes it */
    const bool is_prompt = !e && !get(body, "workflow") && json_object_is_type(get(body, "prompt"), json_type_object);
    fields = e ? get(body, "parameters") : body;
    if (e && fields && !json_object_is_type(fields, json_type_object)) {
        service_refuse(r, 400, "parameters", "parameters wants an object");
        endpoint_release(e);
        json_object_put(body);
        return;
    }
    owned = json_object_new_object();
    if (fields) {
        json_object_object_foreach(fields, key, value)
            json_object_object_add(owned, is_prompt && !strcmp(key, "prompt") ? "workflow" : key, json_object_get(value));
    }
    for (int i = 0; e && i < 3; i++) {  /* how to answer may also stand beside the parameters */
        static const char *const keys[] = { "format", "metadata", "webhook" };
        if (get(body, keys[i]) && !get(owned, keys[i]))
            json_object_object_add(owned, keys[i], json_object_get(get(body, keys[i])));
    }
    call_read(s, e, r, owned, &c);
    if (c.status) {
        service_free_headers(s, r, c.ignored);
        service_refuse(r, c.status, c.field, "%s", c.text);
    } else {
        const int ret = service_push(s, r, &c, NULL, id, sizeof id);
        if (ret == 0 || ret == RG_ERR_EXISTS)
            service_accepted(s, r, id, &c, ret == 0 ? 202 : 200);
    }
    call_release(&c);
    endpoint_release(e);
    json_object_put(owned);
    json_object_put(body);
}

rg_job *service_named_job(rg_service *s, rg_request *r)
{
    rg_job *j = rg_queue_get(s->queue, rg_request_param(r, 0));

    if (!j)
        service_refuse(r, 404, NULL, "there is no job %s", rg_request_param(r, 0));
    return j;
}

static void get_job(rg_request *r, void *user)
{
    rg_job *j = service_named_job(user, r);

    if (j) {
        service_headers(user, r, j, NULL);
        rg_respond_json(r, 200, service_job_json(user, j));
    }
    rg_job_free(j);
}

static int query_number(rg_request *r, const char *name, int otherwise, int most)
{
    const char *text = rg_request_query(r, name);
    const long v = text ? strtol(text, NULL, 10) : otherwise;

    return v < 0 ? 0 : v > most ? most : (int)v;
}

/* What waits or runs in the order it will run, then what has ended, newest first; ?state=, ?limit=, ?offset=. */
static void get_jobs(rg_request *r, void *user)
{
    rg_service *s = user;
    const char *state = rg_request_query(r, "state");
    const int limit = query_number(r, "limit", 100, 1000), offset = query_number(r, "offset", 0, 1 << 30);
    const unsigned active = 1u << RG_JOB_QUEUED | 1u << RG_JOB_RUNNING;
    unsigned states = 31;
    struct json_object *list = json_object_new_array(), *o;
    rg_queue_counts counts;
    int n = 0;

    if (state) {
        states = 0;
        for (int i = RG_JOB_QUEUED; i <= RG_JOB_CANCELLED; i++) {
            if (!strcmp(state, rg_job_state_name((rg_job_state)i)))
                states = 1u << i;
        }
        if (!states) {
            service_refuse(r, 400, "state", "state is %s, possible are queued, running, done, failed and cancelled", state);
            json_object_put(list);
            return;
        }
    }
    rg_queue_count(s->queue, &counts);
    const int n_active = (states & 1u << RG_JOB_QUEUED ? (int)counts.queued : 0) + (states & 1u << RG_JOB_RUNNING ? (int)counts.running : 0);
    for (int i = 0; i < 2; i++) {
        rg_job **jobs = NULL;
        const unsigned part = states & (i == 0 ? active : ~active);
        if (!part || n >= limit)
            continue;
        const int skip = i == 0 ? offset : offset > n_active ? offset - n_active : 0;
        const int got = rg_queue_list(s->queue, part, true, limit - n, skip, &jobs);
        for (int k = 0; k < got; k++, n++)
            json_object_array_add(list, service_job_json(s, jobs[k]));
        rg_jobs_free(jobs);
    }
    o = json_object_new_object();
    json_object_object_add(o, "jobs", list);
    json_object_object_add(o, "count", json_object_new_int(n));
    rg_respond_json(r, 200, o);
}

static void delete_job(rg_request *r, void *user)
{
    rg_service *s = user;
    rg_job *j = service_named_job(s, r);

    if (!j)
        return;
    if (j->state < RG_JOB_DONE && rg_executor_cancel(s->executor, j->id) == 0) {
        rg_job *now = rg_queue_get(s->queue, j->id);
        /* 202: it stops within its current step */
        rg_respond_json(r, now && now->state == RG_JOB_CANCELLED ? 200 : 202, service_job_json(s, now ? now : j));
        rg_job_free(now);
    } else {
        service_refuse(r, 409, NULL, "the job has ended (%s)", rg_job_state_name(j->state));
    }
    rg_job_free(j);
}

/* The graph that ran, in API form: what a client can post again. */
static void get_workflow(rg_request *r, void *user)
{
    rg_job *j = service_named_job(user, r);
    rg_ctx *c = j ? rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL) : NULL;
    struct json_object *request = NULL;

    if (c && rg_json_parse(c, j->request, strlen(j->request), &request) == 0)       /* keeps 64-bit seeds */
        rg_respond_json_text(r, 200, rg_json_dump(get(request, "prompt"), 0));
    else if (j)
        rg_respond_error(r, 500);
    json_object_put(request);
    rg_ctx_free(c);
    rg_job_free(j);
}

/* What was made does not change: a client that has it already is told so without looking at the file. */
static bool is_known(rg_request *r, const rg_job *j, const char *kind)
{
    const char *known = rg_request_header(r, "if-none-match");
    char etag[200];

    snprintf(etag, sizeof etag, "\"%.80s-%.6f-%s-%s\"", j->id, j->ended, rg_request_param(r, 1), kind);
    for (char *p = etag + 1; p[1]; p++) {
        if (*p < '!' || *p == '"' || *p > '~')
            *p = '_';
    }
    rg_respond_header(r, "ETag", etag);
    rg_respond_header(r, "Cache-Control", "private, no-cache");
    return known && strstr(known, etag);
}

/* What an endpoint was sent stays out of its pictures unless it is asked for; ComfyUI's clients expect it in theirs. */
static bool wants_metadata(rg_request *r, const rg_job *j)
{
    const char *asked = rg_request_query(r, "metadata");

    if (j->kind == RG_JOB_PROMPT || asked)
        return !asked || strcmp(asked, "0") != 0;
    struct json_object *request = json_tokener_parse(j->request);
    const bool is_wanted = json_object_get_boolean(get(request, "metadata"));
    json_object_put(request);
    return is_wanted;
}

/* As it was saved, as another kind of picture with ?format=, or as a small one with ?width=. */
static void get_output(rg_request *r, void *user)
{
    const char *format = rg_request_query(r, "format"), *n_text = rg_request_param(r, 1), *width_text = rg_request_query(r, "width");
    const char *content_type, *small_type;
    rg_job *j = service_named_job(user, r);
    uint8_t *bytes = NULL, *small = NULL;
    size_t n_bytes, n_small;
    char text[300], *end, *width_end = NULL;
    const long width = width_text ? strtol(width_text, &width_end, 10) : 0;
    const long n = strtol(n_text, &end, 10);

    if (!j)
        return;
    /* whatever a node may have written, opened by itself it is no page of this server's */
    rg_respond_header(r, "X-Content-Type-Options", "nosniff");
    rg_respond_header(r, "Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'");
    if (!format && !wants_metadata(r, j))
        format = "png";                 /* a saved PNG without its texts; other files stay as they are */
    if (*end || end == n_text || n < 0 || n > 1 << 20) {
        service_refuse(r, 404, NULL, "outputs are numbered from 0, there is no %s", n_text);
    } else if (j->state < RG_JOB_DONE) {
        service_refuse(r, 409, NULL, "the job is %s", rg_job_state_name(j->state));
    } else if (format && strcmp(format, "jpeg") && strcmp(format, "png") && strcmp(format, "webp")) {
        service_refuse(r, 400, "format", "format is %s, possible are jpeg, png and webp", format);
    } else if (width_text && (*width_end || width < 1 || width > RG_THUMBNAIL_MAX)) {
        service_refuse(r, 400, "width", "width is %s, possible are 1 to %d", width_text, RG_THUMBNAIL_MAX);
    } else if (is_known(r, j, width_text ? width_text : format ? format : "")) {
        rg_respond_empty(r, 304);
    } else if (service_output(j, (int)n, width ? NULL : format, &bytes, &n_bytes, &content_type, text, sizeof text) < 0) {
        service_refuse(r, 404, NULL, "%s", text);
    } else if (width && !strncmp(content_type, "image/", 6) && rg_thumbnail(bytes, n_bytes, (int)width, &small, &n_small, &small_type) == 0) {
        rg_respond(r, 200, small_type, small, n_small);
        rg_free(small);
        rg_free(bytes);
    } else {
        service_headers(user, r, j, NULL);
        rg_respond(r, 200, content_type, bytes, n_bytes);
        rg_free(bytes);
    }
    rg_job_free(j);
}

/* ---- events ------------------------------------------------------------------------------------------------------------------------ */

static job_log *find_log(rg_service *s, const char *id)
{
    for (job_log *l = s->logs; l; l = l->next) {
        if (!strcmp(l->id, id))
            return l;
    }
    return NULL;
}

/* Streams are ended first; s->lock is held. */
static void end_streams(job_log *l)
{
    for (int i = 0; i < l->n_streams; i++)
        rg_request_finish(l->streams[i]);
    l->n_streams = 0;
}

static void log_free(job_log *l)
{
    for (int i = 0; i < l->n_events; i++)
        rg_free(l->events[i]);
    rg_free(l->events);
    rg_free(l);
}

/* A log for the job, the newest now; the oldest ended ones make room. s->lock is held. NULL if no memory. */
static job_log *new_log(rg_service *s, const char *id)
{
    job_log *l = rg_calloc(1, sizeof *l);

    if (!l)
        return NULL;
    snprintf(l->id, sizeof l->id, "%s", id);
    l->first = 1;
    l->epoch = (long long)s->started;
    l->next = s->logs;
    s->logs = l;
    if (++s->n_logs > MAX_LOGS) {
        job_log **oldest = NULL;
        for (job_log **at = &s->logs; *at; at = &(*at)->next) {
            if ((*at)->is_ended && (*at)->n_streams == 0)
                oldest = at;
        }
        if (oldest) {
            job_log *gone = *oldest;
            *oldest = gone->next;
            log_free(gone);
            s->n_logs--;
        }
    }
    return l;
}

/* json is the event's data as text; s->lock is held. */
static void log_text(job_log *l, const char *name, const char *json)
{
    char *event = rg_asprintf("id: %lld-%d\nevent: %s\ndata: %s\n\n", l->epoch, l->first + l->n_events, name, json);

    if (!event)
        return;
    for (int i = 0; i < l->n_streams; i++)
        rg_stream_send(l->streams[i], event, strlen(event));
    if (l->n_events == MAX_LOG_EVENTS) {            /* the oldest half goes: a job of many steps */
        for (int i = 0; i < MAX_LOG_EVENTS / 2; i++)
            rg_free(l->events[i]);
        memmove(l->events, l->events + MAX_LOG_EVENTS / 2, MAX_LOG_EVENTS / 2 * sizeof *l->events);
        l->n_events = MAX_LOG_EVENTS / 2;
        l->first += MAX_LOG_EVENTS / 2;
    }
    if (l->n_events == l->capacity) {
        const int larger = l->capacity ? 2 * l->capacity : 32;
        char **grown = rg_realloc(l->events, (size_t)larger * sizeof *grown);
        if (!grown) {
            rg_free(event);
            return;
        }
        l->events = grown;
        l->capacity = larger;
    }
    l->events[l->n_events++] = event;
}

/* Takes data over; s->lock is held. */
static void log_event(job_log *l, const char *name, struct json_object *data)
{
    char *json = rg_json_dump(data, 0);

    if (json)
        log_text(l, name, json);
    rg_free(json);
    json_object_put(data);
}

/* A comment to every stream, so that nothing between here and a client takes it for dead. */
void jobs_keep_alive(rg_service *s)
{
    pthread_mutex_lock(&s->lock);
    for (job_log *l = s->logs; l; l = l->next) {
        for (int i = 0; i < l->n_streams; i++)
            rg_stream_send(l->streams[i], ": still here\n\n", 14);
    }
    pthread_mutex_unlock(&s->lock);
}

void jobs_on_job(rg_service *s, const rg_job_event *e)
{
    struct json_object *data;
    rg_text t = { 0 };

    pthread_mutex_lock(&s->lock);
    job_log *l = find_log(s, e->job->id);
    if (!l)
        l = new_log(s, e->job->id);
    if (!l) {
    } else if (e->kind == RG_JOB_EVENT_STARTED) {
        log_text(l, "state", "{\"state\": \"running\"}");
    } else if (e->kind == RG_JOB_EVENT_ENDED) {
        if (l->n_streams) {
            rg_job ended = *e->job;
            ended.state = e->state;
            ended.result = (char *)e->result;
            ended.error = (char *)e->error;
            ended.ended = (double)time(NULL);
            log_event(l, "end", service_job_json(s, &ended));
        } else {
            l->is_end_stored = true;    /* nobody listens: whoever asks later gets it from the store */
        }
        l->is_ended = true;
        end_streams(l);
    } else if (e->e->kind == RG_EVENT_EXECUTING && e->e->node_id) {
        rg_text_add(&t, "{\"node\": ");         /* for each node of each run: written without an object in between */
        rg_json_write_string(&t, e->e->node_id);
        rg_text_add(&t, ", \"class_type\": ");
        rg_json_write_string(&t, e->e->class_type);
        rg_text_add(&t, "}");
        if (!t.is_failed)
            log_text(l, "node", t.data);
        rg_text_release(&t);
    } else if (e->e->kind == RG_EVENT_PROGRESS) {
        data = json_object_new_object();
        add_text(data, "node", e->e->node_id);
        json_object_object_add(data, "step", json_object_new_int64(e->e->step));
        json_object_object_add(data, "steps", json_object_new_int64(e->e->total));
        log_event(l, "progress", data);
    }
    pthread_mutex_unlock(&s->lock);
}

static void stream_gone(void *user, rg_request *r)
{
    rg_service *s = user;
    bool is_ours = false;

    pthread_mutex_lock(&s->lock);
    for (job_log *l = s->logs; l && !is_ours; l = l->next) {
        for (int i = 0; i < l->n_streams && !is_ours; i++) {
            if (l->streams[i] == r) {
                l->streams[i] = l->streams[--l->n_streams];
                is_ours = true;
            }
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (is_ours)
        rg_request_finish(r);
}

static void get_events(rg_request *r, void *user)
{
    rg_service *s = user;
    const char *last_text = rg_request_header(r, "last-event-id");
    const char *dash = last_text ? strchr(last_text, '-') : NULL;
    /* of an earlier process: the job began anew here, so everything is new */
    const long last = dash && strtoll(last_text, NULL, 10) == (long long)s->started ? strtol(dash + 1, NULL, 10) : 0;
    rg_job *j = service_named_job(s, r);
    job_log *l;

    if (!j)
        return;
    struct json_object *now = service_job_json(s, j);
    pthread_mutex_lock(&s->lock);
    l = find_log(s, j->id);
    if (!l && j->state < RG_JOB_DONE)
        l = new_log(s, j->id);
    if (l && !l->is_ended && (l->n_streams == (int)(sizeof l->streams / sizeof *l->streams) || s->is_stopping)) {
        pthread_mutex_unlock(&s->lock);
        rg_respond_header(r, "Retry-After", "5");
        service_refuse(r, 503, NULL, "too many streams of this job");
        json_object_put(now);
        rg_job_free(j);
        return;
    }
    rg_request_hold(r, stream_gone, s);
    rg_respond_header(r, "Cache-Control", "no-cache");
    rg_stream_start(r, 200, "text/event-stream");
    if (!last_text) {                   /* where it stands; an event without an id, since it is made for this stream */
        char *json = rg_json_dump(now, 0), *event = json ? rg_asprintf("event: job\ndata: %s\n\n", json) : NULL;
        if (event)
            rg_stream_send(r, event, strlen(event));
        rg_free(event);
        rg_free(json);
    }
    for (int i = 0; l && i < l->n_events; i++) {
        if (l->first + i > last)
            rg_stream_send(r, l->events[i], strlen(l->events[i]));
    }
    const bool is_over = !l || l->is_ended || rg_request_is_gone(r);
    if (!is_over)
        l->streams[l->n_streams++] = r;
    const int end_id = l && l->is_end_stored && l->first + l->n_events > last ? l->first + l->n_events : 0;
    const long long epoch = l ? l->epoch : 0;
    pthread_mutex_unlock(&s->lock);
    if (end_id && j->state < RG_JOB_DONE) {         /* it ended while it was looked at */
        rg_job *ended = rg_queue_get(s->queue, j->id);
        json_object_put(now);
        now = service_job_json(s, ended ? ended : j);
        rg_job_free(ended);
    }
    if ((!l && last_text) || end_id) {
        char *json = rg_json_dump(now, 0), id[60] = "";
        if (end_id)
            snprintf(id, sizeof id, "id: %lld-%d\n", epoch, end_id);
        char *event = json ? rg_asprintf("%sevent: end\ndata: %s\n\n", id, json) : NULL;
        if (event)
            rg_stream_send(r, event, strlen(event));
        rg_free(event);
        rg_free(json);
    }
    if (is_over)
        rg_request_finish(r);
    json_object_put(now);
    rg_job_free(j);
}

/* ---- what operators ask ----------------------------------------------------------------------------------------------------------- */

static struct json_object *endpoint_json(rg_service *s, endpoint *e, bool is_deep, bool *is_ready)
{
    struct json_object *o = json_object_new_object(), *root = NULL;
    rg_ctx *c = is_deep && !e->missing ? rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL) : NULL;
    rg_prompt *p = NULL;

    add_text(o, "name", e->name);
    add_text(o, "route", e->route);
    *is_ready = !e->missing;
    add_text(o, "missing_nodes", e->missing);
    if (c && rg_json_parse(c, e->text, e->n_text, &root) == 0 && rg_prompt_from_json(c, get(root, "graph"), &p) == 0) {
        struct json_object *files = json_object_new_array();
        for (int i = 0; i < rg_prompt_n_nodes(p); i++) {
            const rg_node *type;
            const char *id = rg_prompt_node(p, i, &type);
            struct json_object *inputs = get(get(rg_prompt_json(p), id), "inputs");
            for (const rg_input *in = type ? type->inputs : NULL; in && in->kind != RG_INPUT_END; in++) {
                const char *name = in->kind == RG_INPUT_FILE ? json_object_get_string(get(inputs, in->name)) : NULL;
                char *path = NULL, text[600];
                if (!name || !*name || !in->source || strncmp(in->source, "models:", 7))
                    continue;
                bool is_fixed = false;
                for (const char *const *f = in->fixed_options; f && *f; f++)
                    is_fixed |= !strcmp(*f, name);
                if (!is_fixed && rg_env_model_path(s->options.env, in->source + 7, name, &path, text, sizeof text) < 0) {
                    char *line = rg_asprintf("%s/%s", in->source + 7, name);
                    json_object_array_add(files, json_object_new_string(line ? line : name));
                    rg_free(line);
                    *is_ready = false;
                }
                rg_free(path);
            }
        }
        char hint[200];
        if (json_object_array_length(files) && rg_env_pull_hint(s->options.env, NULL, e->name, hint, sizeof hint))
            add_text(o, "fetch", hint);
        json_object_object_add(o, "missing_files", files);
    }
    if (is_deep)
        json_object_object_add(o, "ready", json_object_new_boolean(*is_ready));
    json_object_put(root);
    rg_prompt_free(p);
    rg_ctx_free(c);
    return o;
}

static void respond_health(rg_request *r, rg_service *s, bool is_deep)
{
    struct json_object *o = json_object_new_object(), *list;
    rg_queue_counts counts;

    rg_queue_count(s->queue, &counts);
    const bool is_draining = atomic_load(&s->is_draining);
    add_text(o, "status", is_draining ? "stopping" : "healthy");
    add_text(o, "app", "rylagraph");
    add_text(o, "version", RG_VERSION);
    json_object_object_add(o, "queued", json_object_new_int64(counts.queued));
    json_object_object_add(o, "running", json_object_new_int64(counts.running));
    if (is_deep) {
        endpoint **endpoints = service_endpoints(s);
        list = json_object_new_array();
        for (endpoint **e = endpoints; e && *e; e++) {
            bool is_ready;
            json_object_array_add(list, endpoint_json(s, *e, true, &is_ready));
        }
        service_endpoints_free(endpoints);
        json_object_object_add(o, "endpoints", list);
        json_object_object_add(o, "problems", service_template_problems(s));
    }
    rg_respond_json(r, is_draining ? 503 : 200, o);
}

typedef struct deep_check {
    rg_service *service;
    rg_request *r;
} deep_check;

static void *deep_main(void *arg)
{
    deep_check *d = arg;
    rg_service *s = d->service;

    respond_health(d->r, s, true);
    rg_request_finish(d->r);
    rg_free(d);
    pthread_mutex_lock(&s->lock);
    s->n_deep--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* On the loop, so that it answers while every worker is busy; the deep one reads folders, on a thread of its own. */
static void get_health(rg_request *r, void *user)
{
    rg_service *s = user;
    const char *deep = rg_request_query(r, "deep");
    deep_check *d = NULL;
    pthread_t t;

    if (!deep || strcmp(deep, "1") || !rg_request_may(r)) {
        respond_health(r, user, false);
        return;
    }
    pthread_mutex_lock(&s->lock);
    const bool is_busy = s->n_deep >= MAX_DEEP_CHECKS || s->is_stopping || !(d = rg_malloc(sizeof *d));
    s->n_deep += !is_busy;
    pthread_mutex_unlock(&s->lock);
    if (is_busy) {
        rg_respond_header(r, "Retry-After", "1");
        service_refuse(r, 503, NULL, "others are asking that already");
        return;
    }
    *d = (deep_check){ user, r };
    rg_request_hold(r, NULL, NULL);
    if (pthread_create(&t, NULL, deep_main, d) == 0) {
        pthread_detach(t);
    } else {
        respond_health(r, user, false);
        rg_request_finish(r);
        rg_free(d);
        pthread_mutex_lock(&s->lock);
        s->n_deep--;
        pthread_mutex_unlock(&s->lock);
    }
}

/* What a form may offer for a parameter: the models folder whose files it names, or the list it chooses from. */
static void add_choices(struct json_object *parameter, struct json_object *graph)
{
    struct json_object *targets = get(parameter, "targets");
    const char *target = json_object_is_type(targets, json_type_array) ? json_object_get_string(json_object_array_get_idx(targets, 0)) : NULL;
    const char *type = json_object_get_string(get(parameter, "type"));
    const char *dot = target ? strchr(target, '.') : NULL;
    char *node = dot && type && !strcmp(type, "string") ? rg_strndup(target, (size_t)(dot - target)) : NULL;
    const char *class_type = node ? json_object_get_string(get(get(graph, node), "class_type")) : NULL;
    const rg_node *n = class_type ? rg_node_find(class_type) : NULL;

    for (const rg_input *in = n ? n->inputs : NULL; in && in->kind != RG_INPUT_END; in++) {
        if (strcmp(in->name, dot + 1))
            continue;
        if (in->kind == RG_INPUT_FILE && in->source && !strncmp(in->source, "models:", 7))
            add_text(parameter, "folder", in->source + 7);
        if (in->kind == RG_INPUT_COMBO && in->options && !get(parameter, "choices")) {
            struct json_object *list = json_object_new_array();
            for (const char *const *o = in->options; *o; o++)
                json_object_array_add(list, json_object_new_string(*o));
            json_object_object_add(parameter, "choices", list);
        }
    }
    rg_free(node);
}

/* The endpoints with their parameters: what a page makes forms from. */
static void get_endpoints(rg_request *r, void *user)
{
    rg_service *s = user;
    struct json_object *list = json_object_new_array(), *o = json_object_new_object();
    endpoint **endpoints = service_endpoints(s);

    for (endpoint **at = endpoints; at && *at; at++) {
        bool is_ready;
        struct json_object *e = endpoint_json(s, *at, false, &is_ready), *root = json_tokener_parse((*at)->text), *rows;
        json_object_object_add(e, "description", json_object_get(get(root, "description")));
        json_object_object_add(e, "timeout", json_object_new_double((*at)->timeout > 0 ? (*at)->timeout : s->options.timeout_seconds));
        json_object_object_add(e, "one_of", json_object_get(get(root, "one_of")));
        rows = get(root, "parameters");         /* with their targets: they read a job's parameters back from its graph */
        for (size_t i = 0; rows && i < json_object_array_length(rows); i++)
            add_choices(json_object_array_get_idx(rows, i), get(root, "graph"));
        json_object_object_add(e, "parameters", json_object_get(rows));
        json_object_array_add(list, e);
        json_object_put(root);
    }
    service_endpoints_free(endpoints);
    json_object_object_add(o, "endpoints", list);
    json_object_object_add(o, "problems", service_template_problems(s));
    rg_respond_json(r, 200, o);
}

/* The LoRA files, as the first deployments listed them. */
static void get_loras(rg_request *r, void *user)
{
    rg_service *s = user;
    struct json_object *list = json_object_new_array(), *o = json_object_new_object();
    char **names = NULL, *path, text[300];

    if (rg_env_list(s->options.env, "models:loras", &names) < 0)
        names = NULL;
    for (char **name = names; name && *name; name++) {
        const size_t n = strlen(*name);
        if (n <= 12 || strcmp(*name + n - 12, ".safetensors") || rg_env_model_path(s->options.env, "loras", *name, &path, text, sizeof text) < 0)
            continue;
        struct json_object *lora = json_object_new_object();
        add_text(lora, "name", *name);
        add_text(lora, "path", path);
        json_object_array_add(list, lora);
        rg_free(path);
    }
    rg_names_free(names);
    json_object_object_add(o, "count", json_object_new_int64((int64_t)json_object_array_length(list)));
    json_object_object_add(o, "loras", list);
    rg_respond_json(r, 200, o);
}

void jobs_start(rg_service *s)
{
    static const struct { const char *method, *pattern; int flags; rg_handler *handler; } routes[] = {
        { "POST", "/jobs", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, post_job },
        { "GET", "/jobs", RG_ROUTE_WORKER, get_jobs },
        { "GET", "/jobs/{id}", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, get_job },
        { "DELETE", "/jobs/{id}", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, delete_job },
        { "GET", "/jobs/{id}/events", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, get_events },
        { "GET", "/jobs/{id}/workflow", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, get_workflow },
        { "GET", "/jobs/{id}/outputs/{n}", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, get_output },
        { "GET", "/endpoints", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, get_endpoints },
        { "GET", "/loras", RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, get_loras },
        { "GET", "/health", RG_ROUTE_OPEN, get_health },
    };

    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        rg_server_route(s->server, routes[i].method, routes[i].pattern, routes[i].flags | RG_ROUTE_NO_TWIN, routes[i].handler, s);
}

void jobs_stop(rg_service *s)
{
    pthread_mutex_lock(&s->lock);
    for (job_log *l = s->logs; l; l = l->next)
        end_streams(l);
    while (s->n_deep > 0)               /* they read the endpoints */
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}
