/*
 * One evaluation: pick the entries whose range holds sigma, put those that fit into one batch, run the model, add each result
 * into its side (positive or negative) with its weights, divide by the sum of weights, mix the two sides.
 *
 * Easy to get wrong: a batch holds its entries in reverse order; weights start at 1e-37, so that no entry at all gives zeros;
 * an entry with an area makes the other side get an entry with the same area.
 */
#include "engine/diffusion/guidance.h"

#include <math.h>
#include <string.h>

#include "engine/diffusion/tensors.h"
#include "engine/ops/ops.h"

enum { POSITIVE, NEGATIVE, N_SIDES };

typedef struct entry {
    const rg_cond_entry *options;       /* area, mask, strength, range */
    int side;

    /* what the model gets; on the device, batch sizes as in the conditioning */
    const rg_tensor *context, *pooled, *attention_mask;
    bool has_guidance;
    double guidance;

    float start_sigma, end_sigma;       /* counts while end_sigma <= sigma <= start_sigma */
    bool has_area;
    int64_t area[4];                    /* height, width, y, x in latent pixels */
    const rg_tensor *weight;            /* [1 or B, 1, h, w] of the area, or NULL: 1 everywhere */
} entry;

struct rg_guidance {
    const rg_model *model;
    double cfg;
    bool has_negative;
    int64_t B;
    int n_entries, capacity;
    entry *entries;
    int *order;                         /* scratch: entries waiting to run */
};

/* ---- preparation ------------------------------------------------------------------------------------------------------ */

static bool add_entry(rg_ctx *c, rg_guidance *g, const entry *e)
{
    if (g->n_entries == g->capacity) {
        const int capacity = g->capacity ? 2 * g->capacity : 4;
        entry *entries = rg_realloc(g->entries, (size_t)capacity * sizeof *entries);
        if (!entries) {
            rg_fail(c, RG_ERR_NOMEM, "out of memory for %d conditioning entries", capacity);
            return false;
        }
        g->entries = entries;
        g->capacity = capacity;
    }
    g->entries[g->n_entries++] = *e;
    return true;
}

/* Area of an entry in latent pixels; fractions round to even, as Python does, and are one pixel at least. */
static void resolve_area(entry *e, const rg_tensor *x)
{
    const double *a = e->options->area;
    const double H = (double)rg_dim(x, -2), W = (double)rg_dim(x, -1);

    e->has_area = e->options->has_area;
    if (!e->has_area)
        return;
    if (e->options->area_is_fraction) {
        e->area[0] = (int64_t)fmax(1, rint(a[0] * H));
        e->area[1] = (int64_t)fmax(1, rint(a[1] * W));
        e->area[2] = (int64_t)rint(a[2] * H);
        e->area[3] = (int64_t)rint(a[3] * W);
    } else {
        for (int i = 0; i < 4; i++)
            e->area[i] = (int64_t)a[i];
    }
}

static int prepare_entry(rg_ctx *c, rg_guidance *g, const rg_cond_entry *cond, int side, const rg_tensor *x)
{
    const rg_model_sampling *s = g->model->sampling;
    entry e = { .options = cond, .side = side };

    e.context = cond->cross ? rg_to_device(c, cond->cross, c->device) : NULL;
    e.pooled = cond->pooled ? rg_to_device(c, cond->pooled, c->device) : NULL;
    e.attention_mask = cond->attention_mask ? rg_to_device(c, cond->attention_mask, c->device) : NULL;
    e.has_guidance = g->model->denoiser->uses_guidance;
    e.guidance = cond->has_guidance ? cond->guidance : 3.5;
    e.start_sigma = (float)rg_model_sampling_percent_to_sigma(s, cond->start_percent);
    e.end_sigma = (float)rg_model_sampling_percent_to_sigma(s, cond->end_percent);
    resolve_area(&e, x);
    return add_entry(c, g, &e) ? 0 : c->error;
}

static bool is_inside(const int64_t *a, const int64_t *outer)
{
    return a[2] >= outer[2] && a[3] >= outer[3] && a[0] + a[2] <= outer[0] + outer[2] && a[1] + a[3] <= outer[1] + outer[3];
}

/*
 * Give the other side of an entry with an area one with the same area: the text of the smallest entry around it, the
 * options of this one.
 */
static int mirror_area(rg_ctx *c, rg_guidance *g, int index)
{
    const entry *e = &g->entries[index];
    const entry *smallest = NULL;

    for (int i = 0; i < g->n_entries; i++) {
        const entry *o = &g->entries[i];
        if (o->side == e->side)
            continue;
        if (!o->has_area) {
            smallest = smallest ? smallest : o;
        } else if (is_inside(e->area, o->area)) {
            if (!smallest || !smallest->has_area || smallest->area[0] * smallest->area[1] > o->area[0] * o->area[1])
                smallest = o;
        }
    }
    if (!smallest || (smallest->has_area && !memcmp(smallest->area, e->area, sizeof e->area)))
        return 0;

    entry copy = *smallest;
    copy.options = e->options;
    copy.start_sigma = e->start_sigma;
    copy.end_sigma = e->end_sigma;
    copy.has_area = true;
    memcpy(copy.area, e->area, sizeof copy.area);
    return add_entry(c, g, &copy) ? 0 : c->error;
}

/* The edges of an area that lie inside the picture fade in over up to 8 pixels. */
static void feather(float *w, int64_t h, int64_t width, const int64_t *area, const rg_tensor *x)
{
    const int64_t ry = h / 4 < 8 ? h / 4 : 8, rx = width / 4 < 8 ? width / 4 : 8;

    for (int64_t t = 0; t < ry; t++) {
        const float fade = (float)(1.0 / (double)ry * (double)(t + 1));
        for (int64_t i = 0; i < width; i++) {
            if (area[2] != 0)
                w[t * width + i] *= fade;
            if (area[0] + area[2] < rg_dim(x, -2))
                w[(h - 1 - t) * width + i] *= fade;
        }
    }
    for (int64_t t = 0; t < rx; t++) {
        const float fade = (float)(1.0 / (double)rx * (double)(t + 1));
        for (int64_t i = 0; i < h; i++) {
            if (area[3] != 0)
                w[i * width + t] *= fade;
            if (area[1] + area[3] < rg_dim(x, -1))
                w[i * width + width - 1 - t] *= fade;
        }
    }
}

/* The mask of an entry, [b, h, w] or [h, w], at latent size: [B, 1, h, w] of its area, times its strength. */
static const rg_tensor *mask_weight(rg_ctx *c, const entry *e, const rg_tensor *x)
{
    const int64_t B = rg_dim(x, 0), H = rg_dim(x, -2), W = rg_dim(x, -1);
    const rg_tensor *m = rg_to(c, rg_to_device(c, e->options->mask, c->device), RG_F32);

    if (!m)
        return NULL;
    if (m->n_dims < 2) {
        rg_fail(c, RG_ERR_SHAPE, "a conditioning mask has %d dimensions, 2 or 3 are wanted", m->n_dims);
        return NULL;
    }
    m = rg_view4(c, rg_contiguous(c, m), -1, 1, rg_dim(m, -2), rg_dim(m, -1));
    if (m && (rg_dim(m, 2) != H || rg_dim(m, 3) != W))
        m = rg_interpolate(c, m, H, W, RG_BILINEAR);
    if (m && rg_dim(m, 0) > B)
        m = rg_slice(c, m, 0, 0, B);
    if (m && B % rg_dim(m, 0) != 0) {
        rg_fail(c, RG_ERR_SHAPE, "a conditioning mask for %lld pictures does not fit a batch of %lld", (long long)rg_dim(m, 0), (long long)B);
        return NULL;
    }
    m = rg_repeat_to(c, m, B, 0);
    if (e->has_area) {
        m = rg_slice(c, m, 2, e->area[2], e->area[2] + e->area[0]);
        m = rg_slice(c, m, 3, e->area[3], e->area[3] + e->area[1]);
    }
    m = rg_affine(c, m, (float)e->options->mask_strength, 0);
    return rg_affine(c, m, (float)e->options->strength, 0);
}

/* Clip the area to the picture and work out the weights. */
static int prepare_weight(rg_ctx *c, entry *e, const rg_tensor *x)
{
    const int64_t H = rg_dim(x, -2), W = rg_dim(x, -1);

    if (e->has_area) {
        int64_t *a = e->area;
        a[0] = H - a[2] < a[0] ? H - a[2] : a[0];
        a[1] = W - a[3] < a[1] ? W - a[3] : a[1];
        if (a[0] < 1 || a[1] < 1 || a[2] < 0 || a[3] < 0)
            return rg_fail(c, RG_ERR_INVALID, "a conditioning area (%lld rows from %lld, %lld columns from %lld) lies outside the %lld x %lld latent",
                           (long long)a[0], (long long)a[2], (long long)a[1], (long long)a[3], (long long)H, (long long)W);
        if (a[0] == H && a[1] == W)
            e->has_area = false;        /* nothing is cut and no edge fades */
    }
    if (e->options->mask) {
        e->weight = mask_weight(c, e, x);
        return c->error;
    }
    if (!e->has_area && e->options->strength == 1.0)
        return 0;

    const int64_t h = e->has_area ? e->area[0] : H, w = e->has_area ? e->area[1] : W;
    rg_tensor *weight = rg_host_tensor(c, RG_F32, 4, (const int64_t[]){ 1, 1, h, w });
    if (!weight)
        return c->error;
    float *v = weight->data;
    for (int64_t i = 0; i < h * w; i++)
        v[i] = (float)e->options->strength;
    if (e->has_area)
        feather(v, h, w, e->area, x);
    e->weight = rg_to_device(c, weight, c->device);
    return c->error;
}

rg_guidance *rg_guidance_new(rg_ctx *c, const rg_guider *guider, const rg_tensor *x)
{
    rg_guidance *g;

    if (c->error || !x)
        return NULL;
    if (!(g = rg_calloc(1, sizeof *g))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for guidance");
        return NULL;
    }
    g->model = guider->model;
    g->cfg = guider->cfg;
    g->has_negative = guider->negative != NULL;
    g->B = rg_dim(x, 0);
    for (int side = 0; side < N_SIDES; side++) {
        const rg_cond *cond = side == POSITIVE ? guider->positive : guider->negative;
        for (int i = 0; cond && i < cond->n_entries && !c->error; i++)
            prepare_entry(c, g, &cond->entries[i], side, x);
    }
    if (g->has_negative) {
        for (int side = 0; side < N_SIDES; side++) {
            for (int i = 0; i < g->n_entries && !c->error; i++) {
                if (g->entries[i].side == side && g->entries[i].has_area)
                    mirror_area(c, g, i);
            }
        }
    }
    for (int i = 0; i < g->n_entries && !c->error; i++)
        prepare_weight(c, &g->entries[i], x);
    if (!c->error && !(g->order = rg_calloc((size_t)g->n_entries + 1, sizeof *g->order)))
        rg_fail(c, RG_ERR_NOMEM, "out of memory for guidance");
    if (c->error) {
        rg_guidance_free(g);
        return NULL;
    }
    return g;
}

void rg_guidance_free(rg_guidance *g)
{
    if (!g)
        return;
    rg_free(g->entries);
    rg_free(g->order);
    rg_free(g);
}

/* ---- batches ---------------------------------------------------------------------------------------------------------------- */

static int64_t lcm(int64_t a, int64_t b)
{
    int64_t x = a, y = b;

    while (y) {
        const int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return x ? a / x * b : 0;
}

static bool same_shapes(const rg_tensor *a, const rg_tensor *b)
{
    return !a == !b && (!a || rg_same_shape(a, b));
}

/* Texts fit when equally long, or, where the model allows it, when repeating them up to 4 times makes them so. */
static bool contexts_fit(const rg_guidance *g, const rg_tensor *a, const rg_tensor *b)
{
    if (same_shapes(a, b))
        return true;
    if (!a || !b || !g->model->denoiser->repeats_context || a->n_dims != 3 || b->n_dims != 3 ||
        rg_dim(a, 0) != rg_dim(b, 0) || rg_dim(a, 2) != rg_dim(b, 2))
        return false;
    const int64_t n = rg_dim(a, 1), m = rg_dim(b, 1), shorter = n < m ? n : m;
    return shorter > 0 && lcm(n, m) / shorter <= 4;
}

static bool entries_fit(const rg_guidance *g, const entry *a, const entry *b)
{
    if (a->has_area != b->has_area && (a->has_area || b->has_area))
        return false;
    if (a->has_area && (a->area[0] != b->area[0] || a->area[1] != b->area[1]))
        return false;
    return contexts_fit(g, a->context, b->context) && same_shapes(a->pooled, b->pooled) &&
           same_shapes(a->attention_mask, b->attention_mask);
}

static const rg_tensor *cut_area(rg_ctx *c, const entry *e, const rg_tensor *x)
{
    if (!e->has_area)
        return x;
    const rg_tensor *rows = rg_slice(c, x, x->n_dims - 2, e->area[2], e->area[2] + e->area[0]);
    return rows ? rg_slice(c, rows, x->n_dims - 1, e->area[3], e->area[3] + e->area[1]) : NULL;
}

/* One operand of a batch: entry by entry, each repeated to B pictures. Which field is a matter of its offset in entry. */
static const rg_tensor *join(rg_ctx *c, const rg_guidance *g, const int *batch, int n, size_t field, int64_t n_tokens)
{
    const rg_tensor *joined = NULL;

    for (int i = 0; i < n; i++) {
        const rg_tensor *t = *(const rg_tensor *const *)((const char *)&g->entries[batch[i]] + field);
        if (!t)
            return NULL;
        t = rg_repeat_to(c, t, g->B, 0);
        if (t && n_tokens > 0)
            t = rg_repeat_to(c, t, n_tokens, 1);
        joined = i == 0 ? t : rg_concat(c, joined, t, 0);
    }
    return joined;
}

static const rg_tensor *join_guidance(rg_ctx *c, const rg_guidance *g, const int *batch, int n)
{
    if (!g->entries[batch[0]].has_guidance)
        return NULL;
    rg_tensor *t = rg_host_tensor(c, RG_F32, 1, (const int64_t[]){ n * g->B });
    for (int64_t i = 0; t && i < n * g->B; i++)
        ((float *)t->data)[i] = (float)g->entries[batch[i / g->B]].guidance;
    return t ? rg_to_device(c, t, c->device) : NULL;
}

/* Run the entries of one batch; the result's pictures are in the batch's order. */
static rg_tensor *run_batch(rg_ctx *c, const rg_guidance *g, const int *batch, int n, const rg_tensor *x, float sigma)
{
    const rg_tensor *input = cut_area(c, &g->entries[batch[0]], x);
    int64_t n_tokens = 0;

    for (int i = 0; i < n; i++) {
        const rg_tensor *t = g->entries[batch[i]].context;
        if (t && t->n_dims == 3)
            n_tokens = n_tokens ? lcm(n_tokens, rg_dim(t, 1)) : rg_dim(t, 1);
        if (i > 0)
            input = rg_concat(c, input, cut_area(c, &g->entries[batch[i]], x), 0);
    }
    const rg_denoiser_inputs in = {
        .context = join(c, g, batch, n, offsetof(entry, context), n_tokens),
        .pooled = join(c, g, batch, n, offsetof(entry, pooled), 0),
        .attention_mask = join(c, g, batch, n, offsetof(entry, attention_mask), 0),
        .guidance = join_guidance(c, g, batch, n),
    };
    return c->error ? NULL : rg_model_denoise(c, g->model, input, sigma, &in);
}

/* ---- one evaluation ---------------------------------------------------------------------------------------------------------- */

/* What a side has gathered: sum of weight * result, sum of weights. A lone result of weight 1 is kept as it is. */
typedef struct sums {
    rg_tensor *only, *values, *weights;
} sums;

static void accumulate(rg_ctx *c, const entry *e, const rg_tensor *result, const rg_tensor *x, sums *s)
{
    if (!s->values) {
        s->values = rg_tensor_zeros(c, RG_F32, x->n_dims, x->shape);
        s->weights = rg_tensor_full(c, RG_F32, x->n_dims, x->shape, 1e-37);
    }
    if (!s->values || !s->weights)
        return;
    const rg_tensor *values = cut_area(c, e, s->values), *weights = cut_area(c, e, s->weights);
    const rg_tensor *more = e->weight ? rg_mul(c, result, e->weight) : result;
    const rg_tensor *weight = e->weight;

    if (!weight)
        weight = rg_tensor_full(c, RG_F32, x->n_dims, (const int64_t[RG_MAX_DIMS]){ 1, 1, 1, 1, 1, 1 }, 1);
    const rg_tensor *new_values = rg_add(c, values, more), *new_weights = rg_add(c, weights, weight);
    if (new_values && new_weights) {    /* the sums are ours alone: written in place */
        rg_copy_into(c, (rg_tensor *)values, new_values);
        rg_copy_into(c, (rg_tensor *)weights, new_weights);
    }
}

static rg_tensor *side_result(rg_ctx *c, const sums *s, const rg_tensor *x)
{
    if (s->only)
        return s->only;
    if (s->values)
        return rg_div(c, s->values, s->weights);
    return rg_tensor_zeros(c, RG_F32, x->n_dims, x->shape);
}

/* Both sides at sigma; *negative stays NULL when it is not asked for. */
static void run_entries(rg_ctx *c, rg_guidance *g, const rg_tensor *x, float sigma, bool has_negative,
                        rg_tensor **positive, rg_tensor **negative)
{
    int n_waiting = 0, n_active[N_SIDES] = { 0 };
    int *batch = rg_calloc((size_t)g->n_entries + 1, sizeof *batch);
    sums side[N_SIDES] = { { 0 } };

    if (!batch) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a batch");
        return;
    }
    for (int pass = 0; pass < (has_negative ? N_SIDES : 1); pass++) {
        for (int i = 0; i < g->n_entries; i++) {
            const entry *e = &g->entries[i];
            if (e->side == pass && !(sigma > e->start_sigma) && !(sigma < e->end_sigma)) {
                g->order[n_waiting++] = i;
                n_active[pass]++;
            }
        }
    }
    while (n_waiting > 0 && !c->error) {
        int n = 0, n_left = 0;
        const entry *first = &g->entries[g->order[0]];

        for (int i = n_waiting - 1; i >= 0; i--) {      /* last first, as ComfyUI stacks them */
            if (entries_fit(g, &g->entries[g->order[i]], first))
                batch[n++] = g->order[i];
        }
        for (int i = 0; i < n_waiting; i++) {
            if (!entries_fit(g, &g->entries[g->order[i]], first))
                g->order[n_left++] = g->order[i];
        }
        n_waiting = n_left;

        rg_tensor *out = run_batch(c, g, batch, n, x, sigma);
        for (int i = 0; i < n && out; i++) {
            const entry *e = &g->entries[batch[i]];
            rg_tensor *result = n == 1 ? out : rg_slice(c, out, 0, i * g->B, (i + 1) * g->B);
            if (n_active[e->side] == 1 && !e->weight && !e->has_area)
                side[e->side].only = result;
            else
                accumulate(c, e, result, x, &side[e->side]);
        }
    }
    rg_free(batch);
    *positive = side_result(c, &side[POSITIVE], x);
    *negative = has_negative ? side_result(c, &side[NEGATIVE], x) : NULL;
}

rg_tensor *rg_guidance_denoise(rg_ctx *c, rg_guidance *g, const rg_tensor *x, float sigma, rg_tensor **uncond)
{
    const bool is_one = fabs(g->cfg - 1.0) <= 1e-9 * fmax(fabs(g->cfg), 1.0);   /* Python's math.isclose */
    const bool has_negative = g->has_negative && (!is_one || uncond);
    rg_tensor *positive = NULL, *negative = NULL, *mixed;

    if (c->error || !x)
        return NULL;
    const int s = rg_scope_begin(c);
    run_entries(c, g, x, sigma, has_negative, &positive, &negative);
    if (!negative && (uncond || !is_one))
        negative = rg_tensor_zeros(c, RG_F32, x->n_dims, x->shape);
    mixed = negative ? rg_add_scaled(c, negative, rg_sub(c, positive, negative), (float)g->cfg) : positive;
    rg_scope_end(c, s, &mixed, &negative, NULL);
    if (uncond)
        *uncond = negative;
    return c->error ? NULL : mixed;
}
