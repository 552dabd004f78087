/*
 * Which node runs next: the nodes still to run, in the order they came in, and who waits for whom. Nodes without cached results
 * enter depth first from the outputs; a node is ready when nothing it needs is left. Source: ComfyUI comfy_execution/graph.py.
 * Nodes may be added while others run (expansion), a node may be put off again by a new dependency (lazy inputs) or by work that
 * goes on elsewhere (async), and may run again when its result was let go of before somebody turned out to need it.
 */
#ifndef RG_GRAPH_WORKLIST_H
#define RG_GRAPH_WORKLIST_H

#include "graph/graph.h"

typedef struct work_node {
    bool is_pending, is_done;
    int place;                          /* in order */
    bool is_ready;
    int n_waits_for;                    /* pending nodes that it needs */
    int *blocks;                        /* pending nodes that need it */
    int n_blocks, blocks_capacity;
    int *needs;                         /* what it took up its inputs from: released when all who need them have run */
    int n_needs, needs_capacity;
    int n_users;                        /* pending nodes that link to it, cached or not */
} work_node;

typedef struct worklist {
    const rg_prompt *prompt;
    int n_nodes;                        /* that there is room for */
    work_node *nodes;                   /* per node of the prompt */
    int *order;                         /* nodes as they came in, those that have run included */
    int *ready;                         /* pending nodes that wait for nobody, in that order */
    int n_order, order_capacity, n_ready, n_pending;
} worklist;

int worklist_init(worklist *w, const rg_prompt *p);

/* The prompt has more nodes now. RG_ERR_NOMEM. */
int worklist_grow(worklist *w);
void worklist_release(worklist *w);

/* Does the executor have this node's result already? */
typedef bool worklist_has_fn(void *user, int node);

/* Add a node and, depth first, everything it needs that has no result. RG_ERR_NOMEM. */
int worklist_add(worklist *w, int node, worklist_has_fn *has, void *user);

/*
 * A pending node turns out to need another one, which is added like that, and whose result is kept until the node is done.
 * RG_ERR_NOMEM.
 */
int worklist_wait(worklist *w, int node, int source, worklist_has_fn *has, void *user);

/* A pending node waits for work outside the list, and does so no more. */
void worklist_hold(worklist *w, int node);
void worklist_release_hold(worklist *w, int node);

/* Does a pending node wait for anything? */
bool worklist_is_waiting(const worklist *w, int node);

/* The next node to run, -1 if none is ready (then, with nodes pending, they wait for each other). */
int worklist_pick(const worklist *w);

/* The node has run: those who waited for it wait for one less. */
void worklist_done(worklist *w, int node);

#endif
