/*
 * The writer: the one thread that changes the file. It takes what has gathered in the mailbox, writes it in one transaction, changes
 * the jobs in memory accordingly, and answers (see the design in store_sqlite.c).
 */
#include <string.h>

#include "server/store_inside.h"

/* Into the mailbox; q->lock is held. */
void store_send(rg_queue *q, op *o)
{
    o->next = NULL;
    *q->last = o;
    q->last = &o->next;
    pthread_cond_signal(&q->has_op);
}

/* The same, and wait for it. Returns its code. */
int store_send_wait(rg_queue *q, op *o)
{
    o->is_waited = true;
    store_send(q, o);
    while (!o->is_done)
        pthread_cond_wait(&q->op_done, &q->lock);
    return o->code;
}

/* Who has this id or this key? */
static char *find_taken(rg_queue *q, const rg_job *j)
{
    sqlite3_stmt *s = q->statements[ST_FIND];
    char *id = NULL;

    store_bind_text(s, 1, j->id);
    store_bind_text(s, 2, j->idempotency_key);
    if (sqlite3_step(s) == SQLITE_ROW)
        id = rg_strdup((const char *)sqlite3_column_text(s, 0));
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return id;
}

/* o->code says what became of it. A failure that leaves half of it done is returned: the group is to be undone. */
static int write_op(rg_queue *q, op *o, int64_t *n_ended)
{
    sqlite3_stmt *s;

    switch (o->kind) {
    case OP_PUSH:
        if (o->replaces_ended) {
            s = q->statements[ST_FORGET];
            store_bind_text(s, 1, o->job->id);
            if (store_finish(q, s) == 0)
                *n_ended -= sqlite3_changes(q->db);
        }
        s = q->statements[ST_PUSH];
        sqlite3_bind_int64(s, 1, o->job->sequence);
        store_bind_text(s, 2, o->job->id);
        sqlite3_bind_int(s, 3, o->job->kind);
        sqlite3_bind_double(s, 4, o->job->number);
        sqlite3_bind_double(s, 5, o->job->created);
        store_bind_text(s, 6, o->job->request);
        store_bind_text(s, 7, o->job->client_id);
        store_bind_text(s, 8, o->job->endpoint);
        store_bind_text(s, 9, o->job->idempotency_key);
        store_bind_text(s, 10, o->job->webhook);
        sqlite3_bind_int(s, 11, (int)o->job->webhook_events);
        if ((o->code = store_finish(q, s)) == RG_ERR_EXISTS)
            o->taken_by = find_taken(q, o->job);
        if (o->code == 0 && o->has_webhook)
            return store_add_delivery(q, o->job->id, RG_JOB_QUEUED);
        break;
    case OP_PULL:
    case OP_NACK:
        s = q->statements[o->kind == OP_PULL ? ST_PULL : ST_NACK];
        sqlite3_bind_int(s, 1, o->attempts);
        if (o->kind == OP_PULL)
            sqlite3_bind_double(s, 2, o->ended);
        sqlite3_bind_int64(s, o->kind == OP_PULL ? 3 : 2, o->job->sequence);
        o->code = store_finish(q, s);
        if (o->code == 0 && o->has_webhook)
            return store_add_delivery(q, o->job->id, RG_JOB_RUNNING);
        break;
    case OP_ACK:
    case OP_CANCEL:
        s = q->statements[ST_ACK];
        sqlite3_bind_int(s, 1, o->state);
        sqlite3_bind_double(s, 2, o->ended);
        store_bind_text(s, 3, o->result);
        store_bind_text(s, 4, o->error);
        store_bind_text(s, 5, o->kind == OP_ACK ? o->id : o->job->id);
        o->code = store_finish(q, s);
        *n_ended += o->code == 0;
        if (o->code == 0 && o->has_webhook && sqlite3_changes(q->db) > 0)
            return store_add_delivery(q, o->kind == OP_ACK ? o->id : o->job->id, o->state);
        break;
    case OP_FORGET:
        s = q->statements[o->id ? ST_FORGET : ST_FORGET_ALL];
        if (o->id)
            store_bind_text(s, 1, o->id);
        if ((o->code = store_finish(q, s)) == 0) {
            const int n = sqlite3_changes(q->db);
            *n_ended -= n;
            if (o->id && n == 0)
                o->code = RG_ERR_NOT_FOUND;
        }
        break;
    case OP_TRIED:
    case OP_DELIVERY_AGAIN:
        store_write_delivery(q, o);
        break;
    }
    return 0;
}

/* One group, in one transaction. Every op has its code afterwards; all have the same one if the commit failed. */
static void write_group(rg_queue *q, op *group, bool *is_full)
{
    int64_t n_ended = q->n_ended;
    bool wants_full = false;
    int ret;

    for (op *o = group; o; o = o->next)
        wants_full |= o->kind == OP_PUSH;
    if (!q->path)
        pthread_mutex_lock(&q->read_lock);
    if (q->path && wants_full != *is_full && store_run(q->db, wants_full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL") == 0)
        *is_full = wants_full;
    ret = store_run(q->db, "BEGIN IMMEDIATE");
    for (op *o = group; o && ret == 0; o = o->next)
        ret = write_op(q, o, &n_ended);
    if (ret == 0 && n_ended > q->options.max_ended) {
        sqlite3_bind_int64(q->statements[ST_PRUNE], 1, n_ended - q->options.max_ended);
        if (store_finish(q, q->statements[ST_PRUNE]) == 0)
            n_ended = q->options.max_ended;
    }
    if (ret == 0 && (wants_full && q->path && !*is_full))
        ret = RG_ERR_IO;                /* cannot promise what a push promises */
    if (ret == 0)
        ret = store_run(q->db, "COMMIT");
    if (ret < 0) {
        if (!sqlite3_get_autocommit(q->db))
            store_run(q->db, "ROLLBACK");
        for (op *o = group; o; o = o->next)
            o->code = ret;
    } else {
        q->n_ended = n_ended;
    }
    if (!q->path)
        pthread_mutex_unlock(&q->read_lock);
}

static void count_end(rg_queue *q, rg_job_state state)
{
    if (state == RG_JOB_DONE)
        q->counts.done++;
    else if (state == RG_JOB_FAILED)
        q->counts.failed++;
    else
        q->counts.cancelled++;
}

/* What a written op changes in memory. q->lock is held. */
static void apply_op(rg_queue *q, op *o)
{
    int i;

    switch (o->kind) {
    case OP_PUSH:
        q->n_pushing--;
        q->waiting_bytes -= strlen(o->job->request);
        o->ended = o->job->number;      /* for the callback, by when the job may have gone */
        if (o->code == 0) {
            o->taken_by = rg_strdup(o->job->id);
            q->counts.accepted++;
            store_add_pending(q, o->job);
            pthread_cond_signal(&q->has_job);
        } else {
            rg_job_free(o->job);
        }
        break;
    case OP_ACK:
    case OP_CANCEL:
        /* a cancelled job whose end could not be written is gone from memory all the same: it comes back at the next start */
        if ((o->code == 0 || o->kind == OP_CANCEL) && (i = store_find_running(q, o->kind == OP_ACK ? o->id : o->job->id)) >= 0) {
            rg_job_free(store_take_running(q, i));
            count_end(q, o->state);
        }
        break;
    case OP_PULL:
    case OP_NACK:
    case OP_FORGET:
    case OP_TRIED:
    case OP_DELIVERY_AGAIN:
        break;
    }
}

void *store_writer_main(void *arg)
{
    rg_queue *q = arg;
    bool is_full = true;

    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->first && !q->is_closing)
            pthread_cond_wait(&q->has_op, &q->lock);
        if (!q->first)
            break;
        op *group = q->first, *rest = NULL, **rest_end = &rest;
        q->first = NULL;
        q->last = &q->first;
        pthread_mutex_unlock(&q->lock);
        write_group(q, group, &is_full);
        pthread_mutex_lock(&q->lock);
        bool has_delivery = false;
        for (op *o = group, *next; o; o = next) {
            next = o->next;
            has_delivery |= (o->has_webhook || o->kind == OP_DELIVERY_AGAIN) && o->code == 0;
            apply_op(q, o);
            if (o->is_waited) {
                o->is_done = true;      /* from the unlock on it belongs to who waits */
            } else {
                o->next = NULL;
                *rest_end = o;
                rest_end = &o->next;
            }
        }
        pthread_cond_broadcast(&q->op_done);
        if (has_delivery && q->on_delivery)
            q->on_delivery(q->on_delivery_user);
        pthread_mutex_unlock(&q->lock);
        for (op *o = rest, *next; o; o = next) {
            next = o->next;
            if (o->kind == OP_PUSH)
                o->pushed(o->user, o->code, o->taken_by ? o->taken_by : "", o->ended);
            rg_free(o->taken_by);
            rg_free(o);
        }
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

