/*
 * What is told to many, or often: progress_state of long runs and the status of a busy queue. Some messages are left out there; these
 * tests hold what is left to its promises: the latest state always comes, in time, and everything stays in proportion.
 */
#include "tests/server/client.h"

enum { N_NODES = 300, N_WATCHERS = 120, N_JOBS = 100 };

static bool is_type(const char *text, const char *type)
{
    char head[64];

    snprintf(head, sizeof head, "{\"type\": \"%s\"", type);
    return !strncmp(text, head, strlen(head));
}

/* A chain of n nodes as the body of POST /prompt; free() it. */
static char *chain(int n, int value, const char *client)
{
    char *body = malloc((size_t)n * 100 + 300), *p = body;

    p += sprintf(p, "{\"prompt\": {\"1\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": %d}}", value);
    for (int i = 2; i < n; i++)
        p += sprintf(p, ", \"%d\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": [\"%d\", 0]}}", i, i - 1);
    p += sprintf(p, ", \"%d\": {\"class_type\": \"PreviewAny\", \"inputs\": {\"source\": [\"%d\", 0]}}}", n, n - 1);
    sprintf(p, client ? ", \"client_id\": \"%s\"}" : "}", client);
    return body;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

TEST(long_run)
{
    test_server s = { 0 };
    size_t n, n_bytes = 0;
    int opcode, n_states = 0, n_executing = 0, n_after = 0;
    char *last = NULL;

    if (!server_start(&s, 0, NULL))
        SKIP("no program to start; set RG_PROGRAM");
    const int ws = ws_open(s.port, "/ws?clientId=me");
    char *body = chain(N_NODES, 7, "me");
    answer a = post(s.port, "/prompt", body);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    free(body);
    bool is_over = false;
    bool is_last = false;
    for (char *text; !is_last && (text = ws_read(ws, &opcode, &n)); free(text)) {
        if (is_type(text, "progress_state")) {
            n_states++;
            n_bytes += n;
            n_after += is_over;
            free(last);
            last = strdup(text);
        }
        is_over |= is_type(text, "execution_success");
        n_executing += is_type(text, "executing");
        is_last = is_type(text, "executing") && strstr(text, "\"node\": null");
    }
    CHECK_INT(n_executing, N_NODES + 1);        /* of these none is left out */
    CHECK(n_states >= 2 && n_states < 2 * N_NODES);
    CHECK(n_bytes < 2u << 20);                  /* all of them would be 18 MB */
    CHECK_INT(n_after, 0);
    CHECK_INT(count(last ? last : "", "\"state\": \"finished\""), N_NODES);
    CHECK_INT(count(last ? last : "", "\"state\": \"running\""), 0);
    printf("%d states, %zu bytes\n", n_states, n_bytes);
    free(last);
    close(ws);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}

/* While a node takes long, the state that was left out before it comes by itself: it is shown as running. */
TEST(late_state)
{
    test_server s = { 0 };
    char pack[300], *body = chain(N_NODES, 8, NULL), *more;
    const char *build = getenv("RG_PROGRAM"), *arguments[] = { "--nodes", pack, NULL };
    size_t n;
    int opcode;
    bool is_shown = false;

    snprintf(pack, sizeof pack, "%.*stesting_pack.so", build ? (int)(strrchr(build, '/') + 1 - build) : 0, build ? build : "");
    if (access(pack, R_OK) < 0 || !server_start(&s, 0, arguments))
        SKIP("no program to start, or no testing pack; set RG_PROGRAM");
    /* the last node waits for half a second */
    char *end = strstr(body, "}}}");
    end[2] = '\0';
    more = malloc(strlen(body) + 400);
    sprintf(more, "%s, \"slow\": {\"class_type\": \"TestSleep\", \"inputs\": {\"value\": [\"%d\", 0], \"seconds\": 0.5}}, \"out\": "
                  "{\"class_type\": \"PreviewAny\", \"inputs\": {\"source\": [\"slow\", 0]}}}, \"client_id\": \"me\"}", body, N_NODES - 1);
    const int ws = ws_open(s.port, "/ws?clientId=me");
    answer a = post(s.port, "/prompt", more);
    if (a.status != 200)
        test_fail(__FILE__, __LINE__, "%d %.300s", a.status, a.body);
    answer_free(&a);
    bool is_last = false;
    for (char *text; !is_last && (text = ws_read(ws, &opcode, &n)); free(text)) {
        const char *at = is_type(text, "progress_state") ? strstr(text, "\"slow\": {") : NULL;
        is_shown |= at && strstr(at, "\"state\": \"running\"");
        is_last = is_type(text, "executing") && strstr(text, "\"node\": null");
    }
    CHECK(is_shown);
    free(more);
    free(body);
    close(ws);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}

/* The number at the end of a status; -1: the text is something else. */
static int remaining(const char *text)
{
    const char *at = is_type(text, "status") ? strstr(text, "\"queue_remaining\": ") : NULL;

    return at ? atoi(at + 19) : -1;
}

TEST(busy_queue)
{
    test_server s = { 0 };
    int watchers[N_WATCHERS], opcode, n_own = 0, n_ended = 0, n_wrong = 0, most = 0;
    size_t n;
    char path[64];

    if (!server_start(&s, 0, NULL))
        SKIP("no program to start; set RG_PROGRAM");
    for (int i = 0; i < N_WATCHERS; i++) {
        snprintf(path, sizeof path, "/ws?clientId=w%d", i);
        watchers[i] = ws_open(s.port, path);
    }
    const int own = ws_open(s.port, "/ws?clientId=own"), deaf = ws_open(s.port, "/ws?clientId=deaf");
    for (int i = 0; i < N_JOBS; i++) {
        char *body = chain(5, i, "own");
        answer a = post(s.port, "/prompt", body);
        n_wrong += a.status != 200;
        answer_free(&a);
        free(body);
    }
    CHECK_INT(n_wrong, 0);
    for (char *text; n_ended < N_JOBS && (text = ws_read(own, &opcode, &n)); free(text)) {
        n_own += remaining(text) >= 0;
        n_ended += is_type(text, "executing") && strstr(text, "\"node\": null");
    }
    CHECK(n_own >= 1 + 3 * N_JOBS);     /* the greeting, and three for each job of its own */
    /* the oldest socket is the last one of each round: when it has heard of an empty queue and nothing follows, all have */
    int left = -1;
    struct pollfd oldest = { watchers[0], POLLIN, 0 };
    for (char *text; poll(&oldest, 1, left == 0 ? 500 : 20000) == 1 && (text = ws_read(watchers[0], &opcode, &n)); free(text)) {
        left = remaining(text);
        most++;
    }
    n_wrong = left != 0;
    for (int i = 1; i < N_WATCHERS; i++) {
        struct pollfd p = { watchers[i], POLLIN, 0 };
        left = -1;
        for (char *text; poll(&p, 1, 0) == 1 && (text = ws_read(watchers[i], &opcode, &n)); free(text))
            left = remaining(text);
        n_wrong += left != 0;
    }
    CHECK_INT(n_wrong, 0);
    CHECK(most < 3 * N_JOBS);
    printf("own client: %d statuses, the others %d\n", n_own, most);
    close(own);
    close(deaf);
    for (int i = 0; i < N_WATCHERS; i++)
        close(watchers[i]);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}
