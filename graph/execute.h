/*
 * Run a validated prompt: topological order, list mapping, cached outputs reused, events to a listener.
 */
#ifndef RG_GRAPH_EXECUTE_H
#define RG_GRAPH_EXECUTE_H

#include "graph/env.h"
#include "graph/prompt.h"

/* Node outputs kept between runs, keyed by ancestry (ComfyUI's input signature). One per process, not thread-safe. */
typedef struct rg_cache rg_cache;
rg_cache *rg_cache_new(void);
void rg_cache_free(rg_cache *cache);

/*
 * What happens during a run, in ComfyUI's words and order. Borrowed for the call. EXECUTED comes after every node; a ComfyUI
 * client hears only of those with a ui, and of wanted nodes that were cached.
 */
typedef enum rg_event_kind {
    RG_EVENT_START, RG_EVENT_CACHED, RG_EVENT_EXECUTING, RG_EVENT_PROGRESS, RG_EVENT_EXECUTED, RG_EVENT_SUCCESS,
    RG_EVENT_ERROR, RG_EVENT_INTERRUPTED
} rg_event_kind;

typedef struct rg_event {
    rg_event_kind kind;
    const char *node_id, *class_type;
    int64_t step, total;                /* RG_EVENT_PROGRESS */
    const rg_tensor *preview;
    struct json_object *ui;             /* RG_EVENT_EXECUTED: {"images": [...]} or NULL */
    bool is_cached;                     /* RG_EVENT_EXECUTED: it did not run, its result was there */
    double seconds;                     /* RG_EVENT_EXECUTED: of this node */
    int code;                           /* RG_EVENT_ERROR */
    const char *message;
    const char *const *cached;          /* RG_EVENT_CACHED: n_cached node ids */
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
