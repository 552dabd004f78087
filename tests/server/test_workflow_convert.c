/* POST /workflow/convert from outside: the pairs of tests/fixtures/ui over HTTP, in every wrapping; and what it says was left out. */
#include "tests/server/client.h"

static test_server server;

static void stop_at_exit(void)
{
    if (server.pid) {
        server_stop(&server, SIGTERM);
        server_remove(&server);
    }
}

static bool start(void)
{
    if (server.pid)
        return true;
    if (!server_start(&server, 0, NULL))
        return false;
    atexit(stop_at_exit);
    return true;
}

static char *fixture(const char *name, size_t *n)
{
    char path[400];

    snprintf(path, sizeof path, "%s/ui/%s", getenv("RG_FIXTURES"), name);
    return test_read_file(path, n);
}

/* The answer's body is this JSON. */
static void check_json(const answer *a, const char *member, struct json_object *wanted, const char *what)
{
    struct json_object *got = NULL, *part = NULL;
    char error[200] = "";

    if (a->status != 200 || rg_json_read(a->body, a->n, 64, &got, error, sizeof error) < 0) {
        test_fail(__FILE__, __LINE__, "%s: %d, %.200s %s", what, a->status, a->body, error);
        return;
    }
    part = got;
    if (member)
        json_object_object_get_ex(got, member, &part);
    if (json_object_is_type(part, json_type_object)) {      /* the pairs hold no titles */
        json_object_object_foreach(part, id, node) {
            (void)id;
            json_object_object_del(node, "_meta");
        }
    }
    if (!rg_json_equal(part, wanted))
        test_fail(__FILE__, __LINE__, "%s: %.400s", what, json_object_to_json_string(part));
    json_object_put(got);
}

TEST(pairs_in_every_wrapping)
{
    static const char *const names[] = { "converted", "modes", "objects", "plain", "primitive", "reroute", "setget", "subgraph" };

    if (!start())
        SKIP("no program to run: RG_PROGRAM");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct json_object *wanted = NULL;
        char name[80], error[200];
        size_t n, n_api;

        snprintf(name, sizeof name, "%s.ui.json", names[i]);
        char *ui = fixture(name, &n);
        snprintf(name, sizeof name, "%s.api.json", names[i]);
        char *api = fixture(name, &n_api);
        CHECK(ui && api && rg_json_read(api, n_api, 64, &wanted, error, sizeof error) == 0);
        if (!ui || !api)
            return;
        answer a = post(server.port, "/workflow/convert", ui);
        check_json(&a, NULL, wanted, names[i]);
        answer_free(&a);
        a = post(server.port, "/api/workflow/convert?details=1", ui);
        check_json(&a, "prompt", wanted, names[i]);
        CHECK(strstr(a.body, "\"warnings\": ["));
        answer_free(&a);
        char *wrapped = rg_asprintf("{\"workflow\": %s}", ui);
        a = post(server.port, "/workflow/convert", wrapped);
        check_json(&a, NULL, wanted, names[i]);
        answer_free(&a);
        rg_free(wrapped);
        wrapped = rg_asprintf("--xx\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--xx\r\n"
                              "Content-Disposition: form-data; name=\"file\"; filename=\"w.json\"\r\n\r\n%s\r\n--xx--\r\n", ui);
        a = request_with(server.port, "POST", "/workflow/convert", "Content-Type: multipart/form-data; boundary=xx\r\n", wrapped, strlen(wrapped));
        check_json(&a, NULL, wanted, names[i]);
        answer_free(&a);
        rg_free(wrapped);
        a = post(server.port, "/workflow/convert", api);            /* nothing to do */
        check_json(&a, NULL, wanted, names[i]);
        answer_free(&a);
        free(ui);
        free(api);
        json_object_put(wanted);
    }
}

TEST(pictures)
{
    size_t n;

    if (!start())
        SKIP("no program to run: RG_PROGRAM");
    char *png = fixture("ztxt.png", &n);
    CHECK(png != NULL);
    answer a = request_with(server.port, "POST", "/workflow/convert", "Content-Type: image/png\r\n", png, n);
    CHECK_INT(a.status, 200);
    CHECK(strstr(a.body, "\"class_type\": \"PreviewImage\""));
    answer_free(&a);
    a = request_with(server.port, "POST", "/workflow", "Content-Type: image/png\r\n", png, n);      /* and to run it: this one cannot be */
    CHECK_INT(a.status, 400);
    CHECK(strstr(a.body, "\"field\": \"workflow\"") && strstr(a.body, "PreviewImage"));
    answer_free(&a);
    free(png);
}

TEST(what_was_left_out)
{
    if (!start())
        SKIP("no program to run: RG_PROGRAM");
    answer a = post(server.port, "/workflow/convert?details=1",
                    "{\"last_node_id\": 4, \"links\": [[9, 77, 0, 4, 0, \"IMAGE\"]], \"nodes\": ["
                    "{\"id\": 1, \"type\": \"LoadImage\", \"mode\": 2, \"widgets_values\": [\"a.png\", \"image\"]},"
                    "{\"id\": 2, \"type\": \"ImageInvert\", \"mode\": 4, \"inputs\": [{\"name\": \"image\", \"type\": \"IMAGE\", \"link\": null}]},"
                    "{\"id\": 3, \"type\": \"NoSuchNode\", \"mode\": 0, \"widgets_values\": [1, 2]},"
                    "{\"id\": 4, \"type\": \"PreviewImage\", \"mode\": 0, \"inputs\": [{\"name\": \"images\", \"type\": \"IMAGE\", \"link\": 9}]}]}");
    CHECK_INT(a.status, 200);
    CHECK(strstr(a.body, "\"node 1 (LoadImage) is muted: left out, and what only it gives\""));
    CHECK(strstr(a.body, "\"node 2 (ImageInvert) is bypassed: left out, its inputs passed on\""));
    CHECK(strstr(a.body, "\"node 3 (NoSuchNode): this program has no such class; its 2 widget values could not be named"));
    CHECK(strstr(a.body, "\"node 4 (PreviewImage), input images: its link 9 begins nowhere\""));
    answer_free(&a);
    static const char *const bad[] = { "[]", "{", "", "{\"nodes\": [1], \"links\": []}", "\x89PNG\r\n\x1a\n" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a = post(server.port, "/workflow/convert", bad[i]);
        CHECK_INT(a.status, 400);
        CHECK(strstr(a.body, "\"details\": \""));
        answer_free(&a);
    }
    a = request_with(server.port, "POST", "/workflow/convert", "Content-Type: multipart/form-data\r\n", "x", 1);
    CHECK_INT(a.status, 400);
    answer_free(&a);
}
