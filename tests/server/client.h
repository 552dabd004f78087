/*
 * A server in a process of its own, and a client made of plain sockets: what the black-box tests of server/ share. Every wait has
 * a limit, so that a server that hangs fails a test instead of stopping it.
 */
#ifndef RG_TESTS_SERVER_CLIENT_H
#define RG_TESTS_SERVER_CLIENT_H

#pragma GCC diagnostic ignored "-Wunused-function"      /* each test uses some of these */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "graph/json_text.h"
#include "tests/test.h"

typedef struct test_server {
    pid_t pid;
    int port;
    char dir[64];                       /* its --base-directory */
} test_server;

/* `rylagraph serve` in dir (empty: a new one), with up to 8 more arguments. False: the test is to be skipped or has failed. */
static bool server_start(test_server *s, int port, const char *const *more)
{
    const char *program = getenv("RG_PROGRAM");
    char port_text[16], line[512];
    const char *argv[24] = { program, "serve", "--base-directory", s->dir, "--port", port_text, "--cpu" };
    int out[2], n = 7;

    if (!program || access(program, X_OK) < 0)
        return false;
    if (!*s->dir) {
        strcpy(s->dir, "/tmp/rylagraph-test-XXXXXX");
        if (!mkdtemp(s->dir))
            return false;
    }
    snprintf(port_text, sizeof port_text, "%d", port);
    for (int i = 0; more && more[i] && n < 23; i++)
        argv[n++] = more[i];
    if (pipe(out) < 0)
        return false;
    s->pid = fork();
    if (s->pid == 0) {
        dup2(out[1], 2);
        close(out[0]);
        close(out[1]);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    close(out[1]);
    size_t got = 0;
    s->port = 0;
    while (got + 1 < sizeof line) {     /* it says where it listens */
        struct pollfd p = { out[0], POLLIN, 0 };
        const ssize_t k = poll(&p, 1, 20000) == 1 ? read(out[0], line + got, sizeof line - 1 - got) : -1;
        if (k <= 0)
            break;
        line[got += (size_t)k] = '\0';
        const char *at = strstr(line, "port ");
        if (at && strchr(at, '\n')) {
            s->port = atoi(at + 5);
            break;
        }
    }
    line[got] = '\0';
    if (!s->port)
        fprintf(stderr, "server says: %s\n", line);
    /* the pipe stays open (and unread): what it says later must find a reader's end */
    return s->port != 0;
}

/* End it by a signal; returns waitpid()'s status, or -1 after ten seconds. */
static int server_stop(test_server *s, int signal)
{
    int status = -1;

    kill(s->pid, signal);
    for (int i = 0; i < 1000; i++) {
        if (waitpid(s->pid, &status, WNOHANG) == s->pid)
            return status;
        usleep(10000);
    }
    kill(s->pid, SIGKILL);
    waitpid(s->pid, &status, 0);
    return -1;
}

static void server_remove(test_server *s)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", s->dir);
    if (strncmp(s->dir, "/tmp/rylagraph-test-", 20) == 0 && system(command) != 0)
        fprintf(stderr, "%s stays\n", s->dir);
    s->dir[0] = '\0';
}

static int client_open(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct timeval limit = { 20, 0 };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool client_send(int fd, const void *bytes, size_t n)
{
    for (size_t at = 0; at < n; ) {
        const ssize_t k = send(fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}

/* n bytes exactly. */
static bool client_read(int fd, void *bytes, size_t n)
{
    for (size_t at = 0; at < n; ) {
        const ssize_t k = recv(fd, (char *)bytes + at, n - at, 0);
        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}

typedef struct answer {
    int status;                         /* 0: none came */
    char head[4096];
    char *body;
    size_t n;
} answer;

static void answer_free(answer *a)
{
    free(a->body);
    a->body = NULL;
}

/* The next answer on a connection; is_head: it has no body. */
static answer read_answer(int fd, bool is_head)
{
    answer a = { .body = calloc(1, 1) };
    size_t n = 0;
    const char *length;

    while (n + 1 < sizeof a.head && client_read(fd, a.head + n, 1)) {
        a.head[++n] = '\0';
        if (n >= 4 && !strcmp(a.head + n - 4, "\r\n\r\n"))
            break;
    }
    if (sscanf(a.head, "HTTP/1.1 %d", &a.status) != 1)
        return a;
    length = strcasestr(a.head, "\r\nContent-Length: ");
    if (length && !is_head && a.status != 304) {
        a.n = (size_t)strtoull(length + 18, NULL, 10);
        free(a.body);
        a.body = calloc(1, a.n + 1);
        if (!client_read(fd, a.body, a.n))
            a.status = 0;
    }
    return a;
}

/* One request on a connection of its own. headers: "Name: value\r\n"... or "". */
static answer request_with(int port, const char *method, const char *path, const char *headers, const void *body, size_t n)
{
    char head[4096];
    const int fd = client_open(port);
    answer a = { 0 };

    if (fd < 0)
        return a;
    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sContent-Length: %zu\r\n\r\n", method, path, port, headers, n);
    if (client_send(fd, head, strlen(head)))
        client_send(fd, body, n);
    a = read_answer(fd, !strcmp(method, "HEAD"));
    close(fd);
    return a;
}

static answer get(int port, const char *path)
{
    return request_with(port, "GET", path, "", "", 0);
}

static answer post(int port, const char *path, const char *body)
{
    return request_with(port, "POST", path, "", body, strlen(body));
}

/* ---- WebSocket ------------------------------------------------------------------------------------------------------------- */

__attribute__((unused)) static int ws_open(int port, const char *path)
{
    char head[512];
    const int fd = client_open(port);

    snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path);
    if (fd < 0 || !client_send(fd, head, strlen(head)))
        return -1;
    answer a = read_answer(fd, true);
    const bool is_good = a.status == 101 && strstr(a.head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");   /* the answer RFC 6455 gives */
    answer_free(&a);
    if (is_good)
        return fd;
    close(fd);
    return -1;
}

/* The next frame: its payload (free() it), NUL-terminated; *opcode 1 text, 2 binary. NULL: closed, or nothing came in time. */
__attribute__((unused)) static char *ws_read(int fd, int *opcode, size_t *n)
{
    unsigned char h[10];
    char *bytes;

    if (!client_read(fd, h, 2))
        return NULL;
    *opcode = h[0] & 15;
    *n = h[1] & 127;
    if (*n >= 126) {
        const size_t n_more = *n == 126 ? 2 : 8;
        if (!client_read(fd, h + 2, n_more))
            return NULL;
        *n = 0;
        for (size_t i = 0; i < n_more; i++)
            *n = *n << 8 | h[2 + i];
    }
    bytes = calloc(1, *n + 1);
    if (!client_read(fd, bytes, *n)) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

__attribute__((unused)) static bool ws_send(int fd, int opcode, const char *text)
{
    static const unsigned char mask[4] = { 1, 2, 3, 4 };
    const size_t n = strlen(text);
    unsigned char frame[4096] = { (unsigned char)(0x80 | opcode), (unsigned char)(0x80 | n) };

    if (n > 125)
        return false;
    memcpy(frame + 2, mask, 4);
    for (size_t i = 0; i < n; i++)
        frame[6 + i] = (unsigned char)text[i] ^ mask[i & 3];
    return client_send(fd, frame, 6 + n);
}

/* Types of the text messages up to the one that ends a run, with blanks between ("status status execution_start ..."). */
__attribute__((unused)) static void ws_types_of_run(int fd, char *out, size_t size)
{
    size_t n;
    int opcode;

    out[0] = '\0';
    for (char *text; (text = ws_read(fd, &opcode, &n)); free(text)) {
        struct json_object *m = NULL, *type, *data, *node;
        char error[64];

        if (opcode != 1 || rg_json_read(text, n, 64, &m, error, sizeof error) < 0)
            continue;
        json_object_object_get_ex(m, "type", &type);
        json_object_object_get_ex(m, "data", &data);
        const char *name = json_object_get_string(type);
        const bool is_end = !strcmp(name, "executing") && json_object_object_get_ex(data, "node", &node) && !node;
        snprintf(out + strlen(out), size - strlen(out), "%s%s", *out ? " " : "", is_end ? "end" : name);
        json_object_put(m);
        if (is_end) {
            free(text);
            return;
        }
    }
    snprintf(out + strlen(out), size - strlen(out), " (closed)");
}

#endif
