/* The inside of the HTTP server, shared by http.c, listen.c, route.c, body.c, request.c, files.c and websocket.c. All of a conn belongs to the loop thread. */
#ifndef RG_SERVER_CONN_H
#define RG_SERVER_CONN_H

#include <libwebsockets.h>
#include <stdatomic.h>
#include <uv.h>

#include "graph/json_text.h"
#include "server/http.h"
#include "server/http_parse.h"

/* Bytes that go out, perhaps to many connections. Counted on the loop thread alone. */
typedef struct out_bytes {
    int n_holders;
    size_t n_bytes;
    char bytes[];
} out_bytes;

out_bytes *out_bytes_new(const void *bytes, size_t n_bytes);    /* one holder; bytes NULL: to be filled */
void out_bytes_unref(out_bytes *b);

typedef struct out_item {
    struct out_item *next;
    out_bytes *bytes;                   /* or a piece of a file: */
    int fd;
    size_t at, end;
} out_item;

typedef enum conn_state {
    CONN_HEAD,                          /* reading a request head */
    CONN_BODY,                          /* reading its body */
    CONN_UPLOAD,                        /* reading its body while somebody works on the answer (RG_ROUTE_STREAM) */
    CONN_ANSWER,                        /* somebody works on the answer */
    CONN_STREAM,                        /* the answer is a stream that goes on */
    CONN_SOCKET,                        /* a WebSocket */
    CONN_DRAIN                          /* all is said; what the client still sends is thrown away, then it is closed */
} conn_state;

typedef struct conn {
    rg_server *server;
    struct lws *wsi;
    struct conn *prev, *next;
    conn_state state;
    char *in;
    size_t n_in, in_capacity;
    out_item *out_first, *out_last;
    size_t n_out;                       /* bytes waiting */
    bool is_closing, is_killed, is_paused, is_shut, had_request;
    double since;                       /* when it last got on */
    double body_since;                  /* when the body began */
    size_t n_charged;                   /* of answers, until they are read */
    rg_request *request;
    rg_socket *socket;
    struct peer *peer;
} conn;

/* Connections of one address. */
typedef struct peer {
    struct peer *next;
    unsigned char address[16];
    int n;
} peer;

typedef struct route {
    struct route *next;
    const char *method, *pattern;
    int flags;
    rg_handler *handler;
    void *user;
} route;

typedef struct body_pipe body_pipe;

enum { SID_PLACES = 4096 };
enum { MAX_PARAMS = 4, MAX_QUERIES = 16 };

struct rg_request {
    rg_server *server;
    conn *conn;                         /* loop thread; NULL: the client is gone */
    rg_request *next;                   /* in the workers' queue */
    char *head_bytes;
    rg_http_head head;
    const route *route;
    char *params[MAX_PARAMS];
    struct { const char *name; char *value; } queries[MAX_QUERIES];
    int n_queries;
    char *body;
    size_t n_body, body_capacity;
    uint64_t n_received;                /* bytes of the body so far, kept or not */
    rg_chunked chunked;
    body_pipe *pipe;                    /* of a body that is streamed, else NULL */
    uint64_t n_streamed;                /* loop thread: its bytes so far */
    unsigned may;                       /* RG_MAY_... of its key */
    bool is_head, is_held, is_finished;
    double begun;                       /* monotonic */
    char address[46];                   /* of the client, for the log; "" when requests are not logged */
    atomic_int n_owners;                /* the handler while it runs, and who holds it: the last one's finish counts */
    atomic_bool is_gone;
    void (*on_gone)(void *user, rg_request *r);
    void *on_gone_user;
    /* the answer */
    int status;                         /* 0: none yet */
    bool is_raised;                     /* an error as ComfyUI raises them: no CORS headers */
    bool is_stream, has_cache_control;
    rg_text headers;
    char *bytes;                        /* rg_free() */
    size_t n_bytes;
    int fd;                             /* -1: none */
    size_t file_at, file_end;
};

struct rg_socket {
    conn *conn;
    rg_socket *prev, *next;
    char *sid;
    rg_socket *same;                    /* the next in the table of ids */
    bool wants_news[RG_NEWS_KINDS];     /* the latest waits until what is before it has gone out */
    bool is_silent, has_metadata, had_first;
    char *message;                      /* fragments of a message so far */
    size_t n_message;
    int opcode;
};

/* One kind of news; of the loop thread, but for make and user, which never change. */
typedef struct news {
    rg_server *server;
    out_bytes *bytes;                   /* the latest; NULL: none yet */
    rg_socket *next;                    /* who gets it next; NULL: everybody has it */
    bool is_waiting, is_armed;          /* it has changed since; somebody goes on with it soon */
    double last;                        /* when its round began */
    char *(*make)(void *user);
    void *user;
} news;

struct rg_server {
    struct lws_context *context, *left; /* left: what libwebsockets sets to NULL once it is wholly gone */
    uv_loop_t *uv;                      /* under it; NULL: poll() */
    struct lws_vhost *vhosts[8];
    int n_vhosts, port;
    rg_server_options options;
    rg_keys *keys;                      /* loop thread; NULL: none needed */
    int n_conns;
    int64_t n_refused;                  /* connections above the limits */
    size_t n_taken;                     /* memory of what clients have sent: buffers and bodies */
    size_t n_unread;                    /* of answers they have not read */
    bool is_peer_limit_given;
    peer *peers[1024];                  /* by hash of their address */
    route *routes, **routes_end;
    route moving;                       /* method NULL: there are none */
    rg_has_route *has_moving;
    conn *conns;
    rg_socket *sockets;                 /* newest first */
    rg_socket *by_sid[SID_PLACES];      /* hash table of the same, newest first */
    news news[RG_NEWS_KINDS];
    atomic_bool is_stopping;
    lws_sorted_usec_list_t timer;
    struct later *laters;
    pthread_mutex_t lock;               /* of what follows */
    struct post *posts, **posts_end;
    bool is_woken;
    pthread_cond_t work;
    rg_request *jobs, **jobs_end;
    pthread_t workers[2];
    int n_workers;
    bool is_over;
};

/* http.c */
bool conn_send(conn *c, out_bytes *b);  /* takes its own hold */
bool conn_send_file(conn *c, int fd, size_t at, size_t end);    /* takes fd over */
void conn_kill(conn *c);
void conn_close_when_sent(conn *c);

void conn_send_continue(void *request); /* for rg_server_post() */
void conn_take_more(void *request);     /* likewise: there is room for more of a streamed body */

/* body.c; on the loop thread, but for body_break() */
bool body_begin(rg_request *r);
int64_t body_feed(rg_request *r, char *bytes, size_t n_bytes);  /* how many it took; -1: malformed */
bool body_is_whole(const rg_request *r);
void body_break(rg_request *r);         /* no more will come */
void body_free(body_pipe *p);
/* listen.c */
int listen_start(rg_server *s, const struct lws_protocols *protocols, char *error, size_t error_size);
void listen_set_limits(rg_server *s);   /* before the context is made: it looks at the limit of open files */
bool listen_may_enter(rg_server *s, int fd);
void listen_entered(rg_server *s, conn *c);
void listen_left(rg_server *s, conn *c);

/* route.c; on the loop thread */
const route *route_find(rg_server *s, rg_request *r);   /* also fills in the parameters; NULL: none fits */
bool route_admit(rg_server *s, rg_request *r);          /* false: not allowed, or no memory; the answer is in r */
void route_none(rg_server *s, rg_request *r);           /* answers what no route does */

/* request.c */
rg_request *request_new(conn *c);
void request_free(rg_request *r);
bool request_body_add(rg_request *r, const char *bytes, size_t n);
/* Head of the answer as text; n_content -1: a stream. */
void request_head_text(rg_request *r, int64_t n_content, bool is_closing, rg_text *t);

/* compress.c: the answer's bytes, when they are of a type and for a client that may have them packed. On the handler's thread. */
void request_compress(rg_request *r, const char *content_type);

/* websocket.c */
bool socket_begin(conn *c, rg_request *r);              /* false: not answered with 101 (an answer is in r) */
bool socket_read(conn *c);                              /* frames in c->in; false: close it */
void socket_end(conn *c);
void socket_news(conn *c);                               /* what was before it has gone out */

#endif
