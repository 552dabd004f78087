/* Counting of holders. */
#include "engine/core/object.h"

#include <stddef.h>

#include "engine/core/error.h"

void rg_object_init(void *object, void (*free)(void *self))
{
    rg_object *o = object;

    atomic_init(&o->refs, 1);
    o->free = free;
}

void *rg_ref(const void *object)
{
    rg_object *o = (rg_object *)object;     /* the count is not part of the value */

    if (o && atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed) < 1)
        RG_BUG("a freed object is held again");
    return o;
}

void rg_unref(const void *object)
{
    rg_object *o = (rg_object *)object;

    if (!o)
        return;
    const int before = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);
    if (before < 1)
        RG_BUG("an object is let go of more often than held");
    if (before == 1)
        o->free(o);
}

bool rg_is_unique(const void *object)
{
    const rg_object *o = object;

    return atomic_load_explicit(&o->refs, memory_order_acquire) == 1;
}
