/*
 * A whole server, every route, real sockets. The input is what a client sends on one connection; new inputs are made by the maker of
 * tests/server/test_fuzz_server.c, then changed byte by byte. Slower than the other targets: some hundred a second.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "tests/server/request_maker.h"
#include "tests/server/whole.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static whole_server w;

static void stop(void)
{
    whole_stop(&w);
}

static whole_server *server(void)
{
    static bool is_started;

    if (!is_started) {
        signal(SIGPIPE, SIG_IGN);
        atexit(stop);
        if (!whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20, .client_seconds = 2 }, 64 << 20))
            abort();
        is_started = true;
    }
    return &w;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    maker m = { .state = seed };

    if (size > 4 && seed % 8)
        return LLVMFuzzerMutate(data, size, max_size);
    m.picture = whole_picture(server()->ctx, 8, 8, &m.n_picture);
    for (const route *r = server()->server->routes; r && m.n_routes < 256; r = r->next)
        m.routes[m.n_routes++] = r;
    const bool is_socket = make_request(&m, NULL);
    if (is_socket) {
        maker frames = { .state = seed + 1 };
        make_frames(&frames);
        add_raw(&m, frames.bytes, frames.n);
        free(frames.bytes);
    }
    size = m.n < max_size ? m.n : max_size;
    memcpy(data, m.bytes, size);
    free(m.bytes);
    rg_free((void *)m.picture);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)server()->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval most = { 5, 0 };
    const struct linger cut = { 1, 0 };             /* no port waits for its time to pass */
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char drop[16384];

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        abort();                                    /* it has stopped listening */
    if (send(fd, data, n, MSG_NOSIGNAL) >= 0) {
        struct pollfd p = { fd, POLLIN, 0 };
        while (poll(&p, 1, 5) == 1 && recv(fd, drop, sizeof drop, 0) > 0)
            ;
    }
    close(fd);
    return 0;
}
