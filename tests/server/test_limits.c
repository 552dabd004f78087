/*
 * Clients that are slow, greedy or many: each is closed or refused in time and with words, memory stays bounded, and others are
 * answered all the while. A whole server in this process with small limits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/server/whole.h"
#include "tests/test.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int open_to(int port)
{
    const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval most = { 30, 0 };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    return connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 ? fd : -1;
}

static bool say(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Status of the answer that comes (the first piece of it goes to text), or 0. */
static int hear(int fd, char *text, size_t size)
{
    int status = 0;
    const ssize_t n = recv(fd, text, size - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    sscanf(text, "HTTP/1.1 %d", &status);
    return status;
}

static int ask(int port, const char *request)
{
    char text[4096];
    const int fd = open_to(port);
    const int status = fd >= 0 && say(fd, request) ? hear(fd, text, sizeof text) : 0;

    close(fd);
    return status;
}

static const char health[] = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/* Has the server closed it? What it says before is read. */
static bool is_closed(int fd)
{
    char drop[4096];
    ssize_t n;

    while ((n = recv(fd, drop, sizeof drop, MSG_DONTWAIT)) > 0)
        ;
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

static long resident_mib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0, resident = 0;

    if (f && fscanf(f, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

TEST(slow_clients)
{
    enum { SILENT, SLOW_HEAD, STOPPED_HEAD, SLOW_BODY, STOPPED_BODY, NO_READER, IDLE, N_CLOSED, SOCKET = N_CLOSED, N };
    static whole_server w;
    static char large[24 << 20];
    int fds[N], n_closed = 0;
    bool is_over[N] = { 0 };
    double slowest = 0, closed_at[N] = { 0 };
    char text[4096];

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20, .client_seconds = 3 }, 0));
    whole_write(&w, "output/large.png", large, sizeof large);
    for (int i = 0; i < N; i++)
        CHECK((fds[i] = open_to(w.port)) >= 0);
    const int small = 4096;
    setsockopt(fds[NO_READER], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    say(fds[STOPPED_HEAD], "GET /health HTTP/1.1\r\nHost: ");
    say(fds[SLOW_HEAD], "GET /health HTTP/1.1\r\nX: ");
    say(fds[SLOW_BODY], "POST /settings HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    say(fds[STOPPED_BODY], "POST /settings HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{");
    say(fds[NO_READER], "GET /view?filename=large.png HTTP/1.1\r\nHost: x\r\n\r\n");
    say(fds[IDLE], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_INT(hear(fds[IDLE], text, sizeof text), 200);
    say(fds[SOCKET], "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n\x81");
    CHECK_INT(hear(fds[SOCKET], text, sizeof text), 101);
    const double began = now();
    while (n_closed < N_CLOSED && now() - began < 60) {
        for (int i = 0; i < N_CLOSED; i++) {
            /* the one that does not read cannot see the end either: its socket's error tells */
            struct pollfd p = { fds[i], POLLRDHUP, 0 };
            if (!is_over[i] && (i == NO_READER ? poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLRDHUP)) : is_closed(fds[i]))) {
                is_over[i] = true;
                closed_at[i] = now() - began;
                n_closed++;
            }
        }
        if (!is_over[SLOW_HEAD])
            say(fds[SLOW_HEAD], "x");
        if (!is_over[SLOW_BODY])
            say(fds[SLOW_BODY], "x");
        const double asked = now();
        CHECK_INT(ask(w.port, health), 200);
        slowest = now() - asked > slowest ? now() - asked : slowest;
        usleep(100000);
    }
    printf("closed after");
    for (int i = 0; i < N_CLOSED; i++) {
        printf(" %.1f", closed_at[i]);
        CHECK(is_over[i]);
    }
    printf(" s; slowest /health meanwhile %.1f ms\n", 1e3 * slowest);
    CHECK(closed_at[SLOW_HEAD] > 0.9 && closed_at[SLOW_BODY] > 2.5);    /* not at once: slow is allowed for a while */
    CHECK(!is_closed(fds[SOCKET]));     /* a WebSocket may be silent, also within a frame */
    for (int i = 0; i < N; i++)
        close(fds[i]);
    /* who says that it will say no more is closed, answered or not, and nothing stays behind */
    const int half = open_to(w.port);
    say(half, "GET /object_info HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(half, SHUT_WR);
    for (int i = 0; i < 1000 && !is_closed(half); i++)
        usleep(10000);
    CHECK(is_closed(half));
    close(half);
    CHECK_INT(ask(w.port, health), 200);
    whole_stop(&w);
}

TEST(many_connections)
{
    enum { MOST = 40, MORE = 500 };
    static whole_server w;
    int fds[MOST], n_refused = 0, n_cut = 0;
    char text[4096];

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20, .max_connections = MOST }, 0));
    for (int i = 0; i < MOST; i++) {
        fds[i] = open_to(w.port);
        CHECK(say(fds[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
        CHECK_INT(hear(fds[i], text, sizeof text), 200);
    }
    const double began = now();
    for (int i = 0; i < MORE; i++) {    /* each is told, or at least cut, and none waits */
        const int fd = open_to(w.port);
        const int status = fd >= 0 && say(fd, health) ? hear(fd, text, sizeof text) : 0;
        n_refused += status == 503;
        n_cut += status == 0;
        close(fd);
    }
    printf("%d above the limit: %d got 503, %d were cut, %.2f s\n", MORE, n_refused, n_cut, now() - began);
    CHECK_INT(n_refused + n_cut, MORE);
    CHECK(n_refused > MORE / 2);
    CHECK(say(fds[0], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));     /* those that are in go on */
    CHECK_INT(hear(fds[0], text, sizeof text), 200);
    for (int i = 0; i < MOST; i++)
        close(fds[i]);
    int status = 0;
    for (int i = 0; i < 500 && status != 200; i++, usleep(10000))
        status = ask(w.port, health);
    CHECK_INT(status, 200);
    whole_stop(&w);

    /* so many of one address; by default loopback is not counted, asked for it is */
    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20, .max_connections_per_address = 3 }, 0));
    for (int i = 0; i < 3; i++) {
        fds[i] = open_to(w.port);
        CHECK(say(fds[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
        CHECK_INT(hear(fds[i], text, sizeof text), 200);
    }
    status = ask(w.port, health);
    CHECK(status == 503 || status == 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    for (int i = 0; i < 500 && status != 200; i++, usleep(10000))
        status = ask(w.port, health);
    CHECK_INT(status, 200);
    whole_stop(&w);
}

/* What all clients send at once, and what they do not read, has its bound. */
TEST(memory)
{
    enum { CLIENTS = 12, SENT = 900000, REQUESTS = 4000 };
    static const char one[] = "GET /object_info HTTP/1.1\r\nHost: x\r\n\r\n";
    static whole_server w;
    static char bytes[SENT];
    int fds[CLIENTS], n_full = 0, status = 0;
    char text[4096];

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20, .max_memory_bytes = 4 << 20 }, 0));
    memset(bytes, ' ', sizeof bytes);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = open_to(w.port);
        say(fds[i], "POST /settings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
        for (size_t at = 0; at < SENT; ) {
            const ssize_t n = send(fds[i], bytes + at, SENT - at, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            at += (size_t)n;
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct pollfd p = { fds[i], POLLIN, 0 };
        if (poll(&p, 1, i == CLIENTS - 1 ? 5000 : 100) == 1) {
            status = hear(fds[i], text, sizeof text);
            CHECK(status == 503 || status == 0);    /* or cut, when it was still sending */
            n_full++;
        }
    }
    printf("%d of %d bodies found no room\n", n_full, CLIENTS);
    CHECK(n_full >= CLIENTS - 5 && n_full < CLIENTS);       /* four of nearly 1 MB fit into 4 MiB */
    CHECK_INT(ask(w.port, health), 200);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    for (int i = 0; i < 500 && status != 500; i++, usleep(10000))
        status = ask(w.port, "POST /settings HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnonsense!");
    CHECK_INT(status, 500);             /* read to its end again */

    /* thousands of requests in one go and not a byte read: they are answered as far as somebody reads */
    const long before = resident_mib();
    const int fd = open_to(w.port);
    int n_sent = 0;
    for (; n_sent < REQUESTS && send(fd, one, sizeof one - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0; n_sent++)
        ;
    for (int i = 0; i < 20; i++) {
        CHECK_INT(ask(w.port, health), 200);
        usleep(20000);
    }
    printf("%d requests unread: +%ld MiB\n", n_sent, resident_mib() - before);
    CHECK(resident_mib() - before < 300);   /* unbounded it would be some GB; sanitizers keep a while what was freed */
    int n_answers = 0;                  /* and now all of them */
    static char piece[1 << 20];
    while (n_answers < 5) {
        const ssize_t n = recv(fd, piece, sizeof piece - 1, 0);
        if (n <= 0)
            break;
        piece[n] = '\0';
        for (const char *p = piece; (p = strstr(p, "HTTP/1.1 200")); p++)
            n_answers++;
    }
    CHECK(n_answers >= 5);
    close(fd);
    whole_stop(&w);
}

/* Refused before the body is sent: too large, no key, another page's origin. */
TEST(refused_by_the_head)
{
    static whole_server w;
    char error[200];

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20, .keys = rg_keys_read("k1\nk2 read", 10, error, sizeof error) }, 0));
    CHECK_INT(ask(w.port, "POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"), 401);
    CHECK_INT(ask(w.port, "POST /prompt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k2\r\nContent-Length: 1000000\r\n\r\n"), 403);
    CHECK_INT(ask(w.port, "POST /prompt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k1\r\nContent-Length: 1048577\r\n\r\n"), 413);
    CHECK_INT(ask(w.port, "POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.com\r\nContent-Length: 1000000\r\n\r\n"), 403);
    CHECK_INT(ask(w.port, "POST /prompt HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 1000000\r\n\r\n"), 400);
    CHECK_INT(ask(w.port, "POST /prompt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), 400);
    whole_stop(&w);
}
