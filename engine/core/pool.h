/*
 * Where tensors take their bytes from: a caching allocator for one device. A freed block waits in a list and is handed out
 * again, because fresh pages cost more than most ops write into them. Thread-safe; lives as long as any of its blocks.
 */
#ifndef RG_CORE_POOL_H
#define RG_CORE_POOL_H

#include "engine/core/tensor.h"

struct rg_backend;

typedef struct rg_pool rg_pool;         /* an rg_object */

rg_pool *rg_pool_new(const struct rg_backend *backend, rg_device device);

/* A new storage of nbytes with one holder, which returns its block to the pool in the end. NULL: no memory, or over the limit. */
rg_storage *rg_pool_alloc(rg_ctx *c, rg_pool *pool, size_t nbytes);

/* Bytes in use now and at most since the last reset; how many may be in use (0: as many as there are). */
size_t rg_pool_bytes(const rg_pool *pool);
size_t rg_pool_peak(const rg_pool *pool);
void rg_pool_reset_peak(rg_pool *pool);
size_t rg_pool_limit(const rg_pool *pool);
void rg_pool_set_limit(rg_pool *pool, size_t nbytes);

/* Give the waiting blocks back to the device. */
void rg_pool_trim(rg_pool *pool);

/* alloc.c: true if a test wants this allocation to fail. */
bool rg_alloc_must_fail(void);

#endif
