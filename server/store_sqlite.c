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
 *
 *   Log      A third connection copies it into the database file, on a thread of its own (store_checkpoint.c).
 *
 *   Files    store_writer.c writes, store_jobs.c keeps the jobs in memory, store_read.c answers questions; here the file is opened,
 *            made, recovered and closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "server/store_inside.h"

enum { SCHEMA_VERSION = 3, MAX_ATTEMPTS = 2 };

/* Each step makes the tables of one version from those of the version before; the first makes them from nothing. */
static const char *const schema[SCHEMA_VERSION] = {
    "CREATE TABLE job ("
    " sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
    " number REAL NOT NULL, attempts INTEGER NOT NULL, created REAL NOT NULL, started REAL NOT NULL, ended REAL NOT NULL,"
    " request TEXT NOT NULL, client_id TEXT, endpoint TEXT, idempotency_key TEXT UNIQUE, result TEXT, error TEXT);"
    "CREATE INDEX job_by_state ON job(state, ended);"
    "PRAGMA user_version = 1;",

    /* 2: webhooks. A delivery outlives its job while it is pending */
    "ALTER TABLE job ADD COLUMN webhook TEXT;"
    "ALTER TABLE job ADD COLUMN webhook_events INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE delivery ("
    " key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, job TEXT NOT NULL, event INTEGER NOT NULL, state INTEGER NOT NULL,"
    " created REAL NOT NULL, due REAL NOT NULL, n_attempts INTEGER NOT NULL, n_tries INTEGER NOT NULL, host TEXT NOT NULL,"
    " webhook TEXT NOT NULL, body TEXT);"
    "CREATE INDEX delivery_by_job ON delivery(job);"
    "CREATE INDEX delivery_due ON delivery(host, due) WHERE state = 0;"
    "CREATE TABLE attempt (delivery INTEGER NOT NULL, n INTEGER NOT NULL, at REAL NOT NULL, seconds REAL NOT NULL, status INTEGER NOT NULL,"
    " error TEXT, PRIMARY KEY (delivery, n)) WITHOUT ROWID;"
    "CREATE TRIGGER job_gone AFTER DELETE ON job WHEN old.webhook IS NOT NULL BEGIN"
    " DELETE FROM delivery WHERE job = old.id AND state <> 0; END;"
    "CREATE TRIGGER delivery_gone AFTER DELETE ON delivery BEGIN"
    " DELETE FROM attempt WHERE delivery = old.key; END;"
    "PRAGMA user_version = 2;",

    /* 3: ended jobs in their order, a page at a time: without sorting all of them with their texts */
    "CREATE INDEX job_by_end ON job(ended, sequence, state) WHERE state >= 2; PRAGMA user_version = 3;",
};

/* What a job whose second run also ended with the process has as its result. */
static const char lost_result[] = "{\"outputs\": {}, \"status\": {\"status_str\": \"error\", \"completed\": false, \"messages\": []}, "
                                  "\"meta\": {}, \"files\": []}";
static const char lost_error[] = "the server ended while this job ran, twice; it is not tried again";

/* ?1 is the state of the job to tell of, ?2 the time */
#define DELIVERY_NEW "id, job, event, state, created, due, n_attempts, n_tries, host, webhook"
#define DELIVERY_FROM_JOB "SELECT 'msg_' || lower(hex(randomblob(16))), id, ?1, 0, ?2, ?2, 0, 0, json_extract(webhook, '$.host'), webhook FROM job "

static const char *const statements[] = {
    [ST_PUSH]       = "INSERT INTO job (" COLUMNS ") VALUES (?, ?, ?, 0, ?, 0, ?, 0, 0, ?, ?, ?, ?, NULL, NULL, ?, ?)",
    [ST_PULL]       = "UPDATE job SET state = 1, attempts = ?, started = ? WHERE sequence = ?",
    [ST_ACK]        = "UPDATE job SET state = ?, ended = ?, result = ?, error = ? WHERE id = ? AND state < 2",
    [ST_NACK]       = "UPDATE job SET state = 0, attempts = ?, started = 0 WHERE sequence = ?",
    [ST_FORGET]     = "DELETE FROM job WHERE id = ? AND state >= 2",
    [ST_FORGET_ALL] = "DELETE FROM job WHERE state >= 2",
    [ST_PRUNE]      = "DELETE FROM job WHERE sequence IN (SELECT sequence FROM job WHERE state >= 2 ORDER BY ended, sequence LIMIT ?)",
    [ST_FIND]       = "SELECT id FROM job WHERE id = ? OR idempotency_key = ?",
    [ST_ADD_DELIVERY] = "INSERT INTO delivery (" DELIVERY_NEW ") " DELIVERY_FROM_JOB "WHERE id = ?3 AND webhook_events & ?4",
    [ST_ATTEMPT]    = "INSERT OR REPLACE INTO attempt (delivery, n, at, seconds, status, error) VALUES (?, ?, ?, ?, ?, ?)",
    [ST_TRIED]      = "UPDATE delivery SET state = ?, due = ?, n_attempts = ?, n_tries = n_tries + 1, body = coalesce(body, ?) WHERE key = ?",
    [ST_ORPHAN]     = "DELETE FROM delivery WHERE key = ? AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = delivery.job)",
    [ST_DELIVERY_AGAIN] = "UPDATE delivery SET state = 0, due = ?, n_tries = 0 WHERE key = ?",
};

double store_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double store_monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool store_grow(void **array, int *capacity, int n, size_t size)
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

void store_bind_text(sqlite3_stmt *s, int i, const char *text)
{
    if (text)
        sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, i);
}

int store_finish(rg_queue *q, sqlite3_stmt *s)
{
    const int step = sqlite3_step(s);

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return step == SQLITE_DONE ? 0 : (step & 0xff) == SQLITE_CONSTRAINT ? RG_ERR_EXISTS : step == SQLITE_NOMEM ? RG_ERR_NOMEM : RG_ERR_IO;
}

int store_run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : RG_ERR_IO;
}

static int fail_sql(sqlite3 *db, const char *path, char *text, size_t text_size)
{
    snprintf(text, text_size, "%s: %s", path ? path : "job store", db ? sqlite3_errmsg(db) : "out of memory");
    return RG_ERR_IO;
}

/* One statement that changes rows: a number, a time and the most attempts, each where `sql` has ?1, ?2, ?3; texts at ?4 and ?5. */
static int change(rg_queue *q, const char *sql, int number, const char *text4, const char *text5)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(q->db, sql, -1, &s, NULL) != SQLITE_OK)
        return RG_ERR_IO;
    sqlite3_bind_int(s, 1, number);
    sqlite3_bind_double(s, 2, store_now());
    sqlite3_bind_int(s, 3, MAX_ATTEMPTS);
    if (text4) {
        store_bind_text(s, 4, text4);
        store_bind_text(s, 5, text5);
    }
    const int ret = store_finish(q, s);
    sqlite3_finalize(s);
    return ret;
}

/* Running jobs of the process before: put back once, else marked and told of; then those that wait, into memory. */
static int recover(rg_queue *q, char *text, size_t text_size)
{
    sqlite3_stmt *s = NULL;
    int step, ret = 0;

    if (store_run(q->db, "BEGIN IMMEDIATE") < 0 ||
        change(q, "INSERT INTO delivery (" DELIVERY_NEW ") " DELIVERY_FROM_JOB "WHERE state = 1 AND attempts >= ?3 AND webhook_events & (1 << ?1)",
               RG_JOB_FAILED, NULL, NULL) < 0 ||
        change(q, "UPDATE job SET state = ?1, ended = ?2, result = ?4, error = ?5 WHERE state = 1 AND attempts >= ?3", RG_JOB_FAILED, lost_result,
               lost_error) < 0 ||
        store_run(q->db, "UPDATE job SET state = 0, started = 0 WHERE state = 1") < 0 || store_run(q->db, "COMMIT") < 0)
        return fail_sql(q->db, q->path, text, text_size);
    if (sqlite3_prepare_v2(q->db, "SELECT " COLUMNS " FROM job WHERE state = 0", -1, &s, NULL) != SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    while ((step = sqlite3_step(s)) == SQLITE_ROW) {
        rg_job *j = store_reserve(q) ? store_read_row(s) : NULL;
        if (!j) {
            snprintf(text, text_size, "out of memory for the jobs that wait");
            ret = RG_ERR_NOMEM;
            break;
        }
        store_add_pending(q, j);
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
    if (q->path) {                      /* it holds secrets of webhooks: nobody else reads it. What SQLite puts beside it has the same mode */
        const int fd = open(q->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    if (sqlite3_open_v2(q->path ? q->path : ":memory:", &q->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL) !=
        SQLITE_OK)
        return fail_sql(q->db, q->path, text, text_size);
    sqlite3_extended_result_codes(q->db, 1);
    if (store_run(q->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY") < 0 ||
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
    for (; version < SCHEMA_VERSION; version++) {
        if (store_run(q->db, "BEGIN IMMEDIATE") < 0 || store_run(q->db, schema[version]) < 0 || store_run(q->db, "COMMIT") < 0)
            return fail_sql(q->db, q->path, text, text_size);
    }
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
    q->options.max_queued_bytes = o->max_queued_bytes > 0 ? o->max_queued_bytes : (size_t)512 << 20;
    q->options.max_ended = o->max_ended > 0 ? o->max_ended : 10000;
    q->options.lease_seconds = o->lease_seconds > 0 ? o->lease_seconds : 600;
    q->lock_fd = -1;
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->read_lock, NULL);
    pthread_cond_init(&q->has_op, NULL);
    pthread_cond_init(&q->op_done, NULL);
    pthread_cond_init(&q->has_log, NULL);
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
    if (store_checkpoint_start(q) < 0) {
        snprintf(text, text_size, "%s: no second connection or no thread for its log", q->path);
        goto fail;
    }
    if (pthread_create(&q->writer, NULL, store_writer_main, q) != 0) {
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
    pthread_mutex_lock(&q->lock);
    q->is_closing = true;               /* also when there never was a writer */
    pthread_mutex_unlock(&q->lock);
    store_checkpoint_end(q);
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
    pthread_cond_destroy(&q->has_log);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->read_lock);
    rg_free(q);
}
