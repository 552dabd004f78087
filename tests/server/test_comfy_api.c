/* The server as clients meet it: HTTP's corners, a run from POST to picture, ComfyUI's shapes and order of messages. */
#include "tests/server/client.h"

static test_server server;

/* One server for most tests, started by the first and ended with the process. */
static void stop_server(void)
{
    if (server.pid) {
        server_stop(&server, SIGTERM);
        server_remove(&server);
    }
}

static int port(void)
{
    if (!server.pid) {
        if (!server_start(&server, 0, NULL))
            return 0;
        atexit(stop_server);
    }
    return server.port;
}

#define NEED_SERVER() do { if (!getenv("RG_PROGRAM")) SKIP("RG_PROGRAM is not set"); CHECK(port() > 0); if (!port()) return; } while (0)

static void check_get(const char *path, int status, const char *body)
{
    answer a = get(port(), path);

    if (a.status != status || (body && strcmp(a.body, body)))
        test_fail(__FILE__, __LINE__, "GET %s: %d %.200s; wanted %d %s", path, a.status, a.body ? a.body : "", status, body ? body : "");
    answer_free(&a);
}

static void check_post(const char *path, const char *sent, int status, const char *body)
{
    answer a = post(port(), path, sent);

    if (a.status != status || (body && strcmp(a.body, body)))
        test_fail(__FILE__, __LINE__, "POST %s %.80s: %d %.300s; wanted %d %s", path, sent, a.status, a.body ? a.body : "", status, body ? body : "");
    answer_free(&a);
}

/* The body holds the text. */
static void check_says(const char *path, const char *text)
{
    answer a = get(port(), path);

    if (a.status != 200 || !strstr(a.body, text))
        test_fail(__FILE__, __LINE__, "GET %s: %d %.400s; wanted %s in it", path, a.status, a.body ? a.body : "", text);
    answer_free(&a);
}

static const char picture[] = "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 32, \"height\": 32, \"batch_size\": 1, \"color\": %d}}, "
                              "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"%s\"}}}";

static char *graph(int color, const char *prefix)
{
    static char text[512];

    snprintf(text, sizeof text, picture, color, prefix);
    return text;
}

TEST(plain_routes)
{
    NEED_SERVER();
    check_get("/prompt", 200, "{\"exec_info\": {\"queue_remaining\": 0}}");
    check_get("/api/prompt", 200, "{\"exec_info\": {\"queue_remaining\": 0}}");
    check_get("/queue", 200, "{\"queue_running\": [], \"queue_pending\": []}");
    check_get("/features", 200, "{\"supports_preview_metadata\": true, \"max_upload_size\": 104857600}");
    check_get("/extensions", 200, "[]");
    check_get("/i18n", 200, "{}");
    check_get("/history/none", 200, "{}");
    check_get("/object_info/Nope", 200, "{}");
    check_says("/object_info/EmptyImage", "\"python_module\"");
    check_says("/system_stats", "\"comfyui_version\": \"0.3.64\"");
    check_says("/", "rylagraph");
    check_get("/models/unet", 404, NULL);
    check_get("/nope", 404, "404: Not Found");
    check_get("/queue/", 404, NULL);
    check_get("//queue", 404, NULL);
    check_get("/api/internal/files/output", 404, NULL);
    check_get("/ws", 400, NULL);
    check_get("/internal/files/x", 400, "{\"error\": \"Invalid directory type\"}");
    check_get("/history?offset=x", 500, "500 Internal Server Error\n\nServer got itself in trouble");
}

TEST(methods_and_origins)
{
    NEED_SERVER();
    answer a = request_with(port(), "PUT", "/prompt", "", "", 0);
    CHECK_INT(a.status, 405);
    CHECK_STR(a.body, "405: Method Not Allowed");
    CHECK(strstr(a.head, "Allow: GET,HEAD,POST\r\n") != NULL);
    answer_free(&a);
    a = request_with(port(), "HEAD", "/features", "", "", 0);
    CHECK_INT(a.status, 200);
    CHECK(strstr(a.head, "Content-Length: 65\r\n") != NULL);
    answer_free(&a);
    a = request_with(port(), "OPTIONS", "/nope", "", "", 0);
    CHECK_INT(a.status, 200);
    CHECK_INT(a.n, 0);
    answer_free(&a);
    a = request_with(port(), "GET", "/queue", "Origin: http://evil.com\r\n", "", 0);
    CHECK_INT(a.status, 403);
    answer_free(&a);
    a = request_with(port(), "GET", "/ws", "Origin: http://evil.com\r\n", "", 0);
    CHECK_INT(a.status, 403);
    answer_free(&a);
}

/* Several requests in one write, a body in chunks, and what is no request at all. */
TEST(connections)
{
    static const char two[] = "GET /prompt HTTP/1.1\r\nHost: x\r\n\r\nPOST /interrupt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "2\r\n{}\r\n0\r\n\r\nGET /features HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char byte;

    NEED_SERVER();
    int fd = client_open(port());
    for (size_t i = 0; i < sizeof two - 1; i += 11)     /* in small pieces */
        client_send(fd, two + i, sizeof two - 1 - i < 11 ? sizeof two - 1 - i : 11);
    for (int i = 0; i < 3; i++) {
        answer a = read_answer(fd, false);
        CHECK_INT(a.status, 200);
        answer_free(&a);
    }
    CHECK(!client_read(fd, &byte, 1));  /* closed, as it asked */
    close(fd);

    static const char *const wrong[] = { "HELO\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "GET / HTTP/9\r\n\r\n" };
    static const int statuses[] = { 400, 400, 505 };
    for (int i = 0; i < 3; i++) {
        fd = client_open(port());
        client_send(fd, wrong[i], strlen(wrong[i]));
        answer a = read_answer(fd, false);
        CHECK_INT(a.status, statuses[i]);
        answer_free(&a);
        close(fd);
    }
    fd = client_open(port());           /* larger than --max-upload-size: refused by its head */
    client_send(fd, "POST /prompt HTTP/1.1\r\nContent-Length: 104857601\r\n\r\n", 52);
    answer a = read_answer(fd, false);
    CHECK_INT(a.status, 413);
    CHECK_STR(a.body, "Maximum request body size 104857600 exceeded, actual body size 104857601");
    answer_free(&a);
    close(fd);
}

TEST(prompts_refused)
{
    NEED_SERVER();
    check_post("/prompt", "{}", 400, "{\"error\": {\"type\": \"no_prompt\", \"message\": \"No prompt provided\", \"details\": \"No prompt provided\", "
               "\"extra_info\": {}}, \"node_errors\": {}}");
    check_post("/prompt", "nonsense", 500, NULL);
    check_post("/prompt", "", 500, NULL);
    check_post("/prompt", "{\"prompt\": {}}", 400, "{\"error\": {\"type\": \"prompt_no_outputs\", \"message\": \"Prompt has no outputs\", "
               "\"details\": \"\", \"extra_info\": {}}, \"node_errors\": {}}");
    check_post("/prompt", "{\"prompt\": {\"1\": {\"inputs\": {}}}}", 400, NULL);
    check_post("/prompt", "{\"prompt\": {\"1\": {\"class_type\": \"Nope\", \"inputs\": {}}}}", 400, NULL);
    check_post("/prompt", "{\"prompt\": {\"1\": 5}}", 400, NULL);  /* ComfyUI: 500 */
    check_post("/prompt", "{\"number\": \"x\", \"prompt\": {}}", 500, NULL);
    answer a = post(port(), "/prompt", "{\"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 0, \"height\": 8, \"batch_size\": 1, "
                                       "\"color\": 0}}, \"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"x\"}}}}");
    CHECK_INT(a.status, 400);
    CHECK(strstr(a.body, "\"value_smaller_than_min\"") && strstr(a.body, "\"dependent_outputs\": [\"2\"]"));
    answer_free(&a);
}

/* POST, messages in ComfyUI's order, history, picture; again, from the cache. */
TEST(run)
{
    static const char *const wanted[] = {
        "status status execution_start execution_cached progress_state executing progress_state progress_state executing executed "
        "progress_state execution_success status end",
        "status status execution_start execution_cached executed progress_state execution_success status end",
    };
    char body[1024], types[1024], path[64];
    int opcode;
    size_t n;

    NEED_SERVER();
    const int fd = ws_open(port(), "/ws?clientId=runner");
    CHECK(fd >= 0);
    char *greeting = ws_read(fd, &opcode, &n);
    CHECK_STR(greeting, "{\"type\": \"status\", \"data\": {\"status\": {\"exec_info\": {\"queue_remaining\": 0}}, \"sid\": \"runner\"}}");
    free(greeting);
    for (int i = 0; i < 2; i++) {
        snprintf(body, sizeof body, "{\"client_id\": \"runner\", \"prompt_id\": \"run%d\", \"prompt\": %s}", i, graph(7, "run"));
        answer a = post(port(), "/prompt", body);
        CHECK_INT(a.status, 200);
        CHECK(strstr(a.body, i ? "{\"prompt_id\": \"run1\", \"number\": " : "{\"prompt_id\": \"run0\", \"number\": ") && strstr(a.body, "\"node_errors\": {}}"));
        answer_free(&a);
        ws_types_of_run(fd, types, sizeof types);
        CHECK_STR(types, wanted[i]);
        snprintf(path, sizeof path, "/history/run%d", i);
        check_says(path, "\"outputs\": {\"2\": {\"images\": [{\"filename\": \"run_00001_.png\", \"subfolder\": \"\", \"type\": \"output\"}]}}");
        check_says(path, "\"status_str\": \"success\", \"completed\": true");
        check_says(path, "\"meta\": {\"2\": {\"node_id\": \"2\", \"display_node\": \"2\", \"parent_node\": null, \"real_node_id\": \"2\"}}");
    }
    close(fd);
    answer a = get(port(), "/view?filename=run_00001_.png&rand=0.5");
    CHECK_INT(a.status, 200);
    CHECK(a.n > 8 && !memcmp(a.body, "\x89PNG", 4));
    CHECK(strstr(a.head, "Content-Type: image/png\r\n") && strstr(a.head, "Content-Disposition: filename=\"run_00001_.png\"\r\n"));
    char etag[128] = "If-None-Match: ";
    sscanf(strstr(a.head, "ETag: ") + 6, "%99s", etag + 15);
    strcat(etag, "\r\n");
    answer_free(&a);
    a = request_with(port(), "GET", "/view?filename=run_00001_.png", etag, "", 0);
    CHECK_INT(a.status, 304);
    answer_free(&a);
    a = request_with(port(), "GET", "/view?filename=run_00001_.png", "Range: bytes=1-3\r\n", "", 0);
    CHECK_INT(a.status, 206);
    CHECK_STR(a.body, "PNG");
    answer_free(&a);
    a = get(port(), "/view?filename=run_00001_.png&preview=webp;80");
    CHECK(a.status == 200 && a.n > 12 && !memcmp(a.body + 8, "WEBP", 4));
    answer_free(&a);
    check_get("/view", 404, "");
    check_get("/view?filename=..%2Frun_00001_.png", 400, "");
    check_get("/view?filename=%2Fetc%2Fpasswd", 400, "");
    check_get("/view?filename=a&type=nope", 400, "");
    check_get("/view?filename=a&subfolder=../..", 403, "");
    check_get("/view?filename=nope.png", 404, "");
    check_post("/history", "{\"delete\": [\"run0\"]}", 200, "");
    check_get("/history/run0", 200, "{}");
}

/* SaveImageWebsocket: every picture comes as PNG, in the frame that the client asked for, at every run; no file is written. */
TEST(pictures_by_socket)
{
    static const char flow[] = "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 16, \"height\": 8, \"batch_size\": 3, \"color\": 255}}, "
                               "\"2\": {\"class_type\": \"SaveImageWebsocket\", \"inputs\": {\"images\": [\"1\", 0]}}}";
    static const char about[] = "{\"node_id\": \"2\", \"prompt_id\": \"sent%d\", \"display_node_id\": \"2\", \"parent_node_id\": null, "
                                "\"real_node_id\": \"2\", \"image_type\": \"image/png\"}";
    char body[1024], wanted[400];
    int opcode;
    size_t n;

    NEED_SERVER();
    const int fd = ws_open(port(), "/ws?clientId=viewer");
    free(ws_read(fd, &opcode, &n));
    for (int i = 0; i < 3; i++) {
        int n_pictures = 0, n_steps = 0;
        bool is_over = false;

        if (i == 2) {
            const int again = ws_open(port(), "/ws?clientId=viewer");
            CHECK(dup2(again, fd) == fd);
            close(again);
            free(ws_read(fd, &opcode, &n));
            CHECK(ws_send(fd, 1, "{\"type\": \"feature_flags\", \"data\": {\"supports_preview_metadata\": true}}"));
            free(ws_read(fd, &opcode, &n));
        }
        snprintf(body, sizeof body, "{\"client_id\": \"viewer\", \"prompt_id\": \"sent%d\", \"prompt\": %s}", i, flow);
        check_post("/prompt", body, 200, NULL);
        snprintf(wanted, sizeof wanted, about, i);
        for (char *m; !is_over && (m = ws_read(fd, &opcode, &n)); free(m)) {
            is_over = opcode == 1 && strstr(m, "{\"node\": null");
            if (opcode == 1 && strstr(m, "\"type\": \"progress\"")) {
                snprintf(body, sizeof body, "{\"value\": %d, \"max\": 3, \"prompt_id\": \"sent%d\", \"node\": \"2\"}", n_steps++, i);
                CHECK(strstr(m, body) != NULL);
            }
            if (opcode != 2)
                continue;
            const size_t n_text = i == 2 ? strlen(wanted) : 0;
            n_pictures++;
            CHECK(n > 16 + n_text && !memcmp(m + 8 + n_text, "\x89PNG\r\n\x1a\n", 8));
            if (i == 2)
                CHECK(!memcmp(m, "\0\0\0\4\0\0\0", 7) && (unsigned char)m[7] == n_text && !memcmp(m + 8, wanted, n_text));
            else
                CHECK(!memcmp(m, "\0\0\0\1\0\0\0\2", 8));
        }
        CHECK(is_over);
        CHECK_INT(n_pictures, 3);
        CHECK_INT(n_steps, 3);
    }
    close(fd);
    check_says("/history/sent0", "\"outputs\": {}");
}

/* A failing node: the run ends, with ComfyUI's record of it, and the next one works. */
TEST(failing_run)
{
    char body[1024], types[1024];
    int opcode;
    size_t n;

    NEED_SERVER();
    const int fd = ws_open(port(), "/api/ws?clientId=failing");
    free(ws_read(fd, &opcode, &n));
    snprintf(body, sizeof body, "{\"extra_data\": {\"client_id\": \"failing\"}, \"prompt_id\": \"bad\", \"prompt\": %s}", graph(3, "../outside"));
    check_post("/prompt", body, 200, NULL);
    ws_types_of_run(fd, types, sizeof types);
    CHECK(strstr(types, "execution_error status end") != NULL);
    check_says("/history/bad", "\"status_str\": \"error\", \"completed\": false");
    check_says("/history/bad", "\"exception_message\": \"**** ERROR: Saving image outside the output folder is not allowed.");
    snprintf(body, sizeof body, "{\"extra_data\": null, \"client_id\": \"failing\", \"prompt_id\": 77, \"prompt\": %s}", graph(3, "fine"));
    check_post("/prompt", body, 200, NULL);
    ws_types_of_run(fd, types, sizeof types);
    CHECK(strstr(types, "execution_success status end") != NULL);
    check_says("/history/77", "\"completed\": true");
    close(fd);
}

/* A newer socket of the same id takes over; closing the old one changes nothing. Feature flags count in the first message only. */
TEST(sockets)
{
    char body[1024], types[1024];
    int opcode;
    size_t n;

    NEED_SERVER();
    const int old = ws_open(port(), "/ws?clientId=twice"), new = ws_open(port(), "/ws?clientId=twice"), other = ws_open(port(), "/ws");
    free(ws_read(old, &opcode, &n));
    free(ws_read(new, &opcode, &n));
    char *greeting = ws_read(other, &opcode, &n), *sid = strstr(greeting, "\"sid\": \"");
    CHECK(sid && strspn(sid + 8, "0123456789abcdef") == 32);
    free(greeting);
    CHECK(ws_send(other, 1, "nonsense"));
    CHECK(ws_send(other, 1, "{\"type\": \"feature_flags\", \"data\": {\"supports_preview_metadata\": true}}"));
    char *flags = ws_read(other, &opcode, &n);
    CHECK_STR(flags, "{\"type\": \"feature_flags\", \"data\": {\"supports_preview_metadata\": true, \"max_upload_size\": 104857600}}");
    free(flags);
    CHECK(ws_send(other, 9, "ping"));
    char *pong = ws_read(other, &opcode, &n);
    CHECK_INT(opcode, 10);
    CHECK_STR(pong, "ping");
    free(pong);
    CHECK(ws_send(other, 8, "\x03\xe8"));
    free(ws_read(other, &opcode, &n));
    CHECK_INT(opcode, 8);
    close(other);
    close(old);
    usleep(50000);
    snprintf(body, sizeof body, "{\"client_id\": \"twice\", \"prompt\": %s}", graph(11, "twice"));
    check_post("/prompt", body, 200, NULL);
    ws_types_of_run(new, types, sizeof types);
    CHECK(strstr(types, "execution_success status end") != NULL);
    close(new);
}

static answer upload(const char *path, const char *filename, const char *content, const char *field, const char *value)
{
    char body[1024];

    snprintf(body, sizeof body, "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"%s\"\r\n\r\n%s\r\n"
                                "--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n--B--\r\n", filename, content, field, value);
    return request_with(port(), "POST", path, "Content-Type: multipart/form-data; boundary=B\r\n", body, strlen(body));
}

TEST(uploads)
{
    static const struct { const char *filename, *content, *field, *value; int status; const char *body; } uploads[] = {
        { "u.txt", "one", "x", "", 200, "{\"name\": \"u.txt\", \"subfolder\": \"\", \"type\": \"input\"}" },
        { "u.txt", "one", "x", "", 200, "{\"name\": \"u.txt\", \"subfolder\": \"\", \"type\": \"input\"}" },
        { "u.txt", "two", "x", "", 200, "{\"name\": \"u (1).txt\", \"subfolder\": \"\", \"type\": \"input\"}" },
        { "u.txt", "two", "x", "", 200, "{\"name\": \"u (1).txt\", \"subfolder\": \"\", \"type\": \"input\"}" },
        { "u.txt", "new", "overwrite", "true", 200, "{\"name\": \"u.txt\", \"subfolder\": \"\", \"type\": \"input\"}" },
        { "u.txt", "sub", "subfolder", "s1/s2", 200, "{\"name\": \"u.txt\", \"subfolder\": \"s1/s2\", \"type\": \"input\"}" },
        { "../u.txt", "x", "x", "", 400, "" }, { "u.txt", "x", "subfolder", "../..", 400, "" }, { "", "x", "x", "", 400, "" },
        { "u.txt", "x", "type", "nope", 500, NULL },
    };

    NEED_SERVER();
    for (size_t i = 0; i < sizeof uploads / sizeof *uploads; i++) {
        answer a = upload("/upload/image", uploads[i].filename, uploads[i].content, uploads[i].field, uploads[i].value);
        CHECK_INT(a.status, uploads[i].status);
        if (uploads[i].body)
            CHECK_STR(a.body, uploads[i].body);
        answer_free(&a);
    }
    check_get("/view?filename=u.txt&type=input", 200, "new");
    check_get("/view?filename=u.txt%20[input]&subfolder=s1/s2", 200, "sub");
    check_post("/upload/image", "no form", 400, "");
}

TEST(settings_and_userdata)
{
    NEED_SERVER();
    check_get("/settings", 200, "{}");
    check_post("/settings", "{\"a\": 1}", 200, "");
    check_post("/api/settings/b", "[true]", 200, "");
    check_get("/settings", 200, "{\"a\": 1, \"b\": [true]}");
    check_get("/settings/b", 200, "[true]");
    check_get("/settings/c", 200, "null");
    check_post("/settings", "[", 500, NULL);
    check_get("/userdata", 400, "Directory not provided");
    check_get("/userdata?dir=workflows", 404, "Directory not found");
    check_get("/userdata?dir=../..", 403, "Invalid directory");
    check_post("/userdata/workflows%2Fa.json", "{}", 200, "\"workflows/a.json\"");
    check_post("/userdata/workflows%2Fa.json?overwrite=false", "{}", 409, "File already exists");
    check_post("/userdata/workflows%2Fs%252Fb.json", "B", 200, "\"workflows/s/b.json\"");
    check_get("/userdata?dir=workflows", 200, "[\"a.json\"]");
    check_get("/userdata?dir=workflows&recurse=true&split=true", 200, "[[\"a.json\", \"a.json\"], [\"s/b.json\", \"s\", \"b.json\"]]");
    check_get("/userdata/workflows%2Fs%2Fb.json", 200, "B");
    check_get("/userdata/workflows/a.json", 404, NULL);
    check_get("/userdata/..%2F..%2Fx", 403, "");
    check_post("/userdata/workflows%2Fa.json/move/c.json", "", 200, "\"c.json\"");
    check_post("/userdata/workflows%2Fa.json/move/c.json", "", 404, NULL);
    answer a = request_with(port(), "DELETE", "/userdata/c.json", "", "", 0);
    CHECK_INT(a.status, 204);
    answer_free(&a);
}

/* A killed server's port is free at once; a clean end empties the temp folder; keys and public addresses. */
TEST(starts_and_ends)
{
    test_server s = { 0 };
    char path[128];

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    CHECK(server_start(&s, 0, NULL));
    const int fd = ws_open(s.port, "/ws?clientId=x");   /* a connection that the kill cuts */
    CHECK(fd >= 0);
    server_stop(&s, SIGKILL);
    CHECK(server_start(&s, s.port, NULL));
    close(fd);
    snprintf(path, sizeof path, "%s/temp/left.png", s.dir);
    FILE *f = fopen(path, "w");
    if (f)
        fclose(f);
    const int status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(access(path, F_OK) < 0);

    const char *const public[] = { "--listen", "0.0.0.0", NULL };
    CHECK(!server_start(&s, 0, public));
    server_stop(&s, SIGKILL);
    snprintf(path, sizeof path, "%s/keys", s.dir);
    f = fopen(path, "w");
    if (f) {
        fputs("# keys\nsecret-one\nsecret-two # the second\n", f);
        fclose(f);
    }
    const char *const keyed[] = { "--listen", "0.0.0.0", "--api-key-file", path, NULL };
    CHECK(server_start(&s, 0, keyed));
    answer a = get(s.port, "/queue");
    CHECK_INT(a.status, 401);
    answer_free(&a);
    a = request_with(s.port, "GET", "/queue", "Authorization: Bearer secret-two\r\n", "", 0);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = request_with(s.port, "GET", "/queue", "Authorization: Bearer secret-tw\r\n", "", 0);
    CHECK_INT(a.status, 401);
    answer_free(&a);
    server_stop(&s, SIGTERM);

    const char *const cors[] = { "--enable-cors-header", "--max-upload-size", "0.0001", NULL };
    CHECK(server_start(&s, 0, cors));
    a = request_with(s.port, "GET", "/features", "Origin: http://evil.com\r\n", "", 0);
    CHECK(a.status == 200 && strstr(a.head, "Access-Control-Allow-Origin: *\r\n"));
    CHECK_STR(a.body, "{\"supports_preview_metadata\": true, \"max_upload_size\": 104.0}");
    answer_free(&a);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}
