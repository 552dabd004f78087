/*
 * The weight store: one per process, shared by all jobs and threads. Files are mapped once; what is loaded from them is made
 * once per (files, options, device, dtype) and handed out to everybody, counted. A file that has changed on disk (size, time
 * or inode; of a sharded model the index's) is opened anew, and what was made of the old one is forgotten by the store
 * (holders keep theirs).
 */
#ifndef RG_WEIGHTS_STORE_H
#define RG_WEIGHTS_STORE_H

#include "engine/weights/safetensors.h"

typedef struct rg_store rg_store;

/*
 * model_dirs are searched for what belongs to models but is no weight file: DIR/tokenizers/..., DIR/embeddings/...; copied.
 * Free with rg_store_free(); NULL if no memory.
 */
rg_store *rg_store_new(const char *const *model_dirs, int n_model_dirs);
void rg_store_free(rg_store *s);

const char *rg_store_model_dir(const rg_store *s, int index);     /* NULL past the end */

/* The mapped file; one hold for the caller. Errors as rg_safetensors_open(). */
int rg_store_open(rg_ctx *c, rg_store *s, const char *path, rg_safetensors **out);

/*
 * The object made from `paths` with `options` (any text that tells one use from another: "unet fp8_e4m3fn"): from the cache,
 * or made by make(c, s, user, &object), an rg_object with one hold that the store takes. Two threads that ask for the
 * same thing get one; the second waits. c's device and compute dtype are part of what "same" means. One hold for the caller.
 */
typedef int rg_store_make_fn(rg_ctx *c, rg_store *s, void *user, void **object);
int rg_store_get(rg_ctx *c, rg_store *s, const char *const *paths, int n_paths, const char *options,
                 rg_store_make_fn *make, void *user, void **object);

/* Let go of everything that nobody else holds; returns how many things that were. */
int rg_store_trim(rg_store *s);

#endif
