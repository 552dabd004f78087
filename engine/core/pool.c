/*
 * The caching allocator. Sizes are rounded up to one of eight classes per power of two (12.5% waste at most), so a freed block
 * fits the next tensor of about the same size; each class is a stack. On the CPU, where the system can use the memory too, what
 * waits is bounded: used and waiting blocks together stay near the most that was ever in use at once, the largest waiting ones go
 * first. On a GPU everything waits until an allocation fails.
 */
#include "engine/core/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/ops/backend.h"

enum { N_CLASSES = 64 * 8 };
static const size_t SLACK = (size_t)8 << 20;    /* CPU: bytes that may wait beyond the peak, besides a sixteenth of it */

/* Embedded in each storage header, so that freeing never allocates. */
typedef struct waiting_block {
    struct waiting_block *next;
} waiting_block;

struct rg_pool {
    rg_object base;
    const rg_backend *backend;
    rg_device device;
    pthread_mutex_t lock;
    size_t in_use, peak, waiting, limit;
    waiting_block *classes[N_CLASSES];
};

typedef struct pool_storage {
    rg_storage base;
    int class;
    size_t class_bytes;
    waiting_block node;                 /* while it waits */
} pool_storage;

/* The class of a size, and the bytes its blocks have. */
static int class_of(size_t nbytes, size_t *class_bytes)
{
    const size_t n = nbytes < 512 ? 512 : nbytes;
    const int log2 = 63 - __builtin_clzll(n);
    const size_t step = (size_t)1 << (log2 - 3);
    const size_t rounded = (n + step - 1) & ~(step - 1);
    const int rounded_log2 = 63 - __builtin_clzll(rounded);

    *class_bytes = rounded;
    return rounded_log2 * 8 + (int)((rounded >> (rounded_log2 - 3)) & 7);
}

static void pool_free(void *self)
{
    rg_pool *pool = self;

    rg_pool_trim(pool);
    pthread_mutex_destroy(&pool->lock);
    rg_free(pool);
}

rg_pool *rg_pool_new(const rg_backend *backend, rg_device device)
{
    rg_pool *pool = rg_calloc(1, sizeof *pool);

    if (!pool)
        return NULL;
    rg_object_init(pool, pool_free);
    pool->backend = backend;
    pool->device = device;
    pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

static pool_storage *storage_of(waiting_block *node)
{
    return (pool_storage *)((char *)node - offsetof(pool_storage, node));
}

/* The last holder of a storage let go: its block waits. */
static void storage_free(void *self)
{
    pool_storage *s = self;
    rg_pool *pool = s->base.pool;

    pthread_mutex_lock(&pool->lock);
    pool->in_use -= s->class_bytes;
    s->node.next = pool->classes[s->class];
    pool->classes[s->class] = &s->node;
    pool->waiting += s->class_bytes;
    pthread_mutex_unlock(&pool->lock);
    rg_unref(pool);
}

/*
 * Before a fresh block is taken on the CPU: unlink waiting ones, largest first, until all together stay near the peak. Called
 * locked, with the new block counted as in use; the caller gives the unlinked ones back once it has unlocked.
 */
static waiting_block *unlink_surplus(rg_pool *pool)
{
    const size_t allowed = pool->peak + pool->peak / 16 + SLACK;
    waiting_block *surplus = NULL;

    if (pool->device.type != RG_CPU)
        return NULL;
    for (int i = N_CLASSES - 1; i >= 0 && pool->in_use + pool->waiting > allowed; i--) {
        while (pool->classes[i] && pool->in_use + pool->waiting > allowed) {
            waiting_block *node = pool->classes[i];
            pool->classes[i] = node->next;
            node->next = surplus;
            surplus = node;
            pool->waiting -= storage_of(node)->class_bytes;
        }
    }
    return surplus;
}

static void give_back(rg_pool *pool, waiting_block *blocks)
{
    while (blocks) {
        pool_storage *s = storage_of(blocks);
        blocks = blocks->next;
        pool->backend->free(s->base.data);
        rg_free(s);
    }
}

rg_storage *rg_pool_alloc(rg_ctx *c, rg_pool *pool, size_t nbytes)
{
    pool_storage *s = NULL;
    waiting_block *surplus = NULL;
    size_t class_bytes;
    const int class = class_of(nbytes, &class_bytes);

    if (rg_alloc_must_fail())
        return NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->limit && pool->in_use + class_bytes > pool->limit) {
        pthread_mutex_unlock(&pool->lock);
        return NULL;
    }
    if (pool->classes[class]) {
        s = storage_of(pool->classes[class]);
        pool->classes[class] = s->node.next;
        pool->waiting -= class_bytes;
    }
    pool->in_use += class_bytes;
    if (pool->in_use > pool->peak)
        pool->peak = pool->in_use;
    if (!s)
        surplus = unlink_surplus(pool);
    pthread_mutex_unlock(&pool->lock);

    give_back(pool, surplus);
    if (!s) {
        void *data = pool->backend->alloc(c, class_bytes);
        if (!data) {                    /* what waits may be what is missing */
            rg_pool_trim(pool);
            data = pool->backend->alloc(c, class_bytes);
        }
        s = data ? rg_malloc(sizeof *s) : NULL;
        if (!s) {
            if (data)
                pool->backend->free(data);
            pthread_mutex_lock(&pool->lock);
            pool->in_use -= class_bytes;
            pthread_mutex_unlock(&pool->lock);
            return NULL;
        }
        s->base.data = data;
    }
    rg_object_init(s, storage_free);
    s->base.nbytes = nbytes;
    s->base.device = pool->device;
    s->base.is_read_only = false;
    s->base.owner = NULL;
    s->base.pool = rg_ref(pool);
    s->class = class;
    s->class_bytes = class_bytes;
    return &s->base;
}

void rg_pool_trim(rg_pool *pool)
{
    waiting_block *all = NULL;

    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < N_CLASSES; i++) {
        while (pool->classes[i]) {
            waiting_block *node = pool->classes[i];
            pool->classes[i] = node->next;
            node->next = all;
            all = node;
        }
    }
    pool->waiting = 0;
    pthread_mutex_unlock(&pool->lock);
    give_back(pool, all);
}

size_t rg_pool_bytes(const rg_pool *pool)
{
    return pool->in_use;
}

size_t rg_pool_peak(const rg_pool *pool)
{
    return pool->peak;
}

void rg_pool_reset_peak(rg_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->peak = pool->in_use;
    pthread_mutex_unlock(&pool->lock);
}

size_t rg_pool_limit(const rg_pool *pool)
{
    return pool->limit;
}

void rg_pool_set_limit(rg_pool *pool, size_t nbytes)
{
    pthread_mutex_lock(&pool->lock);
    pool->limit = nbytes;
    pthread_mutex_unlock(&pool->lock);
}
