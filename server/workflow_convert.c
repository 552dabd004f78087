/*
 * POST /workflow/convert: what the editor saves, made into the prompt that its page would send. The bare graph is the answer, as
 * from the extension of that name whose clients post there; ?details=1 wraps it and tells what was left out.
 */
#include <string.h>
#include <strings.h>

#include "engine/media/picture.h"
#include "graph/json_text.h"
#include "graph/prompt.h"
#include "graph/template.h"
#include "graph/ui_workflow.h"
#include "server/service_inside.h"

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

int service_read_workflow(rg_ctx *c, rg_request *r, struct json_object **json)
{
    const char *type = rg_request_header(r, "content-type"), *body;
    struct json_object *inner;
    size_t n_bytes, at = 0;
    rg_part part;
    int ret = RG_ERR_FORMAT, more = -1;

    *json = NULL;
    body = rg_request_body(r, &n_bytes);
    if (type && !strncasecmp(type, "multipart/form-data", 19)) {
        while (ret < 0 && (more = rg_multipart_next(type, body, n_bytes, &at, &part)) == 1) {
            rg_ctx_reset(c);
            ret = rg_workflow_read(c, part.bytes, part.n_bytes, json, NULL);    /* the first part that holds one */
            rg_part_release(&part);
        }
        if (ret < 0 && !c->error)
            ret = rg_fail(c, RG_ERR_FORMAT, more < 0 ? "a malformed form" : "a form without a file");
    } else {
        ret = rg_workflow_read(c, body, n_bytes, json, NULL);
    }
    if (ret < 0)
        return ret;
    if (rg_template_is(*json))
        inner = get(*json, "graph");
    else if (rg_ui_is(*json))
        return 0;
    else                                /* a graph may have nodes of those ids; what is wrapped has no class of its own */
        inner = get(*json, "workflow") ? get(*json, "workflow") : get(*json, "prompt");
    if (json_object_is_type(inner, json_type_object) && !get(inner, "class_type")) {
        inner = json_object_get(inner);
        json_object_put(*json);
        *json = inner;
    }
    return 0;
}

static void post_convert(rg_request *r, void *user)
{
    const char *details = rg_request_query(r, "details");
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    struct json_object *json = NULL, *warnings = NULL, *o = NULL;
    rg_prompt *p = NULL;
    char *text = NULL, *head = NULL;

    (void)user;
    if (!c || service_read_workflow(c, r, &json) < 0 || rg_prompt_from_json(c, json, &p) < 0) {
        service_refuse(r, c && c->error != RG_ERR_NOMEM ? 400 : 503, NULL, "%s", c ? c->message : "no memory for this request");
        goto done;
    }
    text = rg_json_dump(rg_prompt_json(p), 0);          /* as text, so that 64-bit numbers and the order of keys stay as they were */
    if (details && !strcmp(details, "1")) {
        warnings = rg_ui_is(json) ? rg_ui_warnings(c, json) : json_object_new_array();
        o = json_object_new_object();
        json_object_object_add(o, "warnings", warnings);
        if ((head = rg_json_dump(o, 0)) && text) {
            char *all = rg_asprintf("{\"prompt\": %s, %s", text, head + 1);
            rg_free(text);
            text = all;
        }
    }
    if (text) {
        rg_respond_json_text(r, 200, text);
        text = NULL;
    } else {
        service_refuse(r, 503, NULL, "no memory for this request");
    }
done:
    rg_free(head);
    rg_free(text);
    json_object_put(o);
    json_object_put(json);
    rg_prompt_free(p);
    rg_ctx_free(c);
}

void workflow_convert_start(rg_service *s)
{
    rg_server_route(s->server, "POST", "/workflow/convert", RG_ROUTE_WORKER, post_convert, s);
}
