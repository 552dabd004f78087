/*
 * GET /openapi.json (OpenAPI 3.1) and GET /docs, the same for people: made with each request from the table of routes, the words in
 * route_docs.h, and the endpoint files as they are now.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/json_text.h"
#include "server/route_docs.h"
#include "server/service_inside.h"

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

/* Adds v to o and returns it. */
static struct json_object *put(struct json_object *o, const char *key, struct json_object *v)
{
    json_object_object_add(o, key, v);
    return v;
}

static struct json_object *put_new(struct json_object *o, const char *key)
{
    return put(o, key, json_object_new_object());
}

static void put_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, json_object_new_string(text ? text : ""));
}

static void put_ref(struct json_object *o, const char *kind, const char *name)
{
    char text[80];

    snprintf(text, sizeof text, "#/components/%.30s/%.30s", kind, name);
    put_text(o, "$ref", text);
}

/* ---- pieces that many routes share ------------------------------------------------------------------------------------ */

static const char components[] =
    "{\"securitySchemes\": {\"key\": {\"type\": \"http\", \"scheme\": \"bearer\", \"description\": \"Only where the server was started with --api-key-file\"}},"
    "\"schemas\": {"
    "\"Error\": {\"type\": \"object\", \"required\": [\"error\", \"details\", \"type\"], \"properties\": {\"error\": {\"type\": \"string\"},"
    " \"details\": {\"type\": \"string\"}, \"type\": {\"type\": \"string\"}, \"detail\": {\"type\": \"string\"}, \"path\": {\"type\": \"string\"},"
    " \"field\": {\"type\": \"string\", \"description\": \"the parameter that is wrong or missing\"}}},"
    "\"Job\": {\"type\": \"object\", \"required\": [\"id\", \"state\", \"kind\", \"created\", \"attempts\"], \"properties\": {\"id\": {\"type\": \"string\"},"
    " \"state\": {\"enum\": [\"queued\", \"running\", \"done\", \"failed\", \"cancelled\"]}, \"kind\": {\"enum\": [\"endpoint\", \"prompt\"]},"
    " \"endpoint\": {\"type\": [\"string\", \"null\"]}, \"created\": {\"type\": \"number\", \"description\": \"seconds since 1970, as the other times\"},"
    " \"started\": {\"type\": \"number\"}, \"ended\": {\"type\": \"number\"}, \"attempts\": {\"type\": \"integer\"},"
    " \"position\": {\"type\": \"integer\", \"description\": \"how many run before it\"}, \"estimated_seconds\": {\"type\": [\"number\", \"null\"]},"
    " \"node\": {\"type\": [\"string\", \"null\"]}, \"class_type\": {\"type\": [\"string\", \"null\"]}, \"step\": {\"type\": \"integer\"},"
    " \"steps\": {\"type\": \"integer\"}, \"seed\": {\"type\": [\"integer\", \"null\"]}, \"seconds\": {\"type\": \"object\", \"properties\": {"
    "\"wait\": {\"type\": \"number\"}, \"load\": {\"type\": \"number\"}, \"compute\": {\"type\": \"number\"}}}, \"cost_usd\": {\"type\": \"number\"},"
    " \"gpu_type\": {\"type\": \"string\"}, \"outputs\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\": {"
    "\"n\": {\"type\": \"integer\"}, \"url\": {\"type\": \"string\"}}}}, \"error\": {\"type\": \"string\"}}},"
    "\"JobList\": {\"type\": \"object\", \"properties\": {\"jobs\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/components/schemas/Job\"}},"
    " \"count\": {\"type\": \"integer\"}}},"
    "\"Health\": {\"type\": \"object\", \"required\": [\"status\"], \"properties\": {\"status\": {\"type\": \"string\"}, \"app\": {\"type\": \"string\"},"
    " \"version\": {\"type\": \"string\"}, \"queued\": {\"type\": \"integer\"}, \"running\": {\"type\": \"integer\"},"
    " \"endpoints\": {\"type\": \"array\", \"items\": {\"type\": \"object\"}}}}},"
    "\"headers\": {\"Cost\": {\"description\": \"device seconds times their price\", \"schema\": {\"type\": \"number\"}},"
    " \"Seconds\": {\"description\": \"device seconds: loading and computing\", \"schema\": {\"type\": \"number\"}},"
    " \"Gpu\": {\"schema\": {\"type\": \"string\"}}, \"Model\": {\"schema\": {\"type\": \"string\"}},"
    " \"Seed\": {\"description\": \"the seed that was used\", \"schema\": {\"type\": \"integer\"}}, \"Job\": {\"schema\": {\"type\": \"string\"}},"
    " \"Ignored\": {\"description\": \"fields of the body that mean nothing\", \"schema\": {\"type\": \"string\"}},"
    " \"Retry\": {\"description\": \"seconds\", \"schema\": {\"type\": \"integer\"}}},"
    "\"responses\": {\"Picture\": {\"description\": \"the first output; a picture as format or Accept say, other files as they were saved\","
    " \"headers\": {\"X-Cost-USD\": {\"$ref\": \"#/components/headers/Cost\"}, \"X-Execution-Time-Sec\": {\"$ref\": \"#/components/headers/Seconds\"},"
    " \"X-GPU-Type\": {\"$ref\": \"#/components/headers/Gpu\"}, \"X-Model\": {\"$ref\": \"#/components/headers/Model\"},"
    " \"X-Seed\": {\"$ref\": \"#/components/headers/Seed\"}, \"X-Job-Id\": {\"$ref\": \"#/components/headers/Job\"},"
    " \"X-Ignored-Fields\": {\"$ref\": \"#/components/headers/Ignored\"}},"
    " \"content\": {\"image/jpeg\": {}, \"image/png\": {}, \"image/webp\": {}}},"
    "\"Accepted\": {\"description\": \"with Prefer: respond-async: the job, and its path in Location\", \"headers\": {"
    "\"Location\": {\"schema\": {\"type\": \"string\"}}, \"X-Job-Id\": {\"$ref\": \"#/components/headers/Job\"}},"
    " \"content\": {\"application/json\": {\"schema\": {\"$ref\": \"#/components/schemas/Job\"}}}}},"
    "\"parameters\": {\"Prefer\": {\"name\": \"Prefer\", \"in\": \"header\", \"description\": \"respond-async: answer at once with the job\","
    " \"schema\": {\"type\": \"string\"}}, \"Key\": {\"name\": \"Idempotency-Key\", \"in\": \"header\", \"description\": \"a second request with"
    " the same key does not run again\", \"schema\": {\"type\": \"string\"}}}}";

static const char *status_text(int status)
{
    switch (status) {
    case 101: return "switches to the WebSocket protocol";
    case 200: return "done";
    case 202: return "accepted";
    case 204: return "done, without a body";
    case 400: return "wrong or missing fields, or not what was wanted";
    case 401: return "no key, or an unknown one";
    case 403: return "not allowed";
    case 404: return "not there";
    case 409: return "not possible now";
    case 500: return "it failed";
    case 501: return "nodes that this program does not have";
    case 503: return "too much to do, or stopping";
    case 504: return "not ready in time";
    default:  return "see the description";
    }
}

static struct json_object *put_response(struct json_object *responses, int status)
{
    char key[8];

    snprintf(key, sizeof key, "%d", status);
    struct json_object *o = put_new(responses, key);
    put_text(o, "description", status_text(status));
    return o;
}

static void put_errors(struct json_object *responses, const char *statuses)
{
    for (const char *p = statuses; p && *p; p += strcspn(p, " "), p += *p == ' ') {
        struct json_object *o = put_response(responses, atoi(p));
        put_ref(put_new(put_new(put_new(o, "content"), "application/json"), "schema"), "schemas", "Error");
        if (atoi(p) == 503)
            put_ref(put_new(put_new(o, "headers"), "Retry-After"), "headers", "Retry");
    }
}

/* ---- the table of routes --------------------------------------------------------------------------------------------------- */

/* "/userdata/{file:.*}" -> "/userdata/{file}". */
static void clean_pattern(const char *pattern, char *out, size_t size)
{
    size_t n = 0;

    for (const char *p = pattern; *p && n + 1 < size; p++) {
        if (*p == ':')
            p += strcspn(p, "}") - 1;
        else
            out[n++] = *p;
    }
    out[n] = '\0';
}

static const route_doc *find_doc(const char *method, const char *path)
{
    for (size_t i = 0; i < sizeof route_docs / sizeof *route_docs; i++) {
        if (!strcmp(route_docs[i].method, method) && !strcmp(route_docs[i].pattern, path))
            return &route_docs[i];
    }
    return NULL;
}

static void put_path_parameters(struct json_object *list, const char *path)
{
    for (const char *p = path; (p = strchr(p, '{')); p++) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "name", json_object_new_string_len(p + 1, (int)strcspn(p + 1, "}")));
        put_text(o, "in", "path");
        put(o, "required", json_object_new_boolean(true));
        put_text(put_new(o, "schema"), "type", "string");
        json_object_array_add(list, o);
    }
}

static void put_query_parameters(struct json_object *list, const char *query)
{
    for (const char *p = query; p && *p; p += strcspn(p, " "), p += *p == ' ') {
        const int n = (int)strcspn(p, ": ");
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "name", json_object_new_string_len(p, n));
        put_text(o, "in", "query");
        put_text(put_new(o, "schema"), "type", p[n] == ':' ? "integer" : "string");
        json_object_array_add(list, o);
    }
}

static void put_body(struct json_object *operation, const char *body)
{
    struct json_object *o = put_new(operation, "requestBody"), *content = put_new(o, "content");

    if (!strcmp(body, "form")) {
        put_text(put_new(put_new(content, "multipart/form-data"), "schema"), "type", "object");
    } else if (!strcmp(body, "file")) {
        put_new(content, "application/octet-stream");
    } else {
        put_text(o, "description", body);
        put_new(put_new(content, "application/json"), "schema");
    }
}

static void put_ok(struct json_object *responses, const route_doc *doc)
{
    static const struct { const char *kind, *type; } kinds[] = {
        { "json", "application/json" }, { "text", "text/plain" }, { "html", "text/html" }, { "file", "*/*" }, { "events", "text/event-stream" },
    };
    const int status = doc && doc->status ? doc->status : 200;
    const char *kind = doc ? doc->ok : "json";

    if (!strcmp(kind, "picture")) {
        put_ref(put_new(responses, "200"), "responses", "Picture");
        put_ref(put_new(responses, "202"), "responses", "Accepted");
        return;
    }
    struct json_object *o = put_response(responses, status);
    if (isupper((unsigned char)*kind)) {
        put_ref(put_new(put_new(put_new(o, "content"), "application/json"), "schema"), "schemas", kind);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(kind, kinds[i].kind))
            put_new(put_new(o, "content"), kinds[i].type);
    }
}

/* "getJobsIdEvents" */
static void put_operation_id(struct json_object *o, const char *method, const char *path)
{
    char id[160];
    size_t n = 0;
    bool is_start = true;

    for (const char *p = method; *p && n + 1 < sizeof id; p++)
        id[n++] = (char)tolower((unsigned char)*p);
    for (const char *p = path; *p && n + 1 < sizeof id; p++) {
        if (!isalnum((unsigned char)*p)) {
            is_start = true;
            continue;
        }
        id[n++] = is_start ? (char)toupper((unsigned char)*p) : *p;
        is_start = false;
    }
    id[n] = '\0';
    put_text(o, "operationId", n > strlen(method) ? id : method[0] == 'P' ? "postRoot" : "getRoot");
}

static struct json_object *new_operation(struct json_object *paths, const char *method, const char *path, const char *tag, const char *summary)
{
    struct json_object *item = get(paths, path), *o, *tags = json_object_new_array();
    char key[8] = "";

    for (size_t i = 0; method[i] && i + 1 < sizeof key; i++)
        key[i] = (char)tolower((unsigned char)method[i]);
    o = put_new(item ? item : put_new(paths, path), key);
    json_object_array_add(tags, json_object_new_string(tag));
    put(o, "tags", tags);
    put_text(o, "summary", summary);
    put_operation_id(o, method, path);
    return o;
}

static void add_routes(rg_service *s, struct json_object *paths)
{
    const char *method, *pattern;
    int flags;

    for (int i = 0; rg_server_route_at(s->server, i, &method, &pattern, &flags); i++) {
        char path[256];
        clean_pattern(pattern, path, sizeof path);
        const route_doc *doc = find_doc(method, path);
        struct json_object *o = new_operation(paths, method, path, doc ? doc->tag : "others", doc ? doc->summary : path);
        struct json_object *parameters = json_object_new_array(), *responses;
        put_path_parameters(parameters, path);
        put_query_parameters(parameters, doc ? doc->query : NULL);
        put(o, "parameters", parameters);
        if (doc && doc->body)
            put_body(o, doc->body);
        responses = put_new(o, "responses");
        put_ok(responses, doc);
        put_errors(responses, doc ? doc->errors : NULL);
        if (flags & RG_ROUTE_OPEN)
            put(o, "security", json_object_new_array());
        if (!(flags & RG_ROUTE_NO_TWIN))
            put(o, "x-also-under-api", json_object_new_boolean(true));
    }
}

/* ---- endpoints ---------------------------------------------------------------------------------------------------------------- */

static void copy(struct json_object *to, const char *key, struct json_object *from, const char *from_key)
{
    struct json_object *v = get(from, from_key);

    if (v)
        json_object_object_add(to, key, json_object_get(v));
}

/* A parameter's row as a schema. */
static struct json_object *parameter_schema(struct json_object *row)
{
    struct json_object *o = json_object_new_object(), *replace = get(row, "replace"), *choices = get(row, "choices"), *list;
    const char *type = json_object_get_string(get(row, "type")), *about = json_object_get_string(get(row, "description"));
    const bool is_image = !strcmp(type, "image");
    rg_text t = { 0 };

    rg_text_format(&t, "%s", about ? about : is_image ? "a picture in base64, a data URL, or a file's name in the input folder" : "");
    if (get(row, "aliases"))
        rg_text_format(&t, "%salso named", t.n_bytes ? "; " : "");
    for (size_t i = 0; get(row, "aliases") && i < json_object_array_length(get(row, "aliases")); i++)
        rg_text_format(&t, "%s %s", i ? "," : "", json_object_get_string(json_object_array_get_idx(get(row, "aliases"), i)));
    if (t.n_bytes)
        put_text(o, "description", t.data);
    rg_text_release(&t);
    type = is_image ? "string" : !strcmp(type, "int") ? "integer" : !strcmp(type, "float") ? "number" : type;
    if (replace) {                      /* a text that stands for something */
        list = json_object_new_array();
        json_object_array_add(list, json_object_new_string(type));
        if (strcmp(type, "string"))
            json_object_array_add(list, json_object_new_string("string"));
        put(o, "type", list);
    } else {
        put_text(o, "type", type);
    }
    copy(o, "default", row, "default");
    copy(o, "minimum", row, "min");
    copy(o, "maximum", row, "max");
    if (choices) {
        list = put(o, "enum", json_object_new_array());
        for (size_t i = 0; i < json_object_array_length(choices); i++)
            json_object_array_add(list, json_object_get(json_object_array_get_idx(choices, i)));
        if (replace) {
            json_object_object_foreach(replace, from, to) {
                (void)to;
                json_object_array_add(list, json_object_new_string(from));
            }
        }
    }
    copy(o, "x-aliases", row, "aliases");
    return o;
}

static void add_endpoint(struct json_object *paths, const endpoint *e)
{
    struct json_object *root = json_tokener_parse(e->text), *rows = get(root, "parameters"), *one_of = get(root, "one_of"), *list;
    const char *about = json_object_get_string(get(root, "description"));
    struct json_object *o = new_operation(paths, "POST", e->route, "endpoints", about ? about : e->name);
    struct json_object *body = put_new(o, "requestBody"), *schema, *properties, *responses, *format;

    if (e->missing) {
        char *text = rg_asprintf("Answers 501: this server does not have the nodes %s", e->missing);
        put_text(o, "description", text);
        rg_free(text);
    }
    list = put(o, "parameters", json_object_new_array());
    json_object_array_add(list, json_object_new_object());
    put_ref(json_object_array_get_idx(list, 0), "parameters", "Prefer");
    json_object_array_add(list, json_object_new_object());
    put_ref(json_object_array_get_idx(list, 1), "parameters", "Key");
    put(body, "required", json_object_new_boolean(true));
    schema = put_new(put_new(put_new(body, "content"), "application/json"), "schema");
    put_text(schema, "type", "object");
    properties = put_new(schema, "properties");
    list = json_object_new_array();
    for (size_t i = 0; rows && i < json_object_array_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        const char *name = json_object_get_string(get(row, "name"));
        put(properties, name, parameter_schema(row));
        if (json_object_get_boolean(get(row, "required")))
            json_object_array_add(list, json_object_new_string(name));
    }
    if (json_object_array_length(list))
        put(schema, "required", list);
    else
        json_object_put(list);
    format = put_new(properties, "format");
    put(format, "enum", json_tokener_parse("[\"jpeg\", \"png\", \"webp\"]"));
    put_text(format, "default", "jpeg");
    put_text(put_new(properties, "metadata"), "type", "boolean");
    put(put_new(properties, "webhook"), "type", json_tokener_parse("[\"string\", \"object\"]"));
    for (size_t i = 0; one_of && i < json_object_array_length(one_of); i++) {
        struct json_object *names = json_object_array_get_idx(one_of, i), *all = get(schema, "allOf"), *any;
        if (!all)
            all = put(schema, "allOf", json_object_new_array());
        any = json_object_new_array();
        for (size_t k = 0; k < json_object_array_length(names); k++) {
            struct json_object *one = json_object_new_object(), *required = put(one, "required", json_object_new_array());
            json_object_array_add(required, json_object_get(json_object_array_get_idx(names, k)));
            json_object_array_add(any, one);
        }
        struct json_object *either = json_object_new_object();
        put(either, "anyOf", any);
        json_object_array_add(all, either);
    }
    responses = put_new(o, "responses");
    put_ref(put_new(responses, "200"), "responses", "Picture");
    put_ref(put_new(responses, "202"), "responses", "Accepted");
    put_errors(responses, "400 404 500 501 503 504");
    json_object_put(root);
}

static struct json_object *make_openapi(rg_service *s)
{
    struct json_object *o = json_object_new_object(), *info, *paths;
    endpoint **endpoints = service_endpoints(s);

    put_text(o, "openapi", "3.1.0");
    info = put_new(o, "info");
    put_text(info, "title", "rylagraph");
    put_text(info, "version", RG_VERSION);
    put_text(info, "description", "Named endpoints, jobs, and ComfyUI's API. x-also-under-api: the route also answers with /api in front.");
    put(o, "security", json_tokener_parse("[{}, {\"key\": []}]"));
    paths = put_new(o, "paths");
    for (endpoint **e = endpoints; e && *e; e++)
        add_endpoint(paths, *e);
    add_routes(s, paths);
    put(o, "components", json_tokener_parse(components));
    service_endpoints_free(endpoints);
    return o;
}

static void get_openapi(rg_request *r, void *user)
{
    rg_respond_json(r, 200, make_openapi(user));
}

/* ---- for people -------------------------------------------------------------------------------------------------------------------- */

static void html(rg_text *t, const char *text)
{
    for (const char *p = text ? text : ""; *p; p++) {
        const char *as = *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p == '&' ? "&amp;" : *p == '"' ? "&quot;" : NULL;
        if (as)
            rg_text_add(t, as);
        else
            rg_text_add_bytes(t, p, 1);
    }
}

/* A table of the body's fields, and a call to try. */
static void html_endpoint(rg_text *t, const char *path, struct json_object *operation)
{
    struct json_object *schema = get(get(get(get(operation, "requestBody"), "content"), "application/json"), "schema");
    struct json_object *properties = get(schema, "properties"), *required = get(schema, "required");

    if (!properties)
        return;
    rg_text_add(t, "<table><tr><th>field<th>type<th>default<th>range<th></tr>");
    json_object_object_foreach(properties, name, p) {
        bool is_required = false;
        for (size_t i = 0; required && i < json_object_array_length(required); i++)
            is_required |= !strcmp(json_object_get_string(json_object_array_get_idx(required, i)), name);
        rg_text_add(t, "<tr><td><code>");
        html(t, name);
        rg_text_add(t, "</code><td>");
        html(t, get(p, "enum") ? json_object_get_string(get(p, "enum")) : json_object_get_string(get(p, "type")));
        rg_text_add(t, "<td>");
        html(t, is_required ? "required" : get(p, "default") ? json_object_get_string(get(p, "default")) : "");
        rg_text_add(t, "<td>");
        if (get(p, "minimum"))
            rg_text_format(t, "from %s ", json_object_get_string(get(p, "minimum")));
        if (get(p, "maximum"))
            rg_text_format(t, "to %s", json_object_get_string(get(p, "maximum")));
        rg_text_add(t, "<td>");
        html(t, json_object_get_string(get(p, "description")));
        rg_text_add(t, "</tr>");
    }
    rg_text_add(t, "</table><pre>curl -o out.jpg http://HOST");
    html(t, path);
    rg_text_add(t, " -d '{");
    for (size_t i = 0; required && i < json_object_array_length(required); i++) {
        rg_text_add(t, i ? ", \"" : "\"");
        html(t, json_object_get_string(json_object_array_get_idx(required, i)));
        rg_text_add(t, "\": \"...\"");
    }
    rg_text_add(t, "}'</pre>");
}

static void html_operation(rg_text *t, const char *path, const char *method, struct json_object *o)
{
    const char *about = json_object_get_string(get(o, "description")), *body = json_object_get_string(get(get(o, "requestBody"), "description"));
    struct json_object *parameters = get(o, "parameters");

    rg_text_add(t, "<details><summary><b>");
    for (const char *p = method; *p; p++) {
        const char c = (char)toupper((unsigned char)*p);
        rg_text_add_bytes(t, &c, 1);
    }
    rg_text_add(t, "</b> <code>");
    html(t, path);
    rg_text_add(t, "</code> ");
    html(t, json_object_get_string(get(o, "summary")));
    rg_text_add(t, "</summary>");
    if (about) {
        rg_text_add(t, "<p>");
        html(t, about);
    }
    for (size_t i = 0, n = 0; parameters && i < json_object_array_length(parameters); i++) {
        struct json_object *p = json_object_array_get_idx(parameters, i);
        const char *in = json_object_get_string(get(p, "in"));
        if (!in || strcmp(in, "query"))
            continue;
        rg_text_format(t, "%s<code>?", n++ ? ", " : "<p>Query: ");
        html(t, json_object_get_string(get(p, "name")));
        rg_text_add(t, "=</code>");
    }
    if (body) {
        rg_text_add(t, "<p>Body: <code>");
        html(t, body);
        rg_text_add(t, "</code>");
    }
    html_endpoint(t, path, o);
    json_object_object_foreach(get(o, "responses"), status, response) {
        struct json_object *ref = get(response, "$ref");
        rg_text_format(t, "%s%s ", strcmp(status, "200") && strcmp(status, "202") && strcmp(status, "101") && strcmp(status, "204") ? "<br>" : "<p>", status);
        html(t, ref ? status_text(atoi(status)) : json_object_get_string(get(response, "description")));
    }
    rg_text_add(t, "</details>");
}

static void get_docs(rg_request *r, void *user)
{
    static const struct { const char *tag, *title; } tags[] = {
        { "endpoints", "Pictures for a few parameters" }, { "jobs", "Jobs" }, { "models", "Model files" }, { "operators", "For operators" },
        { "comfyui", "ComfyUI's API" }, { "page", "The page" }, { "others", "Others" },
    };
    struct json_object *o = make_openapi(user), *paths = get(o, "paths");
    rg_text t = { 0 };

    rg_text_add(&t, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
                "<title>rylagraph: the API</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
                "details{border-top:1px solid #8884;padding:.3em 0}summary{cursor:pointer}table{border-collapse:collapse;font-size:14px}"
                "td,th{border:1px solid #8884;padding:.2em .5em;text-align:left;vertical-align:top}pre{background:#8882;padding:.5em;overflow:auto}"
                ":root{color-scheme:light dark}</style><h1>rylagraph " RG_VERSION "</h1><p>The same for programs: "
                "<a href=\"openapi.json\">openapi.json</a>. Where keys are needed, send <code>Authorization: Bearer KEY</code>.");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        bool is_first = true;
        json_object_object_foreach(paths, path, item) {
            json_object_object_foreach(item, method, operation) {
                if (strcmp(json_object_get_string(json_object_array_get_idx(get(operation, "tags"), 0)), tags[i].tag))
                    continue;
                if (is_first)
                    rg_text_format(&t, "<h2>%s</h2>", tags[i].title);
                is_first = false;
                html_operation(&t, path, method, operation);
            }
        }
    }
    rg_text_add(&t, "</html>\n");
    json_object_put(o);
    if (t.is_failed)
        rg_respond_error(r, 500);
    else
        rg_respond(r, 200, "text/html; charset=utf-8", t.data, t.n_bytes);
    rg_text_release(&t);
}

void openapi_start(rg_service *s)
{
    rg_server_route(s->server, "GET", "/openapi.json", RG_ROUTE_WORKER | RG_ROUTE_NO_TWIN | RG_ROUTE_ENDPOINT, get_openapi, s);
    rg_server_route(s->server, "GET", "/docs", RG_ROUTE_WORKER | RG_ROUTE_NO_TWIN | RG_ROUTE_ENDPOINT, get_docs, s);
}
