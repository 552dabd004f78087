/* Keys by content and the table of results. Source: ComfyUI comfy_execution/caching.py (what a signature holds, what is kept). */
#include "graph/cache.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/sha256.h"
#include "graph/json_text.h"

/* ---- keys --------------------------------------------------------------------------------------------------------- */

/* "12:": how long what follows is, so that no text can look like two. Without printf(), it is there for every input of every node. */
static void add_length(rg_text *t, size_t n)
{
    char digits[24], *p = digits + sizeof(digits);

    *--p = ':';
    do {
        *--p = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    rg_text_add_bytes(t, p, (size_t)(digits + sizeof(digits) - p));
}

static void add_name(rg_text *t, const char *name)
{
    const size_t n = strlen(name);

    add_length(t, n);
    rg_text_add_bytes(t, name, n);
    rg_text_add_bytes(t, "=", 1);
}

/* A JSON value so that equal values give equal texts: 1, 1.0 and true are one number, object keys are sorted. */
static void canonical(rg_text *t, struct json_object *v);

static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object, sorted; rg_free() the array, the strings are the object's. NULL if no memory. */
static const char **sorted_keys(struct json_object *o, int *n)
{
    const char **keys = rg_calloc((size_t)json_object_object_length(o) + 1, sizeof(*keys));

    *n = 0;
    if (!keys)
        return NULL;
    json_object_object_foreach(o, key, value) {
        (void)value;
        keys[(*n)++] = key;
    }
    qsort(keys, (size_t)*n, sizeof(*keys), by_key);
    return keys;
}

static void canonical_object(rg_text *t, struct json_object *v)
{
    int n;
    const char **keys = sorted_keys(v, &n);

    if (!keys) {
        t->is_failed = true;
        return;
    }
    rg_text_format(t, "{%d:", n);
    for (int i = 0; i < n; i++) {
        add_name(t, keys[i]);
        canonical(t, json_object_object_get(v, keys[i]));
    }
    rg_free(keys);
}

static void add_nonce(rg_text *t);

static void canonical(rg_text *t, struct json_object *v)
{
    double d;

    switch (json_object_get_type(v)) {
    case json_type_null:
        rg_text_add(t, "N;");
        break;
    case json_type_string:
        if (graph_value_of(v)) {        /* a tensor or the like from an expansion: nobody knows whether it is the same as before */
            add_nonce(t);
            break;
        }
        rg_text_add_bytes(t, "s", 1);
        add_length(t, (size_t)json_object_get_string_len(v));
        rg_text_add(t, json_object_get_string(v));
        break;
    case json_type_boolean:
        rg_text_format(t, "i%d;", json_object_get_boolean(v));
        break;
    case json_type_int:
        if (json_object_get_int64(v) < 0)
            rg_text_format(t, "i%lld;", (long long)json_object_get_int64(v));
        else
            rg_text_format(t, "i%llu;", (unsigned long long)json_object_get_uint64(v));
        break;
    case json_type_double:
        d = json_object_get_double(v);
        if (rg_json_digits(v))
            rg_text_format(t, "i%s;", rg_json_digits(v));
        else if (d == floor(d) && fabs(d) < 9e15)
            rg_text_format(t, "i%lld;", (long long)d);
        else
            rg_text_format(t, "f%.17g;", d);
        break;
    case json_type_array:
        rg_text_format(t, "[%zu:", json_object_array_length(v));
        for (size_t i = 0; i < json_object_array_length(v); i++)
            canonical(t, json_object_array_get_idx(v, i));
        break;
    case json_type_object:
        canonical_object(t, v);
        break;
    }
}

/* Something that equals nothing else, ever: for results that must not be found again. */
static void add_nonce(rg_text *t)
{
    static atomic_ullong counter;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    rg_text_format(t, "nonce %d %lld.%09ld %llu;", (int)getpid(), (long long)now.tv_sec, now.tv_nsec,
                   (unsigned long long)atomic_fetch_add(&counter, 1));
}

/* The state of files outside, where a node declares it; as in ComfyUI, an "is_changed" that the prompt brings along wins. */
static void add_fingerprint(rg_text *t, rg_env *env, const rg_prompt *p, int node)
{
    const prompt_node *n = &p->nodes[node];
    struct json_object *given;
    graph_call call;
    char digits[65] = "";

    if (!n->type->fingerprint)
        return;
    if (json_object_object_get_ex(n->json, "is_changed", &given)) {
        canonical(t, given);
        return;
    }
    if (graph_call_from_constants(&call, p, node) < 0)
        t->is_failed = true;
    else if (n->type->fingerprint(env, call.args, digits) != 0)
        add_nonce(t);
    else
        rg_text_format(t, "changed %.64s;", digits);
    graph_call_release(&call);
}

enum { KEY_NEW, KEY_OPEN, KEY_DONE };

/* The key of a node whose sources all have one (or lie on a cycle, or are missing). */
static int make_key(rg_env *env, const rg_prompt *p, int node, const char *state, graph_key *keys)
{
    const prompt_node *n = &p->nodes[node];
    rg_text t = { 0 };
    rg_sha256 h;
    const char **names = NULL;
    int n_names = 0;

    if (!n->type || !n->inputs) {
        add_nonce(&t);
    } else {
        rg_text_add(&t, n->type->class_type);
        rg_text_add_bytes(&t, ";", 1);
        add_fingerprint(&t, env, p, node);
        if (n->is_ephemeral)
            rg_text_format(&t, "in %zu:%s %s;", strlen(p->nodes[n->parent].id), p->nodes[n->parent].id, p->nodes[n->parent].type->class_type);
        if (n->type->is_not_idempotent || n->type->wants_unique_id)
            rg_text_format(&t, "id %zu:%s;", strlen(n->id), n->id);
        if (!(names = sorted_keys(n->inputs, &n_names)))
            t.is_failed = true;
    }
    for (int i = 0; names && i < n_names; i++) {
        struct json_object *value = json_object_object_get(n->inputs, names[i]);
        int source, slot;

        add_name(&t, names[i]);
        if (!graph_link(p, value, &source, &slot)) {
            canonical(&t, value);
        } else if (source < 0 || state[source] != KEY_DONE) {
            add_nonce(&t);
        } else {
            rg_text_add(&t, "slot ");
            add_length(&t, (size_t)(int64_t)slot);
            rg_text_add_bytes(&t, (const char *)keys[source].bytes, sizeof(keys[source].bytes));
        }
    }
    rg_free(names);
    if (t.is_failed) {
        rg_text_release(&t);
        return RG_ERR_NOMEM;
    }
    rg_sha256_init(&h);
    rg_sha256_add(&h, t.data, t.n_bytes);
    rg_sha256_end(&h, keys[node].bytes);
    rg_text_release(&t);
    return 0;
}

graph_key *graph_keys(rg_env *env, const rg_prompt *p)
{
    graph_key *keys = rg_calloc((size_t)p->n_nodes + 1, sizeof(*keys));

    if (keys && graph_keys_of_added(env, p, 0, keys) == 0)
        return keys;
    rg_free(keys);
    return NULL;
}

/* Sources before those that use them, with a stack of our own: a chain may be of any length. */
int graph_keys_of_added(rg_env *env, const rg_prompt *p, int first, graph_key *keys)
{
    const size_t n = (size_t)p->n_nodes + 1;
    char *state = rg_calloc(n, 1);
    int *stack = rg_calloc(n, sizeof(*stack)), n_stack = 0, ret = state && stack ? 0 : RG_ERR_NOMEM;

    if (state)
        memset(state, KEY_DONE, (size_t)first);
    for (int i = first; !ret && i < p->n_nodes; i++) {
        if (state[i] == KEY_NEW)
            stack[n_stack++] = i;
        while (!ret && n_stack > 0) {
            const int node = stack[n_stack - 1];
            const prompt_node *at = &p->nodes[node];
            int next = -1;

            state[node] = KEY_OPEN;
            if (at->inputs) {
                json_object_object_foreach(at->inputs, key, value) {
                    int source, slot;

                    (void)key;
                    if (graph_link(p, value, &source, &slot) && source >= 0 && state[source] == KEY_NEW) {
                        next = source;
                        break;
                    }
                }
            }
            if (next >= 0) {
                stack[n_stack++] = next;
                continue;
            }
            ret = make_key(env, p, node, state, keys);
            state[node] = KEY_DONE;
            n_stack--;
        }
    }
    rg_free(stack);
    rg_free(state);
    return ret;
}

/* ---- results --------------------------------------------------------------------------------------------------------- */

void graph_result_release(graph_result *r)
{
    for (int i = 0; i < r->n_slots; i++)
        rg_unref(r->slots[i]);
    json_object_put(r->ui);
    *r = (graph_result){ 0 };
}

graph_result graph_result_ref(const graph_result *r)
{
    for (int i = 0; i < r->n_slots; i++)
        rg_ref(r->slots[i]);
    json_object_get(r->ui);
    return *r;
}

typedef struct entry {
    graph_key key;
    graph_result result;
    long long used;                     /* the generation that needed it last */
    bool is_inner;                      /* of a node that an expansion made: */
    uint64_t parent, root;              /* who made it, and the submitted node that began, by id and class */
} entry;

typedef struct node_state {
    char *node_id, *class_type;
    void *state;
    struct node_state *next;
} node_state;

struct rg_cache {
    entry *entries;
    int n_entries, capacity;
    int *index;                         /* open hash table of entry numbers, 2 * capacity places, -1: free */
    node_state *states;
    int max_entries;                    /* 0: classic */
    long long generation, oldest;       /* runs so far; the oldest generation that may be left */
};

rg_cache *rg_cache_new(void)
{
    return rg_calloc(1, sizeof(rg_cache));
}

rg_cache *rg_cache_new_lru(int max_entries)
{
    rg_cache *cache = rg_cache_new();

    if (cache)
        cache->max_entries = max_entries;
    return cache;
}

static void free_state(node_state *s)
{
    rg_free(s->state);
    rg_free(s->node_id);
    rg_free(s->class_type);
    rg_free(s);
}

void rg_cache_clear(rg_cache *cache)
{
    for (int i = 0; i < cache->n_entries; i++)
        graph_result_release(&cache->entries[i].result);
    while (cache->states) {
        node_state *s = cache->states;

        cache->states = s->next;
        free_state(s);
    }
    rg_free(cache->entries);
    rg_free(cache->index);
    *cache = (rg_cache){ .max_entries = cache->max_entries };
}

void rg_cache_free(rg_cache *cache)
{
    if (cache)
        rg_cache_clear(cache);
    rg_free(cache);
}

static bool same_key(const graph_key *a, const graph_key *b)
{
    return !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* Where a key begins to be looked for among n places: its bytes are a hash already. */
static unsigned place_of(const graph_key *key, int n)
{
    uint32_t h;

    memcpy(&h, key->bytes, sizeof(h));
    return h % (unsigned)n;
}

static void index_entry(rg_cache *cache, int i)
{
    const int n = 2 * cache->capacity;
    unsigned at = place_of(&cache->entries[i].key, n);

    while (cache->index[at] >= 0)
        at = (at + 1) % (unsigned)n;
    cache->index[at] = i;
}

static void index_all(rg_cache *cache)
{
    if (!cache->index)
        return;
    memset(cache->index, 0xff, 2 * (size_t)cache->capacity * sizeof(*cache->index));
    for (int i = 0; i < cache->n_entries; i++)
        index_entry(cache, i);
}

const graph_result *graph_cache_get(const rg_cache *cache, const graph_key *key)
{
    const int n = 2 * cache->capacity;

    if (!n)
        return NULL;
    for (unsigned at = place_of(key, n); cache->index[at] >= 0; at = (at + 1) % (unsigned)n)
        if (same_key(&cache->entries[cache->index[at]].key, key))
            return &cache->entries[cache->index[at]].result;
    return NULL;
}

/* A node by id and class. 64 bits: a clash would keep a result longer, no more. */
static uint64_t owner_hash(const char *id, const char *class_type)
{
    uint64_t h = 14695981039346656037u;

    for (const char *s = id; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    h = (h ^ 0xff) * 1099511628211u;
    for (const char *s = class_type; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static uint64_t owner_of(const rg_prompt *p, int node)
{
    return owner_hash(p->nodes[node].id, p->nodes[node].type->class_type);
}

int graph_cache_put(rg_cache *cache, const rg_prompt *p, int node, const graph_key *key, const graph_result *r)
{
    if (graph_cache_get(cache, key))
        return 0;
    if (cache->n_entries == cache->capacity) {
        const int capacity = cache->capacity ? 2 * cache->capacity : 32;
        int *index = rg_malloc(2 * (size_t)capacity * sizeof(*index));
        entry *entries = index ? rg_realloc(cache->entries, (size_t)capacity * sizeof(*entries)) : NULL;

        if (!entries) {
            rg_free(index);
            return RG_ERR_NOMEM;
        }
        rg_free(cache->index);
        cache->index = index;
        cache->entries = entries;
        cache->capacity = capacity;
        index_all(cache);
    }
    entry *e = &cache->entries[cache->n_entries];
    *e = (entry){ .key = *key, .result = graph_result_ref(r), .used = cache->generation, .is_inner = p->nodes[node].is_ephemeral };
    if (e->is_inner) {
        e->parent = owner_of(p, p->nodes[node].parent);
        e->root = owner_of(p, graph_real(p, node));
    }
    index_entry(cache, cache->n_entries++);
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(graph_key));
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void drop_entries(rg_cache *cache, const bool *is_kept)
{
    int kept = 0;

    for (int i = 0; i < cache->n_entries; i++) {
        if (is_kept[i])
            cache->entries[kept++] = cache->entries[i];
        else
            graph_result_release(&cache->entries[i].result);
    }
    cache->n_entries = kept;
    index_all(cache);
}

/* While there are too many, the oldest generation goes as a whole, but never what this run can use. */
static void keep_recent(rg_cache *cache, bool *is_kept)
{
    int n = cache->n_entries;

    for (; n > cache->max_entries && cache->oldest < cache->generation; cache->oldest++) {
        for (int i = 0; i < cache->n_entries; i++) {
            if (is_kept[i] && cache->entries[i].used <= cache->oldest) {
                is_kept[i] = false;
                n--;
            }
        }
    }
}

int rg_cache_drop(rg_cache *cache, bool (*is_stale)(void *user, struct json_object *ui), void *user)
{
    bool *is_kept = rg_malloc((size_t)cache->n_entries + 1);

    if (!is_kept)
        return RG_ERR_NOMEM;
    for (int i = 0; i < cache->n_entries; i++)
        is_kept[i] = !cache->entries[i].result.ui || !is_stale(user, cache->entries[i].result.ui);
    drop_entries(cache, is_kept);
    rg_free(is_kept);
    return 0;
}

int graph_cache_trim(rg_cache *cache, const rg_prompt *p, const graph_key *keys)
{
    const size_t n_keys = (size_t)p->n_nodes;
    graph_key *sorted = rg_malloc((n_keys + 1) * sizeof(*sorted));
    uint64_t *owners = rg_malloc((n_keys + 1) * sizeof(*owners));
    bool *is_kept = rg_malloc((size_t)cache->n_entries + 1);
    size_t n_owners = 0;

    if (!sorted || !owners || !is_kept) {
        rg_free(sorted);
        rg_free(owners);
        rg_free(is_kept);
        return RG_ERR_NOMEM;
    }
    memcpy(sorted, keys, n_keys * sizeof(*sorted));
    qsort(sorted, n_keys, sizeof(*sorted), by_bytes);
    for (size_t i = 0; i < n_keys; i++)
        if (p->nodes[i].type)
            owners[n_owners++] = owner_of(p, (int)i);
    qsort(owners, n_owners, sizeof(*owners), by_number);
    cache->generation++;
    for (int i = 0; i < cache->n_entries; i++) {
        entry *e = &cache->entries[i];

        is_kept[i] = e->is_inner ? bsearch(&e->root, owners, n_owners, sizeof(*owners), by_number) != NULL
                                 : bsearch(&e->key, sorted, n_keys, sizeof(*sorted), by_bytes) != NULL;
        if (is_kept[i] && !e->is_inner)
            e->used = cache->generation;
        if (cache->max_entries)
            is_kept[i] = true;
    }
    if (cache->max_entries)
        keep_recent(cache, is_kept);
    drop_entries(cache, is_kept);
    rg_free(sorted);
    rg_free(owners);
    rg_free(is_kept);

    for (node_state **s = &cache->states; *s; ) {
        const int node = graph_find(p, (*s)->node_id);
        node_state *dead = *s;

        if (node >= 0 && p->nodes[node].type && !strcmp(p->nodes[node].type->class_type, dead->class_type)) {
            s = &dead->next;
        } else {
            *s = dead->next;
            free_state(dead);
        }
    }
    return 0;
}

void graph_cache_expanded(rg_cache *cache, const rg_prompt *p, int parent, int first, const graph_key *keys)
{
    const uint64_t owner = owner_of(p, parent);
    bool *is_kept = rg_malloc((size_t)cache->n_entries + 1);

    if (!is_kept)
        return;
    for (int i = 0; i < cache->n_entries; i++) {
        entry *e = &cache->entries[i];
        bool is_new = false;

        is_kept[i] = true;
        if (!e->is_inner || e->parent != owner)
            continue;
        for (int n = first; n < p->n_nodes && !is_new; n++)
            is_new = same_key(&e->key, &keys[n]);
        if (is_new)
            e->used = cache->generation;
        else if (!cache->max_entries)
            is_kept[i] = false;
    }
    drop_entries(cache, is_kept);
    rg_free(is_kept);
}

static node_state *find_state(const rg_cache *cache, const char *node_id, const char *class_type)
{
    node_state *s = cache->states;

    while (s && (strcmp(s->node_id, node_id) || strcmp(s->class_type, class_type)))
        s = s->next;
    return s;
}

void *graph_cache_state(const rg_cache *cache, const char *node_id, const char *class_type)
{
    const node_state *s = find_state(cache, node_id, class_type);

    return s ? s->state : NULL;
}

int graph_cache_keep_state(rg_cache *cache, const char *node_id, const char *class_type, void *state)
{
    node_state *s = find_state(cache, node_id, class_type);

    if (s || !state) {
        if (s)
            s->state = state;           /* the node has freed the old one if it put another in its place */
        return 0;
    }
    if (!(s = rg_calloc(1, sizeof(*s))))
        return RG_ERR_NOMEM;
    s->node_id = rg_strdup(node_id);
    s->class_type = rg_strdup(class_type);
    if (!s->node_id || !s->class_type) {
        free_state(s);
        return RG_ERR_NOMEM;
    }
    s->state = state;
    s->next = cache->states;
    cache->states = s;
    return 0;
}
