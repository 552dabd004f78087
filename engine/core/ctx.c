/*
 * The context: first error, cancel, progress, and scopes. A scope is a growing array of the tensors made in it; scopes nest as
 * calls do, and ending one ends those opened inside it, so that an early return leaks nothing.
 */
#include "engine/core/ctx.h"

#include <stdio.h>
#include <string.h>

#include "engine/core/pool.h"
#include "engine/core/scope.h"
#include "engine/ops/backend.h"

struct rg_scope {
    rg_scope *parent;
    int depth;                          /* 1 for the context's outermost */
    rg_tensor **items;
    size_t n_items, capacity;
};

static bool scope_push(rg_ctx *c)
{
    rg_scope *s = rg_calloc(1, sizeof *s);

    if (!s)
        return false;
    s->parent = c->scope;
    s->depth = c->scope ? c->scope->depth + 1 : 1;
    c->scope = s;
    return true;
}

static void scope_drop(rg_ctx *c)
{
    rg_scope *s = c->scope;

    c->scope = s->parent;
    while (s->n_items > 0)              /* youngest first: their blocks are the warmest for the next op */
        rg_unref(s->items[--s->n_items]);
    rg_free(s->items);
    rg_free(s);
}

bool rg_scope_add(rg_ctx *c, rg_tensor *t)
{
    rg_scope *s = c->scope;

    if (s->n_items == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 32;
        rg_tensor **items = rg_realloc(s->items, capacity * sizeof *items);
        if (!items) {
            rg_unref(t);
            rg_fail(c, RG_ERR_NOMEM, "out of memory for %zu tensors of one scope", capacity);
            return false;
        }
        s->items = items;
        s->capacity = capacity;
    }
    s->items[s->n_items++] = t;
    return true;
}

rg_ctx *rg_ctx_new(rg_device device, rg_dtype compute_dtype, int *error)
{
    const rg_backend *backend = device.type == RG_CPU ? rg_backend_cpu() : rg_backend_cuda();
    rg_ctx *c = NULL;
    int code = RG_ERR_NOMEM;

    if (!backend) {
        code = RG_ERR_UNSUPPORTED;
        goto failed;
    }
    if (!(c = rg_calloc(1, sizeof *c)))
        goto failed;
    c->device = device;
    c->ops = backend;
    c->compute_dtype = compute_dtype;
    if (backend->ctx_init && (code = backend->ctx_init(c)) < 0)
        goto failed;
    code = RG_ERR_NOMEM;
    if (!(c->pool = rg_pool_new(backend, device)) || !scope_push(c))
        goto failed;
    return c;
failed:
    if (error)
        *error = code;
    rg_ctx_free(c);
    return NULL;
}

void rg_ctx_free(rg_ctx *c)
{
    if (!c)
        return;
    if (c->captures)
        c->captures_free(c);
    while (c->scope)
        scope_drop(c);
    if (c->backend_data && c->ops->ctx_release)
        c->ops->ctx_release(c);
    rg_unref(c->pool);
    rg_free(c);
}

int rg_vfail(rg_ctx *c, int code, const char *format, va_list args)
{
    if (c->error)
        return c->error;
    c->error = code;
    vsnprintf(c->message, sizeof c->message, format, args);
    return code;
}

int rg_fail(rg_ctx *c, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    code = rg_vfail(c, code, format, args);
    va_end(args);
    return code;
}

void rg_ctx_reset(rg_ctx *c)
{
    c->error = 0;
    c->message[0] = '\0';
}

bool rg_is_stopping(const rg_ctx *c)
{
    return c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed);
}

int rg_check(rg_ctx *c)
{
    if (!c->error && rg_is_stopping(c))
        return rg_fail(c, RG_ERR_CANCELLED, "interrupted");
    return c->error;
}

int rg_report(rg_ctx *c, int64_t step, int64_t total, const rg_tensor *preview)
{
    if (!c->error && c->progress)
        c->progress(c->progress_user, step, total, preview);
    return rg_check(c);
}

void rg_replace(rg_ctx *c, rg_tensor **t, rg_tensor *next)
{
    rg_tensor *old = *t;

    *t = next;
    if (!old || old == next)
        return;
    for (rg_scope *s = c->scope; s; s = s->parent)
        for (size_t i = s->n_items; i-- > 0; )      /* the youngest first: it is nearly always one of the last */
            if (s->items[i] == old) {
                memmove(s->items + i, s->items + i + 1, (--s->n_items - i) * sizeof *s->items);
                rg_unref(old);
                return;
            }
}

int rg_scope_begin(rg_ctx *c)
{
    /* without memory for a scope the enclosing one does its work: things live longer, nothing is lost */
    if (!scope_push(c)) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a scope");
        return c->scope->depth + 1;
    }
    return c->scope->depth;
}

void rg_scope_end(rg_ctx *c, int scope, ...)
{
    enum { MAX_KEPT = 16 };
    rg_tensor **kept[MAX_KEPT];
    int n_kept = 0;
    va_list args;

    va_start(args, scope);
    for (rg_tensor **t; (t = va_arg(args, rg_tensor **)); ) {
        if (n_kept == MAX_KEPT)
            RG_BUG("a scope keeps more than %d tensors", MAX_KEPT);
        rg_ref(*t);
        kept[n_kept++] = t;
    }
    va_end(args);
    if (scope < 2)
        RG_BUG("the outermost scope ends with its context");
    while (c->scope->depth >= scope)
        scope_drop(c);
    for (int i = 0; i < n_kept; i++) {
        if (*kept[i] && !rg_scope_add(c, *kept[i]))
            *kept[i] = NULL;
    }
}

size_t rg_ctx_bytes(const rg_ctx *c)
{
    return rg_pool_bytes(c->pool);
}

size_t rg_ctx_peak_bytes(const rg_ctx *c)
{
    return rg_pool_peak(c->pool);
}

void rg_ctx_reset_peak(rg_ctx *c)
{
    rg_pool_reset_peak(c->pool);
}

void rg_ctx_set_limit(rg_ctx *c, size_t nbytes)
{
    rg_pool_set_limit(c->pool, nbytes);
}

void rg_ctx_set_budget(rg_ctx *c, size_t nbytes)
{
    rg_pool_set_limit(c->pool, nbytes);
    c->weight_budget = c->ops->streams_weights ? nbytes / 8 * 5 : 0;
}

void rg_ctx_trim(rg_ctx *c)
{
    if (c->captures)                    /* they hold blocks, and their model */
        c->captures_free(c);
    rg_pool_trim(c->pool);
}
