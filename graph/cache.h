/*
 * Node outputs kept between runs, and the keys they are found by.
 *
 * A key stands for everything that a node's result depends on: its class, its constants, what its links lead to, and the
 * fingerprints of outside files on the way. Node ids are no part of it, so a renumbered graph still hits. ComfyUI lists all
 * ancestors; here a key holds the keys of its sources, which tells the same results apart in one pass over the graph (it also
 * finds a node equal whose equal sources are shared in one graph and separate in the other).
 */
#ifndef RG_GRAPH_CACHE_H
#define RG_GRAPH_CACHE_H

#include "graph/execute.h"
#include "graph/graph.h"

typedef struct graph_key {
    uint8_t bytes[32];
} graph_key;

/* What a node gave: one list per output slot, and what it showed. */
typedef struct graph_result {
    bool is_there;
    int n_slots;
    rg_list *slots[RG_MAX_OUTPUTS];     /* held; NULL once let go of */
    struct json_object *ui;             /* held; NULL: none */
} graph_result;

void graph_result_release(graph_result *r);
graph_result graph_result_ref(const graph_result *r);

/* Keys of every node of the prompt, fingerprints included; rg_free() them. NULL if no memory. */
graph_key *graph_keys(rg_env *env, const rg_prompt *p);

/*
 * Keys of the nodes from `first` on, in keys[first..], where those before have theirs. Nodes of an expansion have their parent in
 * their keys, so that they find only what an earlier expansion of the same node left. RG_ERR_NOMEM.
 */
int graph_keys_of_added(rg_env *env, const rg_prompt *p, int first, graph_key *keys);

/* The result under a key (borrowed), or NULL. */
const graph_result *graph_cache_get(const rg_cache *cache, const graph_key *key);

/* Keep a result of a node of p (the cache takes its own holds). RG_ERR_NOMEM: it is just not kept. */
int graph_cache_put(rg_cache *cache, const rg_prompt *p, int node, const graph_key *key, const graph_result *r);

/* A node has expanded anew: what its earlier expansions left and this one (nodes from `first` on) does not have goes. */
void graph_cache_expanded(rg_cache *cache, const rg_prompt *p, int parent, int first, const graph_key *keys);

/* Let go of every result whose key is not among these, and of every node state whose (id, class) is not in the prompt. RG_ERR_NOMEM. */
int graph_cache_trim(rg_cache *cache, const rg_prompt *p, const graph_key *keys);

/* The pointer that a node keeps between runs; NULL if it has none. The cache owns what it points to. */
void *graph_cache_state(const rg_cache *cache, const char *node_id, const char *class_type);

/* Note what the node keeps now, in place of what it kept. RG_ERR_NOMEM: the state stays the caller's. */
int graph_cache_keep_state(rg_cache *cache, const char *node_id, const char *class_type, void *state);

#endif
