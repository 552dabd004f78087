/* What a node looks like on the wire: GET /object_info, and the input_config of validation errors, from the node table. */
#ifndef RG_GRAPH_OBJECT_INFO_H
#define RG_GRAPH_OBJECT_INFO_H

#include <json-c/json.h>

#include "graph/env.h"
#include "nodes/node.h"

/*
 * The options of a combo or file input as a JSON list of strings: file lists as they are on disk now, then the fixed ones.
 * NULL if no memory.
 */
struct json_object *rg_input_options(rg_env *env, const rg_input *in);

/* [type, options]: ComfyUI's two-element form, options {} when there are none. NULL if no memory. */
struct json_object *rg_input_info(rg_env *env, const rg_node *node, const rg_input *in);

/* One class, as GET /object_info has it under the class's name. NULL if no memory. */
struct json_object *rg_node_info(rg_env *env, const rg_node *node);

/* {class: info, ...}: every class, or the one named (an empty object if there is none). NULL if no memory. */
struct json_object *rg_object_info(rg_env *env, const char *class_type);

#endif
