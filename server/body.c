/*
 * Bodies too large for memory: a route with RG_ROUTE_STREAM gets its request when the head is there, and a thread reads the body
 * as it comes. Between that thread and the loop lies a buffer of fixed size; while it is full the connection is not read from.
 */
#include <string.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

enum { PIPE_BYTES = 1 << 20 };

struct body_pipe {
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool is_whole;                      /* the last byte has come */
    bool is_broken;                     /* it never will: the client is gone, its chunks are malformed, or nobody wants them */
    bool is_full;                       /* the loop waits for room */
    bool has_begun;                     /* somebody reads */
    size_t at, end;                     /* what waits in bytes */
    char bytes[PIPE_BYTES];
};

bool body_begin(rg_request *r)
{
    body_pipe *p = rg_malloc(sizeof(*p));

    if (!p)
        return false;
    memset(p, 0, offsetof(body_pipe, bytes));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    p->is_whole = !r->head.is_chunked && r->head.content_length <= 0;
    r->pipe = p;
    return true;
}

void body_free(body_pipe *p)
{
    if (!p)
        return;
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    rg_free(p);
}

void body_break(rg_request *r)
{
    pthread_mutex_lock(&r->pipe->lock);
    r->pipe->is_broken = true;
    pthread_cond_broadcast(&r->pipe->more);
    pthread_mutex_unlock(&r->pipe->lock);
}

void rg_request_stop_reading(rg_request *r)
{
    if (r->pipe)
        body_break(r);
}

int64_t body_feed(rg_request *r, char *bytes, size_t n_bytes)
{
    body_pipe *p = r->pipe;
    int64_t used;

    pthread_mutex_lock(&p->lock);
    size_t n = PIPE_BYTES - p->end < n_bytes ? PIPE_BYTES - p->end : n_bytes, n_content;
    if (r->head.is_chunked) {
        used = rg_chunked_decode(&r->chunked, bytes, n, &n_content);
        p->is_whole = r->chunked.is_done;
        p->is_broken |= used < 0;
    } else {
        const uint64_t left = (uint64_t)r->head.content_length - r->n_streamed;

        n_content = n < left ? n : (size_t)left;
        used = (int64_t)n_content;
        p->is_whole = n_content == left;
    }
    if (used > 0) {
        memcpy(p->bytes + p->end, bytes, n_content);
        p->end += n_content;
        r->n_streamed += n_content;
    }
    p->is_full = used >= 0 && (size_t)used < n_bytes && !p->is_whole;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    return used;
}

bool body_is_whole(const rg_request *r)
{
    pthread_mutex_lock(&r->pipe->lock);
    const bool is_whole = r->pipe->is_whole;
    pthread_mutex_unlock(&r->pipe->lock);
    return is_whole;
}

int64_t rg_request_read(rg_request *r, void *bytes, size_t n_bytes)
{
    body_pipe *p = r->pipe;
    int64_t n;

    pthread_mutex_lock(&p->lock);
    if (!p->has_begun && !p->is_whole && p->at == p->end && r->head.is_continue_wanted)
        rg_server_post(r->server, conn_send_continue, r);
    p->has_begun = true;
    while (p->at == p->end && !p->is_whole && !p->is_broken)
        pthread_cond_wait(&p->more, &p->lock);
    n = (int64_t)(p->end - p->at < n_bytes ? p->end - p->at : n_bytes);
    memcpy(bytes, p->bytes + p->at, (size_t)n);
    p->at += (size_t)n;
    if (p->at == p->end) {
        p->at = p->end = 0;
        if (p->is_full)
            rg_server_post(r->server, conn_take_more, r);
        p->is_full = false;
        if (n == 0 && p->is_broken)
            n = -1;
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}
