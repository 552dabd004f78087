/*
 * The outbox in the queue's file: tables `delivery` (what is to be told, to whom) and `attempt` (each try). Rows of `delivery` come
 * to be in the transaction of the job's own change of state (store_writer.c), by store_add_delivery().
 */
#include <stdio.h>
#include <string.h>

#include "server/deliveries.h"
#include "server/store_inside.h"

#define DELIVERY_COLUMNS "key, id, job, event, state, created, due, n_attempts, n_tries, webhook, body"

const char *rg_delivery_state_name(rg_delivery_state s)
{
    static const char *const names[] = { "pending", "delivered", "failed" };

    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

void rg_delivery_free(rg_delivery *d)
{
    if (!d)
        return;
    for (int i = 0; d->attempts && i < d->n_attempts; i++)
        rg_free(d->attempts[i].error);
    rg_free(d->attempts);
    rg_free(d->id);
    rg_free(d->job);
    rg_free(d->webhook);
    rg_free(d->body);
    rg_free(d);
}

void rg_deliveries_free(rg_delivery **list)
{
    for (int i = 0; list && list[i]; i++)
        rg_delivery_free(list[i]);
    rg_free(list);
}

void rg_queue_on_delivery(rg_queue *q, void (*fn)(void *user), void *user)
{
    pthread_mutex_lock(&q->lock);
    q->on_delivery = fn;
    q->on_delivery_user = user;
    pthread_mutex_unlock(&q->lock);
}

/* ---- on the writer's thread ---------------------------------------------------------------------------------------------- */

int store_add_delivery(rg_queue *q, const char *job, rg_job_state event)
{
    sqlite3_stmt *s = q->statements[ST_ADD_DELIVERY];
    const double now = store_now();

    sqlite3_bind_int(s, 1, event);
    sqlite3_bind_double(s, 2, now);
    store_bind_text(s, 3, job);
    sqlite3_bind_int(s, 4, 1 << event);
    return store_finish(q, s);
}

void store_write_delivery(rg_queue *q, op *o)
{
    sqlite3_stmt *s;

    if (o->kind == OP_DELIVERY_AGAIN) {
        s = q->statements[ST_DELIVERY_AGAIN];
        sqlite3_bind_double(s, 1, o->ended);
        sqlite3_bind_int64(s, 2, o->key);
        if ((o->code = store_finish(q, s)) == 0 && sqlite3_changes(q->db) == 0)
            o->code = RG_ERR_NOT_FOUND;
        return;
    }
    s = q->statements[ST_ATTEMPT];
    sqlite3_bind_int64(s, 1, o->key);
    sqlite3_bind_int(s, 2, o->attempt->n);
    sqlite3_bind_double(s, 3, o->attempt->at);
    sqlite3_bind_double(s, 4, o->attempt->seconds);
    sqlite3_bind_int(s, 5, o->attempt->status);
    store_bind_text(s, 6, o->attempt->error);
    if ((o->code = store_finish(q, s)) < 0)
        return;
    s = q->statements[ST_TRIED];
    sqlite3_bind_int(s, 1, o->delivery_state);
    sqlite3_bind_double(s, 2, o->ended);
    sqlite3_bind_int(s, 3, o->attempt->n);
    store_bind_text(s, 4, o->result);
    sqlite3_bind_int64(s, 5, o->key);
    if ((o->code = store_finish(q, s)) < 0 || o->delivery_state == RG_DELIVERY_PENDING)
        return;
    s = q->statements[ST_ORPHAN];       /* its job may be forgotten by now */
    sqlite3_bind_int64(s, 1, o->key);
    o->code = store_finish(q, s);
}

int rg_queue_delivery_tried(rg_queue *q, const rg_delivery *d, const rg_delivery_attempt *a, const char *body, rg_delivery_state state, double due)
{
    op o = { .kind = OP_TRIED, .key = d->key, .attempt = a, .result = body, .delivery_state = state, .ended = due };

    pthread_mutex_lock(&q->lock);
    const int ret = store_send_wait(q, &o);
    pthread_mutex_unlock(&q->lock);
    return ret;
}

int rg_queue_delivery_again(rg_queue *q, int64_t key)
{
    op o = { .kind = OP_DELIVERY_AGAIN, .key = key, .ended = store_now() };

    pthread_mutex_lock(&q->lock);
    const int ret = store_send_wait(q, &o);
    pthread_mutex_unlock(&q->lock);
    return ret;
}

/* ---- questions ------------------------------------------------------------------------------------------------------------- */

static rg_delivery *read_delivery(sqlite3_stmt *s)
{
    rg_delivery *d = rg_calloc(1, sizeof *d);
    bool is_failed = false;

    if (!d)
        return NULL;
    d->key = sqlite3_column_int64(s, 0);
    d->id = store_column_text(s, 1, &is_failed);
    d->job = store_column_text(s, 2, &is_failed);
    d->event = (rg_job_state)sqlite3_column_int(s, 3);
    d->state = (rg_delivery_state)sqlite3_column_int(s, 4);
    d->created = sqlite3_column_double(s, 5);
    d->due = sqlite3_column_double(s, 6);
    d->n_attempts = sqlite3_column_int(s, 7);
    d->n_tries = sqlite3_column_int(s, 8);
    d->webhook = store_column_text(s, 9, &is_failed);
    d->body = store_column_text(s, 10, &is_failed);
    if (is_failed || !d->id || !d->job || !d->webhook) {
        rg_delivery_free(d);
        return NULL;
    }
    return d;
}

/* All rows of a statement; it is finalized. q->read_lock is held. */
static int read_deliveries(sqlite3_stmt *s, rg_delivery ***out)
{
    rg_delivery **list = NULL;
    int n = 0, capacity = 0, ret = 0, step = SQLITE_DONE;

    do {                                /* room for the end, too */
        if (!store_grow((void **)&list, &capacity, n + 1, sizeof *list))
            ret = RG_ERR_NOMEM;
        else if ((list[n] = NULL, step = sqlite3_step(s)) == SQLITE_ROW && !(list[n++] = read_delivery(s)))
            ret = RG_ERR_NOMEM;
    } while (ret == 0 && step == SQLITE_ROW);
    if (ret == 0 && step != SQLITE_DONE)
        ret = RG_ERR_IO;
    sqlite3_finalize(s);
    if (ret < 0) {
        rg_deliveries_free(list);
        return ret;
    }
    *out = list;
    return n;
}

int rg_queue_delivery_hosts(rg_queue *q, rg_delivery_host **hosts)
{
    sqlite3_stmt *s = NULL;
    rg_delivery_host *list = NULL;
    char *names = NULL;
    size_t n_names = 0;
    int n = 0, capacity = 0, ret = 0, step = SQLITE_DONE;

    pthread_mutex_lock(&q->read_lock);
    if (sqlite3_prepare_v2(q->read_db, "SELECT host, min(due) FROM delivery WHERE state = 0 GROUP BY host", -1, &s, NULL) != SQLITE_OK)
        ret = RG_ERR_IO;
    while (ret == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        const char *host = (const char *)sqlite3_column_text(s, 0);
        const size_t length = host ? strlen(host) + 1 : 0;
        char *longer = host ? rg_realloc(names, n_names + length) : NULL;
        if (longer)
            names = longer;
        if (!longer || !store_grow((void **)&list, &capacity, n, sizeof *list)) {
            ret = RG_ERR_NOMEM;
            break;
        }
        memcpy(names + n_names, host, length);
        n_names += length;
        list[n++].due = sqlite3_column_double(s, 1);
    }
    if (ret == 0 && step != SQLITE_DONE)
        ret = RG_ERR_IO;
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->read_lock);
    rg_delivery_host *block = ret == 0 ? rg_malloc((size_t)n * sizeof *block + n_names) : NULL;     /* names behind the list */
    if (block) {
        char *at = (char *)(block + n);
        if (n_names)
            memcpy(at, names, n_names);
        for (int i = 0; i < n; at += strlen(at) + 1, i++)
            block[i] = (rg_delivery_host){ at, list[i].due };
        *hosts = block;
    }
    rg_free(list);
    rg_free(names);
    return ret < 0 ? ret : block ? n : RG_ERR_NOMEM;
}

int rg_queue_deliveries_due(rg_queue *q, const char *host, double by, int max, rg_delivery ***list)
{
    sqlite3_stmt *s = NULL;
    int ret = RG_ERR_IO;

    pthread_mutex_lock(&q->read_lock);
    if (sqlite3_prepare_v2(q->read_db, "SELECT " DELIVERY_COLUMNS " FROM delivery WHERE state = 0 AND host = ? AND due <= ? ORDER BY due, key "
                           "LIMIT ?", -1, &s, NULL) == SQLITE_OK) {
        store_bind_text(s, 1, host);
        sqlite3_bind_double(s, 2, by);
        sqlite3_bind_int(s, 3, max);
        ret = read_deliveries(s, list);
    }
    pthread_mutex_unlock(&q->read_lock);
    return ret;
}

/* The attempts of d, into d->attempts. q->read_lock is held. */
static int read_attempts(rg_queue *q, rg_delivery *d)
{
    sqlite3_stmt *s = NULL;
    int n = 0, ret = 0, step = SQLITE_DONE;
    bool is_failed = false;

    if (!(d->attempts = rg_calloc((size_t)d->n_attempts + 1, sizeof *d->attempts)))
        return RG_ERR_NOMEM;
    if (sqlite3_prepare_v2(q->read_db, "SELECT n, at, seconds, status, error FROM attempt WHERE delivery = ? ORDER BY n", -1, &s, NULL) != SQLITE_OK)
        return RG_ERR_IO;
    sqlite3_bind_int64(s, 1, d->key);
    while (n < d->n_attempts && (step = sqlite3_step(s)) == SQLITE_ROW) {
        d->attempts[n++] = (rg_delivery_attempt){ sqlite3_column_int(s, 0), sqlite3_column_double(s, 1), sqlite3_column_double(s, 2),
                                                  sqlite3_column_int(s, 3), store_column_text(s, 4, &is_failed) };
    }
    if (n < d->n_attempts)              /* none of ours, but the file is everybody's */
        ret = step == SQLITE_DONE ? 0 : RG_ERR_IO;
    d->n_attempts = n;
    sqlite3_finalize(s);
    return is_failed ? RG_ERR_NOMEM : ret;
}

int rg_queue_deliveries(rg_queue *q, const char *job, rg_delivery ***list)
{
    sqlite3_stmt *s = NULL;
    int ret = RG_ERR_IO;

    pthread_mutex_lock(&q->read_lock);
    if (sqlite3_prepare_v2(q->read_db, "SELECT " DELIVERY_COLUMNS " FROM delivery WHERE job = ? ORDER BY key", -1, &s, NULL) == SQLITE_OK) {
        store_bind_text(s, 1, job);
        ret = read_deliveries(s, list);
    }
    for (int i = 0, n = ret; i < n && ret >= 0; i++) {
        const int read = read_attempts(q, (*list)[i]);
        if (read < 0) {
            rg_deliveries_free(*list);
            ret = read;
        }
    }
    pthread_mutex_unlock(&q->read_lock);
    return ret;
}
