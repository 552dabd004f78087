/* Addresses to listen on, TLS, and who may come in: at most so many connections, and so many of them from one address. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

enum { DEFAULT_CONNECTIONS = 4096, OTHER_FILES = 128, KEEPALIVE_SECONDS = 60, KEEPALIVE_PROBES = 4, KEEPALIVE_INTERVAL = 15 };

/* libwebsockets retries a port that is taken for ever; a server that cannot listen should say so at once. */
static int probe_port(const char *address, int port, char *error, size_t size)
{
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    const bool is_v6 = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
    const int one = 1;
    int fd, ret = 0;

    if (!is_v6 && inet_pton(AF_INET, address, &v4.sin_addr) != 1) {
        snprintf(error, size, "%s is no address of this machine (IPv4 or IPv6 numbers are wanted)", address);
        return RG_ERR_INVALID;
    }
    fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        snprintf(error, size, "%s: %s", address, strerror(errno));
        return RG_ERR_IO;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (is_v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, is_v6 ? sizeof(v6) : sizeof(v4)) < 0) {
        snprintf(error, size, "%s, port %d: %s", address, port, strerror(errno));
        ret = RG_ERR_IO;
    }
    close(fd);
    return ret;
}

/* What OpenSSL says about a certificate or key, before libwebsockets says less. 0, or RG_ERR_INVALID with a sentence. */
static int check_tls(const rg_server_options *o, char *error, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int ret = RG_ERR_INVALID;

    if (!ctx)
        snprintf(error, size, "TLS cannot be started");
    else if (SSL_CTX_use_certificate_chain_file(ctx, o->tls_cert) != 1)
        snprintf(error, size, "%s: no certificate in PEM form can be read from it", o->tls_cert);
    else if (SSL_CTX_use_PrivateKey_file(ctx, o->tls_key, SSL_FILETYPE_PEM) != 1)
        snprintf(error, size, "%s: no private key in PEM form, or not the one of the certificate %s", o->tls_key, o->tls_cert);
    else if (SSL_CTX_check_private_key(ctx) != 1)
        snprintf(error, size, "%s is not the key of the certificate %s", o->tls_key, o->tls_cert);
    else
        ret = 0;
    SSL_CTX_free(ctx);
    return ret;
}

/* One vhost per address; they share the port. */
static int listen_on(rg_server *s, const struct lws_protocols *protocols, const char *address, int port)
{
    struct lws_context_creation_info info = {
        .port = port, .protocols = protocols, .vhost_name = address, .listen_accept_role = "raw-skt", .listen_accept_protocol = "rylagraph",
        .options = LWS_SERVER_OPTION_ADOPT_APPLY_LISTEN_ACCEPT_CONFIG,
        /* a client whose machine is gone says nothing: the kernel finds out */
        .ka_time = KEEPALIVE_SECONDS, .ka_probes = KEEPALIVE_PROBES, .ka_interval = KEEPALIVE_INTERVAL,
    };
    struct in6_addr any6;

    if (!strcmp(address, "0.0.0.0")) {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
    } else if (inet_pton(AF_INET6, address, &any6) == 1) {
        info.options |= LWS_SERVER_OPTION_IPV6_V6ONLY_MODIFY | LWS_SERVER_OPTION_IPV6_V6ONLY_VALUE;
        info.iface = IN6_IS_ADDR_UNSPECIFIED(&any6) ? NULL : address;
    } else {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
        info.iface = address;
    }
    if (s->options.tls_cert) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        info.ssl_cert_filepath = s->options.tls_cert;
        info.ssl_private_key_filepath = s->options.tls_key;
        info.ssl_options_set = SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION;
        /* TLS 1.2 with forward secrecy and authenticated encryption; 1.3 has nothing else */
        info.ssl_cipher_list = "ECDHE+AESGCM:ECDHE+CHACHA20";
        info.alpn = "none";             /* with "http/1.1" agreed on, libwebsockets would take over the talking */
    }
    struct lws_vhost *v = lws_create_vhost(s->context, &info);
    if (!v)
        return RG_ERR_IO;
    s->vhosts[s->n_vhosts++] = v;
    s->port = lws_get_vhost_listen_port(v);
    return 0;
}

int listen_start(rg_server *s, const struct lws_protocols *protocols, char *error, size_t error_size)
{
    char *addresses = rg_strdup(s->options.listen), *rest = addresses;
    int ret = addresses ? 0 : RG_ERR_NOMEM;

    if (!ret && s->options.tls_cert)
        ret = check_tls(&s->options, error, error_size);
    for (char *address; !ret && (address = strsep(&rest, ",")); ) {
        const int port = s->n_vhosts ? s->port : s->options.port;

        if (!*address || s->n_vhosts == 8)
            continue;
        if ((ret = probe_port(address, port, error, error_size)) < 0)
            break;
        snprintf(error, error_size, "cannot listen on %s, port %d", address, port);
        ret = listen_on(s, protocols, address, port);
    }
    if (!ret && !s->n_vhosts) {
        snprintf(error, error_size, "no address to listen on");
        ret = RG_ERR_INVALID;
    }
    rg_free(addresses);
    return ret;
}

/* ---- limits ------------------------------------------------------------------------------------------------------------------- */

void listen_set_limits(rg_server *s)
{
    struct rlimit files = { 0 };

    if (s->options.max_connections <= 0)
        s->options.max_connections = DEFAULT_CONNECTIONS;
    /* as many open files as that takes, if the system lets us; else fewer connections: others must be refused, not left hanging */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        const rlim_t wanted = (rlim_t)s->options.max_connections + OTHER_FILES;

        if (files.rlim_cur < wanted) {
            const struct rlimit raised = { files.rlim_max < wanted ? files.rlim_max : wanted, files.rlim_max };
            if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
                files = raised;
        }
        if (files.rlim_cur < wanted)
            s->options.max_connections = files.rlim_cur > 2 * OTHER_FILES ? (int)files.rlim_cur - OTHER_FILES : OTHER_FILES / 2;
    }
    s->is_peer_limit_given = s->options.max_connections_per_address > 0;
    if (!s->is_peer_limit_given)
        s->options.max_connections_per_address = s->options.max_connections / 4 > 0 ? s->options.max_connections / 4 : 1;
}

/* The address at the other end as 16 bytes (IPv4 as IPv6 writes it); false: it is gone already. */
static bool peer_address(int fd, unsigned char out[16])
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;

    if (getpeername(fd, (struct sockaddr *)&a, &n) < 0)
        return false;
    memset(out, 0, 16);
    if (a.ss_family == AF_INET) {
        out[10] = out[11] = 255;
        memcpy(out + 12, &((struct sockaddr_in *)&a)->sin_addr, 4);
    } else if (a.ss_family == AF_INET6) {
        memcpy(out, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
        if (memcmp(out, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) != 0)
            memset(out + 8, 0, 8);      /* who has one IPv6 address has the 2^64 of its network */
    }
    return true;
}

static bool is_loopback(const unsigned char a[16])
{
    static const unsigned char mapped[13] = { [10] = 255, [11] = 255, [12] = 127 }, one6[16] = { 0 };

    return !memcmp(a, mapped, 13) || !memcmp(a, one6, 16);  /* ::1, its last half cut off above */
}

static peer **find_peer(rg_server *s, const unsigned char address[16])
{
    unsigned h = 2166136261u;

    for (int i = 0; i < 16; i++)
        h = (h ^ address[i]) * 16777619u;
    peer **at = &s->peers[h % (sizeof s->peers / sizeof *s->peers)];
    while (*at && memcmp((*at)->address, address, 16) != 0)
        at = &(*at)->next;
    return at;
}

bool listen_may_enter(rg_server *s, int fd)
{
    static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\n"
                               "Retry-After: 5\r\nConnection: close\r\n\r\ntoo many connections";
    unsigned char address[16];
    char drop[2048];

    if (!peer_address(fd, address))
        return false;
    const peer *p = *find_peer(s, address);
    const bool is_counted = s->is_peer_limit_given || !is_loopback(address);
    if (s->n_conns < s->options.max_connections && !(is_counted && p && p->n >= s->options.max_connections_per_address))
        return true;
    s->n_refused++;
    if (!s->options.tls_cert) {         /* what the client has sent is read, or closing would take the answer back */
        if (recv(fd, drop, sizeof drop, MSG_DONTWAIT) >= 0 || errno == EAGAIN) {
            if (send(fd, busy, sizeof busy - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                shutdown(fd, SHUT_WR);
        }
    }
    return false;
}

void listen_entered(rg_server *s, conn *c)
{
    unsigned char address[16];
    peer **at, *p;

    s->n_conns++;
    if (!peer_address((int)lws_get_socket_fd(c->wsi), address))
        return;
    at = find_peer(s, address);
    if (!(p = *at)) {
        if (!(p = rg_calloc(1, sizeof *p)))
            return;
        memcpy(p->address, address, 16);
        *at = p;
    }
    p->n++;
    c->peer = p;
}

void listen_left(rg_server *s, conn *c)
{
    s->n_conns--;
    if (!c->peer || --c->peer->n > 0)
        return;
    peer **at = find_peer(s, c->peer->address);
    *at = c->peer->next;
    rg_free(c->peer);
}
