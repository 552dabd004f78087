/* GET /openapi.json against what it describes: the table of routes, and the endpoint files. */
#include "tests/server/client.h"
#include "tests/server/whole.h"

static struct json_object *get_member(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static struct json_object *fetch(int port, const char *path)
{
    answer a = get(port, path);
    struct json_object *o = NULL;
    char error[200] = "";

    CHECK_INT(a.status, 200);
    if (rg_json_read(a.body, a.n, 64, &o, error, sizeof error) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", path, error);
    answer_free(&a);
    return o;
}

static void lower(const char *text, char *out)
{
    while (*text)
        *out++ = (char)(*text++ | 32);
    *out = '\0';
}

static bool is_in(struct json_object *list, const char *text)
{
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), text))
            return true;
    }
    return false;
}

TEST(every_route_is_described)
{
    whole_server w;
    const char *method, *pattern;
    int flags, n = 0;

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20 }, 0));
    struct json_object *o = fetch(w.port, "/openapi.json"), *paths = get_member(o, "paths");
    CHECK_STR(json_object_get_string(get_member(o, "openapi")), "3.1.0");
    for (; rg_server_route_at(w.server, n, &method, &pattern, &flags); n++) {
        char key[16], path[200];
        snprintf(path, sizeof path, "%s", pattern);
        char *rest = strstr(path, ":.*}");
        if (rest)
            memmove(rest, rest + 3, strlen(rest + 3) + 1);
        lower(method, key);
        struct json_object *operation = get_member(get_member(paths, path), key);
        if (!operation)
            test_fail(__FILE__, __LINE__, "%s %s is not in it", method, path);
        else if (!strcmp(json_object_get_string(get_member(operation, "summary")), path))
            test_fail(__FILE__, __LINE__, "%s %s: server/route_docs.h has no words for it", method, path);
    }
    CHECK(n > 50);
    answer a = get(w.port, "/docs");
    CHECK_INT(a.status, 200);
    CHECK(strstr(a.head, "text/html") && strstr(a.body, "<code>/blank</code>") && strstr(a.body, "<code>/history/{prompt_id}</code>"));
    CHECK(!strstr(a.body, "<script") && !strstr(a.body, "src=") && !strstr(a.body, "<link"));
    answer_free(&a);
    json_object_put(o);
    whole_stop(&w);
}

/* What a call may send, by the description, is what the file says. */
static void check_endpoint(struct json_object *paths, const char *file)
{
    struct json_object *t = json_object_from_file(file), *rows = get_member(t, "parameters");
    const char *route = json_object_get_string(get_member(t, "route"));
    char *path = route ? rg_strdup(route) : rg_asprintf("/%s", json_object_get_string(get_member(t, "name")));
    struct json_object *operation = get_member(get_member(paths, path), "post"), *body = get_member(operation, "requestBody");
    struct json_object *schema = get_member(get_member(get_member(body, "content"), "application/json"), "schema");
    struct json_object *properties = get_member(schema, "properties"), *required = get_member(schema, "required");
    int n_required = 0;

    if (!t || !properties)
        test_fail(__FILE__, __LINE__, "%s: nothing of %s", file, path);
    for (size_t i = 0; rows && properties && i < json_object_array_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        const char *name = json_object_get_string(get_member(row, "name")), *type = json_object_get_string(get_member(row, "type"));
        struct json_object *p = get_member(properties, name), *given = get_member(p, "type");
        const char *wanted = !strcmp(type, "int") ? "integer" : !strcmp(type, "float") ? "number" : !strcmp(type, "image") ? "string" : type;
        const bool is_required = json_object_get_boolean(get_member(row, "required"));
        if (!p || (json_object_is_type(given, json_type_array) ? !is_in(given, wanted) : strcmp(json_object_get_string(given), wanted) != 0))
            test_fail(__FILE__, __LINE__, "%s: %s is %s", file, name, json_object_to_json_string(p));
        if (!rg_json_equal(get_member(p, "minimum"), get_member(row, "min")) || !rg_json_equal(get_member(p, "maximum"), get_member(row, "max")) ||
            !rg_json_equal(get_member(p, "default"), get_member(row, "default")))
            test_fail(__FILE__, __LINE__, "%s: %s has another range or default: %s", file, name, json_object_to_json_string(p));
        if (is_required != is_in(required, name))
            test_fail(__FILE__, __LINE__, "%s: %s is%s required", file, name, is_required ? "" : " not");
        n_required += is_required;
        struct json_object *choices = get_member(row, "choices");
        for (size_t k = 0; choices && k < json_object_array_length(choices); k++)
            CHECK(is_in(get_member(p, "enum"), json_object_get_string(json_object_array_get_idx(choices, k))));
    }
    if (properties)
        CHECK_INT(json_object_object_length(properties), (int)json_object_array_length(rows) + 3);   /* format, metadata, webhook */
    CHECK_INT(required ? (int)json_object_array_length(required) : 0, n_required);
    rg_free(path);
    json_object_put(t);
}

TEST(endpoints_agree_with_their_files)
{
    static const char *const files[] = { "demo", "flux", "flux-dev", "flux-lora", "flux-instantid", "seedvr2", "wan2" };
    test_server server = { 0 };

    if (access("workflows/demo.json", R_OK) < 0 || !server_start(&server, 0, (const char *const[]){ "--workflows", "workflows", NULL }))
        SKIP("no program to run: RG_PROGRAM; or not in the source folder");
    struct json_object *o = fetch(server.port, "/openapi.json"), *paths = get_member(o, "paths");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[80];
        snprintf(path, sizeof path, "workflows/%s.json", files[i]);
        check_endpoint(paths, path);
    }
    /* and what it describes is there: none of the plain GETs is unknown to the server */
    json_object_object_foreach(paths, path, item) {
        if (!get_member(item, "get") || strchr(path, '{') || !strcmp(path, "/ws") || !strcmp(path, "/view"))
            continue;
        answer a = get(server.port, path);
        if (!a.status || a.status == 405 || a.status == 404)
            test_fail(__FILE__, __LINE__, "GET %s: %d", path, a.status);
        answer_free(&a);
    }
    json_object_put(o);
    server_stop(&server, SIGTERM);
    server_remove(&server);
}
