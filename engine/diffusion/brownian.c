/*
 * A Brownian path as a binary tree of intervals. The increment W over an interval is known; halving it draws the left half
 * given the whole (mean W/2, variance a quarter of the length), the right half is the rest. Every node has a noise seed of its
 * own, made from the root seed and the node's place in the tree, so nothing is stored: a query walks down from the root, halves
 * at most 20 times (times are rounded to 6 decimals), and adds up the pieces that make up its interval, left to right.
 * A few increments near the last query are kept, because the next query starts where it ended.
 *
 * Source: Li et al. 2020, arXiv:2001.01328 (virtual Brownian tree); torchsde _brownian/brownian_interval.py and derived.py
 * (arithmetic and order); numpy random/bit_generator.pyx, SeedSequence (O'Neill's seed_seq_fe).
 */
#include "engine/diffusion/brownian.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/diffusion/random.h"
#include "engine/diffusion/tensors.h"

/* ---- seeds ------------------------------------------------------------------------------------------------------------ */

enum { POOL = 24, MAX_ENTROPY = POOL + 2 + 8 };

static uint32_t hash_mix(uint32_t value, uint32_t *hash)
{
    value ^= *hash;
    *hash *= 0x931e8875u;
    value *= *hash;
    return value ^ value >> 16;
}

static uint32_t mix(uint32_t x, uint32_t y)
{
    const uint32_t z = 0xca01f9ddu * x - 0x4973f715u * y;

    return z ^ z >> 16;
}

/* A number as 32-bit words, low word first; 0 is one word. */
static int put_words(uint32_t *out, uint64_t value)
{
    out[0] = (uint32_t)value;
    if (value >> 32 == 0)
        return 1;
    out[1] = (uint32_t)(value >> 32);
    return 2;
}

void rg_seed_sequence(uint64_t entropy, const uint64_t *spawn_key, int n_spawn, uint32_t *out, int n)
{
    uint32_t words[MAX_ENTROPY] = { 0 }, pool[POOL], hash = 0x43b0d7e5u;
    int n_words = put_words(words, entropy);

    if (n_spawn > 4)
        RG_BUG("a spawn key of %d numbers", n_spawn);
    if (n_spawn > 0)                    /* zeros keep the spawn key apart from a longer entropy */
        n_words = POOL;
    for (int i = 0; i < n_spawn; i++)
        n_words += put_words(words + n_words, spawn_key[i]);

    for (int i = 0; i < POOL; i++)
        pool[i] = hash_mix(i < n_words ? words[i] : 0, &hash);
    for (int from = 0; from < POOL; from++) {
        for (int to = 0; to < POOL; to++) {
            if (from != to)
                pool[to] = mix(pool[to], hash_mix(pool[from], &hash));
        }
    }
    for (int from = POOL; from < n_words; from++) {
        for (int to = 0; to < POOL; to++)
            pool[to] = mix(pool[to], hash_mix(words[from], &hash));
    }

    hash = 0x8b51f9ddu;
    for (int i = 0; i < n; i++) {
        uint32_t v = pool[i % POOL] ^ hash;
        hash *= 0x58f38dedu;
        v *= hash;
        out[i] = v ^ v >> 16;
    }
}

/* ---- the tree ----------------------------------------------------------------------------------------------------------- */

enum { N_KEPT = 48, MAX_DEPTH = 60 };

typedef struct node {
    double start, end;
    uint64_t key;                       /* path from the root: one bit per turn, right is 1 */
    int depth;
} node;

struct rg_brownian {
    int n_dims;
    int64_t shape[RG_MAX_DIMS], n;      /* n elements */
    uint64_t seed;
    int64_t n_cuda_threads;             /* < 0: the CPU's generator */
    node root;
    float *root_w;
    struct { uint64_t key; int depth; uint64_t used; float *w; } kept[N_KEPT];
    uint64_t clock;
};

/* Python's round(x, 6) */
static double round_time(double t)
{
    char text[64];

    snprintf(text, sizeof text, "%.6f", t);
    return strtod(text, NULL);
}

static void draw(const rg_brownian *b, uint32_t seed, float *out)
{
    if (b->n_cuda_threads >= 0) {
        rg_philox p = { .seed = seed, .n_threads = b->n_cuda_threads };
        rg_randn_cuda_f32(&p, out, b->n);
        return;
    }
    rg_generator g;
    rg_generator_seed(&g, seed);
    rg_randn_f32(&g, out, b->n);
}

rg_brownian *rg_brownian_new(rg_ctx *c, int n_dims, const int64_t *shape, float t0, float t1, uint64_t seed, int64_t n_cuda_threads)
{
    rg_brownian *b;
    uint32_t seeds[3];

    if (c->error)
        return NULL;
    if (!(b = rg_calloc(1, sizeof *b)))
        goto no_memory;
    b->n_dims = n_dims;
    b->n = 1;
    for (int i = 0; i < n_dims; i++) {
        b->shape[i] = shape[i];
        b->n *= shape[i];
    }
    b->seed = seed;
    b->n_cuda_threads = n_cuda_threads;
    b->root.start = round_time(t0);
    b->root.end = round_time(t1);
    if (!(b->root.start < b->root.end)) {
        rg_fail(c, RG_ERR_INVALID, "sampling noise needs falling sigmas, got %g to %g", (double)t1, (double)t0);
        rg_brownian_free(b);
        return NULL;
    }
    if (!(b->root_w = rg_malloc((size_t)b->n * sizeof *b->root_w)))
        goto no_memory;

    rg_seed_sequence(seed, NULL, 0, seeds, 3);
    draw(b, seeds[0], b->root_w);
    const float scale = (float)sqrt((double)t1 - (double)t0);
    for (int64_t i = 0; i < b->n; i++)
        b->root_w[i] *= scale;
    return b;
no_memory:
    rg_fail(c, RG_ERR_NOMEM, "out of memory for sampling noise");
    rg_brownian_free(b);
    return NULL;
}

void rg_brownian_free(rg_brownian *b)
{
    if (!b)
        return;
    for (int i = 0; i < N_KEPT; i++)
        rg_free(b->kept[i].w);
    rg_free(b->root_w);
    rg_free(b);
}

/* The kept increment of a node, or NULL. */
static float *find_kept(rg_brownian *b, const node *at)
{
    for (int i = 0; i < N_KEPT; i++) {
        if (b->kept[i].w && b->kept[i].depth == at->depth && b->kept[i].key == at->key) {
            b->kept[i].used = ++b->clock;
            return b->kept[i].w;
        }
    }
    return NULL;
}

/* Room for a node's increment in place of the one unused for longest; NULL if no memory. */
static float *keep(rg_brownian *b, const node *at)
{
    int oldest = 0;

    for (int i = 1; i < N_KEPT; i++) {
        if (b->kept[i].used < b->kept[oldest].used)
            oldest = i;
    }
    if (!b->kept[oldest].w && !(b->kept[oldest].w = rg_malloc((size_t)b->n * sizeof(float))))
        return NULL;
    b->kept[oldest].key = at->key;
    b->kept[oldest].depth = at->depth;
    b->kept[oldest].used = ++b->clock;
    return b->kept[oldest].w;
}

/* Increments of both halves of a node, given its own. */
static bool halve(rg_brownian *b, const node *at, double middle, const float *w, const node *left, const node *right,
                  const float **w_left, const float **w_right)
{
    float *l = find_kept(b, left), *r = find_kept(b, right);

    if (!l || !r) {
        const double inverse = 1.0 / (at->end - at->start), to_left = middle - at->start, to_right = at->end - middle;
        const float share = (float)to_left, whole = (float)inverse, deviation = (float)sqrt(to_left * to_right * inverse);
        uint32_t seeds[4];

        rg_seed_sequence(b->seed, (const uint64_t[]){ at->key, (uint64_t)at->depth }, 2, seeds, 4);
        if ((!l && !(l = keep(b, left))) || (!r && !(r = keep(b, right))))
            return false;
        draw(b, seeds[0], l);
        for (int64_t i = 0; i < b->n; i++) {
            l[i] = share * w[i] * whole + deviation * l[i];
            r[i] = w[i] - l[i];
        }
    }
    *w_left = l;
    *w_right = r;
    return true;
}

/* Add the increments of the pieces of [from, to] inside a node to sum; *n_pieces counts them. */
static int gather(rg_ctx *c, rg_brownian *b, node at, const float *w, double from, double to, float *sum, int *n_pieces)
{
    if (from == at.start && to == at.end) {
        if ((*n_pieces)++ == 0) {
            memcpy(sum, w, (size_t)b->n * sizeof *sum);
        } else {
            for (int64_t i = 0; i < b->n; i++)
                sum[i] += w[i];
        }
        return 0;
    }

    const double middle = round_time(0.5 * (at.end + at.start));
    const node left = { at.start, middle, 2 * at.key, at.depth + 1 }, right = { middle, at.end, 2 * at.key + 1, at.depth + 1 };
    const float *w_left, *w_right;
    int ret = 0;

    if (at.depth >= MAX_DEPTH || !(at.end > at.start))
        return rg_fail(c, RG_ERR_INVALID, "sampling noise from %.9g to %.9g: the times are too close", from, to);
    if (!halve(b, &at, middle, w, &left, &right, &w_left, &w_right))
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for sampling noise");
    if (from < middle && to > middle) {
        /* the walk down the left may push the right half's increment out of the kept ones */
        float *copy = rg_malloc((size_t)b->n * sizeof *copy);
        if (!copy)
            return rg_fail(c, RG_ERR_NOMEM, "out of memory for sampling noise");
        memcpy(copy, w_right, (size_t)b->n * sizeof *copy);
        ret = gather(c, b, left, w_left, from, middle, sum, n_pieces);
        if (ret == 0)
            ret = gather(c, b, right, copy, middle, to, sum, n_pieces);
        rg_free(copy);
        return ret;
    }
    return to <= middle ? gather(c, b, left, w_left, from, to, sum, n_pieces) : gather(c, b, right, w_right, from, to, sum, n_pieces);
}

rg_tensor *rg_brownian_noise(rg_ctx *c, rg_brownian *b, float t_from, float t_to)
{
    const float sign = t_from < t_to ? 1 : -1;
    double from = sign > 0 ? t_from : t_to, to = sign > 0 ? t_to : t_from;
    rg_tensor *t = rg_host_tensor(c, RG_F32, b->n_dims, b->shape);
    int n_pieces = 0;

    if (!t)
        return NULL;
    from = round_time(from < b->root.start ? b->root.start : from > b->root.end ? b->root.end : from);
    to = round_time(to < b->root.start ? b->root.start : to > b->root.end ? b->root.end : to);
    float *sum = t->data;
    if (from == to)
        memset(sum, 0, (size_t)b->n * sizeof *sum);
    else if (gather(c, b, b->root, b->root_w, from, to, sum, &n_pieces) < 0)
        return NULL;

    const float length = sqrtf(fabsf(t_to - t_from));
    for (int64_t i = 0; i < b->n; i++)
        sum[i] = sum[i] * sign / length;
    return t;
}
