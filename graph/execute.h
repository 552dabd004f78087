/*
 * Run a validated prompt: topological order, list mapping, cached outputs reused, events to a listener.
 */
#ifndef RG_GRAPH_EXECUTE_H
#define RG_GRAPH_EXECUTE_H

#include "graph/env.h"
#include "graph/prompt.h"

/*
 * Node outputs kept between runs, keyed by ancestry (ComfyUI's input signature). One per process, not thread-safe.
 *   max_entries  0: what the prompt at hand can use, the rest goes when the next starts (--cache-classic); n: about that many,
 *                least recently used ones go first (--cache-lru n). No cache at all (NULL in rg_run) is --cache-none.
 */
typedef struct rg_cache rg_cache;
rg_cache *rg_cache_new(void);           /* classic */
rg_cache *rg_cache_new_lru(int max_entries);
void rg_cache_free(rg_cache *cache);

/* Let go of everything, between runs. */
void rg_cache_clear(rg_cache *cache);

/* Let go of results that showed something (files they saved) of which is_stale says true: such nodes run again. Between runs. RG_ERR_NOMEM. */
int rg_cache_drop(rg_cache *cache, bool (*is_stale)(void *user, struct json_object *ui), void *user);

/*
 * What happens during a run, in ComfyUI's words and order. Borrowed for the call, always on the thread of rg_execute(). EXECUTED
 * comes after every node; a ComfyUI client hears only of those with a ui, and of wanted nodes that were cached.
 */
typedef enum rg_event_kind {
    RG_EVENT_START, RG_EVENT_CACHED, RG_EVENT_EXECUTING, RG_EVENT_PROGRESS, RG_EVENT_EXECUTED, RG_EVENT_SUCCESS,
    RG_EVENT_ERROR, RG_EVENT_INTERRUPTED,
    RG_EVENT_PROGRESS_STATE,            /* a node started, went on or finished: progress holds all nodes touched so far */
    RG_EVENT_BLOCKED                    /* execution_error of type ExecutionBlocked: message says why; the run goes on */
} rg_event_kind;

/* A node in the progress registry: ComfyUI's progress_state.nodes[node_id]. */
typedef struct rg_node_progress {
    const char *node_id, *display_id, *parent_id, *real_id;     /* parent_id NULL: a submitted node */
    bool is_finished;                   /* else it runs, also after a failure */
    bool is_counted;                    /* whole numbers: the node said how far it is, or did not run. Else 0.0 or 1.0 of 1.0 */
    double value, max;
} rg_node_progress;

typedef struct rg_event {
    rg_event_kind kind;
    /*
     * The node, as it is in the graph: "12", or "12.0.0.3" for one that node 12 expanded into. In ERROR and INTERRUPTED it is the
     * submitted one. display_id is what clients show, and always there when node_id is; NULL both for the run as a whole.
     */
    const char *node_id, *class_type, *display_id;
    int64_t step, total;                /* RG_EVENT_PROGRESS */
    const rg_tensor *preview;           /* a sampler's latent, or NULL */
    const rg_tensor *images;            /* a whole picture for the client: number `frame` of these; or NULL */
    int64_t frame;
    struct json_object *ui;             /* RG_EVENT_EXECUTED: {"images": [...]} or NULL */
    bool is_cached;                     /* RG_EVENT_EXECUTED: it did not run, its result was there */
    double seconds;                     /* RG_EVENT_EXECUTED: of this node */
    const rg_node_progress *progress;   /* RG_EVENT_PROGRESS_STATE: n_progress nodes in the order they were touched; PROGRESS: this one */
    int n_progress;
    int progress_at;                    /* RG_EVENT_PROGRESS_STATE: which of them is the news */

    /* RG_EVENT_ERROR, RG_EVENT_BLOCKED */
    int code;
    const char *exception_type;         /* as ComfyUI names it */
    const char *message;                /* without the newline that ComfyUI's ends in */
    const char *tip;                    /* what to do about it, after that newline; "" mostly */
    struct json_object *current_inputs; /* {"name": [values]}; NULL: none are known */

    const char *const *ids;             /* RG_EVENT_CACHED: the cached nodes; ERROR, INTERRUPTED: those that have run */
    int n_ids;
    const char *const *cached;          /* the same for RG_EVENT_CACHED */
    int n_cached;
} rg_event;
typedef void rg_listener(void *user, const rg_event *e);

typedef struct rg_run {
    rg_ctx *ctx;
    rg_env *env;
    rg_cache *cache;                    /* NULL: nothing is kept */
    rg_listener *listener;              /* may be NULL */
    void *listener_user;
    const char *const *extra_keys, *const *extra_texts;     /* extra_pnginfo */
    int n_extra;
} rg_run;

/*
 * Forgets an earlier failure of ctx, then runs the valid outputs and what they need.
 *   returns  0, RG_ERR_CANCELLED, or the code of the node that failed (its text is in ctx, prefixed by nothing; the event names
 *            the node). What finished before stays in the cache, so a second try goes on from there.
 */
int rg_execute(const rg_run *run, rg_prompt *p);

#endif
