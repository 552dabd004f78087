/* How an execute() hands over what it made. */
#ifndef RG_NODES_GIVE_H
#define RG_NODES_GIVE_H

#include "nodes/node.h"

/*
 * Put an object, whose hold the caller gives up, into an output. NULL means that making it failed: the context's error, or
 * RG_ERR_NOMEM if it has none.
 */
static inline int rg_give(rg_exec *x, rg_value *out, const rg_type *type, void *object)
{
    if (!object || x->ctx->error) {
        rg_unref(object);
        return x->ctx->error ? x->ctx->error : rg_fail(x->ctx, RG_ERR_NOMEM, "out of memory for a %s", type->name);
    }
    *out = rg_value_object(type, object);
    return 0;
}

/* The same for a tensor of the context's scope: the output takes a hold of its own. */
static inline int rg_give_tensor(rg_exec *x, rg_value *out, const rg_type *type, const rg_tensor *t)
{
    return rg_give(x, out, type, rg_ref(t));
}

#endif
