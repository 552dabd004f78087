/*
 * Connections: what arrives becomes requests, what handlers answer goes out. One request at a time per connection; bytes of the
 * next wait. Output is a list of pieces, so that a file is read as the client takes it and a broadcast is stored once.
 *
 * Limits against slow or greedy clients: output, and a body, that get on every 60 s (client_seconds), a body at 1 KiB/s on the
 * whole, a head in half that time, idleness between requests of a quarter more, no next request before the answers to the last ones are mostly read, and
 * so much memory for what all clients have sent, and for what they do not read.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

enum { WRITE_PIECE = 65536, MAX_WAITING_INPUT = 65536, DRAIN_SECONDS = 2, CLIENT_SECONDS = 60,
       MAX_WAITING_OUTPUT = 262144, LEAST_BYTES_PER_SECOND = 1024 };

typedef struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
} post;

double rg_server_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- output ---------------------------------------------------------------------------------------------------------------- */

out_bytes *out_bytes_new(const void *bytes, size_t n_bytes)
{
    out_bytes *b = rg_malloc(sizeof(*b) + n_bytes + 1);

    if (!b)
        return NULL;
    b->n_holders = 1;
    b->n_bytes = n_bytes;
    if (bytes)
        memcpy(b->bytes, bytes, n_bytes);
    return b;
}

void out_bytes_unref(out_bytes *b)
{
    if (b && --b->n_holders == 0)
        rg_free(b);
}

static bool add_item(conn *c, out_item item)
{
    out_item *o = rg_malloc(sizeof(*o));

    if (!o)
        return false;
    *o = item;
    if (!c->out_first)
        c->since = rg_server_now();
    *(c->out_last ? &c->out_last->next : &c->out_first) = o;
    c->out_last = o;
    c->n_out += item.end - item.at;
    lws_callback_on_writable(c->wsi);
    return true;
}

bool conn_send(conn *c, out_bytes *b)
{
    if (!b || !add_item(c, (out_item){ .bytes = b, .fd = -1, .end = b->n_bytes })) {
        conn_kill(c);
        return false;
    }
    b->n_holders++;
    return true;
}

bool conn_send_file(conn *c, int fd, size_t at, size_t end)
{
    if (add_item(c, (out_item){ .fd = fd, .at = at, .end = end }))
        return true;
    close(fd);
    conn_kill(c);
    return false;
}

static void free_item(out_item *o)
{
    out_bytes_unref(o->bytes);
    if (o->fd >= 0)
        close(o->fd);
    rg_free(o);
}

void conn_kill(conn *c)
{
    if (!c->is_killed)
        lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    c->is_killed = true;
}

void conn_close_when_sent(conn *c)
{
    c->is_closing = true;
    lws_callback_on_writable(c->wsi);
}

static void uncharge(conn *c)
{
    c->server->n_unread -= c->n_charged;
    c->n_charged = 0;
}

static void take_input(conn *c);

/* Send one piece. False: close the connection. */
static bool write_some(conn *c)
{
    static unsigned char piece[LWS_PRE + WRITE_PIECE];      /* of the loop thread */
    size_t n = 0;

    while (c->out_first && n < WRITE_PIECE) {   /* small items go together */
        out_item *o = c->out_first;
        size_t take = o->end - o->at < WRITE_PIECE - n ? o->end - o->at : WRITE_PIECE - n;

        if (o->bytes) {
            memcpy(piece + LWS_PRE + n, o->bytes->bytes + o->at, take);
        } else {
            const ssize_t got = pread(o->fd, piece + LWS_PRE + n, take, (off_t)o->at);
            if (got <= 0)
                return false;           /* the file has shrunk: the length that was promised cannot be kept */
            take = (size_t)got;
        }
        n += take;
        o->at += take;
        c->n_out -= take;
        if (o->at == o->end) {
            c->out_first = o->next;
            if (!c->out_first)
                c->out_last = NULL;
            free_item(o);
        }
    }
    if (n) {
        c->since = rg_server_now();
        if (lws_write(c->wsi, piece + LWS_PRE, n, LWS_WRITE_RAW) < 0)
            return false;
        if (c->state == CONN_HEAD && c->n_in && c->n_out <= MAX_WAITING_OUTPUT)
            take_input(c);              /* requests that came before their turn */
        if (c->is_killed)
            return false;
        if (!c->out_first && c->socket)
            socket_news(c);
        if (c->out_first || lws_partial_buffered(c->wsi)) {
            lws_callback_on_writable(c->wsi);
            return true;
        }
    }
    uncharge(c);
    if (c->is_closing && !lws_partial_buffered(c->wsi)) {
        if (c->state != CONN_DRAIN)
            return false;
        if (!c->is_shut)
            shutdown(lws_get_socket_fd(c->wsi), SHUT_WR);
        c->is_shut = true;
    }
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------- */

/* The answer in r goes out; the connection is then ready for the next request, or closes. */
static void send_answer(conn *c, rg_request *r)
{
    rg_text head = { 0 };
    const size_t n_content = r->fd >= 0 ? r->file_end - r->file_at : r->n_bytes;
    /* a body that was not read to its end makes what follows unreadable */
    const bool is_whole = c->state == CONN_ANSWER;
    const bool is_closing = !r->head.is_keep_alive || !is_whole;
    out_bytes *b;

    if (!r->status)
        rg_respond_error(r, 500);
    request_head_text(r, (int64_t)n_content, is_closing, &head);
    if (head.is_failed) {
        rg_text_release(&head);
        conn_kill(c);
        return;
    }
    const bool has_bytes = !r->is_head && r->fd < 0 && n_content && r->status != 304 && r->status != 204;
    b = out_bytes_new(NULL, head.n_bytes + (has_bytes ? n_content : 0));
    if (b) {
        memcpy(b->bytes, head.data, head.n_bytes);
        if (has_bytes)
            memcpy(b->bytes + head.n_bytes, r->bytes, n_content);
    }
    rg_text_release(&head);
    if (b) {
        c->n_charged += b->n_bytes;
        c->server->n_unread += b->n_bytes;
    }
    if (conn_send(c, b) && !r->is_head && r->fd >= 0 && n_content) {
        conn_send_file(c, r->fd, r->file_at, r->file_end);
        r->fd = -1;
    }
    out_bytes_unref(b);
    c->request = NULL;
    r->conn = NULL;
    if (is_closing) {
        c->state = CONN_DRAIN;
        conn_close_when_sent(c);
    } else {
        c->state = CONN_HEAD;
        c->since = rg_server_now();
    }
    request_free(r);
}

/* Runs on the loop thread once a request has its answer, or its stream is over. */
static void finish(void *arg)
{
    rg_request *r = arg;
    conn *c = r->conn;

    if (!c) {
        request_free(r);
        return;
    }
    if (c->state == CONN_STREAM) {
        c->request = NULL;
        r->conn = NULL;
        request_free(r);
        c->state = CONN_DRAIN;
        conn_close_when_sent(c);
        return;
    }
    send_answer(c, r);
    take_input(c);
}

void rg_request_finish(rg_request *r)
{
    if (atomic_fetch_sub(&r->n_owners, 1) > 1)
        return;
    rg_server_post(r->server, finish, r);
}

typedef struct stream_piece {
    rg_request *request;
    size_t n_bytes;
    bool is_head;
    char bytes[];
} stream_piece;

static void send_piece(void *arg)
{
    stream_piece *p = arg;
    conn *c = p->request->conn;

    if (c && p->is_head) {
        c->state = CONN_STREAM;
        c->since = rg_server_now();
    }
    if (c && c->state == CONN_STREAM) {
        out_bytes *b = out_bytes_new(p->bytes, p->n_bytes);
        conn_send(c, b);
        out_bytes_unref(b);
        if (c->n_out > (4u << 20))
            conn_kill(c);
    }
    rg_free(p);
}

static void post_piece(rg_request *r, bool is_head, const void *bytes, size_t n_bytes)
{
    stream_piece *p = rg_malloc(sizeof(*p) + n_bytes + 1);

    if (!p)
        return;
    *p = (stream_piece){ .request = r, .n_bytes = n_bytes, .is_head = is_head };
    memcpy(p->bytes, bytes, n_bytes);
    rg_server_post(r->server, send_piece, p);
}

void rg_stream_start(rg_request *r, int status, const char *content_type)
{
    rg_text t = { 0 };

    r->status = status;
    r->is_stream = true;
    rg_respond_header(r, "Content-Type", content_type);
    request_head_text(r, -1, true, &t);
    if (!t.is_failed)
        post_piece(r, true, t.data, t.n_bytes);
    rg_text_release(&t);
}

void rg_stream_send(rg_request *r, const void *bytes, size_t n_bytes)
{
    post_piece(r, false, bytes, n_bytes);
}

/* ---- workers --------------------------------------------------------------------------------------------------------------------- */

static void *worker(void *user)
{
    rg_server *s = user;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->jobs && !s->is_over)
            pthread_cond_wait(&s->work, &s->lock);
        if (!s->jobs)
            break;
        rg_request *r = s->jobs;
        if (!(s->jobs = r->next))
            s->jobs_end = &s->jobs;
        pthread_mutex_unlock(&s->lock);
        r->route->handler(r, r->route->user);
        rg_request_finish(r);           /* the handler's own share: one that holds it may have finished it already */
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void give_to_worker(rg_server *s, rg_request *r)
{
    pthread_mutex_lock(&s->lock);
    r->next = NULL;
    *s->jobs_end = r;
    s->jobs_end = &r->next;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* ---- routing ------------------------------------------------------------------------------------------------------------------------- */

/* A whole request is there; of a streamed one its head. */
static void dispatch(conn *c)
{
    rg_request *r = c->request;
    rg_server *s = c->server;

    c->state = r->pipe && !body_is_whole(r) ? CONN_UPLOAD : CONN_ANSWER;
    if (!strcmp(r->head.method, "OPTIONS")) {
        rg_respond_empty(r, 200);
        send_answer(c, r);
        return;
    }
    if (r->route && (r->route->flags & RG_ROUTE_SOCKET)) {
        if (!socket_begin(c, r))
            send_answer(c, r);
        return;
    }
    if (r->route && ((r->route->flags & RG_ROUTE_WORKER) || rg_request_is_large(r))) {
        give_to_worker(s, r);
        return;
    }
    if (r->route) {
        r->route->handler(r, r->route->user);
        if (r->is_held) {
            rg_request_finish(r);
            return;
        }
    } else {
        route_none(s, r);
    }
    send_answer(c, r);
}

/* ---- input -------------------------------------------------------------------------------------------------------------------------------- */

static void refuse(conn *c, int status)
{
    rg_request *r = c->request ? c->request : request_new(c);

    if (!r) {
        conn_kill(c);
        return;
    }
    c->request = r;
    rg_respond_error(r, status);
    c->state = CONN_BODY;               /* so that the connection closes after it */
    send_answer(c, r);
}

static void refuse_body(conn *c, uint64_t n_bytes)
{
    rg_request *r = c->request;

    r->is_raised = true;
    rg_respond_text(r, 413, "Maximum request body size %zu exceeded, actual body size %llu", c->server->options.max_body_bytes,
                    (unsigned long long)n_bytes);
    send_answer(c, r);
}

/* More of a body than there is memory for, here or by the limit for all clients. */
static void refuse_memory(conn *c)
{
    rg_respond_header(c->request, "Retry-After", "5");
    refuse(c, 503);
}

static void drop_input(conn *c, size_t n)
{
    memmove(c->in, c->in + n, c->n_in - n);
    c->n_in -= n;
}

void conn_send_continue(void *request)
{
    rg_request *r = request;
    out_bytes *b = r->conn ? out_bytes_new("HTTP/1.1 100 Continue\r\n\r\n", 25) : NULL;

    if (r->conn)
        conn_send(r->conn, b);
    out_bytes_unref(b);
}

/* A head from c->in. True: it is complete, go on. */
static bool read_head(conn *c)
{
    rg_http_head head;
    const char *stop = memmem(c->in, c->n_in, "\n\r\n", 3), *bare = memmem(c->in, c->n_in, "\n\n", 2);

    if (!stop && !bare && c->n_in < RG_HTTP_MAX_HEAD)
        return false;
    char *copy = rg_malloc(c->n_in + 1);
    if (!copy) {
        conn_kill(c);
        return false;
    }
    /* the parser cuts up what it reads: a copy of the head, which the request keeps */
    const size_t n = c->n_in < RG_HTTP_MAX_HEAD ? c->n_in : RG_HTTP_MAX_HEAD;
    memcpy(copy, c->in, n);
    const int64_t used = rg_http_parse_head(copy, n, &head);
    if (used == 0) {
        rg_free(copy);
        return false;
    }
    rg_request *r = request_new(c);
    if (!r) {
        rg_free(copy);
        conn_kill(c);
        return false;
    }
    c->request = r;
    c->had_request = true;
    if (used < 0) {
        rg_free(copy);
        refuse(c, (int)-used);
        return false;
    }
    r->head_bytes = copy;
    r->head = head;
    drop_input(c, (size_t)used);
    c->state = CONN_BODY;
    c->body_since = rg_server_now();
    r->is_head = !strcmp(r->head.method, "HEAD");
    r->route = route_find(c->server, r);
    if (!route_admit(c->server, r)) {   /* before its body costs anything */
        if (!head.is_chunked && head.content_length <= 0)
            c->state = CONN_ANSWER;
        send_answer(c, r);
        return c->state == CONN_HEAD;
    }
    if (r->route && (r->route->flags & RG_ROUTE_STREAM)) {
        if (!body_begin(r))
            conn_kill(c);
        return r->pipe != NULL;
    }
    if (head.content_length > 0 && (uint64_t)head.content_length > c->server->options.max_body_bytes) {
        refuse_body(c, (uint64_t)head.content_length);
        return false;
    }
    if (head.is_continue_wanted && (head.content_length > 0 || head.is_chunked) && !c->n_in)
        conn_send_continue(r);
    return true;
}

/* Body bytes from c->in. True: the body is complete. */
static bool read_body(conn *c)
{
    rg_request *r = c->request;
    size_t take = c->n_in;

    if (r->head.is_chunked) {
        size_t n_content;
        const int64_t used = rg_chunked_decode(&r->chunked, c->in, c->n_in, &n_content);

        if (used < 0) {
            refuse(c, 400);
            return false;
        }
        if (r->n_body + n_content > c->server->options.max_body_bytes) {
            refuse_body(c, r->n_body + n_content);
            return false;
        }
        if (!request_body_add(r, c->in, n_content)) {
            refuse_memory(c);
            return false;
        }
        drop_input(c, (size_t)used);
        return r->chunked.is_done;
    }
    if (r->head.content_length <= 0)
        return true;
    if (take > (size_t)r->head.content_length - r->n_body)
        take = (size_t)r->head.content_length - r->n_body;
    if (!request_body_add(r, c->in, take)) {
        refuse_memory(c);
        return false;
    }
    drop_input(c, take);
    return r->n_body == (size_t)r->head.content_length;
}

/* Part of a streamed body goes to whoever reads it. False: it is not complete. */
static bool pass_body(conn *c)
{
    const int64_t used = body_feed(c->request, c->in, c->n_in);

    if (used < 0)                       /* the reader hears of it, and answers */
        c->n_in = 0;
    else
        drop_input(c, (size_t)used);
    return body_is_whole(c->request);
}

void conn_take_more(void *request)
{
    rg_request *r = request;

    if (!r->conn)
        return;
    r->conn->since = rg_server_now();
    take_input(r->conn);
}

static void take_input(conn *c)
{
    while (!c->is_killed) {
        if (c->state == CONN_HEAD) {
            if (!c->n_in || c->n_out > MAX_WAITING_OUTPUT || atomic_load(&c->server->is_stopping) || !read_head(c))
                break;
        } else if (c->state == CONN_BODY) {
            if (!c->request->pipe && !read_body(c))
                break;
            dispatch(c);
        } else if (c->state == CONN_UPLOAD) {
            if (!c->n_in || !pass_body(c))
                break;
            c->state = CONN_ANSWER;
        } else if (c->state == CONN_SOCKET) {
            if (!socket_read(c))
                conn_kill(c);
            break;
        } else {
            break;
        }
    }
    if (c->state == CONN_DRAIN)
        c->n_in = 0;
    const bool must_pause = (c->n_in > MAX_WAITING_INPUT && (c->state == CONN_ANSWER || c->state == CONN_STREAM ||
                             c->state == CONN_HEAD)) ||
                            (c->n_in && c->state == CONN_UPLOAD);
    if (must_pause != c->is_paused) {
        c->is_paused = must_pause;
        lws_rx_flow_control(c->wsi, must_pause ? 0 : 1);
    }
}

static void free_input(conn *c)
{
    c->server->n_taken -= c->in_capacity;
    rg_free(c->in);
    c->in = NULL;
    c->n_in = c->in_capacity = 0;
}

static bool receive(conn *c, const char *bytes, size_t n)
{
    if (c->state == CONN_DRAIN)
        return true;
    if (c->n_in + n > c->in_capacity) {
        const size_t capacity = c->n_in + n > 2 * c->in_capacity ? c->n_in + n : 2 * c->in_capacity;
        char *in = c->server->n_taken + capacity - c->in_capacity > c->server->options.max_memory_bytes ? NULL : rg_realloc(c->in, capacity);

        if (!in)
            return false;
        c->server->n_taken += capacity - c->in_capacity;
        c->in = in;
        c->in_capacity = capacity;
    }
    if (!c->had_request && !c->is_killed)
        lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0); /* libwebsockets' own five seconds for TLS, which go on after the handshake */
    memcpy(c->in + c->n_in, bytes, n);
    c->n_in += n;
    if (c->state == CONN_BODY || c->state == CONN_UPLOAD || !c->out_first)
        c->since = c->state == CONN_HEAD && c->n_in > n ? c->since : rg_server_now();   /* a head has its time as a whole */
    take_input(c);
    if (c->n_in == 0 && c->in_capacity > 65536)
        free_input(c);
    return !c->is_killed;
}

/* ---- the event loop -------------------------------------------------------------------------------------------------------------------------- */

static void run_posts(rg_server *s)
{
    pthread_mutex_lock(&s->lock);
    post *p = s->posts;
    s->posts = NULL;
    s->posts_end = &s->posts;
    s->is_woken = false;
    pthread_mutex_unlock(&s->lock);
    while (p) {
        post *next = p->next;

        p->fn(p->arg);
        rg_free(p);
        p = next;
    }
}

void rg_server_post(rg_server *s, void (*fn)(void *arg), void *arg)
{
    post *p;

    while (!(p = rg_malloc(sizeof(*p))))        /* a message that others wait for cannot be dropped */
        usleep(1000);
    *p = (post){ .fn = fn, .arg = arg };
    pthread_mutex_lock(&s->lock);
    *s->posts_end = p;
    s->posts_end = &p->next;
    const bool must_wake = !s->is_woken;
    s->is_woken = true;
    pthread_mutex_unlock(&s->lock);
    if (must_wake)
        lws_cancel_service(s->context);
}

typedef struct later {
    lws_sorted_usec_list_t timer;
    struct later *prev, *next;
    rg_server *server;
    double at;
    void (*fn)(void *arg);
    void *arg;
} later;

static void forget_later(later *l)
{
    if (l->next)
        l->next->prev = l->prev;
    *(l->prev ? &l->prev->next : &l->server->laters) = l->next;
    rg_free(l);
}

static void on_later(lws_sorted_usec_list_t *timer)
{
    later *l = lws_container_of(timer, later, timer);
    void (*const fn)(void *) = l->fn;
    void *const arg = l->arg;

    forget_later(l);
    fn(arg);
}

static void begin_later(void *arg)
{
    later *l = arg;
    const double seconds = l->at - rg_server_now();

    if (!l->server->context) {          /* it ends */
        rg_free(l);
        return;
    }
    if ((l->next = l->server->laters))
        l->next->prev = l;
    l->server->laters = l;
    lws_sul_schedule(l->server->context, 0, &l->timer, on_later, (lws_usec_t)((seconds > 0 ? seconds : 0) * LWS_US_PER_SEC) + 1);
}

void rg_server_post_later(rg_server *s, double seconds, void (*fn)(void *arg), void *arg)
{
    later *l;

    while (!(l = rg_calloc(1, sizeof(*l))))     /* as a post: cannot be dropped */
        usleep(1000);
    *l = (later){ .server = s, .at = rg_server_now() + seconds, .fn = fn, .arg = arg };
    rg_server_post(s, begin_later, l);
}

static void conn_opened(rg_server *s, struct lws *wsi, conn **slot)
{
    conn *c = rg_calloc(1, sizeof(*c));

    *slot = c;
    if (!c)
        return;
    c->server = s;
    c->wsi = wsi;
    c->since = rg_server_now();
    if ((c->next = s->conns))
        c->next->prev = c;
    s->conns = c;
    listen_entered(s, c);
    lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
}

static void conn_closed(conn *c)
{
    rg_server *s = c->server;
    rg_request *r = c->request;

    c->is_killed = true;
    if (c->socket)
        socket_end(c);
    if (r) {
        r->conn = NULL;
        atomic_store(&r->is_gone, true);
        if (c->state == CONN_UPLOAD)
            body_break(r);
        if (c->state == CONN_ANSWER || c->state == CONN_STREAM || c->state == CONN_UPLOAD) {
            pthread_mutex_lock(&s->lock);
            void (*const on_gone)(void *, rg_request *) = r->on_gone;
            void *const user = r->on_gone_user;
            pthread_mutex_unlock(&s->lock);
            if (on_gone)                /* whoever works on it lets go of it by rg_request_finish() */
                on_gone(user, r);
        } else {
            request_free(r);
        }
    }
    if (c->next)
        c->next->prev = c->prev;
    *(c->prev ? &c->prev->next : &s->conns) = c->next;
    listen_left(s, c);
    while (c->out_first) {
        out_item *o = c->out_first;
        c->out_first = o->next;
        free_item(o);
    }
    free_input(c);
    uncharge(c);
    rg_free(c);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
    struct lws_context *context = wsi ? lws_get_context(wsi) : NULL;
    rg_server *s = context ? lws_context_user(context) : NULL;
    /* only these come with the memory that libwebsockets keeps per connection */
    const bool is_ours = reason == LWS_CALLBACK_RAW_ADOPT || reason == LWS_CALLBACK_RAW_RX || reason == LWS_CALLBACK_RAW_WRITEABLE ||
                         reason == LWS_CALLBACK_RAW_CLOSE;
    conn **slot = is_ours ? user : NULL, *c = slot ? *slot : NULL;

    switch (reason) {
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        run_posts(s);
        break;
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
        return listen_may_enter(s, (int)(intptr_t)in) ? 0 : -1;
    case LWS_CALLBACK_RAW_ADOPT:
        if (slot)
            conn_opened(s, wsi, slot);
        return slot && *slot ? 0 : -1;
    case LWS_CALLBACK_RAW_RX:
        return c && receive(c, in, n) ? 0 : -1;
    case LWS_CALLBACK_RAW_WRITEABLE:
        return c && write_some(c) ? 0 : -1;
    case LWS_CALLBACK_RAW_CLOSE:
        if (slot && c) {
            *slot = NULL;
            conn_closed(c);
        }
        break;
    default:
        break;
    }
    return 0;
}

static const struct lws_protocols protocols[] = {
    { .name = "rylagraph", .callback = on_event, .per_session_data_size = sizeof(conn *), .rx_buffer_size = 65536 },
    { 0 }
};

/* A body that comes in drops, each in time. */
static bool is_slow_body(const conn *c, double now)
{
    const double seconds = now - c->body_since;

    return seconds > c->server->options.client_seconds && (!c->request || (double)c->request->n_received < seconds * LEAST_BYTES_PER_SECOND);
}

/* Once a second: who has waited too long? */
static void on_timer(lws_sorted_usec_list_t *timer)
{
    rg_server *s = lws_container_of(timer, rg_server, timer);
    const double now = rg_server_now(), limit = s->options.client_seconds;

    for (conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        const double waited = now - c->since;
        if (c->out_first && waited > limit) {   /* what it did not read would stay in the kernel for minutes: a reset, no end */
            const struct linger cut = { 1, 0 };
            setsockopt(lws_get_socket_fd(c->wsi), SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
            conn_kill(c);
        }
        if ((c->state == CONN_BODY && (waited > limit || is_slow_body(c, now))) ||
            (c->state == CONN_UPLOAD && !c->is_paused && waited > limit) ||
            (c->state == CONN_DRAIN && !c->out_first && waited > DRAIN_SECONDS) ||
            (c->state == CONN_HEAD && !c->out_first && waited > (c->n_in || !c->had_request ? 0.5 : 1.25) * limit))
            conn_kill(c);
    }
    if (!atomic_load(&s->is_stopping))
        lws_sul_schedule(s->context, 0, &s->timer, on_timer, LWS_US_PER_SEC);
}

static void on_log(int level, const char *line)
{
    fputs(line, stderr);
}

/*
 * libwebsockets over libuv, that is epoll: a turn of the loop then costs what has happened in it. Over its own poll() it looks at every
 * connection in every turn, 1 ms for 2,000 of them. Where its libuv module is not installed, poll() it is.
 */
static bool make_context(rg_server *s, struct lws_context_creation_info *info)
{
    void *loops[1];

    if ((s->uv = rg_calloc(1, sizeof(*s->uv))) && uv_loop_init(s->uv) == 0) {
        struct lws_context_creation_info over_uv = *info;

        loops[0] = s->uv;
        over_uv.options |= LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_UV_NO_SIGSEGV_SIGFPE_SPIN;
        over_uv.foreign_loops = loops;
        lws_set_log_level(0, on_log);   /* its silence about the module is wanted */
        over_uv.pcontext = &s->left;
        s->left = s->context = lws_create_context(&over_uv);
        lws_set_log_level(LLL_ERR, on_log);
        if (s->context)
            return true;
        uv_loop_close(s->uv);
    }
    rg_free(s->uv);
    s->uv = NULL;
    return (s->context = lws_create_context(info)) != NULL;
}

static void free_context(rg_server *s)
{
    lws_context_destroy(s->context);
    s->context = NULL;
    if (!s->uv)
        return;
    for (int i = 0; i < 100 && uv_loop_alive(s->uv); i++)
        uv_run(s->uv, UV_RUN_NOWAIT);   /* handles are closed by the loop */
    for (int i = 0; i < 3 && s->left; i++)
        lws_context_destroy(s->left);   /* over a loop of others it waits for that before it lets go of its own memory */
    if (uv_loop_close(s->uv) == 0)
        rg_free(s->uv);
    s->uv = NULL;
}

rg_server *rg_server_new(const rg_server_options *o, char *error, size_t error_size)
{
    struct lws_context_creation_info info = { .port = CONTEXT_PORT_NO_LISTEN, .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
                                              .pt_serv_buf_size = 65536, .gid = (gid_t)-1, .uid = (uid_t)-1 };
    rg_server *s = rg_calloc(1, sizeof(*s));

    snprintf(error, error_size, "out of memory");
    if (!s) {
        rg_keys_free(o->keys);
        return NULL;
    }
    lws_set_log_level(LLL_ERR, on_log);
    s->keys = o->keys;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    s->options = *o;
    s->options.cors_origin = o->cors_origin ? rg_strdup(o->cors_origin) : NULL;
    char *root = o->static_root ? realpath(o->static_root, NULL) : NULL;
    s->options.static_root = root ? rg_strdup(root) : NULL;
    free(root);
    s->routes_end = &s->routes;
    s->posts_end = &s->posts;
    s->jobs_end = &s->jobs;
    if (!s->options.max_memory_bytes)
        s->options.max_memory_bytes = s->options.max_body_bytes > SIZE_MAX / 8 ? SIZE_MAX / 2 : s->options.max_body_bytes < (256u << 20)
                                    ? (size_t)1 << 30 : 4 * s->options.max_body_bytes;
    if (o->static_root && !s->options.static_root) {
        snprintf(error, error_size, "%s: %s", o->static_root, strerror(errno));
        goto failed;
    }
    if (!(s->options.client_seconds > 0))
        s->options.client_seconds = CLIENT_SECONDS;
    listen_set_limits(s);
    info.user = s;
    if (o->tls_cert)
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    if (!make_context(s, &info))
        goto failed;
    if (listen_start(s, protocols, error, error_size) < 0)
        goto failed;
    for (; s->n_workers < 2; s->n_workers++)
        if (pthread_create(&s->workers[s->n_workers], NULL, worker, s)) {
            snprintf(error, error_size, "cannot start a thread");
            goto failed;
        }
    return s;
failed:
    rg_server_free(s);
    return NULL;
}

void rg_server_run(rg_server *s)
{
    lws_sul_schedule(s->context, 0, &s->timer, on_timer, LWS_US_PER_SEC);
    run_posts(s);                       /* those posted before the loop ran */
    while (!atomic_load(&s->is_stopping)) {
        if (s->uv)
            uv_run(s->uv, UV_RUN_ONCE);
        else if (lws_service(s->context, 0) < 0)
            break;
        run_posts(s);
    }
}

/* Shared by one rg_server_flush() and its last post, which may come after it has given up. */
typedef struct flush {
    rg_server *server;
    atomic_int n_holders, n_unsent;     /* n_unsent < 0: not counted yet */
} flush;

static void flush_release(flush *f)
{
    if (atomic_fetch_sub(&f->n_holders, 1) == 1)
        rg_free(f);
}

static void count_unsent(void *arg)
{
    flush *f = arg;
    int n = 0;

    for (const conn *c = f->server->conns; c; c = c->next)
        n += c->out_first != NULL && c->state != CONN_SOCKET;
    atomic_store(&f->n_unsent, n);
    flush_release(f);
}

void rg_server_flush(rg_server *s, double seconds)
{
    const double until = rg_server_now() + seconds;
    flush *f = rg_calloc(1, sizeof *f);

    if (!f)
        return;
    f->server = s;
    atomic_store(&f->n_holders, 1);
    do {
        atomic_store(&f->n_unsent, -1);
        atomic_fetch_add(&f->n_holders, 1);
        rg_server_post(s, count_unsent, f);
        while (atomic_load(&f->n_unsent) < 0 && rg_server_now() < until)
            nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    } while (atomic_load(&f->n_unsent) > 0 && rg_server_now() < until);
    flush_release(f);
}

void rg_server_stop(rg_server *s)
{
    atomic_store(&s->is_stopping, true);
    lws_cancel_service(s->context);
}

typedef struct new_keys {
    rg_server *server;
    rg_keys *keys;
} new_keys;

static void set_keys(void *arg)
{
    new_keys *n = arg;

    rg_keys_free(n->server->keys);
    n->server->keys = n->keys;
    rg_free(n);
}

void rg_server_set_keys(rg_server *s, rg_keys *keys)
{
    new_keys *n = rg_malloc(sizeof *n);

    if (!n) {
        rg_keys_free(keys);             /* the old ones stay */
        return;
    }
    *n = (new_keys){ s, keys };
    rg_server_post(s, set_keys, n);
}

void rg_server_end_workers(rg_server *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_over = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_workers; i++)
        pthread_join(s->workers[i], NULL);
    s->n_workers = 0;
}

void rg_server_free(rg_server *s)
{
    if (!s)
        return;
    rg_server_end_workers(s);
    if (s->context) {
        run_posts(s);
        while (s->laters) {
            lws_sul_schedule(s->context, 0, &s->laters->timer, NULL, LWS_SET_TIMER_USEC_CANCEL);
            forget_later(s->laters);
        }
        free_context(s);
    }
    for (post *p = s->posts; p; ) {
        post *next = p->next;
        p->fn(p->arg);                  /* what they hold is let go of; connections are gone */
        rg_free(p);
        p = next;
    }
    while (s->routes) {
        route *t = s->routes;
        s->routes = t->next;
        rg_free(t);
    }
    for (int i = 0; i < RG_NEWS_KINDS; i++)
        out_bytes_unref(s->news[i].bytes);
    rg_keys_free(s->keys);
    rg_free((char *)s->options.cors_origin);
    rg_free((char *)s->options.static_root);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    rg_free(s);
}

int rg_server_port(const rg_server *s)
{
    return s->port;
}

void rg_server_route(rg_server *s, const char *method, const char *pattern, int flags, rg_handler *handler, void *user)
{
    route *t = rg_malloc(sizeof(*t));

    if (!t)
        RG_BUG("no memory for a route");
    *t = (route){ NULL, method, pattern, flags, handler, user };
    *s->routes_end = t;
    s->routes_end = &t->next;
}
