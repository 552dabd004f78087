/*
 * The job queue: what was accepted, what runs, what is done. Everything behind these calls may be replaced (here: SQLite in one
 * file, store_sqlite.c); nobody above knows more than push, pull, extend, ack, nack and progress.
 *
 * DESIGN
 *   - A job that rg_queue_push() has confirmed is on disk: it survives a killed process and a power cut. Confirmations come in
 *     groups, one flush of the disk for all pushes that waited (group commit), from the queue's own writer thread.
 *   - A job is in one of five states and never between two:
 *         queued -> running -> done | failed | cancelled        queued -> cancelled
 *     done means: its result is stored. A process that dies while a job runs leaves it running; the next start puts it back to
 *     queued once (attempts counts), and marks it failed, with words that say so, if it already had its second try.
 *   - Order: the lowest number first, among equals the one pushed first. ComfyUI's "front" is a negative number.
 *   - Jobs that wait or run are also held in memory, so that asking for them never touches the disk; ended ones are read from it.
 *
 * Every function may be called from any thread. Only rg_queue_push_wait(), rg_queue_pull(), rg_queue_ack() and rg_queue_nack()
 * wait (for the disk, or for a job): an event loop calls rg_queue_push() and the others.
 */
#ifndef RG_SERVER_QUEUE_H
#define RG_SERVER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_queue rg_queue;

typedef enum rg_job_kind { RG_JOB_PROMPT, RG_JOB_ENDPOINT } rg_job_kind;
typedef enum rg_job_state { RG_JOB_QUEUED, RG_JOB_RUNNING, RG_JOB_DONE, RG_JOB_FAILED, RG_JOB_CANCELLED } rg_job_state;
const char *rg_job_state_name(rg_job_state s);          /* "queued", "running", ... */

/* One job. Texts are never NULL where not said; the whole record is one rg_job_free() away. Times are seconds since 1970, 0: not yet. */
typedef struct rg_job {
    char *id;                           /* a UUID made by the server, or what the client chose (its prompt_id) */
    rg_job_kind kind;
    rg_job_state state;
    double number;                      /* ComfyUI's queue number, negative in front */
    int64_t sequence;                   /* order of acceptance, unique */
    int attempts;                       /* how often it was pulled */
    double created, started, ended;
    /*
     * What to run: {"prompt": graph, "extra_data": {...}, "targets": ["9"] or absent}; endpoint jobs also hold "format" and "seed".
     */
    char *request;
    char *client_id;                    /* NULL: none */
    char *endpoint;                     /* template's name, NULL for plain prompts */
    char *idempotency_key;              /* NULL: none; unique among the jobs kept */
    /*
     * Whom to tell, {"url", "host", "secret" or absent} (webhook.h), and of which states, 1 << RG_JOB_DONE | ...; NULL and 0: nobody.
     */
    char *webhook;
    unsigned webhook_events;
    /*
     * Once ended: {"outputs": {node: ui}, "status": {"status_str", "completed", "messages": [...]}, "meta": {...},
     * "files": [{"node", "path", "type"}], "seconds": {"load", "compute", "wait"}, "error": {...} or absent}: ComfyUI's history entry
     * without its "prompt", and ours. NULL before.
     */
    char *result;
    char *error;                        /* failed or cancelled: why, one line; NULL otherwise */

    /* running jobs only, as last reported; NULL and 0 before the first node */
    char *node;
    int64_t step, total;
    int position;                       /* queued jobs only: how many run before it, 0 is next */
} rg_job;
void rg_job_free(rg_job *j);

typedef struct rg_queue_options {
    const char *path;                   /* the database file; NULL: in memory, gone with the process */
    int max_queued;                     /* more are refused with RG_ERR_BUSY; 0: 10,000 */
    size_t max_queued_bytes;            /* of their requests, which are held in memory: likewise, 0: 512 MiB */
    int max_ended;                      /* older ended jobs are forgotten (their files stay); 0: 10,000 */
    double lease_seconds;               /* a running job nobody extends for so long may be pulled again; 0: 600 */
} rg_queue_options;

/*
 * Open or create. Jobs that ran when the last process ended are put back or marked here.
 *   returns  NULL with the reason in text (which file, what SQLite says); a database of a newer version is refused
 */
rg_queue *rg_queue_open(const rg_queue_options *o, char *text, size_t text_size);
void rg_queue_close(rg_queue *q);       /* writes what is waiting; nobody may be inside another call */

/* What a push needs; texts are copied. */
typedef struct rg_job_new {
    const char *id;                     /* NULL: a fresh UUID */
    rg_job_kind kind;
    bool replaces_ended;                /* an ended job of the same id is forgotten; one that waits or runs is still RG_ERR_EXISTS */
    bool is_front;                      /* number = -count */
    bool has_number;
    double number;                      /* with has_number, else the running count */
    const char *request, *client_id, *endpoint, *idempotency_key, *webhook;
    unsigned webhook_events;
} rg_job_new;

void rg_queue_make_id(char id[37]);     /* a random UUID, as a push without an id gets one */

/*
 * Called once per push, on the writer's thread (must not wait and must not call a waiting function).
 *   code     0: accepted and on disk; RG_ERR_BUSY: too many wait already; RG_ERR_EXISTS: id or idempotency key was used before (id
 *            names the job that has it); RG_ERR_IO, RG_ERR_NOMEM
 */
typedef void rg_pushed_fn(void *user, int code, const char *id, double number);

/* Hand a job to the writer. Returns 0 (then pushed is called, maybe before this returns) or RG_ERR_NOMEM (then it is not). */
int rg_queue_push(rg_queue *q, const rg_job_new *j, rg_pushed_fn *pushed, void *user);

/* The same, waiting; id (37 bytes or more, may be NULL) and number (may be NULL) as above. */
int rg_queue_push_wait(rg_queue *q, const rg_job_new *j, char *id, size_t id_size, double *number);

/*
 * The next job, now running; waits up to timeout_seconds for one.
 *   returns  the caller's copy, NULL if none came or rg_queue_wake() was called
 */
rg_job *rg_queue_pull(rg_queue *q, double timeout_seconds);
void rg_queue_wake(rg_queue *q);        /* makes pulls return: at shutdown */

/* The end is near: pushes are refused (RG_ERR_BUSY), and no job is pulled any more. What waits stays. */
void rg_queue_drain(rg_queue *q);

int rg_queue_extend(rg_queue *q, const char *id);               /* still at it: the lease begins anew */
int rg_queue_progress(rg_queue *q, const char *id, const char *node, int64_t step, int64_t total);

/* It ended: state is done, failed or cancelled. Waits until stored, so that who hears of it afterwards finds the result. */
int rg_queue_ack(rg_queue *q, const char *id, rg_job_state state, const char *result, const char *error);

/* Not run after all (shutdown): back to where it stood, its attempt not counted. */
int rg_queue_nack(rg_queue *q, const char *id);

/*
 * Take a waiting job out; its state becomes cancelled. RG_ERR_NOT_FOUND: it does not wait (any more). Does not wait for the disk: a
 * power cut right afterwards may bring the job back. See rg_executor_cancel() for running ones.
 */
int rg_queue_cancel(rg_queue *q, const char *id);
int rg_queue_cancel_all(rg_queue *q);   /* all that wait; returns how many */

/* ---- asking -------------------------------------------------------------------------------------------------- */

/* One job in whatever state (the caller's), or NULL. */
rg_job *rg_queue_get(rg_queue *q, const char *id);
rg_job *rg_queue_find_key(rg_queue *q, const char *idempotency_key);

/*
 * Several: running then queued, in the order they run; or ended ones, in the order they ended.
 *   states   1 << RG_JOB_QUEUED | ...
 *   newest   ended ones: newest first, else oldest first
 *   max      at most so many (< 0: all), after leaving out offset
 *   returns  how many, in *jobs a NULL-terminated array for rg_jobs_free(); RG_ERR_NOMEM, RG_ERR_IO
 */
int rg_queue_list(rg_queue *q, unsigned states, bool newest, int max, int offset, rg_job ***jobs);
void rg_jobs_free(rg_job **jobs);

int rg_queue_forget(rg_queue *q, const char *id);       /* an ended job; NULL: all ended ones. ComfyUI's history delete and clear */

typedef struct rg_queue_counts {
    int64_t queued, running;            /* now */
    int64_t accepted, done, failed, cancelled;          /* since the process started */
} rg_queue_counts;
void rg_queue_count(rg_queue *q, rg_queue_counts *out);

#endif
