/*
 * Node packs: shared libraries with more nodes, loaded only when somebody names the file. A pack is compiled against nodes/node.h
 * and the engine's headers, uses this program's functions, and has one symbol of its own:
 *
 *     const rg_node *const *rg_node_pack(int abi, int *n_nodes);
 *
 *   abi      RG_NODE_ABI of the program
 *   returns  the pack's nodes, constant for the life of the process; NULL when it was built for another ABI
 */
#ifndef RG_GRAPH_PACK_H
#define RG_GRAPH_PACK_H

#include <stddef.h>

#include "nodes/node.h"

typedef const rg_node *const *rg_node_pack_fn(int abi, int *n_nodes);

/*
 * Load a pack and put its nodes into the table, all or none; before any prompt runs. It stays loaded.
 *   path     a file: what has no slash is looked for in the current folder, never in the system's
 *   errors   RG_ERR_NOT_FOUND, RG_ERR_FORMAT (not a pack, or of another ABI), RG_ERR_INVALID (a class that there is already, or
 *            a descriptor without name or execute), RG_ERR_NOMEM; text says what
 */
int rg_pack_load(const char *path, char *text, size_t text_size);

#endif
