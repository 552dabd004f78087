/*
 * A workflow template: a graph and the table of the parameters that people and programs may set. Format: docs/templates.md.
 * A template is data only; setting parameters gives an ordinary workflow in API form.
 */
#ifndef RG_GRAPH_TEMPLATE_H
#define RG_GRAPH_TEMPLATE_H

#include <json-c/json.h>

#include "graph/env.h"

typedef enum rg_param_type { RG_PARAM_STRING, RG_PARAM_INT, RG_PARAM_FLOAT, RG_PARAM_BOOLEAN,
    RG_PARAM_IMAGE                      /* a name in the input folder; a server also takes a picture's bytes in base64 */
} rg_param_type;

typedef struct rg_param {
    const char *name;
    rg_param_type type;
    bool is_required, empty_means_default;
    struct json_object *default_value;  /* NULL when required */
    struct json_object *min, *max;      /* numbers, or NULL */
    struct json_object *choices;        /* array of strings, or NULL */
    struct json_object *aliases;        /* array of strings, or NULL */
    struct json_object *targets;        /* array of "NODE.INPUT" */
    struct json_object *replace;        /* {"GPU": "CUDA"}: texts that stand for another value, or NULL */
    const char *scales;                 /* the value is multiplied by the shortest edge of this image parameter's picture; NULL: no */
    const char *format;                 /* text around the value, "character-{}.safetensors"; NULL: none */
    bool is_prepended;                  /* the value and a space go before the text at the targets */
    const char *description;            /* or NULL */
    struct json_object *value;          /* as set, held; NULL: the default */
    bool is_set;
    const char *set_as;                 /* the name it was set by; borrowed from the caller */
} rg_param;

typedef struct rg_template {
    const char *name, *route, *description;     /* route NULL: "/" and the name */
    int n_params;
    rg_param *params;
    struct json_object *graph;          /* API form; parameters are written into it */
    struct json_object *one_of;         /* lists of parameter names of which each needs one, or NULL */
    struct json_object *timeout;        /* seconds, or NULL */
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

/*
 * The same from a JSON value, as a client sends it: numbers may come as text ("7") and whole numbers as 7.0, null is as if it were
 * left out. name is copied by nobody: it must outlive the template.
 */
int rg_template_set_json(rg_ctx *c, rg_template *t, const char *name, struct json_object *value);

/* The parameter of this name or alias, or NULL. */
rg_param *rg_template_find(rg_template *t, const char *name);

/*
 * Once all are set: writes them into the graph, in the table's order. RG_ERR_INVALID naming the required parameters that are
 * missing; *field (may be NULL) is then the name of the first of them, or of the one that is wrong, else NULL.
 *   env   where pictures are looked for that a parameter with "scales" measures
 */
int rg_template_check(rg_ctx *c, rg_template *t, rg_env *env, const char **field);

#endif
