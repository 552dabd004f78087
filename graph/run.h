/* One run of a prompt, shared by execute.c, call.c, expand.c, async.c, progress.c and node_api.c (what nodes call back into). */
#ifndef RG_GRAPH_RUN_H
#define RG_GRAPH_RUN_H

#include <pthread.h>

#include "graph/cache.h"
#include "graph/worklist.h"

/* What one call of a node gave. */
typedef struct call_result {
    rg_value out[RG_MAX_OUTPUTS];
    struct json_object *ui;             /* NULL: nothing */
    struct json_object *expansion;      /* list of {"id", "class_type", "inputs"}; NULL: none */
    int n_unnamed;                      /* of those, for the next name */
    int code;                           /* async: why it failed, with message */
    char *message;
} call_result;

/* A node between its calls and its result: all calls are made, some may go on elsewhere or wait for what they expanded into. */
typedef struct node_calls {
    int n_calls;
    call_result *results;
    int n_running;                      /* async calls that have not ended */
    bool is_expanded;
    struct json_object *inputs;         /* as error messages show them */
    double started;
} node_calls;

typedef struct graph_run {
    const rg_run *options;
    rg_prompt *prompt;
    int n_nodes;                        /* that the arrays have room for */
    graph_key *keys;                    /* NULL without a cache */
    graph_result *results;              /* per node: what it gave in this run, or the cache had */
    void **states;                      /* per node: what it keeps between calls; the cache takes it over after each */
    node_calls **calls;                 /* per node: NULL unless it is under way */
    int *progress_of;                   /* per node: its place in progress, -1: not touched */
    worklist work;
    char *prompt_text;                  /* for picture metadata; NULL: disabled or not wanted */
    int node;                           /* the one that runs */
    int *needed, n_needed, needed_capacity;     /* sources that check_lazy() asked for */
    rg_node_progress *progress;
    int n_progress, progress_capacity;
    const char **executed;              /* ids in the order they finished */
    int n_executed, executed_capacity;

    /* calls on other threads: async.c */
    struct async_call *async;
    int n_async;                        /* started and not collected */
    pthread_mutex_t lock;
    pthread_cond_t changed;             /* a call ended or went on */
    atomic_bool stop;
} graph_run;

/* One call as the node's functions see it through rg_exec.private_data. */
typedef struct graph_exec {
    rg_exec x;
    graph_run *run;
    int node, index;
    bool is_lazy_check, is_async;
    call_result *result;
    rg_named_value *more;               /* x.more, held */
    void *own_state;                    /* async: what x.state points to */
} graph_exec;

double graph_now(void);

/* ---- execute.c ------------------------------------------------------------------------------------------------------- */

void graph_send(const graph_run *run, rg_event e);
rg_event graph_node_event(const graph_run *run, rg_event_kind kind, int node);

/* The result of a node, from this run or the cache; NULL if there is none. Borrowed. */
const graph_result *graph_result_of(const graph_run *run, int node);
bool graph_has_result(void *run, int node);

/* Room for all nodes that the prompt has now. RG_ERR_NOMEM. */
int graph_run_grow(graph_run *run);

/* ---- call.c ------------------------------------------------------------------------------------------------------------ */

/*
 * Gather a node's inputs and make its calls.
 *   returns  0: they are all made, run->calls[node] has what they gave; 1: the node waits, for lazy inputs or for other threads;
 *            or a code, latched in the run's context
 */
int graph_call_node(graph_run *run, int node);

/* From what the calls gave (and what they expanded into) to the node's result. Frees run->calls[node]. */
int graph_finish_calls(graph_run *run, int node, graph_result *result);
void graph_calls_free(node_calls *calls);

void graph_exec_release(graph_exec *x);

/* ---- expand.c ------------------------------------------------------------------------------------------------------------ */

/* Put the nodes that a node's calls expanded into into the graph. 1: it waits for them; 0: nothing to wait for; or a code. */
int graph_expand(graph_run *run, int node);

/* ---- async.c ------------------------------------------------------------------------------------------------------------- */

/* Start one call on a thread of its own; takes over exec's and call's contents. */
int graph_async_start(graph_run *run, graph_exec *exec, graph_call *call, node_calls *calls);

/*
 * Pass on what other threads report, and let nodes go on whose calls have all ended.
 *   is_waiting  nothing else is to be done: wait until something happens, or somebody asks the run to stop
 */
void graph_async_collect(graph_run *run, bool is_waiting);

/* Stop and end all threads. */
void graph_async_end(graph_run *run);

/* A node with calls under way, -1 if there is none. */
int graph_async_node(const graph_run *run);

/* ---- progress.c ------------------------------------------------------------------------------------------------------------ */

/* The registry: a node starts (0 of 1), goes on, finishes; each time PROGRESS_STATE goes to the listener. */
void graph_progress_start(graph_run *run, int node);
void graph_progress_step(graph_run *run, int node, int64_t step, int64_t total, const rg_tensor *preview);
void graph_progress_image(graph_run *run, int node, int64_t step, int64_t total, const rg_tensor *images, int64_t frame);
void graph_progress_finish(graph_run *run, int node);

#endif
