/*
 * What crosses a node edge is counted. Every such struct (tensor, model handle, conditioning, latent, ...) begins with
 * an rg_object; rg_ref() and rg_unref() then work on all of them. Counting is atomic, the contents are immutable
 * while more than one holder exists: whoever wants to write asks rg_is_unique() first and copies if it says no.
 */
#ifndef RG_CORE_OBJECT_H
#define RG_CORE_OBJECT_H

#include <stdbool.h>

#include "engine/core/atomic.h"

typedef struct rg_object {
    atomic_int refs;                    /* holders; the creator starts with one */
    void (*free)(void *self);           /* called when the last holder lets go; frees self */
} rg_object;

/* Set up the head of a new object: one holder, and the function that ends it. */
void rg_object_init(void *object, void (*free)(void *self));

/* Take, or let go of, one hold. Both accept NULL; rg_ref returns its argument. */
void *rg_ref(const void *object);
void rg_unref(const void *object);

/* True if the caller is the only holder and may write in place. */
bool rg_is_unique(const void *object);

#endif
