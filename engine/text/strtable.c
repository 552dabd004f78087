/* A hash table from byte strings to small integers. */
#include "engine/text/strtable.h"

#include <string.h>

#include "engine/core/ctx.h"

/* Eight bytes at a time, multiplied and folded: keys are a handful of bytes. Not proof against chosen collisions. */
static uint32_t hash_of(const char *key, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15u, word;

    for (; n >= 8; key += 8, n -= 8) {
        memcpy(&word, key, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, key, n);
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32);
}

bool rg_strtable_init(rg_strtable *t, size_t n_expected)
{
    size_t n_slots = 16;

    while (n_slots < n_expected * 2)
        n_slots *= 2;
    t->n = 0;
    t->n_slots = 0;
    if (!(t->slots = rg_malloc(n_slots * sizeof *t->slots)))
        return false;
    t->n_slots = n_slots;
    for (size_t i = 0; i < n_slots; i++)
        t->slots[i].value = -1;
    return true;
}

void rg_strtable_release(rg_strtable *t)
{
    rg_free(t->slots);
    *t = (rg_strtable){ 0 };
}

/* The slot that holds the key, or the empty one where it belongs. */
static rg_strslot *find(const rg_strtable *t, const char *key, size_t n, uint32_t hash)
{
    for (size_t i = hash; ; i++) {
        rg_strslot *s = &t->slots[i & (t->n_slots - 1)];
        if (s->value < 0 || (s->hash == hash && s->n_key == n && !memcmp(s->key, key, n)))
            return s;
    }
}

bool rg_strtable_set(rg_strtable *t, const char *key, size_t n, int32_t value)
{
    if (n > UINT32_MAX)
        return false;
    if (t->n * 4 >= t->n_slots * 3) {
        rg_strtable bigger;
        if (!rg_strtable_init(&bigger, t->n_slots ? t->n_slots : 16))
            return false;
        for (size_t i = 0; i < t->n_slots; i++) {
            const rg_strslot *old = &t->slots[i];
            if (old->value >= 0)
                *find(&bigger, old->key, old->n_key, old->hash) = *old;
        }
        bigger.n = t->n;
        rg_strtable_release(t);
        *t = bigger;
    }
    const uint32_t hash = hash_of(key, n);
    rg_strslot *s = find(t, key, n, hash);
    t->n += s->value < 0;
    *s = (rg_strslot){ key, (uint32_t)n, hash, value };
    return true;
}

int32_t rg_strtable_get(const rg_strtable *t, const char *key, size_t n)
{
    return t->n_slots ? find(t, key, n, hash_of(key, n))->value : -1;
}
