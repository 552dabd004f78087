/*
 * A workflow template: a graph and the table of the parameters that people and programs may set. Format: docs/templates.md.
 * A template is data only; setting parameters gives an ordinary workflow in API form.
 */
#ifndef RG_GRAPH_TEMPLATE_H
#define RG_GRAPH_TEMPLATE_H

#include <json-c/json.h>

#include "engine/core/ctx.h"

typedef enum rg_param_type { RG_PARAM_STRING, RG_PARAM_INT, RG_PARAM_FLOAT, RG_PARAM_BOOLEAN } rg_param_type;

typedef struct rg_param {
    const char *name;
    rg_param_type type;
    bool is_required, empty_means_default;
    struct json_object *default_value;  /* NULL when required */
    struct json_object *min, *max;      /* numbers, or NULL */
    struct json_object *choices;        /* array of strings, or NULL */
    struct json_object *aliases;        /* array of strings, or NULL */
    struct json_object *targets;        /* array of "NODE.INPUT" */
    const char *description;            /* or NULL */
    bool is_set;
    const char *set_as;                 /* the name it was set by; borrowed from the caller */
} rg_param;

typedef struct rg_template {
    const char *name, *route, *description;     /* route NULL: "/" and the name */
    int n_params;
    rg_param *params;
    struct json_object *graph;          /* API form; parameters are written into it */
    struct json_object *root;           /* owns all of the above */
} rg_template;

/* Is this JSON a template (an object "graph" and an array "parameters"), or a plain workflow? */
bool rg_template_is(struct json_object *root);

/*
 * Check and read a template. Takes over the caller's hold on root, also on failure.
 *   errors   RG_ERR_FORMAT: names the parameter, the key and what is wrong; RG_ERR_NOMEM
 */
int rg_template_open(rg_ctx *c, struct json_object *root, rg_template **out);
void rg_template_free(rg_template *t);

/*
 * Set one parameter by name or alias from text ("7", "1.5", "true"; '-' and '_' are the same in names).
 *   errors   RG_ERR_NOT_FOUND (no such parameter: names those there are), RG_ERR_INVALID (wrong type, out of range, set twice)
 */
int rg_template_set(rg_ctx *c, rg_template *t, const char *name, const char *text);

/* Once all are set: RG_ERR_INVALID naming the required parameters that are missing. */
int rg_template_check(rg_ctx *c, const rg_template *t);

#endif
