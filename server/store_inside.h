/*
 * The inside of the queue in SQLite, shared by store_sqlite.c (the file, open and close), store_writer.c (the one thread that
 * writes), store_jobs.c (jobs in memory: push, pull, ack and their kin), store_deliveries.c (webhooks) and store_read.c (questions). The design is in store_sqlite.c.
 */
#ifndef RG_SERVER_STORE_INSIDE_H
#define RG_SERVER_STORE_INSIDE_H

#include <pthread.h>
#include <sqlite3.h>

#include "engine/core/ctx.h"
#include "server/deliveries.h"

#define COLUMNS "sequence, id, kind, state, number, attempts, created, started, ended, request, client_id, endpoint, " \
                "idempotency_key, result, error, webhook, webhook_events"

typedef enum op_kind { OP_PUSH, OP_PULL, OP_ACK, OP_NACK, OP_CANCEL, OP_FORGET, OP_TRIED, OP_DELIVERY_AGAIN } op_kind;

typedef struct op {
    struct op *next;
    op_kind kind;
    rg_job *job;                        /* OP_PUSH: its own; OP_PULL, OP_NACK, OP_CANCEL: borrowed from q->running */
    const char *id, *result, *error;    /* OP_ACK, OP_FORGET: borrowed from who waits */
    rg_job_state state;
    double ended;                       /* OP_PULL: when it started */
    int attempts;                       /* OP_PULL, OP_NACK */
    bool has_webhook;                   /* the job wants its state told: a delivery is to be made */
    int64_t key;                        /* OP_TRIED, OP_DELIVERY_AGAIN: whose; ended is when it is due, result what was sent */
    const rg_delivery_attempt *attempt;
    rg_delivery_state delivery_state;
    rg_pushed_fn *pushed;
    void *user;
    char *taken_by;                     /* OP_PUSH refused: id of the job that has the name */
    int code;
    bool replaces_ended;                /* OP_PUSH */
    bool is_waited, is_done;            /* somebody waits, and frees it */
} op;

typedef enum statement { ST_PUSH, ST_PULL, ST_ACK, ST_NACK, ST_FORGET, ST_FORGET_ALL, ST_PRUNE, ST_FIND, ST_ADD_DELIVERY, ST_ATTEMPT,
    ST_TRIED, ST_ORPHAN, ST_DELIVERY_AGAIN } statement;
enum { N_STATEMENTS = ST_DELIVERY_AGAIN + 1 };   /* their texts are in store_sqlite.c */

typedef struct running_job {
    rg_job *job;
    double lease_until;                 /* monotonic */
} running_job;

struct rg_queue {
    rg_queue_options options;
    char *path;
    int lock_fd;                        /* held while open: two servers on one file would run jobs twice */
    sqlite3 *db, *read_db, *log_db;
    pthread_mutex_t read_lock;
    sqlite3_stmt *statements[N_STATEMENTS];

    pthread_mutex_t lock;               /* all below */
    pthread_cond_t has_op, has_job, op_done, has_log;
    pthread_t writer, checkpointer;
    bool has_checkpointer, wants_checkpoint;
    bool has_writer, is_closing, is_woken, is_draining;
    op *first, **last;                  /* the mailbox */
    rg_job **pending;                   /* sorted: next first */
    int n_pending, pending_capacity;
    int n_pushing;                      /* in the mailbox or being written */
    size_t waiting_bytes;               /* of the requests of both */
    running_job *running;               /* also jobs being cancelled, until that is written */
    int n_running, running_capacity;
    int64_t next_sequence, n_ended;
    double next_number;
    rg_queue_counts counts;
    void (*on_delivery)(void *user);
    void *on_delivery_user;
};

/* Any thread; no lock needed. */
double store_now(void);                 /* seconds since 1970 */
double store_monotonic(void);
bool store_grow(void **array, int *capacity, int n, size_t size);   /* room for item n */

/* SQLite, short. */
void store_bind_text(sqlite3_stmt *s, int i, const char *text);     /* NULL is NULL; borrowed until the statement is finished */
int store_finish(rg_queue *q, sqlite3_stmt *s);                     /* one step of a statement without rows; it is ready for the next time */
int store_run(sqlite3 *db, const char *sql);
char *store_column_text(sqlite3_stmt *s, int i, bool *is_failed);    /* a copy; NULL for NULL, and with is_failed set if no memory */
rg_job *store_read_row(sqlite3_stmt *s);                            /* the row at hand, COLUMNS in order; NULL if no memory */

/* store_jobs.c: the jobs in memory; q->lock is held. */
bool store_reserve(rg_queue *q);        /* room for one job more in both lists, wherever the others go */
void store_add_pending(rg_queue *q, rg_job *j);                     /* there is room: store_reserve() */
rg_job *store_take_pending(rg_queue *q, int i);
int store_find_pending(const rg_queue *q, const char *id);          /* -1: not there */
int store_find_running(const rg_queue *q, const char *id);
rg_job *store_take_running(rg_queue *q, int i);
rg_job *store_copy_job(const rg_job *j, int position);              /* for a caller; NULL if no memory. Needs no lock if j does not */

/* store_deliveries.c: on the writer's thread, inside its transaction. */
int store_add_delivery(rg_queue *q, const char *job, rg_job_state event);      /* if the job's webhook asks for that state */
void store_write_delivery(rg_queue *q, op *o);

/* store_writer.c */
void *store_writer_main(void *queue);

/* store_checkpoint.c: RG_ERR_IO, RG_ERR_NOMEM; nothing to do without a file. */
int store_checkpoint_start(rg_queue *q);
void store_checkpoint_end(rg_queue *q);
void store_send(rg_queue *q, op *o);    /* into the mailbox; q->lock is held */
int store_send_wait(rg_queue *q, op *o);            /* the same, and wait for its code */

#endif
