/* What the nodes on pictures share: handing a tensor on, and ComfyUI's list of resizing methods. */
#ifndef RG_NODES_IMAGE_IMAGE_NODE_H
#define RG_NODES_IMAGE_IMAGE_NODE_H

#include "engine/media/image.h"
#include "engine/media/resize.h"
#include "engine/ops/ops.h"
#include "nodes/node.h"

enum { MAX_RESOLUTION = 16384 };        /* ComfyUI's limit for widths and heights */

/* In the order of rg_resize_method, so that a combo's index is the method. */
#define UPSCALE_METHODS { "nearest-exact", "bilinear", "area", "bicubic", "lanczos", NULL }

/* The tensor becomes an output value, held by it. Returns what execute() returns. */
static inline int give(rg_exec *x, rg_value *out, const rg_type *type, const rg_tensor *t)
{
    if (t && !x->ctx->error)
        *out = rg_value_object(type, rg_ref(t));
    return x->ctx->error;
}

/* An input as the ops want it: on the device of the context. */
static inline rg_tensor *here(rg_exec *x, const rg_tensor *t)
{
    return rg_to_device(x->ctx, t, x->ctx->device);
}

#endif
