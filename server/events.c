/*
 * What happens to a job, as ComfyUI tells its clients. Messages are made on the executor's thread and handed to the loop, which
 * knows who is connected; one queue, so their order is that of the events.
 *
 * Per node: progress_state(running), executing, [progress_state, preview with metadata, progress, preview]..., [executed],
 * progress_state(finished).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/comfy_inside.h"
#include "server/preview.h"

char *comfy_status_text(rg_comfy *f, const char *sid)
{
    rg_queue_counts n;
    rg_text t = { 0 };

    rg_queue_count(f->queue, &n);
    rg_text_format(&t, "{\"type\": \"status\", \"data\": {\"status\": {\"exec_info\": {\"queue_remaining\": %lld}}", (long long)(n.queued + n.running));
    if (sid) {
        struct json_object *s = json_object_new_string(sid);
        rg_text_add(&t, ", \"sid\": ");
        rg_json_write(&t, s, 0);
        json_object_put(s);
    }
    rg_text_add(&t, "}}");
    return rg_text_take(&t);
}

char *comfy_make_status(void *user)
{
    return comfy_status_text(user, NULL);
}

/* Messages a second, and at once, up to which everybody hears of every change, as from ComfyUI. */
static const double status_rate = 20000, status_burst = 2000;

void comfy_send_status(rg_comfy *f, const char *client)
{
    const int n = atomic_load(&f->n_sockets);
    char *text;

    if (!n)
        return;
    pthread_mutex_lock(&f->lock);
    const double now = rg_server_now();
    f->status_allowance += (now - f->status_at) * status_rate;
    if (f->status_allowance > status_burst)
        f->status_allowance = status_burst;
    f->status_at = now;
    const bool is_for_all = f->status_allowance >= n;
    if (is_for_all)
        f->status_allowance -= n;
    pthread_mutex_unlock(&f->lock);
    /* whoever sent the job in question gets its three; who only watches gets the latest number of a busy queue */
    if (is_for_all || client) {
        if ((text = comfy_status_text(f, NULL)))
            rg_server_send(f->server, is_for_all ? NULL : client, RG_SEND_ALL, false, text, strlen(text));
        rg_free(text);
    }
    if (!is_for_all)
        rg_server_news(f->server, RG_NEWS_STATUS);
}

/* {"type": type, "data": data}; data is taken over. To the run's client; without one, to nobody or to everybody. */
static void send_event(rg_comfy *f, const rg_job *job, const char *type, struct json_object *data, bool is_for_all)
{
    rg_text t = { 0 };

    if ((job->client_id || is_for_all) && atomic_load(&f->n_sockets)) {
        rg_text_format(&t, "{\"type\": \"%s\", \"data\": ", type);
        rg_json_write(&t, data, 0);
        rg_text_add(&t, "}");
        if (!t.is_failed)
            rg_server_send(f->server, job->client_id, RG_SEND_ALL, false, t.data, t.n_bytes);
        rg_text_release(&t);
    }
    json_object_put(data);
}

static void put_string(struct json_object *o, const char *key, const char *s)
{
    json_object_object_add(o, key, s ? json_object_new_string(s) : NULL);
}

/* ---- previews ---------------------------------------------------------------------------------------------------------------------- */

static void put_u32(unsigned char *p, size_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* A picture on its way to a client: as a sampler's preview, which may be left out, or as a result, which may not. */
typedef struct picture {
    uint8_t *bytes;                     /* rg_free() */
    size_t n_bytes;
    bool is_png;                        /* else JPEG */
    unsigned keep;                      /* RG_SEND_KEPT or 0 */
} picture;

/* Type 4: a JSON about the picture, then the picture. For those who asked for it. */
static void send_picture_with_metadata(rg_comfy *f, const rg_job *job, const rg_event *e, const picture *p)
{
    struct json_object *meta = json_object_new_object();
    char *text;

    put_string(meta, "node_id", e->node_id);
    put_string(meta, "prompt_id", job->id);
    put_string(meta, "display_node_id", e->display_id);
    put_string(meta, "parent_node_id", e->n_progress ? e->progress->parent_id : NULL);
    put_string(meta, "real_node_id", e->n_progress ? e->progress->real_id : e->display_id);
    put_string(meta, "image_type", p->is_png ? "image/png" : "image/jpeg");
    if ((text = rg_json_dump(meta, 0))) {
        const size_t n_text = strlen(text);
        unsigned char *bytes = rg_malloc(8 + n_text + p->n_bytes);

        if (bytes) {
            put_u32(bytes, 4);
            put_u32(bytes + 4, n_text);
            memcpy(bytes + 8, text, n_text);
            memcpy(bytes + 8 + n_text, p->bytes, p->n_bytes);
            rg_server_send(f->server, job->client_id, RG_SEND_WITH_METADATA | p->keep, true, bytes, 8 + n_text + p->n_bytes);
        }
        rg_free(bytes);
    }
    rg_free(text);
    json_object_put(meta);
}

/* Type 1, then 1 for JPEG or 2 for PNG: what every client reads. */
static void send_picture_plain(rg_comfy *f, const rg_job *job, const picture *p)
{
    unsigned char *bytes = rg_malloc(8 + p->n_bytes);

    if (bytes) {
        put_u32(bytes, 1);
        put_u32(bytes + 4, p->is_png ? 2 : 1);
        memcpy(bytes + 8, p->bytes, p->n_bytes);
        rg_server_send(f->server, job->client_id, RG_SEND_PLAIN | p->keep, true, bytes, 8 + p->n_bytes);
    }
    rg_free(bytes);
}

/* ---- events -------------------------------------------------------------------------------------------------------------------------- */

static void set_running(rg_comfy *f, const char *client, const char *node)
{
    pthread_mutex_lock(&f->lock);
    rg_free(f->running_client);
    rg_free(f->running_node);
    f->running_client = client ? rg_strdup(client) : NULL;
    f->running_node = node ? rg_strdup(node) : NULL;
    pthread_mutex_unlock(&f->lock);
}

static void on_progress(rg_comfy *f, const rg_job *job, const rg_event *e)
{
    struct json_object *data;
    picture p = { 0 };

    if (e->images && atomic_load(&f->n_sockets))
        p.keep = rg_picture_png(e->images, e->frame, &p.bytes, &p.n_bytes) ? RG_SEND_KEPT : 0;
    else if (f->options.preview_method != RG_PREVIEW_NONE && e->preview && atomic_load(&f->n_sockets))
        rg_preview_jpeg(e->preview, f->options.preview_size, &p.bytes, &p.n_bytes);
    p.is_png = e->images != NULL;
    if (p.bytes)
        send_picture_with_metadata(f, job, e, &p);
    data = json_object_new_object();
    json_object_object_add(data, "value", json_object_new_int64(e->step));
    json_object_object_add(data, "max", json_object_new_int64(e->total));
    put_string(data, "prompt_id", job->id);
    put_string(data, "node", e->node_id);
    send_event(f, job, "progress", data, true);
    if (p.bytes)
        send_picture_plain(f, job, &p);
    rg_free(p.bytes);
}

/* A node whose input is blocked, with a reason: told, but no failure. */
static void send_blocked(rg_comfy *f, const rg_job *job, const rg_event *e)
{
    static const char *const empty[] = { "traceback", "current_inputs", "current_outputs" };
    struct json_object *data = json_object_new_object(), *executed = json_object_new_array();

    for (int i = 0; i < e->n_ids; i++)
        json_object_array_add(executed, json_object_new_string(e->ids[i]));
    put_string(data, "prompt_id", job->id);
    put_string(data, "node_id", e->display_id);
    put_string(data, "node_type", e->class_type);
    json_object_object_add(data, "executed", executed);
    put_string(data, "exception_message", e->message);
    put_string(data, "exception_type", "ExecutionBlocked");
    for (int i = 0; i < 3; i++)
        json_object_object_add(data, empty[i], json_object_new_array());
    send_event(f, job, "execution_error", data, true);
}

/* For each node of each run: written without an object in between. */
static void send_executing(rg_comfy *f, const rg_job *job, const rg_event *e)
{
    rg_text t = { 0 };

    if (!job->client_id || !atomic_load(&f->n_sockets))
        return;
    rg_text_add(&t, "{\"type\": \"executing\", \"data\": {\"node\": ");
    rg_json_write_string(&t, e->node_id);
    rg_text_add(&t, ", \"display_node\": ");
    rg_json_write_string(&t, e->display_id);
    rg_text_add(&t, ", \"prompt_id\": ");
    rg_json_write_string(&t, job->id);
    rg_text_add(&t, "}}");
    if (!t.is_failed)
        rg_server_send(f->server, job->client_id, RG_SEND_ALL, false, t.data, t.n_bytes);
    rg_text_release(&t);
}

static void on_run(rg_comfy *f, const rg_job_event *j)
{
    const rg_job *job = j->job;
    const rg_event *e = j->e;
    struct json_object *data;

    switch (e->kind) {
    case RG_EVENT_PROGRESS_STATE:
        comfy_progress_step(f, e);
        break;
    case RG_EVENT_EXECUTING:
        set_running(f, job->client_id, e->display_id);
        send_executing(f, job, e);
        break;
    case RG_EVENT_PROGRESS:
        on_progress(f, job, e);
        break;
    case RG_EVENT_EXECUTED:
        if (e->ui || e->is_cached) {
            data = json_object_new_object();
            put_string(data, "node", e->node_id);
            put_string(data, "display_node", e->display_id);
            json_object_object_add(data, "output", json_object_get(e->ui));
            put_string(data, "prompt_id", job->id);
            send_event(f, job, "executed", data, false);
        }
        break;
    case RG_EVENT_BLOCKED:
        send_blocked(f, job, e);
        break;
    default:
        break;
    }
    if (e->kind == RG_EVENT_SUCCESS || e->kind == RG_EVENT_ERROR || e->kind == RG_EVENT_INTERRUPTED)
        comfy_progress_end(f);
    if (j->message)                     /* the five that history keeps, too */
        send_event(f, job, j->message, json_object_get(j->data), e->kind == RG_EVENT_INTERRUPTED);
}

void rg_comfy_on_job(void *user, const rg_job_event *e)
{
    rg_comfy *f = user;
    struct json_object *data;

    switch (e->kind) {
    case RG_JOB_EVENT_STARTED:
        set_running(f, e->job->client_id, NULL);
        comfy_progress_begin(f, e->job);
        comfy_send_status(f, e->job->client_id);
        break;
    case RG_JOB_EVENT_RUN:
        on_run(f, e);
        break;
    case RG_JOB_EVENT_ENDED:
        comfy_send_status(f, e->job->client_id);
        if (e->job->state == RG_JOB_QUEUED)     /* it never ran */
            break;
        set_running(f, NULL, NULL);
        data = json_object_new_object();
        put_string(data, "node", NULL);
        put_string(data, "prompt_id", e->job->id);
        send_event(f, e->job, "executing", data, false);
        break;
    }
}
