/*
 * A workflow, parsed: nodes in file order, each with its inputs as constants or links. What the editor saved is made into API form
 * on the way (ui_workflow.h). Knows the node table by descriptors only.
 *
 * The life of a prompt: rg_prompt_parse() -> rg_prompt_validate() -> rg_execute() (execute.h) -> rg_prompt_free().
 */
#ifndef RG_GRAPH_PROMPT_H
#define RG_GRAPH_PROMPT_H

#include <stdio.h>

#include <json-c/json.h>

#include "engine/core/ctx.h"
#include "graph/env.h"
#include "nodes/node.h"

typedef struct rg_prompt rg_prompt;

/*
 * Parse API JSON ({"id": {"class_type", "inputs"}, ...}) or an editor's workflow ("nodes" and "links"). Integers keep 64 bits,
 * order is the file's.
 *   errors   RG_ERR_FORMAT: not JSON (line, column), nested deeper than 64, not an object of nodes; RG_ERR_INVALID: an editor's
 *            workflow that makes no graph; RG_ERR_NOMEM
 */
int rg_prompt_parse(rg_ctx *c, const char *text, size_t n_bytes, rg_prompt **out);

/*
 * The two halves of it: text to JSON under those limits (*out is the caller's: json_object_put(); NULL is the value null), and JSON
 * to a prompt, which copies it, or takes it over (also on failure): then it must be nobody else's, because validation changes it.
 */
int rg_json_parse(rg_ctx *c, const char *text, size_t n_bytes, struct json_object **out);
int rg_prompt_from_json(rg_ctx *c, struct json_object *json, rg_prompt **out);
int rg_prompt_take_json(rg_ctx *c, struct json_object *json, rg_prompt **out);
void rg_prompt_free(rg_prompt *p);

/*
 * Replace one input by a JSON value (`--set 8.seed=7`). Where a text or a list entry is wanted the value is taken as it stands;
 * elsewhere it is read as JSON, or as a text if it is none.
 *   errors   RG_ERR_NOT_FOUND: no such node, or its class has no such input
 */
int rg_prompt_set(rg_ctx *c, rg_prompt *p, const char *node_id, const char *input, const char *value);

/* The nodes in file order: id, and in *type (may be NULL) the class, NULL if unknown. Borrowed. */
int rg_prompt_n_nodes(const rg_prompt *p);
const char *rg_prompt_node(const rg_prompt *p, int i, const rg_node **type);

/*
 * Check everything against the node table, collect every error, convert constants in place. Source: ComfyUI execution.py.
 *   targets  NULL, or the only output nodes to run: n_targets ids (a request's partial_execution_targets)
 *   answer   the body a ComfyUI server would send: {"error": {...}, "node_errors": {...}}; a new json object, the caller's; NULL
 *            when nothing is wrong
 *   returns  0 when at least one output is valid (error is then null and node_errors those of the others), else RG_ERR_INVALID;
 *            RG_ERR_NOMEM (*answer is NULL)
 * Stricter than ComfyUI, with its own error types: a constant on an input that only takes links, NaN, a name outside a list of
 * the newer node style; and a cycle gets an error of its own (type "dependency_cycle") on the node where it closes.
 */
int rg_prompt_validate_targets(rg_env *env, rg_prompt *p, const char *const *targets, int n_targets, struct json_object **answer);
int rg_prompt_validate(rg_env *env, rg_prompt *p, struct json_object **answer);

/*
 * Everything wrong with a prompt, in lines for people, with the nearest names and where files were looked for:
 *     node 4 (KSampler), input steps: 0 is below the least allowed, 1
 * Goes on where rg_prompt_validate() stops, as ComfyUI does, at the first unknown class: names every one, and checks the rest as
 * if they could give anything. Converts constants in place, too.
 *   n_problems   how many lines; may be NULL
 *   returns      the text (rg_free() it), "" if nothing is wrong; NULL if no memory
 */
char *rg_prompt_explain(rg_env *env, rg_prompt *p, int *n_problems);

/* The same on f, each line after "FILE: "; also says so when it is only that nothing is an output (answer: from validation, or NULL). */
void rg_problems_print(rg_env *env, rg_prompt *p, struct json_object *answer, FILE *f, const char *file);

/* The graph as JSON, after conversions: for history and picture metadata. Borrowed. */
struct json_object *rg_prompt_json(const rg_prompt *p);

/* What the editor saved, for extra_pnginfo's "workflow"; NULL if the prompt came in API form and none was set. Borrowed; set: held. */
struct json_object *rg_prompt_workflow(const rg_prompt *p);
void rg_prompt_set_workflow(rg_prompt *p, struct json_object *workflow);

#endif
