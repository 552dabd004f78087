/*
 * RG_DUMP=block in the environment: every forward pass of a model writes its activations, one file per evaluation, to
 * RG_DUMP_DIR (default: the current directory) as NAME-0001.safetensors, NAME-0002.safetensors, ... The reference scripts in
 * tools/reference write ComfyUI's under the same names (--trace) and compare the two (--compare).
 */
#ifndef RG_MODELS_DUMP_H
#define RG_MODELS_DUMP_H

#include "engine/core/ctx.h"

/* Note a tensor for the file; `name` may hold one %d, which index fills. Free of cost when not dumping. */
void rg_dump_add(rg_ctx *c, const char *name, int index, const rg_tensor *t);

/* Write what this thread has noted since the last call; dropped, without a file, if c has failed. */
void rg_dump_end(rg_ctx *c, const char *what);

#endif
