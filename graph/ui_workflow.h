/*
 * Workflows as ComfyUI's editor saves them ("nodes" and "links"), made into the API form that its web page would send. What is
 * accepted and how each kind of node is resolved: docs/workflows.md. Also workflows that pictures carry.
 */
#ifndef RG_GRAPH_UI_WORKFLOW_H
#define RG_GRAPH_UI_WORKFLOW_H

#include <json-c/json.h>

#include "engine/core/ctx.h"

/* Is it the editor's form? */
bool rg_ui_is(struct json_object *json);

/*
 * The prompt ("API JSON") of an editor's workflow, by the rules of ComfyUI's front end 1.27.10 and by this program's node table.
 * Nodes of unknown classes keep their links; their widgets' values, which only their class could name, go to "_meta".
 *   *api     a new json object, the caller's; it may share values with ui
 *   errors   RG_ERR_INVALID (links in a circle, a subgraph inside itself, two nodes of one id, too many nodes), RG_ERR_NOMEM
 */
int rg_ui_to_api(rg_ctx *c, struct json_object *ui, struct json_object **api);

/*
 * What is not in that prompt though the file has it, as texts for people in a new list, the caller's: muted and bypassed nodes, values
 * that could not be named, links from nodes that are not there. NULL if no memory, or if it cannot be made into a prompt at all.
 */
struct json_object *rg_ui_warnings(rg_ctx *c, struct json_object *ui);

/*
 * A workflow from a file's bytes: JSON text, or a PNG, WebP or JPEG picture that carries one ("prompt" before "workflow").
 *   *json    API form, editor's form, a template or whatever else the text is; the caller's
 *   *ui      the editor's form that lies beside it in a picture, or NULL; the caller's; may be asked for by NULL
 *   errors   RG_ERR_FORMAT (not JSON; a picture without a workflow), RG_ERR_NOMEM
 */
int rg_workflow_read(rg_ctx *c, const void *bytes, size_t n_bytes, struct json_object **json, struct json_object **ui);

#endif
