/*
 * The context every engine call takes: device, op table, memory scope, latched first error, cancel flag, progress.
 * One context belongs to one thread at a time. Ops on a context that has failed return NULL at once, and take NULL, so
 * a forward pass is a list of equations and is checked once, at its end.
 */
#ifndef RG_CORE_CTX_H
#define RG_CORE_CTX_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/core/atomic.h"
#include "engine/core/error.h"
#include "engine/core/tensor.h"

struct rg_backend;                      /* engine/ops/backend.h: one function pointer per op */

/*
 * Called after each step of something long, and may be NULL.
 *   step, total   1-based step just finished, of how many
 *   preview       the denoised latent so far [B, C, H, W] for a sampler, else NULL; borrowed
 */
typedef void rg_progress_fn(void *user, int64_t step, int64_t total, const rg_tensor *preview);

struct rg_ctx {
    rg_device device;
    const struct rg_backend *ops;       /* the device's row of every op */
    void *stream;                       /* cudaStream_t, or NULL on the CPU */
    struct rg_pool *pool;               /* where tensors on this device take their bytes from */
    rg_dtype compute_dtype;             /* what models compute in: RG_F32, RG_BF16 or RG_F16 */

    size_t weight_budget;               /* bytes of tensors beyond which linear weights stay on the host and are streamed; 0: none do */
    int error;                          /* first failure, 0 while all is well */
    char message[1024];                 /* its text */

    const atomic_bool *cancel;          /* set by another thread or a signal to stop within one step; may be NULL */
    rg_progress_fn *progress;
    void *progress_user;

    struct rg_scope *scope;             /* innermost; ctx.c */
    void *backend_data;                 /* handles and caches of the device's library; the backend owns it */
    struct rg_captures *captures;       /* recorded forward passes (engine/diffusion/captured.h), or NULL */
    void (*captures_free)(rg_ctx *c);   /* ends them */
};

/*
 * A context on a device, with its outermost scope open. Free with rg_ctx_free(), which frees all its scopes.
 *   returns  NULL and, in *error when not NULL, the code (RG_ERR_NOMEM, RG_ERR_UNSUPPORTED: no such device)
 */
rg_ctx *rg_ctx_new(rg_device device, rg_dtype compute_dtype, int *error);
void rg_ctx_free(rg_ctx *c);

/*
 * Latch the first failure and return its code, so that `return rg_fail(c, RG_ERR_SHAPE, "latent has %d channels, model
 * wants %d", ...)` reads well: what came, what was wanted, no full stop. Later failures do not overwrite the first.
 */
int rg_fail(rg_ctx *c, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int rg_vfail(rg_ctx *c, int code, const char *format, va_list args);

/* Forget a latched failure: the next job starts clean. */
void rg_ctx_reset(rg_ctx *c);

/* RG_ERR_CANCELLED (latched) if somebody asked to stop, else the latched error, else 0. */
int rg_check(rg_ctx *c);

/* Inside the loop of one long op, on any of its threads: has somebody asked to stop? Then leave out the rest, and rg_check() after it. */
bool rg_is_stopping(const rg_ctx *c);

/* Report progress, then rg_check(). */
int rg_report(rg_ctx *c, int64_t step, int64_t total, const rg_tensor *preview);

/*
 * Memory lives as long as its scope. Tensors made between begin and end are let go of at the end, except those named:
 *     int s = rg_scope_begin(c);  ...  rg_scope_end(c, s, &img, &txt, NULL);
 * Each kept one moves to the enclosing scope; the pointers may be NULL or point to NULL. Also correct on a failed context.
 */
int rg_scope_begin(rg_ctx *c);
void rg_scope_end(rg_ctx *c, int scope, ...) __attribute__((sentinel));

/*
 * Put next in *t's place and let go of the old tensor now, not at its scope's end: how a loop replaces its state, and how a
 * chain of large steps frees the one before. Only for a tensor that an open scope owns and that nobody else reads (others,
 * and next itself, are left alone). Both may be NULL; (c, &t, NULL) frees t. Also correct on a failed context.
 */
void rg_replace(rg_ctx *c, rg_tensor **t, rg_tensor *next);

/* Bytes taken now, and the most since the last reset, from this context's pool (mapped files do not count). */
size_t rg_ctx_bytes(const rg_ctx *c);
size_t rg_ctx_peak_bytes(const rg_ctx *c);
void rg_ctx_reset_peak(rg_ctx *c);

/* Most bytes that may be taken at once, 0: as many as there are. Beyond it tensors fail with RG_ERR_NOMEM, as on a small machine. */
void rg_ctx_set_limit(rg_ctx *c, size_t nbytes);

/*
 * Keep to nbytes of the device's memory: that is the limit, five eighths of it may be weights, and the rest of them come from the host as they are
 * wanted, where the device can do so (a GPU); elsewhere it is the limit alone. Before models are loaded. 0: as much as there is.
 */
void rg_ctx_set_budget(rg_ctx *c, size_t nbytes);

/* Give cached free blocks back to the system. */
void rg_ctx_trim(rg_ctx *c);

/*
 * Bytes of main memory that can be taken without driving the machine into swap or the out-of-memory killer: what the system says
 * is available, or less in a container with a limit. 0 when the system does not say.
 */
size_t rg_available_bytes(void);

/* Heap memory for everything that is no tensor. NULL on failure; rg_alloc_fail_after makes the n-th one fail, for tests. */
void *rg_malloc(size_t size);
void *rg_calloc(size_t count, size_t size);
void *rg_realloc(void *p, size_t size);
char *rg_strdup(const char *s);
char *rg_strndup(const char *s, size_t n);
char *rg_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void rg_free(void *p);
extern atomic_long rg_alloc_fail_after; /* < 0: never (default); 0: the next one fails, once */

#endif
