/*
 * A debug switch: with RG_READONLY_INPUTS=1 in the environment, nodes get copies of their input tensors on pages that cannot be
 * written, so that a node which changes a value it only borrowed dies at the very instruction. Slow; for tests.
 */
#ifndef RG_GRAPH_READONLY_H
#define RG_GRAPH_READONLY_H

#include "nodes/node.h"

bool graph_readonly_is_on(void);

/*
 * Replace *list by one whose CPU tensors (IMAGE, MASK, SIGMAS, and those inside LATENT and CONDITIONING) are write-protected
 * copies. RG_ERR_NOMEM, latched in c.
 */
int graph_readonly_list(rg_ctx *c, rg_list **list);

#endif
