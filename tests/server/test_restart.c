/*
 * The program killed while jobs wait and run, from outside: every job that was answered with 202 is done in the end, and what was
 * done before is still served after.
 */
#include <arpa/inet.h>
#include <json-c/json.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

enum { N_ROUNDS = 6, MOST = 4000 };

static char dir[64], ids[MOST][40];
static int n_ids, port;
static pid_t server;

/* Starts the program on a free port, which it names on standard error. */
static bool start(const char *program)
{
    char jobs[100], line[300];
    int fds[2];

    snprintf(jobs, sizeof jobs, "%s/jobs.db", dir);
    if (pipe(fds) < 0)
        return false;
    server = fork();
    if (server == 0) {
        dup2(fds[1], 2);
        close(fds[0]);
        execl(program, program, "serve", "--port", "0", "--base-directory", dir, "--jobs-file", jobs, "--cpu", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    FILE *f = fdopen(fds[0], "r");
    port = 0;
    while (f && !port && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "port ");
        if (at && strstr(line, "listening"))
            port = atoi(at + 5);
    }
    if (f)
        fclose(f);                      /* it has nothing more to say; SIGPIPE is ignored there */
    return port > 0;
}

/* One request; the answer's bytes in a static buffer, "" if the server is gone. */
static const char *call(const char *method, const char *path, const char *body)
{
    static char text[200000];
    char request[2000];
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    size_t n = 0;
    ssize_t got;

    const int n_request = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                                   method, path, strlen(body), body);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 && send(fd, request, (size_t)n_request, MSG_NOSIGNAL) == n_request) {
        while (n + 1 < sizeof text && (got = recv(fd, text + n, sizeof text - n - 1, 0)) > 0)
            n += (size_t)got;
    }
    close(fd);
    text[n] = '\0';
    return text;
}

static const char *state_of(const char *id)
{
    static char state[20];
    char path[80];

    snprintf(path, sizeof path, "/jobs/%.39s", id);
    const char *at = strstr(call("GET", path, ""), "\"state\": \"");
    snprintf(state, sizeof state, "%.*s", at ? (int)strcspn(at + 10, "\"") : 0, at ? at + 10 : "");
    return state;
}

TEST(killed_program)
{
    const char *program = getenv("RG_PROGRAM");
    char body[400], command[100], path[100];
    int n_bad = 0;

    if (!program || access(program, X_OK) != 0)
        SKIP("no program to start; set RG_PROGRAM");
    snprintf(dir, sizeof dir, "/tmp/rg-restart-XXXXXX");
    CHECK(mkdtemp(dir));
    srand(3);
    for (int round = 0; round <= N_ROUNDS; round++) {
        if (!start(program)) {
            test_fail(__FILE__, __LINE__, "the program does not start");
            break;
        }
        for (int i = 0; i < n_ids && round; i++)        /* at once after the start, while it works off what waits */
            n_bad += !*state_of(ids[i]);
        if (round == N_ROUNDS)
            break;
        const int n = 10 + rand() % 40;
        for (int i = 0; i < n && n_ids < MOST; i++) {
            snprintf(body, sizeof body, "{\"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 16, \"height\": 16, "
                     "\"batch_size\": 1, \"color\": %d}}, \"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], "
                     "\"filename_prefix\": \"r\"}}}}", n_ids);
            const char *answer = call("POST", "/jobs", body), *at = strstr(answer, "\"id\": \"");
            if (strstr(answer, " 202 ") && at)
                snprintf(ids[n_ids++], sizeof ids[0], "%.*s", (int)strcspn(at + 7, "\""), at + 7);
            else
                n_bad++;
        }
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    for (int i = 0; i < n_ids && port; i++) {
        for (int k = 0; k < 500 && strcmp(state_of(ids[i]), "done"); k++)
            usleep(10000);
        n_bad += strcmp(state_of(ids[i]), "done") != 0;
        snprintf(path, sizeof path, "/jobs/%.39s/outputs/0", ids[i]);
        n_bad += !strstr(call("GET", path, ""), "image/png");
    }
    CHECK_INT(n_bad, 0);
    CHECK(n_ids >= N_ROUNDS * 10);
    printf("%d jobs accepted by %d killed programs, all done\n", n_ids, N_ROUNDS);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    CHECK(system(command) == 0);
}
