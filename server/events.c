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

void comfy_send_status(rg_comfy *f)
{
    char *text = atomic_load(&f->n_sockets) ? comfy_status_text(f, NULL) : NULL;

    if (text)
        rg_server_send(f->server, NULL, RG_SEND_ALL, false, text, strlen(text));
    rg_free(text);
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

/* ---- progress_state ------------------------------------------------------------------------------------------------------------ */

static touched *touch(rg_comfy *f, const char *id)
{
    if (f->n_touched && !strcmp(f->touched[f->n_touched - 1].id, id))
        return &f->touched[f->n_touched - 1];   /* nearly always */
    for (int i = 0; i < f->n_touched; i++)
        if (!strcmp(f->touched[i].id, id))
            return &f->touched[i];
    if (f->n_touched == f->touched_capacity) {
        const int capacity = f->touched_capacity ? 2 * f->touched_capacity : 64;
        touched *grown = rg_realloc(f->touched, (size_t)capacity * sizeof(*grown));

        if (!grown)
            return NULL;
        f->touched = grown;
        f->touched_capacity = capacity;
    }
    touched *n = &f->touched[f->n_touched];
    *n = (touched){ .id = rg_strdup(id), .max = 1, .is_float = true };
    if (!n->id)
        return NULL;
    f->n_touched++;
    return n;
}

static void forget_touched(rg_comfy *f)
{
    for (int i = 0; i < f->n_touched; i++)
        rg_free(f->touched[i].id);
    f->n_touched = 0;
}

static void send_progress_state(rg_comfy *f, const rg_job *job)
{
    rg_text t = { 0 };

    if (!atomic_load(&f->n_sockets))
        return;
    struct json_object *job_id = json_object_new_string(job->id);
    char *job_text = rg_json_dump(job_id, 0);
    rg_text_format(&t, "{\"type\": \"progress_state\", \"data\": {\"prompt_id\": %s, \"nodes\": {", job_text ? job_text : "\"\"");
    for (int i = 0; i < f->n_touched; i++) {
        const touched *n = &f->touched[i];
        struct json_object *id = json_object_new_string(n->id);
        char *text = rg_json_dump(id, 0);

        t.is_failed |= !text;
        rg_text_format(&t, n->is_float ? "%s%s: {\"value\": %.1f, \"max\": %.1f" : "%s%s: {\"value\": %.0f, \"max\": %.0f", i ? ", " : "",
                       text ? text : "", n->value, n->max);
        rg_text_format(&t, ", \"state\": \"%s\", \"node_id\": %s, \"prompt_id\": %s, \"display_node_id\": %s, \"parent_node_id\": null, "
                           "\"real_node_id\": %s}", n->is_finished ? "finished" : "running", text, job_text, text, text);
        rg_free(text);
        json_object_put(id);
    }
    rg_text_add(&t, "}}}");
    if (!t.is_failed)
        rg_server_send(f->server, job->client_id, RG_SEND_ALL, false, t.data, t.n_bytes);
    rg_text_release(&t);
    rg_free(job_text);
    json_object_put(job_id);
}

/* ---- previews ---------------------------------------------------------------------------------------------------------------------- */

static void put_u32(unsigned char *p, size_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* Type 4: a JSON about the picture, then the picture. For those who asked for it. */
static void send_preview_with_metadata(rg_comfy *f, const rg_job *job, const char *node, const uint8_t *jpeg, size_t n)
{
    struct json_object *meta = json_object_new_object();
    char *text;

    put_string(meta, "node_id", node);
    put_string(meta, "prompt_id", job->id);
    put_string(meta, "display_node_id", node);
    put_string(meta, "parent_node_id", NULL);
    put_string(meta, "real_node_id", node);
    put_string(meta, "image_type", "image/jpeg");
    if ((text = rg_json_dump(meta, 0))) {
        const size_t n_text = strlen(text);
        unsigned char *bytes = rg_malloc(8 + n_text + n);

        if (bytes) {
            put_u32(bytes, 4);
            put_u32(bytes + 4, n_text);
            memcpy(bytes + 8, text, n_text);
            memcpy(bytes + 8 + n_text, jpeg, n);
            rg_server_send(f->server, job->client_id, RG_SEND_WITH_METADATA, true, bytes, 8 + n_text + n);
        }
        rg_free(bytes);
    }
    rg_free(text);
    json_object_put(meta);
}

/* Type 1, JPEG: what every client reads. */
static void send_preview_plain(rg_comfy *f, const rg_job *job, const uint8_t *jpeg, size_t n)
{
    unsigned char *bytes = rg_malloc(8 + n);

    if (bytes) {
        put_u32(bytes, 1);
        put_u32(bytes + 4, 1);
        memcpy(bytes + 8, jpeg, n);
        rg_server_send(f->server, job->client_id, RG_SEND_PLAIN, true, bytes, 8 + n);
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
    uint8_t *jpeg = NULL;
    size_t n_jpeg = 0;
    touched *n = touch(f, e->node_id);

    if (n) {
        n->value = (double)e->step;
        n->max = (double)e->total;
        n->is_float = false;
    }
    send_progress_state(f, job);
    if (f->options.preview_method != RG_PREVIEW_NONE && e->preview && atomic_load(&f->n_sockets))
        rg_preview_jpeg(e->preview, f->options.preview_size, &jpeg, &n_jpeg);
    if (jpeg)
        send_preview_with_metadata(f, job, e->node_id, jpeg, n_jpeg);
    data = json_object_new_object();
    json_object_object_add(data, "value", json_object_new_int64(e->step));
    json_object_object_add(data, "max", json_object_new_int64(e->total));
    put_string(data, "prompt_id", job->id);
    put_string(data, "node", e->node_id);
    send_event(f, job, "progress", data, true);
    if (jpeg)
        send_preview_plain(f, job, jpeg, n_jpeg);
    rg_free(jpeg);
}

static void on_run(rg_comfy *f, const rg_job_event *j)
{
    const rg_job *job = j->job;
    const rg_event *e = j->e;
    struct json_object *data;
    touched *n;

    switch (e->kind) {
    case RG_EVENT_START:
        forget_touched(f);
        break;
    case RG_EVENT_EXECUTING:
        set_running(f, job->client_id, e->node_id);
        if ((n = touch(f, e->node_id)))
            n->is_finished = false;
        send_progress_state(f, job);
        data = json_object_new_object();
        put_string(data, "node", e->node_id);
        put_string(data, "display_node", e->node_id);
        put_string(data, "prompt_id", job->id);
        send_event(f, job, "executing", data, false);
        break;
    case RG_EVENT_PROGRESS:
        on_progress(f, job, e);
        break;
    case RG_EVENT_EXECUTED:
        if (e->ui || e->is_cached) {
            data = json_object_new_object();
            put_string(data, "node", e->node_id);
            put_string(data, "display_node", e->node_id);
            json_object_object_add(data, "output", json_object_get(e->ui));
            put_string(data, "prompt_id", job->id);
            send_event(f, job, "executed", data, false);
        }
        if ((n = touch(f, e->node_id))) {
            n->value = n->max;
            n->is_finished = true;
        }
        send_progress_state(f, job);
        break;
    default:
        break;
    }
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
        comfy_send_status(f);
        break;
    case RG_JOB_EVENT_RUN:
        on_run(f, e);
        break;
    case RG_JOB_EVENT_ENDED:
        comfy_send_status(f);
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
