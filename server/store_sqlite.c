/*
 * The queue in one SQLite file.
 *
 * DESIGN
 *   Writes   Only the writer thread writes. Others leave an op in its mailbox; it takes all that have gathered, runs them in one
 *            transaction, and answers each once that is committed. While the disk flushes one group the next one gathers, so the
 *            rate of accepted jobs follows the size of the groups, not the speed of the disk.
 *   Disk     Write-ahead log. A group with a push in it is committed with synchronous=FULL (the log is flushed: it survives a power
 *            cut, as a client was told "accepted"); other groups with NORMAL (they survive the end of the process; after a power
 *            cut a job may be run again, never lost). See docs/decisions.md.
 *   Memory   Jobs that wait (sorted) or run are in q->pending and q->running. A job enters memory after its commit and leaves it after
 *            the commit of its end; whoever looks first there and then in the file always finds it.
 *   Reads    A second connection, under its own lock, so that a long history never holds up the writer (without a file there is one
 *            connection, and the writer takes that lock too).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "server/queue.h"

enum { SCHEMA_VERSION = 1, MAX_ATTEMPTS = 2 };

static const char schema[] =
    "CREATE TABLE job ("
    " sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
    " number REAL NOT NULL, attempts INTEGER NOT NULL, created REAL NOT NULL, started REAL NOT NULL, ended REAL NOT NULL,"
    " request TEXT NOT NULL, client_id TEXT, endpoint TEXT, idempotency_key TEXT UNIQUE, result TEXT, error TEXT);"
    "CREATE INDEX job_by_state ON job(state, ended);"
    "PRAGMA user_version = 1;";

#define COLUMNS "sequence, id, kind, state, number, attempts, created, started, ended, request, client_id, endpoint, " \
                "idempotency_key, result, error"

/* What a job whose second run also ended with the process has as its result. */
static const char lost_result[] = "{\"outputs\": {}, \"status\": {\"status_str\": \"error\", \"completed\": false, \"messages\": []}, "
                                  "\"meta\": {}, \"files\": []}";
static const char cancelled_result[] = "{\"outputs\": {}, \"status\": {\"status_str\": \"error\", \"completed\": false, "
                                       "\"messages\": []}, \"meta\": {}, \"files\": []}";
static const char lost_error[] = "the server ended while this job ran, twice; it is not tried again";

typedef enum op_kind { OP_PUSH, OP_PULL, OP_ACK, OP_NACK, OP_CANCEL, OP_FORGET } op_kind;

typedef struct op {
    struct op *next;
    op_kind kind;
    rg_job *job;                        /* OP_PUSH: its own; OP_PULL, OP_NACK, OP_CANCEL: borrowed from q->running */
    const char *id, *result, *error;    /* OP_ACK, OP_FORGET: borrowed from who waits */
    rg_job_state state;
    double ended;
    rg_pushed_fn *pushed;
    void *user;
    char *taken_by;                     /* OP_PUSH refused: id of the job that has the name */
    int code;
    bool is_waited, is_done;            /* somebody waits, and frees it */
} op;

typedef enum statement { ST_PUSH, ST_PULL, ST_ACK, ST_NACK, ST_FORGET, ST_FORGET_ALL, ST_PRUNE, ST_FIND } statement;
static const char *const statements[] = {
    [ST_PUSH]       = "INSERT INTO job (" COLUMNS ") VALUES (?, ?, ?, 0, ?, 0, ?, 0, 0, ?, ?, ?, ?, NULL, NULL)",
    [ST_PULL]       = "UPDATE job SET state = 1, attempts = ?, started = ? WHERE sequence = ?",
    [ST_ACK]        = "UPDATE job SET state = ?, ended = ?, result = ?, error = ? WHERE id = ? AND state < 2",
    [ST_NACK]       = "UPDATE job SET state = 0, attempts = ?, started = 0 WHERE sequence = ?",
    [ST_FORGET]     = "DELETE FROM job WHERE id = ? AND state >= 2",
    [ST_FORGET_ALL] = "DELETE FROM job WHERE state >= 2",
    [ST_PRUNE]      = "DELETE FROM job WHERE sequence IN (SELECT sequence FROM job WHERE state >= 2 ORDER BY ended, sequence LIMIT ?)",
    [ST_FIND]       = "SELECT id FROM job WHERE id = ? OR idempotency_key = ?",
};
enum { N_STATEMENTS = sizeof statements / sizeof *statements };

typedef struct running_job {
    rg_job *job;
    double lease_until;                 /* monotonic */
} running_job;

struct rg_queue {
    rg_queue_options options;
    char *path;
    int lock_fd;                        /* held while open: two servers on one file would run jobs twice */
    sqlite3 *db, *read_db;
    pthread_mutex_t read_lock;
    sqlite3_stmt *statements[N_STATEMENTS];

    pthread_mutex_t lock;               /* all below */
    pthread_cond_t has_op, has_job, op_done;
    pthread_t writer;
    bool has_writer, is_closing, is_woken;
    op *first, **last;                  /* the mailbox */
    rg_job **pending;                   /* sorted: next first */
    int n_pending, pending_capacity;
    int n_pushing;                      /* in the mailbox or being written */
    running_job *running;               /* also jobs being cancelled, until that is written */
    int n_running, running_capacity;
    int64_t next_sequence, n_ended;
    double next_number;
    rg_queue_counts counts;
};

static double now_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now_monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A random UUID, version 4. */
static void make_id(char id[37])
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
static rg_job *copy_job(const rg_job *j, int position)
{
    rg_job *copy = rg_malloc(sizeof *copy);

    if (!copy)
        return NULL;
    *copy = *j;
    copy->id = copy->request = copy->client_id = copy->endpoint = copy->idempotency_key = copy->result = copy->error = copy->node = NULL;
    copy->position = position;
    if (!copy_text(&copy->id, j->id) || !copy_text(&copy->request, j->request) || !copy_text(&copy->client_id, j->client_id) ||
        !copy_text(&copy->endpoint, j->endpoint) || !copy_text(&copy->idempotency_key, j->idempotency_key) ||
        !copy_text(&copy->result, j->result) || !copy_text(&copy->error, j->error) || !copy_text(&copy->node, j->node)) {
        rg_job_free(copy);
        return NULL;
    }
    return copy;
}

/* ---- jobs in memory; q->lock is held ------------------------------------------------------------------------------ */

static bool grow(void **array, int *capacity, int n, size_t size)
{
    if (n < *capacity)
        return true;
    const int larger = *capacity ? 2 * *capacity : 64;
    void *grown = rg_realloc(*array, (size_t)larger * size);
    if (!grown)
        return false;
    *array = grown;
    *capacity = larger;
    return true;
}

/* Room for one job more in both lists, wherever the others go: moving jobs about then needs no memory. */
static bool reserve(rg_queue *q)
{
    const int n = q->n_pending + q->n_running + q->n_pushing;

    return grow((void **)&q->running, &q->running_capacity, n, sizeof *q->running) &&
           grow((void **)&q->pending, &q->pending_capacity, n, sizeof *q->pending);
}

static bool is_before(const rg_job *a, const rg_job *b)
{
    return a->number != b->number ? a->number < b->number : a->sequence < b->sequence;
}

/* There is room: reserve(). */
static void add_pending(rg_queue *q, rg_job *j)
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
}

static rg_job *take_pending(rg_queue *q, int i)
{
    rg_job *j = q->pending[i];

    q->n_pending--;
    memmove(q->pending + i, q->pending + i + 1, (size_t)(q->n_pending - i) * sizeof *q->pending);
    return j;
}

static int find_pending(const rg_queue *q, const char *id)
{
    for (int i = 0; i < q->n_pending; i++) {
        if (!strcmp(q->pending[i]->id, id))
            return i;
    }
    return -1;
}

static int find_running(const rg_queue *q, const char *id)
{
    for (int i = 0; i < q->n_running; i++) {
        if (!strcmp(q->running[i].job->id, id))
            return i;
    }
    return -1;
}

static rg_job *take_running(rg_queue *q, int i)
{
    rg_job *j = q->running[i].job;

    q->n_running--;
    memmove(q->running + i, q->running + i + 1, (size_t)(q->n_running - i) * sizeof *q->running);
    return j;
}

/* ---- the writer ------------------------------------------------------------------------------------------------------ */

static void bind_text(sqlite3_stmt *s, int i, const char *text)
{
    if (text)
        sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, i);
}

static int finish_statement(rg_queue *q, sqlite3_stmt *s)
{
    const int step = sqlite3_step(s);

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return step == SQLITE_DONE ? 0 : (step & 0xff) == SQLITE_CONSTRAINT ? RG_ERR_EXISTS : step == SQLITE_NOMEM ? RG_ERR_NOMEM : RG_ERR_IO;
}

/* Who has this id or this key? */
static char *find_taken(rg_queue *q, const rg_job *j)
{
    sqlite3_stmt *s = q->statements[ST_FIND];
    char *id = NULL;

    bind_text(s, 1, j->id);
    bind_text(s, 2, j->idempotency_key);
    if (sqlite3_step(s) == SQLITE_ROW)
        id = rg_strdup((const char *)sqlite3_column_text(s, 0));
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return id;
}

static void write_op(rg_queue *q, op *o, int64_t *n_ended)
{
    sqlite3_stmt *s;

    switch (o->kind) {
    case OP_PUSH:
        s = q->statements[ST_PUSH];
        sqlite3_bind_int64(s, 1, o->job->sequence);
        bind_text(s, 2, o->job->id);
        sqlite3_bind_int(s, 3, o->job->kind);
        sqlite3_bind_double(s, 4, o->job->number);
        sqlite3_bind_double(s, 5, o->job->created);
        bind_text(s, 6, o->job->request);
        bind_text(s, 7, o->job->client_id);
        bind_text(s, 8, o->job->endpoint);
        bind_text(s, 9, o->job->idempotency_key);
        if ((o->code = finish_statement(q, s)) == RG_ERR_EXISTS)
            o->taken_by = find_taken(q, o->job);
        break;
    case OP_PULL:
    case OP_NACK:
        s = q->statements[o->kind == OP_PULL ? ST_PULL : ST_NACK];
        sqlite3_bind_int(s, 1, o->job->attempts);
        if (o->kind == OP_PULL)
            sqlite3_bind_double(s, 2, o->job->started);
        sqlite3_bind_int64(s, o->kind == OP_PULL ? 3 : 2, o->job->sequence);
        o->code = finish_statement(q, s);
        break;
    case OP_ACK:
    case OP_CANCEL:
        s = q->statements[ST_ACK];
        sqlite3_bind_int(s, 1, o->state);
        sqlite3_bind_double(s, 2, o->ended);
        bind_text(s, 3, o->result);
        bind_text(s, 4, o->error);
        bind_text(s, 5, o->kind == OP_ACK ? o->id : o->job->id);
        o->code = finish_statement(q, s);
        *n_ended += o->code == 0;
        break;
    case OP_FORGET:
        s = q->statements[o->id ? ST_FORGET : ST_FORGET_ALL];
        if (o->id)
            bind_text(s, 1, o->id);
        if ((o->code = finish_statement(q, s)) == 0) {
            const int n = sqlite3_changes(q->db);
            *n_ended -= n;
            if (o->id && n == 0)
                o->code = RG_ERR_NOT_FOUND;
        }
        break;
    }
}

static int run_sql(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : RG_ERR_IO;
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
    if (q->path && wants_full != *is_full && run_sql(q->db, wants_full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL") == 0)
        *is_full = wants_full;
    ret = run_sql(q->db, "BEGIN IMMEDIATE");
    for (op *o = group; o && ret == 0; o = o->next)
        write_op(q, o, &n_ended);
    if (ret == 0 && n_ended > q->options.max_ended) {
        sqlite3_bind_int64(q->statements[ST_PRUNE], 1, n_ended - q->options.max_ended);
        if (finish_statement(q, q->statements[ST_PRUNE]) == 0)
            n_ended = q->options.max_ended;
    }
    if (ret == 0 && (wants_full && q->path && !*is_full))
        ret = RG_ERR_IO;                /* cannot promise what a push promises */
    if (ret == 0)
        ret = run_sql(q->db, "COMMIT");
    if (ret < 0) {
        if (!sqlite3_get_autocommit(q->db))
            run_sql(q->db, "ROLLBACK");
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
        o->ended = o->job->number;      /* for the callback, by when the job may have gone */
        if (o->code == 0) {
            o->taken_by = rg_strdup(o->job->id);
            q->counts.accepted++;
            add_pending(q, o->job);
            pthread_cond_signal(&q->has_job);
        } else {
            rg_job_free(o->job);
        }
        break;
    case OP_ACK:
    case OP_CANCEL:
        /* a cancelled job whose end could not be written is gone from memory all the same: it comes back at the next start */
        if ((o->code == 0 || o->kind == OP_CANCEL) && (i = find_running(q, o->kind == OP_ACK ? o->id : o->job->id)) >= 0) {
            rg_job_free(take_running(q, i));
            count_end(q, o->state);
        }
        break;
    case OP_PULL:
    case OP_NACK:
    case OP_FORGET:
        break;
    }
}

static void *writer_main(void *arg)
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
        for (op *o = group, *next; o; o = next) {
            next = o->next;
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

/* Into the mailbox; q->lock is held. */
static void send_op(rg_queue *q, op *o)
{
    o->next = NULL;
    *q->last = o;
    q->last = &o->next;
    pthread_cond_signal(&q->has_op);
}

/* The same, and wait for it. Returns its code. */
static int send_op_wait(rg_queue *q, op *o)
{
    o->is_waited = true;
    send_op(q, o);
    while (!o->is_done)
        pthread_cond_wait(&q->op_done, &q->lock);
    return o->code;
}

/* ---- open and close ------------------------------------------------------------------------------------------------- */

static char *column_text(sqlite3_stmt *s, int i, bool *is_failed)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    char *copy = text ? rg_strdup(text) : NULL;

    *is_failed |= text && !copy;
    return copy;
}

/* The row at hand, COLUMNS in order. NULL if no memory. */
static rg_job *read_row(sqlite3_stmt *s)
{
    rg_job *j = rg_calloc(1, sizeof *j);
    bool is_failed = false;

    if (!j)
        return NULL;
    j->sequence = sqlite3_column_int64(s, 0);
    j->id = column_text(s, 1, &is_failed);
    j->kind = (rg_job_kind)sqlite3_column_int(s, 2);
    j->state = (rg_job_state)sqlite3_column_int(s, 3);
    j->number = sqlite3_column_double(s, 4);
    j->attempts = sqlite3_column_int(s, 5);
    j->created = sqlite3_column_double(s, 6);
    j->started = sqlite3_column_double(s, 7);
    j->ended = sqlite3_column_double(s, 8);
    j->request = column_text(s, 9, &is_failed);
    j->client_id = column_text(s, 10, &is_failed);
    j->endpoint = column_text(s, 11, &is_failed);
    j->idempotency_key = column_text(s, 12, &is_failed);
    j->result = column_text(s, 13, &is_failed);
    j->error = column_text(s, 14, &is_failed);
    if (is_failed || !j->id || !j->request) {
        rg_job_free(j);
        return NULL;
    }
    return j;
}

static int fail_sql(sqlite3 *db, const char *path, char *text, size_t text_size)
{
    snprintf(text, text_size, "%s: %s", path ? path : "job store", db ? sqlite3_errmsg(db) : "out of memory");
    return RG_ERR_IO;
}

/* Running jobs of the process before: put back once, else marked; then those that wait, into memory. */
static int recover(rg_queue *q, char *text, size_t text_size)
{
    sqlite3_stmt *s = NULL;
    int step, ret = 0;

    if (sqlite3_prepare_v2(q->db, "UPDATE job SET state = 3, ended = ?, result = ?, error = ? WHERE state = 1 AND attempts >= ?", -1, &s,
                           NULL) != SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    sqlite3_bind_double(s, 1, now_wall());
    bind_text(s, 2, lost_result);
    bind_text(s, 3, lost_error);
    sqlite3_bind_int(s, 4, MAX_ATTEMPTS);
    ret = finish_statement(q, s);
    sqlite3_finalize(s);
    if (ret < 0 || run_sql(q->db, "UPDATE job SET state = 0, started = 0 WHERE state = 1") < 0)
        return fail_sql(q->db, q->path, text, text_size);
    if (sqlite3_prepare_v2(q->db, "SELECT " COLUMNS " FROM job WHERE state = 0", -1, &s, NULL) != SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    while ((step = sqlite3_step(s)) == SQLITE_ROW) {
        rg_job *j = reserve(q) ? read_row(s) : NULL;
        if (!j) {
            snprintf(text, text_size, "out of memory for the jobs that wait");
            ret = RG_ERR_NOMEM;
            break;
        }
        add_pending(q, j);
    }
    sqlite3_finalize(s);
    if (ret < 0 || step != SQLITE_DONE)
        return ret < 0 ? ret : fail_sql(q->db, q->path, text, text_size);
    if (sqlite3_prepare_v2(q->db, "SELECT coalesce(max(sequence), 0), coalesce(max(abs(number)), -1), sum(state >= 2) FROM job", -1, &s,
                           NULL) != SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    if (sqlite3_step(s) == SQLITE_ROW) {
        q->next_sequence = sqlite3_column_int64(s, 0) + 1;
        q->next_number = sqlite3_column_double(s, 1) + 1;
        q->n_ended = sqlite3_column_int64(s, 2);
    }
    sqlite3_finalize(s);
    return 0;
}

static int open_database(rg_queue *q, char *text, size_t text_size)
{
    sqlite3_stmt *s = NULL;
    int version = -1;

    if (q->path) {
        char *lock_path = rg_asprintf("%s.lock", q->path);
        q->lock_fd = lock_path ? open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
        rg_free(lock_path);
        if (q->lock_fd < 0) {
            snprintf(text, text_size, "%s.lock: %s", q->path, strerror(errno));
            return RG_ERR_IO;
        }
        if (flock(q->lock_fd, LOCK_EX | LOCK_NB) < 0) {
            snprintf(text, text_size, "%s is in use by another server", q->path);
            return RG_ERR_BUSY;
        }
    }
    if (sqlite3_open_v2(q->path ? q->path : ":memory:", &q->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL) !=
        SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    sqlite3_extended_result_codes(q->db, 1);
    if (run_sql(q->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY") < 0 ||
        sqlite3_prepare_v2(q->db, "PRAGMA user_version", -1, &s, NULL) != SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    if (sqlite3_step(s) == SQLITE_ROW)
        version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    if (version > SCHEMA_VERSION) {
        snprintf(text, text_size, "%s was written by a newer rylagraph (version %d of its tables, this one knows %d)", q->path, version,
                 SCHEMA_VERSION);
        return RG_ERR_FORMAT;
    }
    if (version < 0)
        return fail_sql(q->db, q->path, text, text_size);
    if (version == 0 && (run_sql(q->db, "BEGIN IMMEDIATE") < 0 || run_sql(q->db, schema) < 0 || run_sql(q->db, "COMMIT") < 0))
        return fail_sql(q->db, q->path, text, text_size);
    for (int i = 0; i < N_STATEMENTS; i++) {
        if (sqlite3_prepare_v3(q->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &q->statements[i], NULL) != SQLITE_OK)
            return fail_sql(q->db, q->path, text, text_size);
    }
    if (!q->path)
        q->read_db = q->db;
    else if (sqlite3_open_v2(q->path, &q->read_db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK)
        return fail_sql(q->read_db, q->path, text, text_size);
    return recover(q, text, text_size);
}

rg_queue *rg_queue_open(const rg_queue_options *o, char *text, size_t text_size)
{
    rg_queue *q = rg_calloc(1, sizeof *q);
    pthread_condattr_t monotonic;

    if (!q) {
        snprintf(text, text_size, "out of memory for the job queue");
        return NULL;
    }
    q->options = *o;
    q->options.max_queued = o->max_queued > 0 ? o->max_queued : 10000;
    q->options.max_ended = o->max_ended > 0 ? o->max_ended : 10000;
    q->options.lease_seconds = o->lease_seconds > 0 ? o->lease_seconds : 600;
    q->lock_fd = -1;
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->read_lock, NULL);
    pthread_cond_init(&q->has_op, NULL);
    pthread_cond_init(&q->op_done, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&q->has_job, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (o->path && !(q->path = rg_strdup(o->path))) {
        snprintf(text, text_size, "out of memory for the job queue");
        goto fail;
    }
    if (open_database(q, text, text_size) < 0)
        goto fail;
    if (pthread_create(&q->writer, NULL, writer_main, q) != 0) {
        snprintf(text, text_size, "no thread for the job queue");
        goto fail;
    }
    q->has_writer = true;
    return q;
fail:
    rg_queue_close(q);
    return NULL;
}

void rg_queue_close(rg_queue *q)
{
    if (!q)
        return;
    if (q->has_writer) {
        pthread_mutex_lock(&q->lock);
        q->is_closing = true;
        pthread_cond_signal(&q->has_op);
        pthread_mutex_unlock(&q->lock);
        pthread_join(q->writer, NULL);
    }
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(q->statements[i]);
    if (q->read_db && q->read_db != q->db)
        sqlite3_close(q->read_db);
    sqlite3_close(q->db);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    for (int i = 0; i < q->n_pending; i++)
        rg_job_free(q->pending[i]);
    for (int i = 0; i < q->n_running; i++)
        rg_job_free(q->running[i].job);
    rg_free(q->pending);
    rg_free(q->running);
    rg_free(q->path);
    pthread_cond_destroy(&q->has_op);
    pthread_cond_destroy(&q->has_job);
    pthread_cond_destroy(&q->op_done);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->read_lock);
    rg_free(q);
}

/* ---- push, pull, extend, ack, nack, progress ------------------------------------------------------------------------------ */

int rg_queue_push(rg_queue *q, const rg_job_new *n, rg_pushed_fn *pushed, void *user)
{
    rg_job *j = rg_calloc(1, sizeof *j);
    op *o = rg_calloc(1, sizeof *o);
    char id[37];

    if (!n->id)
        make_id(id);
    if (!j || !o || !copy_text(&j->id, n->id ? n->id : id) || !copy_text(&j->request, n->request) ||
        !copy_text(&j->client_id, n->client_id) || !copy_text(&j->endpoint, n->endpoint) ||
        !copy_text(&j->idempotency_key, n->idempotency_key)) {
        rg_job_free(j);
        rg_free(o);
        return RG_ERR_NOMEM;
    }
    j->kind = n->kind;
    j->created = now_wall();
    o->kind = OP_PUSH;
    o->job = j;
    o->pushed = pushed;
    o->user = user;
    pthread_mutex_lock(&q->lock);
    int code = q->n_pending + q->n_pushing >= q->options.max_queued ? RG_ERR_BUSY : reserve(q) ? 0 : RG_ERR_NOMEM;
    if (code == 0) {
        const double count = q->next_number++;
        j->number = n->has_number ? n->number : n->is_front ? -count : count;
        j->sequence = q->next_sequence++;
        q->n_pushing++;
        send_op(q, o);
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
    const double until = now_monotonic() + timeout_seconds;
    const struct timespec deadline = { (time_t)until, (long)((until - (double)(time_t)until) * 1e9) };
    rg_job *copy = NULL;

    pthread_mutex_lock(&q->lock);
    int place = -1;
    for (;;) {
        const double now = now_monotonic();
        for (int i = 0; i < q->n_running && place < 0; i++) {
            if (q->running[i].job->state == RG_JOB_RUNNING && q->running[i].lease_until < now)
                place = i;
        }
        if (place >= 0 || q->is_woken)
            break;
        if (q->n_pending) {
            place = q->n_running++;
            q->running[place].job = take_pending(q, 0);
            break;
        }
        if (pthread_cond_timedwait(&q->has_job, &q->lock, &deadline) == ETIMEDOUT && !q->n_pending)
            break;
    }
    if (place >= 0 && !q->is_woken) {
        rg_job *j = q->running[place].job;
        op o = { .kind = OP_PULL, .job = j };
        j->state = RG_JOB_RUNNING;
        j->attempts++;
        j->started = now_wall();
        q->running[place].lease_until = now_monotonic() + q->options.lease_seconds;
        if (send_op_wait(q, &o) < 0 || !(copy = copy_job(j, 0))) {
            /* not written (a full disk, say), or no memory: not run either, and not at once again */
            const int i = find_running(q, j->id);
            j->state = RG_JOB_QUEUED;
            j->attempts--;
            take_running(q, i);
            add_pending(q, j);
            pthread_mutex_unlock(&q->lock);
            nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
            return NULL;
        }
    }
    pthread_mutex_unlock(&q->lock);
    return copy;
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
    const int i = find_running(q, id);
    if (i >= 0)
        q->running[i].lease_until = now_monotonic() + q->options.lease_seconds;
    pthread_mutex_unlock(&q->lock);
    return i < 0 ? RG_ERR_NOT_FOUND : 0;
}

int rg_queue_progress(rg_queue *q, const char *id, const char *node, int64_t step, int64_t total)
{
    int ret = RG_ERR_NOT_FOUND;

    pthread_mutex_lock(&q->lock);
    const int i = find_running(q, id);
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
        q->running[i].lease_until = now_monotonic() + q->options.lease_seconds;
    }
    pthread_mutex_unlock(&q->lock);
    return ret;
}

int rg_queue_ack(rg_queue *q, const char *id, rg_job_state state, const char *result, const char *error)
{
    op o = { .kind = OP_ACK, .id = id, .state = state, .result = result, .error = error, .ended = now_wall() };
    int ret = RG_ERR_NOT_FOUND;

    pthread_mutex_lock(&q->lock);
    if (find_running(q, id) >= 0)
        ret = send_op_wait(q, &o);
    pthread_mutex_unlock(&q->lock);
    return ret;
}

int rg_queue_nack(rg_queue *q, const char *id)
{
    int ret = RG_ERR_NOT_FOUND, i;

    pthread_mutex_lock(&q->lock);
    if ((i = find_running(q, id)) >= 0 && q->running[i].job->state == RG_JOB_RUNNING) {
        rg_job *j = q->running[i].job;
        op o = { .kind = OP_NACK, .job = j };
        j->attempts--;
        ret = send_op_wait(q, &o);
        if ((i = find_running(q, id)) >= 0) {
            take_running(q, i);
            j->state = RG_JOB_QUEUED;
            j->started = 0;
            j->step = j->total = 0;
            add_pending(q, j);
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
    rg_job *j = take_pending(q, i);
    j->state = RG_JOB_CANCELLED;
    q->running[q->n_running++] = (running_job){ .job = j };
    *o = (op){ .kind = OP_CANCEL, .job = j, .state = RG_JOB_CANCELLED, .ended = j->ended = now_wall(), .result = cancelled_result,
               .error = "cancelled before it ran" };
    send_op(q, o);
    return 0;
}

int rg_queue_cancel(rg_queue *q, const char *id)
{
    pthread_mutex_lock(&q->lock);
    const int i = find_pending(q, id);
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
    const int ret = send_op_wait(q, &o);
    pthread_mutex_unlock(&q->lock);
    return ret;
}

/* ---- asking -------------------------------------------------------------------------------------------------------------- */

static rg_job *read_one(rg_queue *q, const char *column, const char *value)
{
    char sql[320];
    sqlite3_stmt *s = NULL;
    rg_job *j = NULL;

    snprintf(sql, sizeof sql, "SELECT " COLUMNS " FROM job WHERE %s = ?", column);
    pthread_mutex_lock(&q->read_lock);
    if (sqlite3_prepare_v2(q->read_db, sql, -1, &s, NULL) == SQLITE_OK) {
        bind_text(s, 1, value);
        if (sqlite3_step(s) == SQLITE_ROW)
            j = read_row(s);
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
    if ((i = find_running(q, id)) >= 0)
        j = copy_job(q->running[i].job, 0);
    else if ((i = find_pending(q, id)) >= 0)
        j = copy_job(q->pending[i], i);
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
        is_failed = !(list[n++] = copy_job(j, is_pending ? i - q->n_running : 0));
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
        if (!grow((void **)&list, &capacity, n + 1, sizeof *list) || !(list[n] = read_row(s)))
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
