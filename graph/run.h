/* One run of a prompt, shared by execute.c and node_api.c (what nodes call back into). */
#ifndef RG_GRAPH_RUN_H
#define RG_GRAPH_RUN_H

#include "graph/cache.h"
#include "graph/worklist.h"

typedef struct graph_run {
    const rg_run *options;
    rg_prompt *prompt;
    graph_key *keys;                    /* NULL without a cache */
    graph_result *results;              /* per node: what it gave in this run, or the cache had */
    void **states;                      /* per node: what it keeps between calls; the cache takes it over after each */
    worklist work;
    char *prompt_text;                  /* for picture metadata; NULL: disabled or not wanted */
    int node;                           /* the one that runs */
    struct json_object *ui;             /* what it has shown so far */
} graph_run;

#endif
