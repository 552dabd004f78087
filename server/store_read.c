/* Questions to the queue: jobs that wait or run from memory, ended ones from the file, over a connection of their own. */
#include <stdio.h>
#include <string.h>

#include "server/store_inside.h"

char *store_column_text(sqlite3_stmt *s, int i, bool *is_failed)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    char *copy = text ? rg_strdup(text) : NULL;

    *is_failed |= text && !copy;
    return copy;
}

/* The row at hand, COLUMNS in order. NULL if no memory. */
rg_job *store_read_row(sqlite3_stmt *s)
{
    rg_job *j = rg_calloc(1, sizeof *j);
    bool is_failed = false;

    if (!j)
        return NULL;
    j->sequence = sqlite3_column_int64(s, 0);
    j->id = store_column_text(s, 1, &is_failed);
    j->kind = (rg_job_kind)sqlite3_column_int(s, 2);
    j->state = (rg_job_state)sqlite3_column_int(s, 3);
    j->number = sqlite3_column_double(s, 4);
    j->attempts = sqlite3_column_int(s, 5);
    j->created = sqlite3_column_double(s, 6);
    j->started = sqlite3_column_double(s, 7);
    j->ended = sqlite3_column_double(s, 8);
    j->request = store_column_text(s, 9, &is_failed);
    j->client_id = store_column_text(s, 10, &is_failed);
    j->endpoint = store_column_text(s, 11, &is_failed);
    j->idempotency_key = store_column_text(s, 12, &is_failed);
    j->result = store_column_text(s, 13, &is_failed);
    j->error = store_column_text(s, 14, &is_failed);
    j->webhook = store_column_text(s, 15, &is_failed);
    j->webhook_events = (unsigned)sqlite3_column_int(s, 16);
    if (is_failed || !j->id || !j->request) {
        rg_job_free(j);
        return NULL;
    }
    return j;
}

static rg_job *read_one(rg_queue *q, const char *column, const char *value)
{
    char sql[320];
    sqlite3_stmt *s = NULL;
    rg_job *j = NULL;

    snprintf(sql, sizeof sql, "SELECT " COLUMNS " FROM job WHERE %s = ?", column);
    pthread_mutex_lock(&q->read_lock);
    if (sqlite3_prepare_v2(q->read_db, sql, -1, &s, NULL) == SQLITE_OK) {
        store_bind_text(s, 1, value);
        if (sqlite3_step(s) == SQLITE_ROW)
            j = store_read_row(s);
    }
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->read_lock);
    return j;
}

rg_job *rg_queue_get(rg_queue *q, const char *id)
{
    rg_job *j = NULL;
    int i;

    pthread_mutex_lock(&q->lock);
    if ((i = store_find_running(q, id)) >= 0)
        j = store_copy_job(q->running[i].job, 0);
    else if ((i = store_find_pending(q, id)) >= 0)
        j = store_copy_job(q->pending[i], i);
    pthread_mutex_unlock(&q->lock);
    return j ? j : read_one(q, "id", id);
}

rg_job *rg_queue_find_key(rg_queue *q, const char *idempotency_key)
{
    rg_job *stored = read_one(q, "idempotency_key", idempotency_key), *j = stored ? rg_queue_get(q, stored->id) : NULL;

    rg_job_free(stored);
    return j;
}

static int list_active(rg_queue *q, unsigned states, int max, int offset, rg_job ***jobs)
{
    int n = 0, seen = 0;
    bool is_failed = false;

    pthread_mutex_lock(&q->lock);
    const int most = q->n_running + q->n_pending;
    rg_job **list = rg_calloc((size_t)most + 1, sizeof *list);
    for (int i = 0; list && i < most && !is_failed && (max < 0 || n < max); i++) {
        const bool is_pending = i >= q->n_running;
        const rg_job *j = is_pending ? q->pending[i - q->n_running] : q->running[i].job;
        if (!(states & 1u << j->state) || j->state > RG_JOB_RUNNING || seen++ < offset)
            continue;
        is_failed = !(list[n++] = store_copy_job(j, is_pending ? i - q->n_running : 0));
    }
    pthread_mutex_unlock(&q->lock);
    if (!list || is_failed) {
        rg_jobs_free(list);
        return RG_ERR_NOMEM;
    }
    *jobs = list;
    return n;
}

static int list_ended(rg_queue *q, unsigned states, bool newest, int max, int offset, rg_job ***jobs)
{
    char sql[400];
    sqlite3_stmt *s = NULL;
    rg_job **list = NULL;
    int n = 0, capacity = 0, ret = 0, step = SQLITE_DONE;

    snprintf(sql, sizeof sql, "SELECT " COLUMNS " FROM job WHERE state >= 2 AND (1 << state) & %u ORDER BY ended %s, sequence %s "
             "LIMIT %d OFFSET %d", states, newest ? "DESC" : "ASC", newest ? "DESC" : "ASC", max, offset);
    pthread_mutex_lock(&q->read_lock);
    if (sqlite3_prepare_v2(q->read_db, sql, -1, &s, NULL) != SQLITE_OK)
        ret = RG_ERR_IO;
    while (ret == 0 && (step = sqlite3_step(s)) == SQLITE_ROW) {
        if (!store_grow((void **)&list, &capacity, n + 1, sizeof *list) || !(list[n] = store_read_row(s)))
            ret = RG_ERR_NOMEM;
        else
            list[++n] = NULL;
    }
    sqlite3_finalize(s);
    pthread_mutex_unlock(&q->read_lock);
    if (ret == 0 && step != SQLITE_DONE)
        ret = RG_ERR_IO;
    if (ret == 0 && !list && !(list = rg_calloc(1, sizeof *list)))
        ret = RG_ERR_NOMEM;
    if (ret < 0) {
        if (list)
            list[n] = NULL;
        rg_jobs_free(list);
        return ret;
    }
    *jobs = list;
    return n;
}

int rg_queue_list(rg_queue *q, unsigned states, bool newest, int max, int offset, rg_job ***jobs)
{
    if (states & (1u << RG_JOB_QUEUED | 1u << RG_JOB_RUNNING))
        return list_active(q, states, max, offset, jobs);
    return list_ended(q, states, newest, max, offset, jobs);
}

void rg_queue_count(rg_queue *q, rg_queue_counts *out)
{
    pthread_mutex_lock(&q->lock);
    *out = q->counts;
    out->queued = q->n_pending;
    out->running = 0;
    for (int i = 0; i < q->n_running; i++)
        out->running += q->running[i].job->state == RG_JOB_RUNNING;
    pthread_mutex_unlock(&q->lock);
}
