/*
 * One HTTP request, sent and answered before the call returns: for worker threads, never for an event loop. libcurl carries it
 * (loaded on first use: docs/decisions.md); this is all that the rest of the program sees of it.
 *
 *     rg_http_request q = { .url = "https://example.org/model.safetensors", .on_bytes = write_to_file, .user = f };
 *     rg_http_response r;
 *     if (rg_http_perform(&q, &r) < 0) say("%s", r.error); else if (r.status != 200) ...
 *     rg_http_response_release(&r);
 *
 * Every function may be called from any thread, several requests at once. Certificates are always checked; bytes arrive as they
 * were sent (no Accept-Encoding). The proxies of the environment (https_proxy, no_proxy, ...) are used, except with is_public_only.
 * Sources: RFC 9110 (methods, ranges, redirects), RFC 6890 with the IANA special-purpose registries (which addresses are public).
 */
#ifndef RG_NET_HTTP_CLIENT_H
#define RG_NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_http_response rg_http_response;

/* Everything is borrowed for the call; zeroes are the defaults. */
typedef struct rg_http_request {
    const char *url;                    /* http:// or https:// */
    const char *method;                 /* NULL: GET, POST with a body */
    const char *const *headers;         /* "Name: value", NULL-terminated; NULL: none of one's own */

    /* A body: in memory, or read piece by piece. */
    const void *body;
    size_t n_body;
    int64_t (*read)(void *user, void *to, size_t n);    /* how many bytes it wrote, 0: the end, < 0: give up (RG_ERR_CANCELLED) */
    int64_t read_size;                  /* with read: how many bytes there will be in all, < 0: unknown (sent in chunks) */

    int64_t offset;                     /* > 0: "Range: bytes=offset-"; 206 says that the server did so, 200 that it sends all */

    /*
     * The answer: on_head once, when status and headers of the final response are there (not those of a redirect that is
     * followed); then its bytes. Returning false ends the request (RG_ERR_CANCELLED). Without on_bytes they are kept in r->body.
     */
    bool (*on_head)(void *user, const rg_http_response *r);
    bool (*on_bytes)(void *user, const void *bytes, size_t n);
    size_t max_body;                    /* of what r->body keeps, the rest is let go; 0: 1 MiB */

    /* About once a second and with each piece; a total is 0 while unknown, offset is not counted. False ends the request. */
    bool (*on_progress)(void *user, int64_t received, int64_t receive_total, int64_t sent, int64_t send_total);
    void *user;

    double connect_seconds;             /* to resolve the name, connect and shake hands; 0: 30 */
    double total_seconds;               /* for all of it; 0: no limit */
    double stall_seconds;               /* so long under 1 byte a second ends it; 0: 60 */

    /*
     * Redirects: at most so many are followed, 0: none, the 3xx is the answer. Not followed, but an error: from https to http,
     * and one that would need a body from `read` again. Authorization, Proxy-Authorization and Cookie stay behind
     * when scheme, host or port change.
     */
    int max_redirects;
    bool is_public_only;                /* connect to public addresses only, checked on the address after each resolution */
    const char *ca_file;                /* PEM; NULL: SSL_CERT_FILE of the environment, else the system's */
} rg_http_request;

struct rg_http_response {
    int status;                         /* 0: no response */
    char **headers;                     /* "Name: value", as sent; see rg_http_header() */
    int n_headers;
    char *body;                         /* without on_bytes: what came, NUL-terminated, never NULL after success */
    size_t n_body;
    char *url;                          /* that answered, after redirects */
    char address[64];                   /* that was connected to last, "" if none was */
    double seconds;                     /* from the call to the end */
    bool is_refused;                    /* not sent: URL, address or redirect is not allowed; trying again would not help */
    char error[400];                    /* why it failed: method, URL without query, what went wrong; "" after success */
};

/*
 * Send and wait. r is filled in any case, for rg_http_response_release().
 *   returns  0: a whole response came, whatever its status; RG_ERR_INVALID: URL, address or redirect refused (is_refused);
 *            RG_ERR_CANCELLED: a callback ended it; RG_ERR_IO: name, connection, TLS, time limit, a response that breaks off;
 *            RG_ERR_UNSUPPORTED: libcurl is not there; RG_ERR_NOMEM. r->error says which.
 */
int rg_http_perform(const rg_http_request *q, rg_http_response *r);
void rg_http_response_release(rg_http_response *r);

/* The value of a header, its name in any case; the last of several; NULL: not there. */
const char *rg_http_header(const rg_http_response *r, const char *name);

/* Seconds that Retry-After asks for, whether it is a number or a date; < 0: it is not there or makes no sense. */
double rg_http_retry_after(const rg_http_response *r);

/* The parts of a URL that must be right before it is stored: scheme http or https, a host, no user name or password. NULL, or what is wrong. */
const char *rg_http_url_problem(const char *url);

/* The host of a URL in lower case with its port ("example.org:443"), as far as it fits. */
void rg_http_url_host(const char *url, char *host, size_t host_size);

/* A URL without user name, password, query and fragment, as logs and errors show it: the rest may be secret. */
void rg_http_url_shown(const char *url, char *out, size_t size);

struct sockaddr;
/* An address that leads out: not loopback, private, link-local, shared, documentation, multicast or otherwise reserved. */
bool rg_http_is_public(const struct sockaddr *address);

#endif
