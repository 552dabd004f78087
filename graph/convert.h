/* Constants as ComfyUI reads them: Python's int(), float(), str() and bool() on a JSON value, with Python's words on failure. */
#ifndef RG_GRAPH_CONVERT_H
#define RG_GRAPH_CONVERT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * All give a new json object in *out (the caller's), or leave it alone and put the exception's text into why.
 *   returns  0, RG_ERR_INVALID, RG_ERR_NOMEM
 */
int graph_to_int(struct json_object *v, struct json_object **out, char *why, size_t why_size);
int graph_to_float(struct json_object *v, struct json_object **out, char *why, size_t why_size);
int graph_to_string(struct json_object *v, struct json_object **out);
int graph_to_boolean(struct json_object *v, struct json_object **out);

#endif
