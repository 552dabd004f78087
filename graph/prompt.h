/*
 * A workflow in API form, parsed: nodes in file order, each with its inputs as constants or links. Knows the node table by
 * descriptors only.
 *
 * The life of a prompt: rg_prompt_parse() -> rg_prompt_validate() -> rg_execute() (execute.h) -> rg_prompt_free().
 */
#ifndef RG_GRAPH_PROMPT_H
#define RG_GRAPH_PROMPT_H

#include <stdio.h>

#include <json-c/json.h>

#include "engine/core/ctx.h"
#include "nodes/node.h"

typedef struct rg_prompt rg_prompt;

/*
 * Parse API JSON ({"id": {"class_type", "inputs"}, ...}). Integers keep 64 bits, order is the file's.
 *   errors   RG_ERR_FORMAT: not JSON (line, column), nested deeper than 64, not an object of nodes; RG_ERR_NOMEM
 */
int rg_prompt_parse(rg_ctx *c, const char *text, size_t n_bytes, rg_prompt **out);

/* The two halves of it: text to JSON under those limits (*out is the caller's: json_object_put()), and JSON to a prompt (which copies). */
int rg_json_parse(rg_ctx *c, const char *text, size_t n_bytes, struct json_object **out);
int rg_prompt_from_json(rg_ctx *c, struct json_object *root, rg_prompt **out);
void rg_prompt_free(rg_prompt *p);

/* Replace one input by a JSON value (`--set 8.seed=7`); the value text is parsed as JSON, or taken as a string if it is none. */
int rg_prompt_set(rg_ctx *c, rg_prompt *p, const char *node_id, const char *input, const char *value);

/*
 * Check everything against the node table, collect every error, convert constants in place.
 *   answer   the body a ComfyUI server would send: {"error": {...}, "node_errors": {...}}; a new json object, the caller's
 *   returns  0 when at least one output is valid (answer then has the other outputs' node_errors), else RG_ERR_INVALID
 */
int rg_prompt_validate(rg_env *env, rg_prompt *p, struct json_object **answer);

/*
 * The same answer for people, on f: one line per problem, "FILE: node 4 (KSampler): steps: ...", with the nearest class for an
 * unknown one and folders searched and nearest names for a missing file.
 */
void rg_problems_print(rg_env *env, const rg_prompt *p, struct json_object *answer, FILE *f, const char *file);

/* The graph as JSON, after conversions: for history and picture metadata. Borrowed. */
struct json_object *rg_prompt_json(const rg_prompt *p);

#endif
