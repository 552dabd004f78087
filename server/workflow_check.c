/* POST /workflow/check: what a workflow file holds and everything that keeps it from running, without running it. */
#include <stdlib.h>
#include <string.h>

#include "engine/media/picture.h"
#include "graph/json_text.h"
#include "graph/prompt.h"
#include "graph/suggest.h"
#include "graph/template.h"
#include "graph/ui_workflow.h"
#include "server/service_inside.h"

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static struct json_object *lines(const char *text)
{
    struct json_object *list = json_object_new_array();

    for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n')
        json_object_array_add(list, json_object_new_string_len(p, (int)strcspn(p, "\n")));
    return list;
}

static bool is_in(struct json_object *list, const char *class_type)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (!strcmp(json_object_get_string(get(json_object_array_get_idx(list, i), "class_type")), class_type))
            return true;
    }
    return false;
}

/* Classes that the node table lacks, each once, with the nearest names of those it has. */
static struct json_object *missing_nodes(struct json_object *graph)
{
    struct json_object *list = json_object_new_array();
    int n;
    const rg_node *const *table = rg_node_table(&n);
    const char **names = rg_calloc((size_t)n + 1, sizeof *names), *near[3];

    for (int i = 0; names && i < n; i++)
        names[i] = table[i]->class_type;
    json_object_object_foreach(graph, id, node) {
        struct json_object *v = get(node, "class_type"), *o, *nearest;
        const char *class_type = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
        (void)id;
        if (!names || rg_node_find(class_type) || is_in(list, class_type))
            continue;
        o = json_object_new_object();
        nearest = json_object_new_array();
        json_object_object_add(o, "class_type", json_object_new_string(class_type));
        for (int i = 0, found = rg_suggest_many(class_type, names, near, 3); i < found; i++)
            json_object_array_add(nearest, json_object_new_string(near[i]));
        json_object_object_add(o, "nearest", nearest);
        json_object_array_add(list, o);
    }
    rg_free(names);
    return list;
}

static void post_check(rg_request *r, void *user)
{
    rg_service *s = user;
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    struct json_object *json = NULL, *answer = NULL, *o;
    const char *kind = "api";
    rg_prompt *p = NULL;
    size_t n_bytes;
    const char *body = rg_request_body(r, &n_bytes);
    char *text = NULL;

    if (!c || rg_workflow_read(c, body, n_bytes, &json, NULL) < 0) {
        service_refuse(r, c ? 400 : 503, NULL, "%s", c ? c->message : "no memory for this request");
        goto done;
    }
    if (rg_picture_is(body, n_bytes)) {
        kind = "picture";
    } else if (rg_template_is(json)) {
        kind = "template";
    } else if (!get(json, "nodes")) {   /* as POST /jobs takes it */
        struct json_object *inner = get(json, "workflow") ? get(json, "workflow") : get(json, "prompt");
        if (json_object_is_type(inner, json_type_object) && !get(inner, "class_type")) {
            inner = json_object_get(inner);
            json_object_put(json);
            json = inner;
        }
    }
    if (rg_ui_is(json) && strcmp(kind, "picture"))
        kind = "editor";
    if (rg_prompt_from_json(c, rg_template_is(json) ? get(json, "graph") : json, &p) < 0) {
        service_refuse(r, 400, NULL, "%s", c->message);
        goto done;
    }
    /* as it came, before validation turns "7" into 7: what is shown is what will be sent */
    struct json_object *missing = missing_nodes(rg_prompt_json(p));
    char *graph = rg_json_dump(rg_prompt_json(p), 0);
    const int ret = rg_prompt_validate(s->options.env, p, &answer);
    text = rg_prompt_explain(s->options.env, p, NULL);
    o = json_object_new_object();
    json_object_object_add(o, "kind", json_object_new_string(kind));
    json_object_object_add(o, "valid", json_object_new_boolean(ret == 0 && json_object_array_length(missing) == 0));
    struct json_object *problems = lines(text);
    const char *message = json_object_get_string(get(get(answer, "error"), "message"));
    if (ret < 0 && json_object_array_length(problems) == 0 && message)      /* such as: nothing is an output */
        json_object_array_add(problems, json_object_new_string(message));
    json_object_object_add(o, "problems", problems);
    json_object_object_add(o, "missing_nodes", missing);
    /* put in as text: 64-bit numbers and the order of keys stay as they were */
    char *head = rg_json_dump(o, 0);
    char *all = head && graph ? rg_asprintf("%.*s, \"workflow\": %s}", (int)strlen(head) - 1, head, graph) : NULL;
    rg_respond_json_text(r, 200, all);
    rg_free(head);
    rg_free(graph);
    json_object_put(o);
done:
    rg_free(text);
    json_object_put(answer);
    json_object_put(json);
    rg_prompt_free(p);
    rg_ctx_free(c);
}

void workflow_check_start(rg_service *s)
{
    rg_server_route(s->server, "POST", "/workflow/check", RG_ROUTE_WORKER | RG_ROUTE_NO_TWIN, post_check, s);
}
