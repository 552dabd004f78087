/*
 * progress_state: after each step of a run ComfyUI sends the state of every node touched so far. That is n messages of up to n nodes,
 * 5 GB for a chain of 5,000, so not all of them are sent here.
 *
 * DESIGN
 *   - Every message is complete and replaces the one before, so leaving one out loses nothing that the next does not say. The last
 *     state of a run is always sent, before the message that ends it; no state of a run comes after that.
 *   - What may be sent is an allowance of bytes that grows with each step and with time, and may be overdrawn by one message. Runs of
 *     up to some 20 nodes, and longer ones whose nodes take their time, get every message exactly as from ComfyUI; the work and the
 *     bytes of any other stay in proportion to its number of steps.
 *   - A run that no client has sent is told to all. Where that is more than the allowance, they get its latest state as news (http.h).
 *   - A state that was left out is sent as soon as the allowance has grown back, also when nothing else happens meanwhile.
 *   - The text of each node is kept from one message to the next and made anew only when that node changes.
 *
 * The executor's thread reports the steps; the loop thread sends what is late. Both hold the lock.
 */
#include <stdio.h>
#include <string.h>

#include "server/comfy_inside.h"

/* In bytes. At once: a chain of 20 nodes. A step: about what clients get for each node anyway. A second: what a socket takes with ease. */
static const double allowance_most = 128e3, allowance_step = 512, allowance_second = 8e6;

int comfy_progress_init(comfy_progress *p)
{
    p->allowance = allowance_most;
    return pthread_mutex_init(&p->lock, NULL);
}

void comfy_progress_release(comfy_progress *p)
{
    for (int i = 0; i < p->capacity; i++)
        rg_text_release(&p->entries[i]);
    rg_free(p->entries);
    rg_free(p->client);
    rg_text_release(&p->id);
    pthread_mutex_destroy(&p->lock);
}

void comfy_progress_begin(rg_comfy *f, const rg_job *job)
{
    comfy_progress *p = &f->progress;

    pthread_mutex_lock(&p->lock);
    rg_free(p->client);
    p->client = job->client_id ? rg_strdup(job->client_id) : NULL;
    p->id.n_bytes = 0;
    rg_json_write_string(&p->id, job->id);
    p->is_off = p->id.is_failed || (job->client_id && !p->client);      /* no memory: nothing is shown */
    p->n = 0;
    p->n_bytes = 0;
    p->is_stale = false;
    pthread_mutex_unlock(&p->lock);
}

static void add_string(rg_text *t, const char *key, const char *value)
{
    rg_text_add(t, key);
    if (value)
        rg_json_write_string(t, value);
    else
        rg_text_add(t, "null");
}

/* Python's numbers: 0.0 of 1.0 at a node's start, whole ones once it counts. */
static void add_number(rg_text *t, const char *key, double v, bool is_counted)
{
    char digits[40];

    if (is_counted || v == 0.0 || v == 1.0)
        snprintf(digits, sizeof digits, "%lld%s", (long long)v, is_counted ? "" : ".0");
    else
        snprintf(digits, sizeof digits, "%.17g", v);
    rg_text_add(t, key);
    rg_text_add(t, digits);
}

/* The text of one node. p->lock is held. */
static void write_entry(comfy_progress *p, int i, const rg_node_progress *n)
{
    rg_text *t = &p->entries[i];

    p->n_bytes -= t->n_bytes;
    t->n_bytes = 0;
    add_string(t, i ? ", " : "", n->node_id);
    add_number(t, ": {\"value\": ", n->value, n->is_counted);
    add_number(t, ", \"max\": ", n->max, n->is_counted);
    rg_text_add(t, n->is_finished ? ", \"state\": \"finished\"" : ", \"state\": \"running\"");
    add_string(t, ", \"node_id\": ", n->node_id);
    rg_text_add(t, ", \"prompt_id\": ");
    rg_text_add_bytes(t, p->id.data, p->id.n_bytes);
    add_string(t, ", \"display_node_id\": ", n->display_id);
    add_string(t, ", \"parent_node_id\": ", n->parent_id);
    add_string(t, ", \"real_node_id\": ", n->real_id);
    rg_text_add(t, "}");
    p->is_off |= t->is_failed;
    p->n_bytes += t->n_bytes;
}

/* Bring the texts up to date: the node that changed, and all that came while nobody listened. p->lock is held. */
static void update(comfy_progress *p, const rg_event *e)
{
    const int known = p->n;

    if (e->n_progress > p->capacity) {
        const int capacity = 2 * e->n_progress + 32;
        rg_text *more = rg_realloc(p->entries, (size_t)capacity * sizeof *more);

        if (!more) {
            p->is_off = true;
            return;
        }
        memset(more + p->capacity, 0, (size_t)(capacity - p->capacity) * sizeof *more);
        p->entries = more;
        p->capacity = capacity;
    }
    for (; p->n < e->n_progress; p->n++) {
        p->entries[p->n].n_bytes = 0;   /* of another run */
        write_entry(p, p->n, &e->progress[p->n]);
    }
    if (e->progress_at < known)
        write_entry(p, e->progress_at, &e->progress[e->progress_at]);
}

/* The message; NULL: nothing to say. rg_free() it. p->lock is held. */
static char *make(const comfy_progress *p, size_t *n_bytes)
{
    rg_text t = { 0 };

    rg_text_add(&t, "{\"type\": \"progress_state\", \"data\": {\"prompt_id\": ");
    rg_text_add_bytes(&t, p->id.data, p->id.n_bytes);
    rg_text_add(&t, ", \"nodes\": {");
    for (int i = 0; i < p->n; i++)
        rg_text_add_bytes(&t, p->entries[i].data, p->entries[i].n_bytes);
    rg_text_add(&t, "}}}");
    *n_bytes = t.n_bytes;
    return rg_text_take(&t);
}

/* p->lock is held. */
static void send_now(rg_comfy *f)
{
    comfy_progress *p = &f->progress;
    size_t n_bytes;
    char *text = make(p, &n_bytes);

    p->is_stale = false;
    if (text)
        rg_server_send(f->server, p->client, RG_SEND_ALL, false, text, n_bytes);
    rg_free(text);
    p->allowance -= (double)n_bytes * (p->client ? 1 : atomic_load(&f->n_sockets));
}

char *comfy_make_progress(void *comfy)
{
    comfy_progress *p = &((rg_comfy *)comfy)->progress;
    size_t n_bytes;

    pthread_mutex_lock(&p->lock);
    char *text = p->n && !p->client ? make(p, &n_bytes) : NULL;
    pthread_mutex_unlock(&p->lock);
    return text;
}

/* p->lock is held. */
static void grow_allowance(comfy_progress *p)
{
    const double now = rg_server_now();

    p->allowance += (now - p->grown_at) * allowance_second;
    if (p->allowance > allowance_most)
        p->allowance = allowance_most;
    p->grown_at = now;
}

static void send_late(void *user)
{
    rg_comfy *f = user;
    comfy_progress *p = &f->progress;

    pthread_mutex_lock(&p->lock);
    p->is_armed = false;
    if (p->is_stale && !p->is_off) {
        grow_allowance(p);
        if (p->allowance >= 0) {
            send_now(f);
        } else {
            p->is_armed = true;
            rg_server_post_later(f->server, 0.001 - p->allowance / allowance_second, send_late, f);
        }
    }
    pthread_mutex_unlock(&p->lock);
}

void comfy_progress_step(rg_comfy *f, const rg_event *e)
{
    comfy_progress *p = &f->progress;

    if (!atomic_load(&f->n_sockets))
        return;
    pthread_mutex_lock(&p->lock);
    update(p, e);
    if (!p->is_off) {
        p->allowance += allowance_step;
        if (p->allowance < allowance_most / 2 || p->is_stale)   /* the clock is asked only where it may matter */
            grow_allowance(p);
        const double cost = (double)p->n_bytes * atomic_load(&f->n_sockets);
        if (!p->client && cost > p->allowance) {        /* nobody's run, told to many */
            rg_server_news(f->server, RG_NEWS_PROGRESS);
        } else if (p->allowance >= 0) {
            send_now(f);
        } else {
            p->is_stale = true;
            if (!p->is_armed) {
                p->is_armed = true;
                rg_server_post_later(f->server, 0.001 - p->allowance / allowance_second, send_late, f);
            }
        }
    }
    pthread_mutex_unlock(&p->lock);
}

void comfy_progress_end(rg_comfy *f)
{
    comfy_progress *p = &f->progress;

    pthread_mutex_lock(&p->lock);
    if (p->is_stale && !p->is_off)
        send_now(f);
    p->is_off = true;
    grow_allowance(p);
    pthread_mutex_unlock(&p->lock);
}
