/* SIGTERM: what runs may end, who waits gets an answer, nothing new is taken, what waits is there after the next start. */
#include "tests/server/client.h"

static const char *member(const char *json, const char *key)
{
    static char text[300];
    struct json_object *o = json_tokener_parse(json), *v;

    text[0] = '\0';
    if (o && json_object_object_get_ex(o, key, &v) && v)
        snprintf(text, sizeof text, "%s", json_object_get_string(v));
    json_object_put(o);
    return text;
}

/* Asks until the member says so; false after half a minute. */
static bool wait_member(int port, const char *path, const char *key, const char *wanted)
{
    for (int i = 0; i < 1500; i++) {
        answer a = get(port, path);
        const bool is_it = a.body && !strcmp(member(a.body, key), wanted);
        answer_free(&a);
        if (is_it)
            return true;
        usleep(20000);
    }
    test_fail(__FILE__, __LINE__, "%s: %s is never %s", path, key, wanted);
    return false;
}

static bool start(test_server *s, const char *grace)
{
    static char jobs[100];

    if (!*s->dir) {
        strcpy(s->dir, "/tmp/rylagraph-test-XXXXXX");
        if (!mkdtemp(s->dir))
            return false;
    }
    snprintf(jobs, sizeof jobs, "%s/jobs.db", s->dir);
    return server_start(s, 0, (const char *const[]){ "--jobs-file", jobs, "--grace", grace, "--models", getenv("RG_MODELS_DEMO"), NULL });
}

/* A synchronous call, sent; its answer is read later. */
static int begin_call(int port, const char *body)
{
    char request[500];
    const int fd = client_open(port);
    const struct timeval limit = { 90, 0 };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    snprintf(request, sizeof request, "POST /demo HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    client_send(fd, request, strlen(request));
    return fd;
}

static int wait_end(test_server *s)
{
    int status = -1;

    for (int i = 0; i < 9000; i++) {
        if (waitpid(s->pid, &status, WNOHANG) == s->pid)
            return status;
        usleep(10000);
    }
    kill(s->pid, SIGKILL);
    waitpid(s->pid, &status, 0);
    return -1;
}

TEST(what_runs_may_end)
{
    test_server s = { 0 };
    char path[120];

    if (!start(&s, "80"))
        SKIP("no program to run: RG_PROGRAM");
    const int fd = begin_call(s.port, "{\"steps\": 150, \"width\": 64, \"height\": 64}");
    wait_member(s.port, "/health", "running", "1");
    answer a = post(s.port, "/jobs", "{\"endpoint\": \"demo\", \"parameters\": {\"steps\": 1, \"width\": 64, \"height\": 64}}");
    CHECK_INT(a.status, 202);
    snprintf(path, sizeof path, "/jobs/%.80s", member(a.body, "id"));
    answer_free(&a);
    kill(s.pid, SIGTERM);
    for (int i = 0; i < 500; i++) {                         /* the signal is on its way */
        a = get(s.port, "/health");
        const int status = a.status;
        answer_free(&a);
        if (status == 503)
            break;
        usleep(1000);
    }
    a = post(s.port, "/demo", "{\"steps\": 1}");
    if (a.status) {                                         /* 0: it has ended already, on a fast machine */
        CHECK_INT(a.status, 503);
        CHECK(strstr(a.head, "Retry-After: ") && strstr(a.body, "the server is stopping"));
    }
    answer_free(&a);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 200);
    CHECK(strstr(a.head, "Content-Type: image/jpeg") && a.n > 100);
    answer_free(&a);
    close(fd);
    CHECK_INT(wait_end(&s), 0);

    CHECK(start(&s, "0"));                                  /* what waited runs now */
    wait_member(s.port, path, "state", "done");
    server_stop(&s, SIGTERM);
    server_remove(&s);
}

TEST(what_runs_too_long_is_put_back)
{
    test_server s = { 0 };
    char path[120];

    if (!start(&s, "0.2"))
        SKIP("no program to run: RG_PROGRAM");
    answer a = post(s.port, "/jobs", "{\"endpoint\": \"demo\", \"parameters\": {\"steps\": 9000}}");
    snprintf(path, sizeof path, "/jobs/%.80s", member(a.body, "id"));
    answer_free(&a);
    wait_member(s.port, path, "state", "running");
    const int fd = begin_call(s.port, "{\"steps\": 1}");     /* waits behind it */
    wait_member(s.port, "/health", "queued", "1");
    kill(s.pid, SIGTERM);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 503);
    CHECK(a.body && strstr(a.body, "the server is stopping"));
    answer_free(&a);
    close(fd);
    CHECK_INT(wait_end(&s), 0);

    CHECK(start(&s, "0"));
    wait_member(s.port, path, "state", "running");          /* again, and that was no failed try */
    CHECK(wait_member(s.port, path, "attempts", "1"));
    a = request_with(s.port, "DELETE", path, "", "", 0);
    answer_free(&a);
    wait_member(s.port, path, "state", "cancelled");
    server_stop(&s, SIGTERM);
    server_remove(&s);
}
