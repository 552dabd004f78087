/*
 * HTTP/1.1 and WebSocket on one port: a route table in front, handlers behind, one thread that owns all connections.
 *
 *   loop thread      parses, routes, sends. It never blocks: a handler that is quick (no encoding, no hashing, no long file) runs
 *                    on it; a route with RG_ROUTE_WORKER runs on a worker thread.
 *   a handler        reads its rg_request and calls one rg_respond_...(); which thread it runs on makes no difference. One that
 *                    cannot answer yet calls rg_request_hold() and answers later, from any thread, with rg_request_finish().
 *   other threads    reach the loop by rg_server_post() and rg_server_send().
 *
 * libwebsockets carries the bytes (sockets, event loop, TLS, wake-up); what they mean is ours (http_parse.h), because a path
 * parameter is one segment of the path as it was sent, before percent-decoding, and libwebsockets decodes first.
 */
#ifndef RG_SERVER_HTTP_H
#define RG_SERVER_HTTP_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/keys.h"

typedef struct rg_server rg_server;
typedef struct rg_request rg_request;
typedef struct rg_socket rg_socket;     /* one WebSocket */

/* ---- the server ---------------------------------------------------------------------------------------------------------- */

typedef struct rg_server_options {
    const char *listen;                 /* addresses with commas between: "127.0.0.1", "0.0.0.0,::" */
    int port;                           /* 0: any free one, see rg_server_port() */
    size_t max_body_bytes;              /* more is 413 */
    size_t max_memory_bytes;            /* for what all clients have sent, and again for answers not read: more is 503; 0: 1 GiB, or four bodies */
    double client_seconds;              /* one that neither sends nor reads what it should for so long is closed; 0: 60 */
    int max_connections;                /* more are refused with 503; 0: 4096, or what the limit of open files leaves */
    int max_connections_per_address;    /* 0: a quarter of these, loopback addresses excepted */
    const char *cors_origin;            /* NULL: the origin guard; else CORS headers for this origin, and no guard */
    rg_keys *keys;                      /* taken over; NULL: none needed. Else every request wants one (keys.h) */
    const char *tls_cert, *tls_key;     /* both or none */
    bool is_compressing;                /* JSON and plain text go out packed to clients that take gzip */
    const char *static_root;            /* files for what no route answers; NULL: none */
    void *user;                         /* for the three below, which run on the loop thread */
    void (*on_open)(void *user, rg_socket *s);
    void (*on_text)(void *user, rg_socket *s, const char *text, size_t n_bytes);
    void (*on_close)(void *user, rg_socket *s);
} rg_server_options;

/* Strings are copied, keys taken over (also on failure). Sockets listen from now on, answers come once it runs. NULL, with the reason in error. */
rg_server *rg_server_new(const rg_server_options *o, char *error, size_t error_size);
void rg_server_run(rg_server *s);       /* on this thread until rg_server_stop() */
void rg_server_stop(rg_server *s);      /* from any thread */
/* Wait until what was answered so far is on its way to its clients, at most so long; from any thread but the loop's, while it runs. */
void rg_server_flush(rg_server *s, double seconds);
void rg_server_set_keys(rg_server *s, rg_keys *keys);   /* new ones from now on, taken over; from any thread. Open connections stay */

/*
 * The end has an order: once rg_server_run() has returned, rg_server_end_workers() waits for the handlers that still run (they use
 * the queue), then what they use may be closed (which may still post answers here), then rg_server_free().
 */
void rg_server_end_workers(rg_server *s);
void rg_server_free(rg_server *s);
int rg_server_port(const rg_server *s);

/* Run fn(arg) on the loop thread, soon, in the order of posting. From any thread. */
void rg_server_post(rg_server *s, void (*fn)(void *arg), void *arg);

/* The same once some time has passed; what is still to come when the server is freed is forgotten, arg is the caller's. */
void rg_server_post_later(rg_server *s, double seconds, void (*fn)(void *arg), void *arg);
double rg_server_now(void);             /* seconds of a clock that never jumps */

/* ---- routes ------------------------------------------------------------------------------------------------------------------- */

enum {
    RG_ROUTE_NO_TWIN = 1,               /* only as written; others answer with /api in front too */
    RG_ROUTE_WORKER  = 2,               /* the handler may take its time: it runs on a worker thread */
    RG_ROUTE_SOCKET  = 4,               /* a WebSocket starts here; handler may be NULL */
    RG_ROUTE_OPEN    = 8,               /* needs no API key */
    RG_ROUTE_STREAM  = 16,              /* the handler gets the head and holds the request; a thread then reads the body as it comes */
    /* which keys may use it, besides those that may run everything, and for GET those that may read (keys.h): */
    RG_ROUTE_ENDPOINT = 32,             /* those for endpoints */
    RG_ROUTE_METRICS  = 64,             /* those for metrics */
    RG_ROUTE_MODELS   = 128             /* those for models, and for other methods than GET only those */
};

typedef void rg_handler(rg_request *r, void *user);

/*
 * pattern  "/history/{prompt_id}": a parameter is one segment of the path as sent, then percent-decoded; "{name:.*}" as the last
 *          one takes the rest. Before rg_server_run(); the pattern must outlive the server. GET answers HEAD too.
 */
void rg_server_route(rg_server *s, const char *method, const char *pattern, int flags, rg_handler *handler, void *user);

/* The i-th of them in the order they were added; false: there are not so many. */
bool rg_server_route_at(const rg_server *s, int i, const char **method, const char **pattern, int *flags);

/*
 * Routes that come and go while the server runs, all of one method and one handler: has_route is asked on the loop thread (it must not
 * wait) when no route of the table fits. The host is the one the client named, NULL: none. One set per server.
 */
typedef bool rg_has_route(void *user, const char *path, const char *host);
void rg_server_moving_routes(rg_server *s, const char *method, rg_has_route *has_route, int flags, rg_handler *handler, void *user);

/* ---- a request ------------------------------------------------------------------------------------------------------------------ */

/* All borrowed for the life of the request; NULL when not there. Names of headers in lower case. Query values are decoded. */
const char *rg_request_method(const rg_request *r);
const char *rg_request_path(const rg_request *r);               /* as sent, without the query */
const char *rg_request_param(const rg_request *r, int i);       /* decoded; i-th of the pattern */
const char *rg_request_query(rg_request *r, const char *name);  /* the first of that name */
const char *rg_request_header(const rg_request *r, const char *name);
const char *rg_request_body(const rg_request *r, size_t *n_bytes);  /* NUL-terminated, never NULL */
unsigned rg_request_may(const rg_request *r);                   /* RG_MAY_... of its key; RG_MAY_ALL when no keys are needed */

/*
 * Of a route with RG_ROUTE_STREAM, which max_body_bytes does not bind: the next bytes of the body, on a thread that may wait. A
 * client that asked for "100 Continue" gets it with the first call. An answer may be given before the end; the connection then closes.
 *   returns  how many bytes; 0: that was all; -1: the rest will not come (client gone, chunks malformed, reading stopped)
 */
int64_t rg_request_read(rg_request *r, void *bytes, size_t n_bytes);
void rg_request_stop_reading(rg_request *r);                    /* from any thread, while it is held: rg_request_read() returns -1 soon */

bool rg_request_is_large(const rg_request *r);                  /* its body is so large that the handler runs on a worker thread in any case */
bool rg_request_is_gone(const rg_request *r);                   /* the client has closed its connection; from any thread */
rg_server *rg_request_server(const rg_request *r);

/* The body as JSON whatever the Content-Type says. False if it is none (then answer rg_respond_error(r, 500), as ComfyUI). */
bool rg_request_json(const rg_request *r, struct json_object **out);

/* ---- answers: one of these per request -------------------------------------------------------------------------------------------- */

void rg_respond_header(rg_request *r, const char *name, const char *value);     /* before or after; repeatable */
void rg_respond(rg_request *r, int status, const char *content_type, const void *bytes, size_t n_bytes);
void rg_respond_text(rg_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void rg_respond_json(rg_request *r, int status, struct json_object *v);         /* takes v over; ASCII, as Python writes it */
void rg_respond_json_text(rg_request *r, int status, char *text);               /* takes text over (rg_free()) */
void rg_respond_empty(rg_request *r, int status);
void rg_respond_error(rg_request *r, int status);       /* ComfyUI's bodies: "404: Not Found" and so on */

/*
 * A file with ETag, Last-Modified, Range, HEAD and the conditions of RFC 9110; 404 or 403 (a directory) if it is none.
 *   content_type  NULL: by its name
 */
void rg_respond_file(rg_request *r, const char *path, const char *content_type);
const char *rg_content_type(const char *path);          /* by extension; "application/octet-stream" when unknown */
const char *rg_data_type(const char *path);             /* the same for files of clients: nothing that a browser would run as this server's page */

/* ---- answering later, and streams (SSE) ---------------------------------------------------------------------------------------------- */

/*
 * The handler returns without an answer; somebody calls rg_respond_...() and then rg_request_finish(), once, even if the client
 * is gone. on_gone (may be NULL) runs on the loop thread when the client closes first.
 */
void rg_request_hold(rg_request *r, void (*on_gone)(void *user, rg_request *r), void *user);
void rg_request_finish(rg_request *r);

/*
 * Instead of an answer, on a held request and from any thread: head now, pieces as they come, rg_request_finish() at the end.
 * A client that does not read is closed once 4 MiB wait for it.
 */
void rg_stream_start(rg_request *r, int status, const char *content_type);
void rg_stream_send(rg_request *r, const void *bytes, size_t n_bytes);

/* ---- WebSockets -------------------------------------------------------------------------------------------------------------------------- */

typedef enum rg_send_to {
    RG_SEND_ALL,                        /* to whoever the session id names */
    RG_SEND_PLAIN, RG_SEND_WITH_METADATA,   /* only if it has not, or has, asked for supports_preview_metadata */
    RG_SEND_KEPT = 4                    /* with one of the above: a result, not a preview that may be left out */
} rg_send_to;

/*
 * From any thread, in order: one message to the socket of a session id, or to every session (sid NULL). The newest socket of an
 * id is the one; older ones stay open and silent. A socket with more than 32 MiB waiting is closed; binary messages that need not
 * be kept are dropped for one with more than 1 MiB waiting, so that one slow reader costs the others nothing.
 */
void rg_server_send(rg_server *s, const char *sid, rg_send_to to, bool is_binary, const void *bytes, size_t n_bytes);

typedef enum rg_news { RG_NEWS_STATUS, RG_NEWS_PROGRESS, RG_NEWS_KINDS } rg_news;

/*
 * A text message of which only the latest counts, to every session: make() is called on the loop thread (it gives text to rg_free(), or
 * NULL: nothing is sent) once for all sockets and all calls meanwhile. Sockets get it a few at a time, so that a thousand of them delay
 * nobody, and one that has not read what came before gets it when it has: the latest then. rg_server_news() comes from any thread, after
 * rg_server_news_from() has said before the server runs who makes it.
 */
void rg_server_news_from(rg_server *s, rg_news kind, char *(*make)(void *user), void *user);
void rg_server_news(rg_server *s, rg_news kind);

/* On the loop thread. */
const char *rg_socket_sid(const rg_socket *s);
void rg_socket_send_text(rg_socket *s, const char *text);
void rg_socket_set_metadata(rg_socket *s, bool has_asked);
bool rg_socket_first(rg_socket *s);     /* true the first time it is called on a socket */

#endif
