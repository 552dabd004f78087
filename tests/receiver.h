/*
 * A small HTTP server inside a test: what clients (engine/net/http_client.h, webhooks, analytics, downloads) talk to. A thread per
 * connection; each reads one request, keeps it, and lets the test's function answer however it likes: late, wrong, or not at all.
 */
#ifndef RG_TESTS_RECEIVER_H
#define RG_TESTS_RECEIVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct received {
    char head[8192];                    /* request line and headers */
    char method[16], path[1024];
    char *body;                         /* NUL-terminated */
    size_t n_body;
    double at;                          /* monotonic seconds */
} received;

enum { RECEIVER_MAX = 256 };

typedef struct receiver {
    int fd, port;
    void (*answer)(struct receiver *r, int fd, const received *q, int i);   /* the i-th request, from 0; the caller closes fd */
    void *user;
    pthread_t thread;
    pthread_mutex_t lock;
    received *list[RECEIVER_MAX];       /* whole requests, in the order they came */
    int n, n_open, max_open;            /* connections being answered now, and the most at once */
    bool is_stopping;
} receiver;

__attribute__((unused)) static double receiver_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The value of a request's header, copied to a buffer of the caller's; "" when not there. */
__attribute__((unused)) static const char *received_header(const received *q, const char *name, char *value, size_t size)
{
    const size_t n = strlen(name);

    *value = '\0';
    for (const char *line = strstr(q->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, name, n) && line[2 + n] == ':') {
            const char *from = line + 3 + n + strspn(line + 3 + n, " ");
            snprintf(value, size, "%.*s", (int)strcspn(from, "\r"), from);
        }
    }
    return value;
}

/* headers: "Name: value\r\n"... or "". */
__attribute__((unused)) static void receiver_reply(int fd, int status, const char *headers, const void *body, size_t n)
{
    char head[2048];

    snprintf(head, sizeof head, "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", status, headers, n);
    if (send(fd, head, strlen(head), MSG_NOSIGNAL) > 0 && n && send(fd, body, n, MSG_NOSIGNAL) < 0)
        return;                         /* the client went away: its business */
}

/* Sleep, but wake when the receiver stops: an answer that hangs must not hang the test. */
__attribute__((unused)) static void receiver_sleep(receiver *r, double seconds)
{
    for (const double until = receiver_now() + seconds; receiver_now() < until; usleep(5000)) {
        pthread_mutex_lock(&r->lock);
        const bool is_stopping = r->is_stopping;
        pthread_mutex_unlock(&r->lock);
        if (is_stopping)
            return;
    }
}

static bool receiver_read(int fd, received *q)
{
    char value[64];
    size_t n = 0;

    while (n + 1 < sizeof q->head && recv(fd, q->head + n, 1, 0) == 1) {
        q->head[++n] = '\0';
        if (n >= 4 && !memcmp(q->head + n - 4, "\r\n\r\n", 4))
            break;
    }
    if (sscanf(q->head, "%15s %1023s", q->method, q->path) != 2)
        return false;
    q->n_body = strtoul(received_header(q, "Content-Length", value, sizeof value), NULL, 10);
    q->body = calloc(1, q->n_body + 1);
    if (!strcasecmp(received_header(q, "Transfer-Encoding", value, sizeof value), "chunked")) {
        for (;;) {
            char line[32] = "";
            for (size_t k = 0; k + 1 < sizeof line && recv(fd, line + k, 1, 0) == 1 && line[k] != '\n'; k++)
                ;
            const size_t more = strtoul(line, NULL, 16);
            q->body = realloc(q->body, q->n_body + more + 1);
            for (size_t got = 0; got < more; ) {
                const ssize_t k = recv(fd, q->body + q->n_body + got, more - got, 0);
                if (k <= 0)
                    return false;
                got += (size_t)k;
            }
            q->body[q->n_body += more] = '\0';
            if (recv(fd, line, 2, MSG_WAITALL) != 2)
                return false;
            if (!more)
                return true;
        }
    }
    for (size_t at = 0; at < q->n_body; ) {
        const ssize_t k = recv(fd, q->body + at, q->n_body - at, 0);
        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}

typedef struct receiver_connection {
    receiver *r;
    int fd;
} receiver_connection;

static void *receiver_serve(void *arg)
{
    receiver_connection *c = arg;
    receiver *r = c->r;
    received *q = calloc(1, sizeof *q);
    const struct timeval limit = { 20, 0 };

    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (q && receiver_read(c->fd, q)) {
        q->at = receiver_now();
        pthread_mutex_lock(&r->lock);
        const int i = r->n < RECEIVER_MAX ? r->n : -1;
        if (i >= 0)
            r->list[r->n++] = q;
        pthread_mutex_unlock(&r->lock);
        if (i >= 0) {
            r->answer(r, c->fd, q, i);
            q = NULL;
        }
    }
    if (q)
        free(q->body);
    free(q);
    shutdown(c->fd, SHUT_WR);
    close(c->fd);
    pthread_mutex_lock(&r->lock);
    r->n_open--;
    pthread_mutex_unlock(&r->lock);
    free(c);
    return NULL;
}

static void *receiver_main(void *arg)
{
    receiver *r = arg;

    for (;;) {
        struct pollfd p = { r->fd, POLLIN, 0 };
        receiver_connection *c;
        pthread_t thread;

        const int n = poll(&p, 1, 50);
        pthread_mutex_lock(&r->lock);
        const bool is_stopping = r->is_stopping;
        pthread_mutex_unlock(&r->lock);
        if (is_stopping)
            return NULL;
        if (n <= 0 || !(c = calloc(1, sizeof *c)))
            continue;
        c->r = r;
        if ((c->fd = accept(r->fd, NULL, NULL)) < 0) {
            free(c);
            continue;
        }
        pthread_mutex_lock(&r->lock);
        if (++r->n_open > r->max_open)
            r->max_open = r->n_open;
        pthread_mutex_unlock(&r->lock);
        if (pthread_create(&thread, NULL, receiver_serve, c) == 0)
            pthread_detach(thread);
    }
}

/* Listen on a free port of 127.0.0.1, or on `port` when not 0. */
__attribute__((unused)) static bool receiver_start(receiver *r, int port, void (*answer)(receiver *r, int fd, const received *q, int i), void *user)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof a;

    *r = (receiver){ .answer = answer, .user = user };
    pthread_mutex_init(&r->lock, NULL);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(r->fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (bind(r->fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(r->fd, 64) < 0 || getsockname(r->fd, (struct sockaddr *)&a, &n) < 0)
        return false;
    r->port = ntohs(a.sin_port);
    return pthread_create(&r->thread, NULL, receiver_main, r) == 0;
}

/* Wait until n requests have come; how many have. */
__attribute__((unused)) static int receiver_wait(receiver *r, int n, double seconds)
{
    int got;

    for (const double until = receiver_now() + seconds; ; usleep(5000)) {
        pthread_mutex_lock(&r->lock);
        got = r->n;
        pthread_mutex_unlock(&r->lock);
        if (got >= n || receiver_now() > until)
            return got;
    }
}

__attribute__((unused)) static void receiver_stop(receiver *r)
{
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    for (int i = 0; i < 4000; i++) {    /* those that answer see is_stopping, or end by themselves */
        pthread_mutex_lock(&r->lock);
        const int n = r->n_open;
        pthread_mutex_unlock(&r->lock);
        if (n == 0)
            break;
        usleep(5000);
    }
    close(r->fd);
    for (int i = 0; i < r->n; i++) {
        free(r->list[i]->body);
        free(r->list[i]);
    }
    pthread_mutex_destroy(&r->lock);
}

#endif
