/*
 * Bad input for every route: a whole server in this process, and some thousand requests that are right, half right and wrong, from
 * several connections at once. Wanted: no crash, nothing that the sanitizers see, no descriptor and no connection left behind, bounded
 * memory, and /health answered throughout. RG_FUZZ_REQUESTS and RG_FUZZ_SEED make other runs.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/server/request_maker.h"
#include "tests/server/whole.h"
#include "tests/test.h"

enum { OPEN_AT_ONCE = 12 };

static int connect_to(int port)
{
    const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval most = { 20, 0 };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Read what is there within so many milliseconds; the status of the first answer in it, or 0. *is_over: the server has closed. */
static int read_some(int fd, int milliseconds, char *text, size_t size, bool *is_over)
{
    struct pollfd p = { fd, POLLIN, 0 };
    int status = 0;
    size_t n = 0;

    *is_over = false;
    text[0] = '\0';
    while (poll(&p, 1, milliseconds) == 1) {
        const ssize_t got = recv(fd, text + n, size - 1 - n, MSG_DONTWAIT);

        *is_over = got <= 0;
        if (got <= 0)
            break;
        text[n + (size_t)got] = '\0';
        if (!status)
            sscanf(text, "HTTP/1.1 %d", &status);
        n = status ? n + (size_t)got : 0;
        if (n > size / 2)
            n = 0;
        milliseconds = 2;
    }
    return status;
}

static bool is_healthy(int port)
{
    static const char request[] = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char text[4096];
    bool is_over;
    const int fd = connect_to(port);
    const bool is_it = fd >= 0 && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 && read_some(fd, 20000, text, sizeof text, &is_over) == 200;

    if (fd >= 0)
        close(fd);
    return is_it;
}

/* A job that is right, so that its routes have something to find. */
static void make_job(maker *m, int port)
{
    static const char request[] = "POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 21\r\n\r\n{\"endpoint\": \"blank\"}";
    char text[4096];
    bool is_over;
    const int fd = connect_to(port);

    if (fd >= 0 && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 && read_some(fd, 20000, text, sizeof text, &is_over) == 202 && strstr(text, "X-Job-Id: "))
        sscanf(strstr(text, "X-Job-Id: ") + 10, "%60[0-9a-f-]", m->id);
    if (fd >= 0)
        close(fd);
}

static int open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The routes of the table, and those of the two endpoints, which come and go. */
static void take_routes(maker *m, const rg_server *s)
{
    static const route endpoints[] = { { .method = "POST", .pattern = "/blank", .flags = RG_ROUTE_NO_TWIN }, { .method = "POST", .pattern = "/invert", .flags = RG_ROUTE_NO_TWIN } };

    for (const route *r = s->routes; r && m->n_routes < 250; r = r->next)
        m->routes[m->n_routes++] = r;
    m->routes[m->n_routes++] = &endpoints[0];
    m->routes[m->n_routes++] = &endpoints[1];
}

static void send_all(maker *m, int fd)
{
    for (size_t at = 0; at < m->n; ) {
        size_t piece = any(m, 3) ? m->n - at : 1 + any(m, 200);

        piece = piece < m->n - at ? piece : m->n - at;
        if (send(fd, m->bytes + at, piece, MSG_NOSIGNAL) <= 0)
            return;
        at += piece;
        if (any(m, 400) == 0)
            return;                     /* it says no more */
    }
}

TEST(every_route)
{
    const char *count = getenv("RG_FUZZ_REQUESTS"), *seed = getenv("RG_FUZZ_SEED");
    const int n_requests = count ? atoi(count) : 1500;
    int fds[OPEN_AT_ONCE], statuses[600] = { 0 };
    bool is_socket[OPEN_AT_ONCE] = { 0 };
    char text[65536];
    static whole_server w;
    struct rusage usage;
    maker m = { .state = seed ? strtoull(seed, NULL, 10) : 2024 };

    signal(SIGPIPE, SIG_IGN);
    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20 }, 64 << 20));
    m.picture = whole_picture(w.ctx, 8, 8, &m.n_picture);
    take_routes(&m, w.server);
    CHECK(is_healthy(w.port));
    const int files_before = open_files();
    getrusage(RUSAGE_SELF, &usage);
    const long peak_before = usage.ru_maxrss;
    for (int i = 0; i < OPEN_AT_ONCE; i++)
        fds[i] = -1;
    const double began = now();
    int n_done = 0;
    for (; n_done < n_requests && now() - began < 120; n_done++) {
        const int k = (int)any(&m, OPEN_AT_ONCE);
        bool is_over;

        if (n_done % 50 == 0)
            make_job(&m, w.port);
        if (fds[k] < 0) {
            fds[k] = connect_to(w.port);
            is_socket[k] = false;
        }
        m.n = 0;
        if (is_socket[k] && any(&m, 4)) {
            make_frames(&m);
        } else {
            const bool wants_socket = make_request(&m, n_done < 3 * m.n_routes ? m.routes[n_done % m.n_routes] : NULL);
            if (any(&m, 8) == 0)
                make_request(&m, NULL);     /* the next one at once */
            const bool is_spoilt = any(&m, 3) == 0;
            if (is_spoilt)
                spoil(&m);
            is_socket[k] = wants_socket && !is_spoilt;
        }
        send_all(&m, fds[k]);
        if (any(&m, 16) == 0)
            shutdown(fds[k], SHUT_WR);
        const int status = read_some(fds[k], any(&m, 4) ? 50 : 0, text, sizeof text, &is_over);
        statuses[status > 0 && status < 600 ? status : 0]++;
        if (is_over || any(&m, is_socket[k] ? 20 : status ? 4 : 2) == 0) {
            const struct linger cut = { 1, 0 };
            if (any(&m, 4) == 0)
                setsockopt(fds[k], SOL_SOCKET, SO_LINGER, &cut, sizeof cut);    /* a reset instead of an end */
            close(fds[k]);
            fds[k] = -1;
        }
        if (n_done % 100 == 0 && !is_healthy(w.port)) {
            test_fail(__FILE__, __LINE__, "after request %d /health is silent", n_done);
            break;
        }
    }
    for (int i = 0; i < OPEN_AT_ONCE; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    CHECK(is_healthy(w.port));
    int left = 0;
    for (int i = 0; i < 600; i++) {     /* the server sees the ends of its connections when it comes to it */
        if ((left = open_files()) <= files_before + 1)
            break;
        usleep(20000);
    }
    CHECK(left <= files_before + 1);    /* /health's own may still be closing */
    getrusage(RUSAGE_SELF, &usage);
    printf("%d requests to %d routes in %.1f s, peak memory +%ld MB; answers:", n_done, m.n_routes, now() - began, (usage.ru_maxrss - peak_before) / 1024);
    for (int i = 0; i < 600; i++)
        if (statuses[i])
            printf(" %d:%d", i, statuses[i]);
    printf("\n");
    CHECK(usage.ru_maxrss - peak_before < 1024 * 1024);
    CHECK(*m.id);
    CHECK(statuses[200] > 50 && statuses[400] > 50);       /* it is no use when all is refused alike */
    whole_stop(&w);
    rg_free((void *)m.picture);
    free(m.bytes);
}
