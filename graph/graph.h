/* The inside of a prompt, shared by the files of graph/ and by nothing else. */
#ifndef RG_GRAPH_GRAPH_H
#define RG_GRAPH_GRAPH_H

#include <json-c/json.h>
#include <stdbool.h>

#include "graph/prompt.h"

typedef struct prompt_node {
    const char *id;                     /* the key in the prompt's JSON */
    struct json_object *json;           /* {"class_type", "inputs", ...}; may be anything until validated */
    struct json_object *inputs;         /* its "inputs" object; NULL if there is none */
    const rg_node *type;                /* NULL: unknown class */
    bool is_wanted;                     /* a valid output: execution starts here */
    bool has_noted_change;              /* "is_changed" in json is from this run, not from who sent it */
    bool is_ephemeral;                  /* made by an expansion during this run; id and json are its own then */
    int parent;                         /* of an ephemeral node: the one that made it */
    int display;                        /* and the submitted one that clients show for it */
} prompt_node;

struct rg_prompt {
    struct json_object *json;
    struct json_object *workflow;       /* what the editor saved, or NULL */
    int n_nodes;
    prompt_node *nodes;                 /* in file order */
    int *index;                         /* hash table of node numbers by id, -1: free */
    unsigned index_mask;
    int capacity;                       /* of nodes; 0: as many as there are */
    bool is_validated;
};

/* Number of a node by its id, -1 if the prompt has none. */
int graph_find(const rg_prompt *p, const char *id);

/*
 * Add a node for the rest of this run; json ({"class_type", "inputs", maybe "override_display_id"}) is held by it. Moves p->nodes.
 *   returns  its number, or RG_ERR_NOMEM, RG_ERR_NOT_FOUND (no such class)
 */
int graph_add_node(rg_prompt *p, const char *id, struct json_object *json, int parent);

/* Take all added nodes out again. */
void graph_remove_added(rg_prompt *p);

/* The submitted node that a node comes from, by its parents. */
int graph_real(const rg_prompt *p, int node);

/* A JSON list of exactly [string, number]: what the executor takes for a link. *source -1: no such node. */
bool graph_link(const rg_prompt *p, struct json_object *v, int *source, int *slot);

/* ---- a node's struct args (args.c) ------------------------------------------------------------------------------------ */

/*
 * Everything one call of a node gets: the args block, and the values that it borrows from. Each input that the prompt gives is a
 * list of values (resolved); call i takes element i, or the last of a shorter list.
 */
typedef struct graph_call {
    const rg_node *type;
    int n_inputs;
    void *args;                         /* args_size bytes, zero or default where nothing is given */
    rg_value *values;                   /* per input: the value in use, held */
    rg_list **lists;                    /* per input: is_input_list nodes */
} graph_call;

int graph_call_init(graph_call *call, const rg_node *type);
void graph_call_release(graph_call *call);

/*
 * Fill args for call number `index` from resolved[n_inputs] (a NULL entry: the input is not given).
 *   error    text when a value does not fit: "samples wants LATENT, it got IMAGE"
 *   returns  0, RG_ERR_INVALID, RG_ERR_NOMEM
 */
int graph_call_fill(graph_call *call, rg_list *const *resolved, int index, char *error, size_t error_size);

/*
 * A value as JSON, for the inputs of ephemeral nodes: numbers, texts and links as such, NULL for an empty one, and a JSON string
 * that holds the value for everything else; graph_value_of() gives that back (borrowed), NULL for any other JSON.
 */
int graph_json_of(const rg_value *v, struct json_object **out);
const rg_value *graph_value_of(struct json_object *json);

/* Does the input take any type, as a `const rg_value *`? */
bool graph_takes_any(const rg_input *in);

/* A constant of the prompt as a value of the input's kind; what cannot be becomes an empty value. RG_ERR_NOMEM otherwise. */
int graph_constant(const rg_input *in, struct json_object *json, rg_value *out);

/* A call filled with a node's constants alone, for validate() and fingerprint(): what is linked is empty. */
int graph_call_from_constants(graph_call *call, const rg_prompt *p, int node);

/* Number of outputs and of inputs of a node class. */
int graph_n_inputs(const rg_node *type);
int graph_n_outputs(const rg_node *type);

/* The input of that name, or NULL. */
const rg_input *graph_input(const rg_node *type, const char *name);

#endif
