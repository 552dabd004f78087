/* What validation found, before it becomes ComfyUI's answer (validate.c) or lines for people (explain.c). */
#ifndef RG_GRAPH_VALIDATE_H
#define RG_GRAPH_VALIDATE_H

#include "graph/graph.h"

typedef enum node_state { STATE_NEW, STATE_OPEN, STATE_VALID, STATE_INVALID } node_state;

typedef struct node_result {
    node_state state;
    struct json_object *reasons;        /* list of error objects; NULL: none of its own */
} node_result;

typedef struct validation {
    rg_env *env;
    rg_prompt *prompt;
    bool is_lenient;                    /* unknown classes give anything and take anything */
    node_result *results;               /* per node of the prompt */
    int64_t steps_left;                 /* for noting dependents; bounds what a hostile prompt can cost */
    int error;                          /* RG_ERR_NOMEM once memory ran out */
} validation;

int graph_validation_init(validation *v, rg_env *env, rg_prompt *p, bool is_lenient);
void graph_validation_release(validation *v);

/* Check one output node and everything it needs; results stay in v, so that a node is checked once. True if it is valid. */
bool graph_validate_output(validation *v, int node);

/* A link as validation follows it: only [id, slot] of a declared input, to a node that is there and gives a fitting type. */
bool graph_follow(const validation *v, int node, const rg_input *in, int *source);

#endif
