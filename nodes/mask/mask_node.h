/* What the nodes on masks share, besides what those on pictures do. */
#ifndef RG_NODES_MASK_MASK_NODE_H
#define RG_NODES_MASK_MASK_NODE_H

#include "nodes/image/image_node.h"

/* A mask as [B, H, W]: one of two dims gets a batch of 1, leading dims of more than three become one. NULL after rg_fail(). */
static inline const rg_tensor *mask_batch(rg_ctx *c, const rg_tensor *mask, const char *what)
{
    char text[96];

    if (mask->n_dims == 3)
        return mask;
    if (mask->n_dims == 2)
        return rg_unsqueeze(c, mask, 0);
    if (mask->n_dims > 3)
        return rg_view3(c, rg_image_host(c, mask), -1, rg_dim(mask, -2), rg_dim(mask, -1));
    rg_fail(c, RG_ERR_SHAPE, "%s has shape %s, wanted [batch, height, width]", what, rg_shape_text(mask, text, sizeof text));
    return NULL;
}

#endif
