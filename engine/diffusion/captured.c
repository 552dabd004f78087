/*
 * See captured.h.
 *
 * DESIGN. Every recording has a pool of its own: what the pass allocates there stays reserved for it, so that a replay writes where nothing
 * else lies. The first evaluation runs as usual, in that pool: plans are made, tables uploaded, every block is there. The second runs the same
 * list of ops while the device records; it finds all its blocks waiting in the pool in the same order. From then on the inputs are copied into
 * the recording's own, it is replayed, and its result is copied out. Whatever stops a recording (a host copy, an allocation, an error) makes
 * the model run plainly, and is remembered. At most MAX_RECORDINGS are kept; the one used longest ago goes first.
 */
#include "engine/diffusion/captured.h"

#include <stdlib.h>
#include <string.h>

#include "engine/core/pool.h"
#include "engine/ops/backend.h"
#include "engine/ops/profile.h"

enum { N_INPUTS = 6, MAX_RECORDINGS = 3 };      /* x, timestep, context, pooled, guidance, attention_mask */

typedef struct recording {
    struct recording *next;             /* the most recently used first */
    const rg_denoiser *model;           /* held */
    rg_tensor *inputs[N_INPUTS];        /* its own copies; NULL where the pass gets none */
    rg_tensor *out;                     /* what a replay fills; NULL until recorded */
    rg_pool *pool;
    void *run;                          /* the device's; NULL: not recorded yet */
    bool is_refused;                    /* cannot be recorded */
} recording;

struct rg_captures {
    recording *first;
    int64_t n_recorded, n_replayed;
    bool is_off;
};

static void recording_free(rg_ctx *c, recording *r)
{
    if (r->run)
        c->ops->capture_free(c, r->run);
    for (int i = 0; i < N_INPUTS; i++)
        rg_unref(r->inputs[i]);
    rg_unref(r->out);
    rg_unref(r->pool);
    rg_unref((void *)r->model);
    rg_free(r);
}

static void captures_free(rg_ctx *c)
{
    while (c->captures->first) {
        recording *r = c->captures->first;
        c->captures->first = r->next;
        recording_free(c, r);
    }
    rg_free(c->captures);
    c->captures = NULL;
}

static bool can_capture(rg_ctx *c)
{
    const char *s;

    if (!c->ops->capture_begin)
        return false;
    if (!c->captures) {
        if (!(c->captures = rg_calloc(1, sizeof *c->captures)))
            return false;               /* without memory for it, as it always was */
        c->captures_free = captures_free;
        s = getenv("RG_GRAPHS");
        c->captures->is_off = (s && !strcmp(s, "0")) || rg_is_profiling() || c->weight_budget;
    }
    return !c->captures->is_off;
}

static bool is_alike(const rg_tensor *a, const rg_tensor *b)
{
    return (!a && !b) || (a && b && a->dtype == b->dtype && rg_same_shape(a, b));
}

/* The recording for these inputs, in front of the others; NULL: none yet. */
static recording *find(rg_ctx *c, const rg_denoiser *m, const rg_tensor *const inputs[N_INPUTS])
{
    for (recording **at = &c->captures->first; *at; at = &(*at)->next) {
        recording *r = *at;
        bool is_it = r->model == m;
        for (int i = 0; i < N_INPUTS && is_it; i++)
            is_it = is_alike(r->inputs[i], inputs[i]);
        if (is_it) {
            *at = r->next;
            r->next = c->captures->first;
            c->captures->first = r;
            return r;
        }
    }
    return NULL;
}

static void forget_the_oldest(rg_ctx *c)
{
    int n = 0;

    for (recording **at = &c->captures->first; *at; ) {
        recording *r = *at;
        if (++n <= MAX_RECORDINGS) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        recording_free(c, r);
    }
}

static rg_tensor *run_on(rg_ctx *c, const rg_denoiser *m, rg_tensor *const inputs[N_INPUTS])
{
    const rg_denoiser_inputs in = { .context = inputs[2], .pooled = inputs[3], .guidance = inputs[4], .attention_mask = inputs[5] };

    return m->forward(c, m, inputs[0], inputs[1], &in);
}

/* The first evaluation: in a new recording's pool, with its own copies of the inputs. NULL, nothing latched, where there is no room for it. */
static recording *begin(rg_ctx *c, const rg_denoiser *m, const rg_tensor *const inputs[N_INPUTS])
{
    rg_pool *plain = c->pool;
    recording *r = rg_calloc(1, sizeof *r);

    if (!r || !(r->pool = rg_pool_new(c->ops, c->device))) {
        rg_free(r);
        return NULL;
    }
    rg_pool_set_limit(r->pool, rg_pool_limit(plain));
    r->model = rg_ref(m);
    c->pool = r->pool;
    const int s = rg_scope_begin(c);
    for (int i = 0; i < N_INPUTS; i++)
        r->inputs[i] = inputs[i] ? rg_ref(rg_clone(c, inputs[i])) : NULL;
    rg_scope_end(c, s, NULL);
    c->pool = plain;
    if (c->error) {
        if (c->error == RG_ERR_NOMEM)
            rg_ctx_reset(c);
        recording_free(c, r);
        return NULL;
    }
    r->next = c->captures->first;
    c->captures->first = r;
    forget_the_oldest(c);
    return r;
}

static void refuse(rg_ctx *c, recording *r)
{
    r->is_refused = true;
    rg_unref(r->out);
    r->out = NULL;
    rg_pool_trim(r->pool);
}

/* The second: the same ops, recorded. */
static void record(rg_ctx *c, recording *r)
{
    rg_pool *plain = c->pool;

    if (!c->ops->capture_begin(c)) {
        refuse(c, r);
        return;
    }
    c->pool = r->pool;
    const int s = rg_scope_begin(c);
    rg_tensor *out = rg_ref(run_on(c, r->model, r->inputs));
    r->run = c->ops->capture_end(c);
    rg_scope_end(c, s, NULL);
    c->pool = plain;
    if (r->run && out && !c->error) {
        r->out = out;
        c->captures->n_recorded++;
        return;
    }
    if (c->error && c->error != RG_ERR_CANCELLED)
        rg_ctx_reset(c);                /* the recording's trouble; the plain pass will tell whether it is the model's too */
    if (r->run)
        c->ops->capture_free(c, r->run);
    r->run = NULL;
    rg_unref(out);
    refuse(c, r);
}

rg_tensor *rg_denoiser_run(rg_ctx *c, const rg_denoiser *m, const rg_tensor *x, const rg_tensor *timestep, const rg_denoiser_inputs *in)
{
    const rg_tensor *const inputs[N_INPUTS] = { x, timestep, in->context, in->pooled, in->guidance, in->attention_mask };
    recording *r;
    bool is_new;

    if (c->error || !x || !timestep || !can_capture(c))
        return m->forward(c, m, x, timestep, in);
    r = find(c, m, inputs);
    if ((is_new = !r))
        r = begin(c, m, inputs);
    if (!r || r->is_refused)
        return c->error ? NULL : m->forward(c, m, x, timestep, in);

    for (int i = 0; i < N_INPUTS && !is_new; i++)
        if (inputs[i])
            rg_copy_into(c, r->inputs[i], inputs[i]);
    if (is_new) {
        rg_pool *plain = c->pool;
        c->pool = r->pool;
        const int s = rg_scope_begin(c);
        rg_tensor *out = run_on(c, m, r->inputs);
        c->pool = plain;
        rg_tensor *copy = rg_clone(c, out);
        rg_scope_end(c, s, &copy, NULL);
        if (c->error == RG_ERR_NOMEM) { /* no room beside what waits in the plain pool: as it always was */
            rg_ctx_reset(c);
            refuse(c, r);
            return m->forward(c, m, x, timestep, in);
        }
        return c->error ? NULL : copy;
    }
    if (!r->run)
        record(c, r);
    if (r->is_refused)
        return c->error ? NULL : m->forward(c, m, x, timestep, in);
    c->ops->capture_replay(c, r->run);
    c->captures->n_replayed++;
    return rg_clone(c, r->out);
}

void rg_captured_counts(const rg_ctx *c, int64_t *n_recorded, int64_t *n_replayed)
{
    *n_recorded = c->captures ? c->captures->n_recorded : 0;
    *n_replayed = c->captures ? c->captures->n_replayed : 0;
}
