/*
 * Weights that stay on the host, because the card's budget is spent, and come when a product wants them.
 *
 * DESIGN. A few slots on the device, each as large as the largest weight it had to hold. A weight is copied into the slot used longest ago, on
 * a stream of its own; which weight comes after which is learnt as the model runs (every step asks in the same order), so the next one is on
 * its way while the product before it computes. Events keep the two streams apart: a product waits for its slot to be filled, a copy for the
 * products that read the slot before. Slots come from the context's pool and count as what they are.
 */
#include "engine/cuda/cuda.h"

#include <string.h>

#include "engine/core/pool.h"

enum { N_SLOTS = 3, MAX_KNOWN = 4096 };

typedef struct slot {
    rg_storage *storage;                /* NULL: none yet */
    const void *host;                   /* what lies in it; NULL: nothing */
    size_t n;
    cudaEvent_t is_filled, is_read;
    uint64_t used;                      /* when, by a counter */
} slot;

typedef struct known {                  /* a weight that was asked for, and which one came after it */
    const void *host;
    size_t n;
    int next;                           /* index of a known, or -1 */
} known;

struct weight_stream {
    cudaStream_t copies;
    slot slots[N_SLOTS];
    known *order;
    int n_known, last;                  /* last: the one asked for last, or -1 */
    slot *current;                      /* read by the product at hand */
    uint64_t clock;
};

static struct weight_stream *stream_of(rg_ctx *c)
{
    rg_cuda_state *s = rg_cuda_state_of(c);
    struct weight_stream *w = s->weight_stream;

    if (w)
        return w;
    if (!(w = rg_calloc(1, sizeof *w)) || !(w->order = rg_calloc(MAX_KNOWN, sizeof *w->order))) {
        rg_free(w);
        rg_fail(c, RG_ERR_NOMEM, "out of memory for the order of weights");
        return NULL;
    }
    s->weight_stream = w;
    w->last = -1;
    if (cudaStreamCreateWithFlags(&w->copies, cudaStreamNonBlocking) != cudaSuccess)
        w->copies = NULL;
    for (int i = 0; i < N_SLOTS; i++) {
        cudaEventCreateWithFlags(&w->slots[i].is_filled, cudaEventDisableTiming);
        cudaEventCreateWithFlags(&w->slots[i].is_read, cudaEventDisableTiming);
    }
    return rg_cuda_check(c, "streams of weights") ? w : NULL;
}

void rg_cuda_stream_release(rg_cuda_state *s)
{
    struct weight_stream *w = s->weight_stream;

    if (!w)
        return;
    if (w->copies)
        cudaStreamSynchronize(w->copies);
    for (int i = 0; i < N_SLOTS; i++) {
        rg_unref(w->slots[i].storage);
        if (w->slots[i].is_filled)
            cudaEventDestroy(w->slots[i].is_filled);
        if (w->slots[i].is_read)
            cudaEventDestroy(w->slots[i].is_read);
    }
    if (w->copies)
        cudaStreamDestroy(w->copies);
    rg_free(w->order);
    rg_free(w);
    s->weight_stream = NULL;
}

/* The known weight's index; a new one is added; -1 where the list is full. */
static int know(struct weight_stream *w, const void *host, size_t n)
{
    for (int i = 0; i < w->n_known; i++)
        if (w->order[i].host == host && w->order[i].n == n)
            return i;
    if (w->n_known == MAX_KNOWN)
        return -1;
    w->order[w->n_known] = (known){ host, n, -1 };
    return w->n_known++;
}

static slot *slot_with(struct weight_stream *w, const void *host, size_t n)
{
    for (int i = 0; i < N_SLOTS; i++)
        if (w->slots[i].host == host && w->slots[i].n == n)
            return &w->slots[i];
    return NULL;
}

/* Copy a weight into the slot used longest ago, on the stream of copies. */
static slot *fill(rg_ctx *c, struct weight_stream *w, const void *host, size_t n)
{
    const cudaStream_t compute = (cudaStream_t)c->stream;
    slot *s = NULL;

    for (int i = 0; i < N_SLOTS; i++)
        if (&w->slots[i] != w->current && (!s || w->slots[i].used < s->used))
            s = &w->slots[i];
    s->host = NULL;
    if (!s->storage || s->storage->nbytes < n) {
        cudaStreamSynchronize(w->copies);       /* what is on its way into the old one */
        rg_unref(s->storage);
        if (!(s->storage = rg_pool_alloc(c, c->pool, n))) {
            rg_fail(c, RG_ERR_NOMEM, "out of memory: %.1f MiB wanted to stream a weight, %.1f MiB in use on the GPU, %.1f MiB allowed", (double)n / 0x1p20,
                    (double)rg_ctx_bytes(c) / 0x1p20, (double)rg_pool_limit(c->pool) / 0x1p20);
            return NULL;
        }
        cudaEventRecord(s->is_read, compute);   /* the pool's block may still be read by what had it before */
    }
    cudaStreamWaitEvent(w->copies, s->is_read, 0);
    rg_cuda_upload(c, w->copies, s->storage->data, host, n);
    cudaEventRecord(s->is_filled, w->copies);
    if (!rg_cuda_check(c, "copy of a weight"))
        return NULL;
    s->host = host;
    s->n = n;
    s->used = ++w->clock;
    return s;
}

const void *rg_cuda_stream_weight(rg_ctx *c, const void *host, size_t n)
{
    struct weight_stream *w = stream_of(c);
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    slot *s;

    if (!w)
        return NULL;
    if (cudaStreamIsCapturing((cudaStream_t)c->stream, &status) != cudaSuccess || status != cudaStreamCaptureStatusNone) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "a model whose weights come from the host cannot be recorded");
        return NULL;
    }
    if (!(s = slot_with(w, host, n)) && !(s = fill(c, w, host, n)))
        return NULL;
    s->used = ++w->clock;
    w->current = s;
    cudaStreamWaitEvent((cudaStream_t)c->stream, s->is_filled, 0);
    return s->storage->data;
}

void rg_cuda_stream_done(rg_ctx *c)
{
    struct weight_stream *w = rg_cuda_state_of(c)->weight_stream;
    int now;

    if (!w || !w->current)
        return;
    slot *s = w->current;
    cudaEventRecord(s->is_read, (cudaStream_t)c->stream);
    now = know(w, s->host, s->n);
    if (w->last >= 0 && now >= 0)
        w->order[w->last].next = now;
    w->last = now;
    /* the one that came next last time; the current slot is kept, its product has only been asked for */
    const int next = now >= 0 ? w->order[now].next : -1;
    if (next >= 0 && !c->error && !slot_with(w, w->order[next].host, w->order[next].n))
        fill(c, w, w->order[next].host, w->order[next].n);
    w->current = NULL;
}
