/*
 * The one thread that runs jobs: takes the next from the queue, parses, validates, executes with the shared cache, stores the
 * result, and tells a listener what happens on the way. It alone uses the rg_ctx and the cache; everybody else talks to it here.
 */
#ifndef RG_SERVER_EXECUTOR_H
#define RG_SERVER_EXECUTOR_H

#include "graph/execute.h"
#include "server/queue.h"

typedef struct rg_executor rg_executor;

/* Seconds of one job, apart: how ComfyUI's clients never saw them. */
typedef struct rg_job_seconds {
    double wait;                        /* from accepted to pulled */
    double load;                        /* in nodes that load models */
    double compute;                     /* in all other nodes */
} rg_job_seconds;

/*
 * What happens to a job, on the executor's thread and in order; everything is borrowed for the call. The listener copies what it
 * needs, hands it to its own thread and returns: the next step waits for it.
 */
typedef enum rg_job_event_kind {
    RG_JOB_EVENT_STARTED,               /* pulled, before anything else */
    RG_JOB_EVENT_RUN,                   /* e: an event of the run, as rg_execute() gives it */
    RG_JOB_EVENT_ENDED                  /* stored: state, result, error, seconds; comes last, once per job; also for one that is
                                           cancelled while it waits, then on the canceller's thread and without the others */
} rg_job_event_kind;

typedef struct rg_job_event {
    rg_job_event_kind kind;
    const rg_job *job;
    rg_prompt *prompt;                  /* NULL before it is parsed and when it could not be */
    const rg_event *e;                  /* RG_JOB_EVENT_RUN */
    /*
     * RG_JOB_EVENT_RUN: what history records and a client with this job's client id is sent, as it is on the wire:
     * "execution_start", "execution_cached", "execution_success", "execution_error" or "execution_interrupted"; NULL for the rest
     */
    const char *message;
    struct json_object *data;
    rg_job_state state;                 /* RG_JOB_EVENT_ENDED */
    const char *result, *error;
    rg_job_seconds seconds;
} rg_job_event;
typedef void rg_job_listener(void *user, const rg_job_event *e);

typedef struct rg_executor_options {
    rg_queue *queue;
    rg_env *env;
    rg_ctx *ctx;                        /* the executor's alone from start to stop */
    rg_job_listener *listener;          /* may be NULL */
    void *listener_user;
    int cache_entries;                  /* --cache-lru N; 0: classic */
    bool is_cache_off;                  /* --cache-none */
} rg_executor_options;

/* Starts the thread. NULL if there is no memory or no thread. */
rg_executor *rg_executor_start(const rg_executor_options *o);

/*
 * Cancels what runs (put back to queued, to be run at the next start) and waits for the thread.
 */
void rg_executor_stop(rg_executor *x);

/*
 * For a job that is about to be pushed: its prompt as validated, and its request as parsed, so that they need not be made again from the
 * stored text when its turn comes. Taken over; from any thread, but nobody else may hold any part of them. Let go of when there is no
 * room (some 20,000 nodes in all): the text is still there.
 */
void rg_executor_prepare(rg_executor *x, const char *id, rg_prompt *prompt, struct json_object *request);
void rg_executor_unprepare(rg_executor *x, const char *id);     /* it was not accepted after all */

/*
 * Cancel a job wherever it is: taken out of the queue, or stopped within one step.
 *   id       NULL: whatever runs now (ComfyUI's POST /interrupt)
 *   returns  0; RG_ERR_NOT_FOUND when no such job waits or runs
 */
int rg_executor_cancel(rg_executor *x, const char *id);
int rg_executor_cancel_waiting(rg_executor *x);         /* all that wait; returns how many */

/* The id of the job that runs, copied (37 bytes hold a UUID; longer ids are cut); false when none does. */
bool rg_executor_running(rg_executor *x, char *id, size_t id_size);

/* ComfyUI's POST /free: before the next job, or at once when idle. */
void rg_executor_free_memory(rg_executor *x, bool unload_models, bool forget_results);

/* Files that jobs saved have been removed: before the next job, cached results that name one go, so that their nodes save it again. */
void rg_executor_check_files(rg_executor *x);

/* Totals since the start, for /metrics. */
typedef struct rg_class_seconds {
    const char *class_type;             /* static */
    bool is_load;                       /* its seconds count as loading */
    int64_t n_runs;
    double seconds;
} rg_class_seconds;
typedef struct rg_executor_totals {
    double load_seconds, compute_seconds, wait_seconds;
    int64_t n_nodes_run, n_nodes_cached;
    int n_classes;
    rg_class_seconds *classes;          /* rg_free() it */
} rg_executor_totals;
int rg_executor_get_totals(rg_executor *x, rg_executor_totals *out);

#endif
