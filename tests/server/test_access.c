/*
 * Who may do what, and which files can be reached: keys and scopes on every kind of route, keys read anew, file names that try to
 * leave their folder on every route that takes one, and what a server may never say: its keys.
 */
#include "tests/server/client.h"

static const char secret[] = "CANARY-7c1d-outside-of-every-folder";

/* status of a request with a key (NULL: none). */
static int with_key(int port, const char *method, const char *path, const char *key, const char *body)
{
    char header[200] = "";

    if (key)
        snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", key);
    answer a = request_with(port, method, path, header, body, strlen(body));
    const int status = a.status;
    answer_free(&a);
    return status;
}

static void write_text(const char *dir, const char *name, const char *text, bool is_more)
{
    char path[200];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if ((f = fopen(path, is_more ? "a" : "w"))) {
        fputs(text, f);
        fclose(f);
    }
}

TEST(keys_and_scopes)
{
    static const struct { const char *method, *path, *body; int none, metrics, read, endpoints, run, models, all; } table[] = {
        { "GET", "/health", "", 200, 200, 200, 200, 200, 200, 200 },
        { "GET", "/metrics", "", 401, 200, 200, 403, 200, 403, 200 },
        { "GET", "/queue", "", 401, 403, 200, 403, 200, 403, 200 },
        { "GET", "/api/queue", "", 401, 403, 200, 403, 200, 403, 200 },
        { "GET", "/object_info/LoadImage", "", 401, 403, 200, 403, 200, 403, 200 },
        { "GET", "/view?filename=nope.png", "", 401, 403, 404, 403, 404, 403, 404 },
        { "GET", "/models", "", 401, 403, 200, 403, 200, 200, 200 },
        { "GET", "/endpoints", "", 401, 403, 200, 200, 200, 403, 200 },
        { "GET", "/jobs/nope", "", 401, 403, 404, 404, 404, 403, 404 },
        { "GET", "/jobs", "", 401, 403, 200, 403, 200, 403, 200 },
        { "GET", "/nowhere", "", 401, 403, 404, 403, 404, 403, 404 },
        { "POST", "/prompt", "{}", 401, 403, 403, 403, 400, 403, 400 },
        { "POST", "/interrupt", "{}", 401, 403, 403, 403, 200, 403, 200 },
        { "POST", "/settings", "{\"a\": 1}", 401, 403, 403, 403, 200, 403, 200 },
        { "POST", "/upload/image", "x", 401, 403, 403, 403, 400, 403, 400 },
        { "POST", "/userdata/a.txt", "x", 401, 403, 403, 403, 200, 403, 200 },
        { "DELETE", "/userdata/nope", "", 401, 403, 403, 403, 404, 403, 404 },
        { "POST", "/demo", "{\"steps\": 0}", 401, 403, 403, 400, 400, 403, 400 },
        { "POST", "/workflow", "{}", 401, 403, 403, 403, 400, 403, 400 },
        { "POST", "/jobs", "{\"endpoint\": \"demo\", \"parameters\": {\"steps\": 0}}", 401, 403, 403, 400, 400, 403, 400 },
        { "POST", "/jobs", "{\"workflow\": {}}", 401, 403, 403, 403, 400, 403, 400 },
        { "OPTIONS", "/prompt", "", 200, 200, 200, 200, 200, 200, 200 },
    };
    static const char *const keys[] = { NULL, "m-key", "r-key", "e-key", "run-key", "models-key", "all-key" };
    test_server s = { 0 };
    char path[100];

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    strcpy(s.dir, "/tmp/rylagraph-test-XXXXXX");
    CHECK(mkdtemp(s.dir) != NULL);
    write_text(s.dir, "keys", "m-key metrics\nr-key read\ne-key endpoints\nrun-key run\nmodels-key models\nall-key\n", false);
    snprintf(path, sizeof path, "%s/keys", s.dir);
    CHECK(server_start(&s, 0, (const char *const[]){ "--api-key-file", path, "--workflows", "workflows", NULL }));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int wanted[] = { table[i].none, table[i].metrics, table[i].read, table[i].endpoints, table[i].run, table[i].models, table[i].all };
        for (int k = 0; k < 7; k++) {
            const int got = with_key(s.port, table[i].method, table[i].path, keys[k], table[i].body);
            if (got != wanted[k])
                test_fail(__FILE__, __LINE__, "%s %s with %s: %d, wanted %d", table[i].method, table[i].path, keys[k] ? keys[k] : "no key", got, wanted[k]);
        }
    }
    CHECK_INT(with_key(s.port, "GET", "/queue", "run-kez", ""), 401);
    CHECK_INT(with_key(s.port, "GET", "/queue", "", ""), 401);
    CHECK(ws_open(s.port, "/ws") < 0);  /* a socket wants a key, too */

    /* a browser that asked its user: fine from the server's own pages, not from anybody else's */
    static const struct { const char *more; int status; } pages[] = {
        { "", 200 }, { "Sec-Fetch-Site: same-origin\r\n", 200 }, { "Sec-Fetch-Site: none\r\n", 200 }, { "Sec-Fetch-Site: cross-site\r\n", 401 },
        { "Sec-Fetch-Site: same-site\r\n", 401 }, { "Origin: https://evil.com\r\n", 401 }, { "Origin: null\r\n", 401 }, { "Origin: http://gpu.example:8188\r\n", 200 },
        { "Origin: http://gpu.example:9999\r\n", 401 },
    };
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        char text[600];
        const int fd = client_open(s.port);
        snprintf(text, sizeof text, "GET /queue HTTP/1.1\r\nHost: gpu.example:8188\r\nAuthorization: Basic OmFsbC1rZXk=\r\n%s\r\n", pages[i].more);
        client_send(fd, text, strlen(text));
        answer a = read_answer(fd, false);
        CHECK_INT(a.status, pages[i].status);
        CHECK(a.status != 401 || (strstr(a.head, "WWW-Authenticate: Bearer\r\n") && strstr(a.head, "WWW-Authenticate: Basic realm=\"rylagraph\"")));
        answer_free(&a);
        close(fd);
    }

    /* keys taken out and put in while it runs; a file that cannot be read changes nothing */
    write_text(s.dir, "keys", "run-key run\nnew-key\n", false);
    kill(s.pid, SIGHUP);
    int status = 0;
    for (int i = 0; i < 1000 && status != 200; i++, usleep(10000))
        status = with_key(s.port, "GET", "/queue", "new-key", "");
    CHECK_INT(status, 200);
    CHECK_INT(with_key(s.port, "GET", "/queue", "all-key", ""), 401);
    write_text(s.dir, "keys", "two words that are no key\n", false);
    kill(s.pid, SIGHUP);
    usleep(200000);
    CHECK_INT(with_key(s.port, "GET", "/queue", "new-key", ""), 200);

    /* nothing says a key: not the system's state, not what is logged */
    answer a = request_with(s.port, "GET", "/system_stats", "Authorization: Bearer new-key\r\n", "", 0);
    CHECK(a.status == 200 && !strstr(a.body, "new-key") && !strstr(a.body, "run-key"));
    answer_free(&a);
    status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    server_remove(&s);
}

/* Every route that takes a file name, and names that try to leave its folder. */
TEST(paths)
{
    static const char *const names[] = {
        "../secret.txt", "..%2fsecret.txt", "%2e%2e%2fsecret.txt", "%2e%2e/secret.txt", "..%252fsecret.txt", "%252e%252e%252fsecret.txt", "..\\secret.txt",
        "..%5csecret.txt", "%00", "x%00../secret.txt", "../secret.txt%00.png", "....//secret.txt", "./../secret.txt", "sub/../../secret.txt",
        "sub%2f..%2f..%2fsecret.txt", "/secret.txt", "%2fsecret.txt", "//secret.txt", "file:///secret.txt", "..%c0%afsecret.txt", "..%2f..%2fx%2f..%2fsecret.txt",
        "C:%5csecret.txt", "~/secret.txt", ".", "..", "%2e", "%2e%2e", "../", "secret.txt%20[output]/..", "..%2fsecret.txt%20[input]", "",
    };
    static const char *const routes[] = {
        "GET /view?filename=%s", "GET /view?filename=%s&type=input", "GET /view?filename=%s&type=temp&preview=webp", "GET /view?filename=secret.txt&subfolder=%s",
        "GET /view?filename=secret.txt&type=input&subfolder=%s", "GET /userdata/%s", "GET /userdata?dir=%s&recurse=true", "GET /v2/userdata?path=%s",
        "GET /view_metadata/loras?filename=%s", "GET /models/%s", "GET /experiment/models/%s", "GET /internal/files/%s", "GET /settings/%s", "GET /%s", "GET /scripts/%s",
        "GET /extensions/%s", "DELETE /userdata/%s", "POST /userdata/%s", "POST /userdata/mine.txt/move/%s", "POST /userdata/%s/move/mine2.txt", "GET /history/%s",
        "GET /jobs/%s/outputs/0", "GET /object_info/%s",
    };
    test_server s = { 0 };
    char root[100], www[100], user[120], link[160], text[600], name[300], absolute[120];
    int n = 0;

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    strcpy(root, "/tmp/rylagraph-test-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    write_text(root, "secret.txt", secret, false);
    snprintf(s.dir, sizeof s.dir, "%s/base", root);
    mkdir(s.dir, 0777);
    write_text(s.dir, "secret.txt", secret, false);     /* beside input, output and user */
    snprintf(www, sizeof www, "%s/www", s.dir);
    mkdir(www, 0777);
    write_text(www, "index.html", "<!doctype html>", false);
    write_text(www, "a.js", "1", false);
    snprintf(link, sizeof link, "%s/link.txt", www);
    snprintf(absolute, sizeof absolute, "%s/secret.txt", s.dir);
    CHECK(symlink(absolute, link) == 0);
    CHECK(server_start(&s, 0, (const char *const[]){ "--front-end-root", www, "--multi-user", NULL }));
    snprintf(user, sizeof user, "%s/user", s.dir);
    write_text(user, "secret.txt", secret, false);      /* beside the users' own folders */
    write_text(user, "users.json", "{\"default\": \"default\"}", false);     /* who is not in it, has no folder */
    for (size_t r = 0; r < sizeof routes / sizeof *routes; r++) {
        for (size_t i = 0; i < sizeof names / sizeof *names + 1; i++) {
            char line[700];

            snprintf(name, sizeof name, "%s", i < sizeof names / sizeof *names ? names[i] : absolute);
            const char *at = strstr(routes[r], "%s");
            snprintf(text, sizeof text, "%.*s%s%s", (int)(at - routes[r]), routes[r], name, at + 2);
            const int fd = client_open(s.port);
            snprintf(line, sizeof line, "%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil", text);
            client_send(fd, line, strlen(line));
            answer a = read_answer(fd, false);
            if (!a.status)
                test_fail(__FILE__, __LINE__, "%s: no answer", text);
            if (a.body && memmem(a.body, a.n, secret, strlen(secret)))
                test_fail(__FILE__, __LINE__, "%s: the secret came out", text);
            answer_free(&a);
            close(fd);
            n++;
        }
    }
    /* uploads, with the names in the form */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int field = 0; field < 3; field++) {
            snprintf(text, sizeof text, "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"%s\"\r\n\r\nevil\r\n--B\r\n"
                     "Content-Disposition: form-data; name=\"subfolder\"\r\n\r\n%s\r\n--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n--B--\r\n",
                     field == 0 ? names[i] : "secret.txt", field == 1 ? names[i] : "", field == 2 ? "type" : "overwrite", field == 2 ? names[i] : "true");
            answer a = request_with(s.port, "POST", "/upload/image", "Content-Type: multipart/form-data; boundary=B\r\n", text, strlen(text));
            CHECK(a.status != 0);
            answer_free(&a);
            n++;
        }
    }
    /* the folder's own files are there, the link that leads out is not */
    answer a = get(s.port, "/a.js");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = get(s.port, "/link.txt");
    CHECK_INT(a.status, 404);
    answer_free(&a);
    /* and nothing outside has changed */
    static const char *const kept[] = { "base/secret.txt", "secret.txt", "base/user/secret.txt" };
    for (int i = 0; i < 3; i++) {
        char content[100] = "";
        snprintf(text, sizeof text, "%s/%s", root, kept[i]);
        FILE *f = fopen(text, "r");
        if (f && !fgets(content, sizeof content, f))
            content[0] = '\0';
        if (f)
            fclose(f);
        CHECK_STR(content, secret);
    }
    printf("%d requests\n", n);

    /* files that clients stored are no pages of this server */
    static const char *const types[][2] = {
        { "x.html", "application/octet-stream" }, { "x.svg", "application/octet-stream" }, { "x.js", "application/octet-stream" }, { "x.xml", "application/octet-stream" },
        { "x.css", "text/css" }, { "x.json", "application/json" },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(text, sizeof text, "/userdata/%s", types[i][0]);
        CHECK_INT(with_key(s.port, "POST", text, NULL, "<script>"), 200);
        a = get(s.port, text);
        char wanted[100];
        snprintf(wanted, sizeof wanted, "Content-Type: %s\r\n", types[i][1]);
        if (!strstr(a.head, wanted) || !strstr(a.head, "X-Content-Type-Options: nosniff\r\n"))
            test_fail(__FILE__, __LINE__, "%s: %s", types[i][0], a.head);
        answer_free(&a);
    }
    const int status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    strcpy(s.dir, root);
    server_remove(&s);
}

/* Addresses that others reach want keys; a key file that is no good is a reason not to start. */
TEST(public_addresses)
{
    test_server s = { 0 };
    char path[100];

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    strcpy(s.dir, "/tmp/rylagraph-test-XXXXXX");
    CHECK(mkdtemp(s.dir) != NULL);
    static const char *const refused[] = { "0.0.0.0", "::", "127.0.0.1,0.0.0.0", "::ffff:0.0.0.0", "1270.0.0.1", "127.0.0.1.example", "localhost" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const bool has_started = server_start(&s, 0, (const char *const[]){ "--listen", refused[i], NULL });
        if (has_started)
            test_fail(__FILE__, __LINE__, "--listen %s started without keys", refused[i]);
        const int status = server_stop(&s, SIGKILL);
        CHECK(has_started || (WIFEXITED(status) && WEXITSTATUS(status) != 0));
    }
    CHECK(!server_start(&s, 0, (const char *const[]){ "--listen", NULL }));    /* all addresses, as ComfyUI's flag says */
    server_stop(&s, SIGKILL);
    static const char *const files[] = { "", "# only words\n", "two words\n", "k\xc3\xa4se\n" };
    snprintf(path, sizeof path, "%s/keys", s.dir);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_text(s.dir, "keys", files[i], false);
        CHECK(!server_start(&s, 0, (const char *const[]){ "--api-key-file", path, NULL }));
        server_stop(&s, SIGKILL);
    }
    CHECK(!server_start(&s, 0, (const char *const[]){ "--api-key-file", "/nowhere/keys", NULL }));
    server_stop(&s, SIGKILL);
    server_remove(&s);
}
