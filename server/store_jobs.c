/* The jobs that wait or run, in memory, and what moves them: push, pull, extend, ack, nack, progress, cancel, forget. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "server/store_inside.h"

static const char cancelled_result[] = "{\"outputs\": {}, \"status\": {\"status_str\": \"error\", \"completed\": false, "
                                       "\"messages\": []}, \"meta\": {}, \"files\": []}";

/* A random UUID, version 4. */
void rg_queue_make_id(char id[37])
{
    unsigned char b[16];

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) {
        for (size_t i = 0; i < sizeof b; i++)
            b[i] = (unsigned char)rand();
    }
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(id, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5], b[6],
             b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static bool copy_text(char **to, const char *from)
{
    return !from || (*to = rg_strdup(from)) != NULL;
}

/* A copy for the caller; NULL if no memory. */
rg_job *store_copy_job(const rg_job *j, int position)
{
    rg_job *copy = rg_malloc(sizeof *copy);

    if (!copy)
        return NULL;
    *copy = *j;
    copy->id = copy->request = copy->client_id = copy->endpoint = copy->idempotency_key = copy->webhook = copy->result = copy->error =
        copy->node = NULL;
    copy->position = position;
    if (!copy_text(&copy->id, j->id) || !copy_text(&copy->request, j->request) || !copy_text(&copy->client_id, j->client_id) ||
        !copy_text(&copy->endpoint, j->endpoint) || !copy_text(&copy->idempotency_key, j->idempotency_key) ||
        !copy_text(&copy->webhook, j->webhook) || !copy_text(&copy->result, j->result) || !copy_text(&copy->error, j->error) || !copy_text(&copy->node, j->node)) {
        rg_job_free(copy);
        return NULL;
    }
    return copy;
}

/* ---- in memory; q->lock is held ----------------------------------------------------------------------------------------- */

/* Room for one job more in both lists, wherever the others go: moving jobs about then needs no memory. */
bool store_reserve(rg_queue *q)
{
    const int n = q->n_pending + q->n_running + q->n_pushing;

    return store_grow((void **)&q->running, &q->running_capacity, n, sizeof *q->running) &&
           store_grow((void **)&q->pending, &q->pending_capacity, n, sizeof *q->pending);
}

static bool is_before(const rg_job *a, const rg_job *b)
{
    return a->number != b->number ? a->number < b->number : a->sequence < b->sequence;
}

/* There is room: store_reserve(). */
void store_add_pending(rg_queue *q, rg_job *j)
{
    int low = 0, high = q->n_pending;

    while (low < high) {
        const int middle = (low + high) / 2;
        if (is_before(q->pending[middle], j))
            low = middle + 1;
        else
            high = middle;
    }
    memmove(q->pending + low + 1, q->pending + low, (size_t)(q->n_pending - low) * sizeof *q->pending);
    q->pending[low] = j;
    q->n_pending++;
    q->waiting_bytes += strlen(j->request);
}

rg_job *store_take_pending(rg_queue *q, int i)
{
    rg_job *j = q->pending[i];

    q->n_pending--;
    q->waiting_bytes -= strlen(j->request);
    memmove(q->pending + i, q->pending + i + 1, (size_t)(q->n_pending - i) * sizeof *q->pending);
    return j;
}

int store_find_pending(const rg_queue *q, const char *id)
{
    for (int i = 0; i < q->n_pending; i++) {
        if (!strcmp(q->pending[i]->id, id))
            return i;
    }
    return -1;
}

int store_find_running(const rg_queue *q, const char *id)
{
    for (int i = 0; i < q->n_running; i++) {
        if (!strcmp(q->running[i].job->id, id))
            return i;
    }
    return -1;
}

rg_job *store_take_running(rg_queue *q, int i)
{
    rg_job *j = q->running[i].job;

    q->n_running--;
    memmove(q->running + i, q->running + i + 1, (size_t)(q->n_running - i) * sizeof *q->running);
    return j;
}

/* ---- push, pull, extend, ack, nack, progress ------------------------------------------------------------------------------ */

int rg_queue_push(rg_queue *q, const rg_job_new *n, rg_pushed_fn *pushed, void *user)
{
    rg_job *j = rg_calloc(1, sizeof *j);
    op *o = rg_calloc(1, sizeof *o);
    char id[37];

    if (!n->id)
        rg_queue_make_id(id);
    if (!j || !o || !copy_text(&j->id, n->id ? n->id : id) || !copy_text(&j->request, n->request) ||
        !copy_text(&j->client_id, n->client_id) || !copy_text(&j->endpoint, n->endpoint) ||
        !copy_text(&j->idempotency_key, n->idempotency_key) || !copy_text(&j->webhook, n->webhook)) {
        rg_job_free(j);
        rg_free(o);
        return RG_ERR_NOMEM;
    }
    j->kind = n->kind;
    j->webhook_events = n->webhook ? n->webhook_events : 0;
    j->created = store_now();
    o->kind = OP_PUSH;
    o->replaces_ended = n->replaces_ended;
    o->has_webhook = j->webhook_events & 1u << RG_JOB_QUEUED;
    o->job = j;
    o->pushed = pushed;
    o->user = user;
    pthread_mutex_lock(&q->lock);
    const size_t n_bytes = strlen(j->request);
    const bool is_full = q->n_pending + q->n_pushing >= q->options.max_queued ||
                         (q->waiting_bytes && q->waiting_bytes + n_bytes > q->options.max_queued_bytes);
    int code = q->is_draining || is_full ? RG_ERR_BUSY : store_reserve(q) ? 0 : RG_ERR_NOMEM;
    if (code == 0) {
        const double count = q->next_number++;
        j->number = n->has_number ? n->number : n->is_front ? -count : count;
        j->sequence = q->next_sequence++;
        q->n_pushing++;
        q->waiting_bytes += n_bytes;
        store_send(q, o);
    }
    pthread_mutex_unlock(&q->lock);
    if (code < 0) {
        rg_job_free(j);
        rg_free(o);
        if (code == RG_ERR_BUSY) {
            pushed(user, code, "", 0);
            return 0;
        }
    }
    return code;
}

typedef struct push_waiter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
    int code;
    char *id;
    size_t id_size;
    double number;
} push_waiter;

static void push_done(void *user, int code, const char *id, double number)
{
    push_waiter *w = user;

    pthread_mutex_lock(&w->lock);
    w->code = code;
    w->number = number;
    if (w->id)
        snprintf(w->id, w->id_size, "%s", id);
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

int rg_queue_push_wait(rg_queue *q, const rg_job_new *j, char *id, size_t id_size, double *number)
{
    push_waiter w = { .id = id, .id_size = id_size };
    int ret;

    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.done, NULL);
    if ((ret = rg_queue_push(q, j, push_done, &w)) == 0) {
        pthread_mutex_lock(&w.lock);
        while (!w.is_done)
            pthread_cond_wait(&w.done, &w.lock);
        pthread_mutex_unlock(&w.lock);
        ret = w.code;
        if (number)
            *number = w.number;
    }
    pthread_cond_destroy(&w.done);
    pthread_mutex_destroy(&w.lock);
    return ret;
}

rg_job *rg_queue_pull(rg_queue *q, double timeout_seconds)
{
    const double until = store_monotonic() + timeout_seconds;
    const struct timespec deadline = { (time_t)until, (long)((until - (double)(time_t)until) * 1e9) };
    rg_job *copy = NULL;

    pthread_mutex_lock(&q->lock);
    int place = -1;
    for (;;) {
        const double now = store_monotonic();
        for (int i = 0; i < q->n_running && place < 0 && !q->is_draining; i++) {
            if (q->running[i].job->state == RG_JOB_RUNNING && q->running[i].lease_until < now)
                place = i;
        }
        if (place >= 0 || q->is_woken)
            break;
        if (q->n_pending && !q->is_draining) {
            place = q->n_running++;
            q->running[place].job = store_take_pending(q, 0);
            break;
        }
        if (pthread_cond_timedwait(&q->has_job, &q->lock, &deadline) == ETIMEDOUT && (!q->n_pending || q->is_draining))
            break;
    }
    if (place >= 0 && !q->is_woken) {
        rg_job *j = q->running[place].job;
        op o = { .kind = OP_PULL, .job = j, .has_webhook = j->webhook_events & 1u << RG_JOB_RUNNING };
        j->state = RG_JOB_RUNNING;
        o.attempts = ++j->attempts;
        o.ended = j->started = store_now();
        q->running[place].lease_until = store_monotonic() + q->options.lease_seconds;
        /* also without a file: by then the writer has told who pushed it, whose answer and status come before the first event of the run */
        if (store_send_wait(q, &o) < 0 || !(copy = store_copy_job(j, 0))) {
            /* not written (a full disk, say), or no memory: not run either, and not at once again */
            const int i = store_find_running(q, j->id);
            j->state = RG_JOB_QUEUED;
            j->attempts--;
            store_take_running(q, i);
            store_add_pending(q, j);
            pthread_mutex_unlock(&q->lock);
            nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
            return NULL;
        }
    }
    pthread_mutex_unlock(&q->lock);
    return copy;
}

void rg_queue_drain(rg_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->is_draining = true;
    pthread_mutex_unlock(&q->lock);
}

void rg_queue_wake(rg_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->is_woken = true;
    pthread_cond_broadcast(&q->has_job);
    pthread_mutex_unlock(&q->lock);
}

int rg_queue_extend(rg_queue *q, const char *id)
{
    pthread_mutex_lock(&q->lock);
    const int i = store_find_running(q, id);
    if (i >= 0)
        q->running[i].lease_until = store_monotonic() + q->options.lease_seconds;
    pthread_mutex_unlock(&q->lock);
    return i < 0 ? RG_ERR_NOT_FOUND : 0;
}

int rg_queue_progress(rg_queue *q, const char *id, const char *node, int64_t step, int64_t total)
{
    int ret = RG_ERR_NOT_FOUND;

    pthread_mutex_lock(&q->lock);
    const int i = store_find_running(q, id);
    if (i >= 0) {
        rg_job *j = q->running[i].job;
        ret = 0;
        if (node && (!j->node || strcmp(node, j->node))) {
            char *copy = rg_strdup(node);
            if (copy) {
                rg_free(j->node);
                j->node = copy;
            }
            ret = copy ? 0 : RG_ERR_NOMEM;
        }
        j->step = step;
        j->total = total;
        q->running[i].lease_until = store_monotonic() + q->options.lease_seconds;
    }
    pthread_mutex_unlock(&q->lock);
    return ret;
}

int rg_queue_ack(rg_queue *q, const char *id, rg_job_state state, const char *result, const char *error)
{
    op o = { .kind = OP_ACK, .id = id, .state = state, .result = result, .error = error, .ended = store_now() };
    int ret = RG_ERR_NOT_FOUND;

    pthread_mutex_lock(&q->lock);
    const int i = store_find_running(q, id);
    if (i >= 0) {
        o.has_webhook = q->running[i].job->webhook_events & 1u << state;
        ret = store_send_wait(q, &o);
    }
    pthread_mutex_unlock(&q->lock);
    return ret;
}

int rg_queue_nack(rg_queue *q, const char *id)
{
    int ret = RG_ERR_NOT_FOUND, i;

    pthread_mutex_lock(&q->lock);
    if ((i = store_find_running(q, id)) >= 0 && q->running[i].job->state == RG_JOB_RUNNING) {
        rg_job *j = q->running[i].job;
        op o = { .kind = OP_NACK, .job = j, .attempts = --j->attempts };
        ret = store_send_wait(q, &o);
        if ((i = store_find_running(q, id)) >= 0) {
            store_take_running(q, i);
            j->state = RG_JOB_QUEUED;
            j->started = 0;
            j->step = j->total = 0;
            store_add_pending(q, j);
            pthread_cond_signal(&q->has_job);
        }
    }
    pthread_mutex_unlock(&q->lock);
    return ret;
}

/* Out of the waiting ones, to be written; until then it is among the running ones, in the state cancelled. q->lock is held. */
static int cancel_at(rg_queue *q, int i)
{
    op *o = rg_calloc(1, sizeof *o);

    if (!o)
        return RG_ERR_NOMEM;
    rg_job *j = store_take_pending(q, i);
    j->state = RG_JOB_CANCELLED;
    q->running[q->n_running++] = (running_job){ .job = j };
    *o = (op){ .kind = OP_CANCEL, .job = j, .state = RG_JOB_CANCELLED, .ended = j->ended = store_now(), .result = cancelled_result,
               .error = "cancelled before it ran", .has_webhook = j->webhook_events & 1u << RG_JOB_CANCELLED };
    store_send(q, o);
    return 0;
}

int rg_queue_cancel(rg_queue *q, const char *id)
{
    pthread_mutex_lock(&q->lock);
    const int i = store_find_pending(q, id);
    const int ret = i < 0 ? RG_ERR_NOT_FOUND : cancel_at(q, i);
    pthread_mutex_unlock(&q->lock);
    return ret;
}

int rg_queue_cancel_all(rg_queue *q)
{
    int n = 0;

    pthread_mutex_lock(&q->lock);
    while (q->n_pending && cancel_at(q, q->n_pending - 1) == 0)
        n++;
    pthread_mutex_unlock(&q->lock);
    return n;
}

int rg_queue_forget(rg_queue *q, const char *id)
{
    op o = { .kind = OP_FORGET, .id = id };

    pthread_mutex_lock(&q->lock);
    const int ret = store_send_wait(q, &o);
    pthread_mutex_unlock(&q->lock);
    return ret;
}
