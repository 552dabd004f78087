/* How core's own files put a tensor into the current scope; the public side is in ctx.h. */
#ifndef RG_CORE_SCOPE_H
#define RG_CORE_SCOPE_H

#include "engine/core/ctx.h"

typedef struct rg_scope rg_scope;

/* The innermost scope takes over the caller's hold on t. False, with t let go of and the failure latched, if no memory. */
bool rg_scope_add(rg_ctx *c, rg_tensor *t);

#endif
