/* Textual inversion: rows for the token table from a file in a folder embeddings/ of the model directories. */
#ifndef RG_TEXT_EMBEDDING_H
#define RG_TEXT_EMBEDDING_H

#include "engine/core/ctx.h"

/*
 * The embedding `name` (a path below embeddings/, with or without .safetensors), searched in every embeddings/ of the roots and the
 * folders in it, by name. *out is [n, D] or [D] in the file's dtype, one hold for the caller; NULL and no error if there is none.
 *   key      the tensor to take from a file with several: `key`, else bundle_emb.*.string_to_param.*, bundle_emb.*.KEY, else
 *            the one that lies first in the file
 *   errors   RG_ERR_UNSUPPORTED (a .pt or .bin file, or a tensor of more dimensions), those of rg_safetensors_open()
 */
int rg_embedding_load(rg_ctx *c, const char *const *roots, int n_roots, const char *name, const char *key, rg_tensor **out);

#endif
