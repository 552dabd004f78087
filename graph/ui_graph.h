/* An editor's workflow taken apart, shared by the ui_*.c files and by nothing else. Names and values are borrowed from its JSON. */
#ifndef RG_GRAPH_UI_GRAPH_H
#define RG_GRAPH_UI_GRAPH_H

#include "graph/ui_workflow.h"
#include "nodes/node.h"

enum { UI_MUTED = 2, UI_BYPASSED = 4 };                 /* of a node's "mode" */
#define UI_INPUT_NODE   "-10"                           /* where links from a subgraph's inputs begin, */
#define UI_OUTPUT_NODE  "-20"                           /* and where links to its outputs end */

typedef enum ui_kind {
    UI_NODE,                            /* goes into the prompt */
    UI_NOTE,                            /* on the page only, nothing runs through it */
    UI_REROUTE,                         /* input i goes to output i */
    UI_PRIMITIVE,                       /* its value goes to the widgets that it is linked to */
    UI_SET, UI_GET,                     /* a link by name */
    UI_SUBGRAPH
} ui_kind;

typedef struct ui_graph ui_graph;
typedef struct ui_node ui_node;

typedef struct ui_link {
    const char *origin;                 /* node id */
    int origin_slot;
    const char *target;
    int target_slot;
    bool is_from_inputs;                /* begins at the subgraph's inputs */
    const ui_node *from;                /* where it begins else, NULL: there is no such node */
} ui_link;

typedef struct ui_input {
    const char *name;
    const char *type;                   /* "*" for any; lists are joined by commas */
    const ui_link *link;                /* NULL: not linked */
    const char *widget;                 /* name of the widget whose input it is, or NULL */
} ui_input;

struct ui_node {
    const char *id;
    struct json_object *json;
    const char *class_type;
    const char *title;
    ui_kind kind;
    int mode;
    const rg_node *type;                /* NULL: unknown, or no node of the program */
    ui_input *inputs;                   /* of a known class: sockets, then widgets, as declared; then what else the file has */
    int n_inputs;
    struct json_object *values;         /* of a known class: {widget: value}; of others what primitives give. Own */
    const ui_graph *subgraph;           /* UI_SUBGRAPH */
};

struct ui_graph {
    struct json_object *json;
    const char *id, *name;              /* of a subgraph */
    ui_node *nodes;
    int n_nodes;
    ui_link *links;
    int n_links;
    struct json_object *node_index, *link_index;        /* id: number. Own */
    struct json_object *inputs, *outputs;               /* of a subgraph: lists of {"name", "type", "linkIds"}, or NULL */
    signed char *has_widget;            /* per input of a subgraph: does it stand for a widget? -1: not known yet */
};

/* A place where a graph is used: the workflow itself, or one node that stands for a subgraph. */
typedef struct ui_frame {
    const struct ui_frame *parent;      /* NULL: the workflow */
    const ui_node *node;                /* the subgraph's node in parent */
    const ui_graph *graph;
    char *path;                         /* "12:3:" before the ids of its nodes, "" for the workflow */
    struct ui_frame **children;         /* per node of graph; NULL where it is no subgraph */
} ui_frame;

typedef struct ui_workflow {
    rg_ctx *ctx;
    ui_graph *graphs;                   /* 0: the workflow, then the subgraphs */
    int n_graphs;
    struct json_object *graph_index;    /* id of a subgraph: number. Own */
    ui_frame *root;
    int64_t n_expanded;                 /* nodes of all frames */
    struct json_object *expanded;       /* ui_expand_groups(), or NULL. Own */
    struct json_object *texts;          /* a list that holds texts made while reading (ids, types). Own */
    bool is_out_of_memory;              /* while making one of them */
} ui_workflow;

/* ---- ui_graph.c: reading ------------------------------------------------------------------------------------------- */

int ui_open(rg_ctx *c, struct json_object *json, ui_workflow *w);
void ui_close(ui_workflow *w);
const ui_node *ui_find_node(const ui_graph *g, const char *id);     /* NULL: none */
const ui_link *ui_find_link(const ui_graph *g, const char *key);    /* NULL: none, or no key */
int ui_n_slots(struct json_object *slots);              /* entries of a subgraph's inputs or outputs */

/* A key or id as text: texts as they are, numbers as JavaScript writes them; NULL if it is neither. Lives as long as w. */
const char *ui_key(ui_workflow *w, struct json_object *v);

/* The link that ends at output `slot` of a subgraph, inside it; NULL: none. */
const ui_link *ui_output_link(const ui_graph *subgraph, int slot);

/* ---- ui_group.c ------------------------------------------------------------------------------------------------------ */

/*
 * The workflow with its group nodes (extra.groupNodes) made into subgraphs: a new object that shares the rest with json, also on failure
 * the caller's; NULL in *expanded: it has none. RG_ERR_INVALID (one inside another, too many nodes), RG_ERR_NOMEM.
 */
int ui_expand_groups(ui_workflow *w, struct json_object *json, struct json_object **expanded);

/* ---- ui_widgets.c: values ------------------------------------------------------------------------------------------- */

bool ui_is_widget(const rg_input *in);                  /* does the editor show it as a widget? */
int ui_n_controls(const rg_input *in);                  /* widgets that it puts behind this one: what to do with a seed after a run, ... */
int ui_read_values(ui_workflow *w, ui_node *node);      /* values from widgets_values */
int ui_apply_primitives(ui_workflow *w, ui_graph *g);

/* What input `slot` of the subgraph that node stands for has as a widget; false: it is none. *value is borrowed. */
bool ui_promoted_value(const ui_node *node, int slot, struct json_object **value);
bool ui_slot_has_widget(const ui_graph *subgraph, int slot);

/* A widget's value as it is sent: own choices made, node values put into file names, lists wrapped. *out is the caller's. */
int ui_sent_value(const ui_workflow *w, const ui_node *node, const char *name, struct json_object *value, struct json_object **out);
int ui_wrapped(const ui_workflow *w, struct json_object *value, struct json_object **out);

/* ---- ui_resolve.c: links -------------------------------------------------------------------------------------------- */

typedef enum ui_source_kind { UI_NOTHING, UI_OUTPUT, UI_VALUE } ui_source_kind;
typedef struct ui_source {
    ui_source_kind kind;
    const ui_frame *frame;              /* UI_OUTPUT: of node, which goes into the prompt unless it is muted */
    const ui_node *node;
    int slot;
    struct json_object *value;          /* UI_VALUE, borrowed */
} ui_source;

/* Where an input's value comes from, through all that is on the page only. RG_ERR_INVALID: in a circle. */
int ui_resolve(const ui_workflow *w, const ui_frame *f, const ui_node *node, int input, ui_source *out);

#endif
