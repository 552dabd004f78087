/*
 * A hash table from byte strings to small integers: vocabularies and merges. Keys are borrowed, so they must outlive the
 * table. Open addressing; a later value for the same key replaces the earlier one.
 */
#ifndef RG_TEXT_STRTABLE_H
#define RG_TEXT_STRTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_strslot {
    const char *key;
    uint32_t n_key, hash;
    int32_t value;                      /* -1: an empty slot */
} rg_strslot;

typedef struct rg_strtable {
    rg_strslot *slots;
    size_t n_slots, n;                  /* n_slots is a power of two, or 0 */
} rg_strtable;

/* Room for n_expected keys at once; more may come. False if there was no memory. */
bool rg_strtable_init(rg_strtable *t, size_t n_expected);
void rg_strtable_release(rg_strtable *t);

/* value must be 0 or more; keys of 4 GiB and more are refused as if there were no memory. */
bool rg_strtable_set(rg_strtable *t, const char *key, size_t n, int32_t value);

/* The value of the key, or -1. */
int32_t rg_strtable_get(const rg_strtable *t, const char *key, size_t n);

#endif
