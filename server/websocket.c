/*
 * WebSockets: handshake and frames (RFC 6455), and who gets which message. A session id has one socket that counts, the newest; the
 * older ones of the same id stay open and hear nothing more, and closing them changes nothing.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

enum { MAX_MESSAGE = 4 << 20, MAX_WAITING = 32 << 20, MAX_WAITING_BINARY = 1 << 20 };
enum { OP_CONTINUE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static bool has_word(const char *s, const char *word)
{
    const size_t n = strlen(word);

    for (; s && *s; s++)
        if (!strncasecmp(s, word, n))
            return true;
    return false;
}

static out_bytes *frame(int opcode, const void *bytes, size_t n)
{
    unsigned char head[10] = { (unsigned char)(0x80 | opcode) };
    size_t n_head = 2;
    out_bytes *b;

    if (n < 126) {
        head[1] = (unsigned char)n;
    } else if (n < 65536) {
        head[1] = 126;
        head[2] = (unsigned char)(n >> 8);
        head[3] = (unsigned char)n;
        n_head = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++)
            head[2 + i] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
        n_head = 10;
    }
    if (!(b = out_bytes_new(NULL, n_head + n)))
        return NULL;
    memcpy(b->bytes, head, n_head);
    if (n)
        memcpy(b->bytes + n_head, bytes, n);
    return b;
}

static void send_frame(conn *c, int opcode, const void *bytes, size_t n)
{
    out_bytes *b = frame(opcode, bytes, n);

    conn_send(c, b);
    out_bytes_unref(b);
}

/* Where the sockets of a session id begin in the table. */
static rg_socket **place_of(rg_server *s, const char *sid)
{
    uint32_t h = 2166136261u;

    for (; *sid; sid++)
        h = (h ^ (unsigned char)*sid) * 16777619u;
    return &s->by_sid[h % SID_PLACES];
}

bool socket_begin(conn *c, rg_request *r)
{
    const char *key = rg_request_header(r, "sec-websocket-key"), *version = rg_request_header(r, "sec-websocket-version");
    const char *sid;
    rg_server *s = c->server;
    rg_socket *k;
    char accept[64], joined[200];
    unsigned char digest[20];
    rg_text t = { 0 };

    const char *upgrade = rg_request_header(r, "upgrade"), *connection = rg_request_header(r, "connection");
    char nonce[24];

    if (!has_word(upgrade, "websocket")) {
        rg_respond_text(r, 400, "No WebSocket UPGRADE hdr: %s\n Can \"Upgrade\" only to \"WebSocket\".", upgrade ? upgrade : "None");
        return false;
    }
    if (!has_word(connection, "upgrade")) {
        rg_respond_text(r, 400, "No CONNECTION upgrade hdr: %s", connection ? connection : "None");
        return false;
    }
    if (!version || (strcmp(version, "13") && strcmp(version, "8") && strcmp(version, "7"))) {  /* 7 and 8: drafts with the same frames */
        rg_respond_header(r, "Sec-WebSocket-Version", "13");
        rg_respond_text(r, 400, "Unsupported version: %s", version ? version : "");
        return false;
    }
    if (!key || strlen(key) != 24 || lws_b64_decode_string(key, nonce, sizeof(nonce)) != 16) {
        rg_respond_text(r, 400, key ? "Handshake error: '%s'" : "Handshake error: None", key);
        return false;
    }
    snprintf(joined, sizeof(joined), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    lws_SHA1((const unsigned char *)joined, strlen(joined), digest);
    lws_b64_encode_string((const char *)digest, 20, accept, sizeof(accept));
    if (!(k = rg_calloc(1, sizeof(*k)))) {
        conn_kill(c);
        return true;
    }
    sid = rg_request_query(r, "clientId");
    if (sid && *sid) {
        k->sid = rg_strdup(sid);
    } else {
        unsigned char random[16];

        if (getrandom(random, sizeof(random), 0) == sizeof(random) && (k->sid = rg_malloc(33)))
            for (int i = 0; i < 16; i++)
                snprintf(k->sid + 2 * i, 3, "%02x", random[i]);
    }
    if (!k->sid) {
        rg_free(k);
        conn_kill(c);
        return true;
    }
    rg_text_format(&t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
                   accept, has_word(rg_request_header(r, "sec-websocket-protocol"), "rylagraph") ? "Sec-WebSocket-Protocol: rylagraph\r\n" : "");
    out_bytes *b = t.is_failed ? NULL : out_bytes_new(t.data, t.n_bytes);
    conn_send(c, b);
    out_bytes_unref(b);
    rg_text_release(&t);

    rg_socket **place = place_of(s, k->sid);
    for (rg_socket *old = *place; old; old = old->same)
        old->is_silent |= !strcmp(old->sid, k->sid);
    k->same = *place;
    *place = k;
    k->conn = c;
    if ((k->next = s->sockets))
        k->next->prev = k;
    s->sockets = k;
    c->socket = k;
    c->state = CONN_SOCKET;
    c->request = NULL;
    r->conn = NULL;
    request_free(r);
    if (s->options.on_open)
        s->options.on_open(s->options.user, k);
    return true;
}

void socket_end(conn *c)
{
    rg_server *s = c->server;
    rg_socket *k = c->socket;

    if (s->options.on_close)
        s->options.on_close(s->options.user, k);
    rg_socket **place = place_of(s, k->sid);
    while (*place != k)
        place = &(*place)->same;
    *place = k->same;
    for (int i = 0; i < RG_NEWS_KINDS; i++)
        if (s->news[i].next == k)
            s->news[i].next = k->next;
    if (k->next)
        k->next->prev = k->prev;
    *(k->prev ? &k->prev->next : &s->sockets) = k->next;
    rg_free(k->sid);
    rg_free(k->message);
    rg_free(k);
    c->socket = NULL;
}

static void close_with(conn *c, int code)
{
    const unsigned char bytes[2] = { (unsigned char)(code >> 8), (unsigned char)code };

    send_frame(c, OP_CLOSE, bytes, 2);
    c->state = CONN_DRAIN;
    conn_close_when_sent(c);
}

/* One whole frame, unmasked. False: the connection is closing. */
static bool take_frame(conn *c, bool is_final, int opcode, const char *bytes, size_t n)
{
    rg_socket *k = c->socket;

    switch (opcode) {
    case OP_PING:
        if (c->n_out < MAX_WAITING_BINARY)
            send_frame(c, OP_PONG, bytes, n);
        return true;
    case OP_PONG:
        return true;
    case OP_CLOSE:
        send_frame(c, OP_CLOSE, bytes, n >= 2 ? 2 : 0);
        c->state = CONN_DRAIN;
        conn_close_when_sent(c);
        return false;
    case OP_TEXT:
    case OP_BINARY:
    case OP_CONTINUE:
        if ((opcode == OP_CONTINUE) != (k->opcode != 0))
            break;
        if (opcode)
            k->opcode = opcode;
        if (k->n_message + n > MAX_MESSAGE) {
            close_with(c, 1009);
            return false;
        }
        char *message = rg_realloc(k->message, k->n_message + n + 1);
        if (!message) {
            close_with(c, 1011);
            return false;
        }
        k->message = message;
        memcpy(message + k->n_message, bytes, n);
        k->n_message += n;
        message[k->n_message] = '\0';
        if (is_final) {
            if (k->opcode == OP_TEXT && c->server->options.on_text)
                c->server->options.on_text(c->server->options.user, k, k->message, k->n_message);
            rg_free(k->message);
            k->message = NULL;
            k->n_message = 0;
            k->opcode = 0;
        }
        return true;
    }
    close_with(c, 1002);
    return false;
}

bool socket_read(conn *c)
{
    size_t at = 0;

    while (c->state == CONN_SOCKET && c->n_in - at >= 2) {
        unsigned char *p = (unsigned char *)c->in + at;
        const size_t left = c->n_in - at;
        const int opcode = p[0] & 15;
        size_t n_head = 2;
        uint64_t n = p[1] & 127;

        if ((p[0] & 0x70) || !(p[1] & 0x80) || (opcode >= 8 && (n > 125 || !(p[0] & 0x80)))) {
            close_with(c, 1002);        /* reserved bits, no mask, or a control frame in pieces */
            break;
        }
        if (n == 126)
            n_head = 4;
        else if (n == 127)
            n_head = 10;
        if (left < n_head + 4)
            break;
        if (n_head > 2) {
            n = 0;
            for (size_t i = 2; i < n_head; i++)
                n = n << 8 | p[i];
        }
        if (n > MAX_MESSAGE) {
            close_with(c, 1009);
            break;
        }
        if (left < n_head + 4 + n)
            break;
        unsigned char *mask = p + n_head, *bytes = mask + 4;
        for (uint64_t i = 0; i < n; i++)
            bytes[i] ^= mask[i & 3];
        at += n_head + 4 + n;
        if (!take_frame(c, p[0] & 0x80, opcode, (char *)bytes, n))
            break;
    }
    memmove(c->in, c->in + at, c->n_in - at);
    c->n_in -= at;
    return true;
}

/* ---- sending ------------------------------------------------------------------------------------------------------------------ */

typedef struct message {
    rg_server *server;
    rg_send_to to;
    bool is_binary, is_for_all;
    out_bytes *frame;                   /* made where it is sent from, so that the loop has less to do */
    char sid[];
} message;

static void deliver_to(const message *m, rg_socket *k)
{
    const rg_send_to to = m->to & ~(unsigned)RG_SEND_KEPT;
    conn *c = k->conn;

    if (k->is_silent || c->state != CONN_SOCKET || c->is_killed)
        return;
    if ((to == RG_SEND_PLAIN && k->has_metadata) || (to == RG_SEND_WITH_METADATA && !k->has_metadata))
        return;
    if (c->n_out > MAX_WAITING)
        conn_kill(c);
    else if (!m->is_binary || (m->to & RG_SEND_KEPT) || c->n_out <= MAX_WAITING_BINARY)
        conn_send(c, m->frame);
}

static void deliver(void *arg)
{
    message *m = arg;

    if (!m->is_for_all) {
        rg_socket *k = *place_of(m->server, m->sid);
        while (k && (k->is_silent || strcmp(k->sid, m->sid)))
            k = k->same;
        if (k)
            deliver_to(m, k);
    } else {
        for (rg_socket *k = m->server->sockets; k; k = k->next)
            deliver_to(m, k);
    }
    out_bytes_unref(m->frame);
    rg_free(m);
}

void rg_server_send(rg_server *s, const char *sid, rg_send_to to, bool is_binary, const void *bytes, size_t n_bytes)
{
    message *m = rg_malloc(sizeof(*m) + (sid ? strlen(sid) : 0) + 1);

    if (!m)
        return;
    *m = (message){ .server = s, .to = to, .is_binary = is_binary, .is_for_all = !sid,
                      .frame = frame(is_binary ? OP_BINARY : OP_TEXT, bytes, n_bytes) };
    strcpy(m->sid, sid ? sid : "");
    if (!m->frame) {
        rg_free(m);
        return;
    }
    rg_server_post(s, deliver, m);
}

/* ---- news: only the latest counts ------------------------------------------------------------------------------------------------ */

/* A round goes by some sockets at a time, and the next begins a while after the last one did: some 10,000 messages a second at most. */
enum { NEWS_AT_ONCE = 50, NEWS_BYTES = 1 << 18 };
static const double news_pause = 0.005, news_round = 0.05;

static void send_news(conn *c, news *n)
{
    bool *wants = &c->socket->wants_news[n - n->server->news];

    if (!n->bytes || c->state != CONN_SOCKET || c->is_killed || c->socket->is_silent)
        return;
    *wants = c->out_first != NULL;
    if (!*wants)
        conn_send(c, n->bytes);
}

void socket_news(conn *c)
{
    for (int i = 0; i < RG_NEWS_KINDS; i++)
        if (c->socket->wants_news[i])
            send_news(c, &c->server->news[i]);
}

static void go_on_with_news(void *arg)
{
    news *n = arg;
    rg_server *s = n->server;
    const double now = rg_server_now();
    char *text;

    if (!s->context)                    /* it ends, nobody is connected any more */
        return;
    n->is_armed = false;
    if (!n->next && n->is_waiting && now - n->last >= news_round) {
        n->is_waiting = false;
        n->last = now;
        if (s->sockets && n->make && (text = n->make(n->user))) {
            out_bytes_unref(n->bytes);
            n->bytes = frame(OP_TEXT, text, strlen(text));
            n->next = s->sockets;
            rg_free(text);
        }
    }
    size_t n_bytes = 0;
    for (int i = 0; i < NEWS_AT_ONCE && n_bytes < NEWS_BYTES && n->next; i++) {
        rg_socket *k = n->next;
        n_bytes += n->bytes ? n->bytes->n_bytes : 0;
        n->next = k->next;
        send_news(k->conn, n);
    }
    if (n->next || n->is_waiting) {
        n->is_armed = true;
        rg_server_post_later(s, n->next ? news_pause : news_round - (now - n->last), go_on_with_news, n);
    }
}

static void begin_news(void *arg)
{
    news *n = arg;

    n->is_waiting = true;
    if (!n->is_armed)
        go_on_with_news(n);
}

void rg_server_news_from(rg_server *s, rg_news kind, char *(*make)(void *user), void *user)
{
    s->news[kind] = (news){ .server = s, .make = make, .user = user };
}

void rg_server_news(rg_server *s, rg_news kind)
{
    rg_server_post(s, begin_news, &s->news[kind]);
}

const char *rg_socket_sid(const rg_socket *k)
{
    return k->sid;
}

void rg_socket_send_text(rg_socket *k, const char *text)
{
    if (!k->conn->is_killed && k->conn->state == CONN_SOCKET)
        send_frame(k->conn, OP_TEXT, text, strlen(text));
}

void rg_socket_set_metadata(rg_socket *k, bool has_asked)
{
    k->has_metadata = has_asked;
}

bool rg_socket_first(rg_socket *k)
{
    const bool is_first = !k->had_first;

    k->had_first = true;
    return is_first;
}
