/*
 * Safetensors files: an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then bytes.
 * A file is mapped, never read: opening costs the header, and a tensor is a view onto the map that keeps the map alive.
 * A sharded model (`*.safetensors.index.json`: {"weight_map": {name: file}}) opens as one.
 *
 * The header is outside data and is checked as strictly as the format's own library checks it: valid UTF-8 JSON, no name
 * twice, sizes that agree with dtype and shape, and ranges that cover the data exactly, without gaps or overlaps.
 * Source: https://huggingface.co/docs/safetensors
 */
#ifndef RG_WEIGHTS_SAFETENSORS_H
#define RG_WEIGHTS_SAFETENSORS_H

#include "engine/core/ctx.h"

typedef struct rg_safetensors rg_safetensors;   /* an rg_object: one model, of one file or of several shards */

/* One tensor as the header describes it. dtype is RG_N_DTYPES for a type the engine does not have; dtype_name says which. */
typedef struct rg_safetensors_entry {
    const char *name;
    const char *dtype_name;             /* as in the file */
    rg_dtype dtype;
    int n_dims;
    int64_t shape[RG_MAX_DIMS];
    const void *data;                   /* in the map; not always aligned to the element size */
    size_t nbytes;
    int shard;                          /* which file of a sharded model */
} rg_safetensors_entry;

/*
 * Open `path`: a .safetensors file or a .safetensors.index.json. One hold in *out; let go with rg_safetensors_close().
 *   errors   RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_FORMAT (says what is wrong and where), RG_ERR_UNSUPPORTED (more than
 *            RG_MAX_DIMS dimensions), RG_ERR_NOMEM; all name the file
 */
int rg_safetensors_open(rg_ctx *c, const char *path, rg_safetensors **out);

/* Let go of one hold (rg_unref); the map stays while tensors view it. */
void rg_safetensors_close(rg_safetensors *f);

/* The same on bytes in memory that outlive the result; for tests. `what` stands for the path. */
int rg_safetensors_parse(rg_ctx *c, const void *bytes, size_t n_bytes, const char *what, rg_safetensors **out);

/*
 * Check a file that is still arriving: of n_bytes the first n_there are in fd. `what` names it in messages.
 *   returns  1: its header is good and agrees with n_bytes; 0: more must be there to tell; an error as rg_safetensors_open()'s
 */
int rg_safetensors_check(rg_ctx *c, int fd, uint64_t n_there, uint64_t n_bytes, const char *what);

/* Entries are sorted by name (strcmp), so those with one prefix are neighbours. */
int rg_safetensors_count(const rg_safetensors *f);
const rg_safetensors_entry *rg_safetensors_at(const rg_safetensors *f, int index);
const rg_safetensors_entry *rg_safetensors_find(const rg_safetensors *f, const char *name);    /* NULL if absent */

/* Index of the first entry whose name is not less than `name`: where a prefix starts. */
int rg_safetensors_lower_bound(const rg_safetensors *f, const char *name);

/* A string of __metadata__, or NULL; and all of them by number (false past the end). */
const char *rg_safetensors_meta(const rg_safetensors *f, const char *key);
bool rg_safetensors_meta_at(const rg_safetensors *f, int index, const char **key, const char **value);

const char *rg_safetensors_path(const rg_safetensors *f);
size_t rg_safetensors_file_bytes(const rg_safetensors *f);         /* of all shards */

/*
 * A read-only CPU tensor onto the map (a copy where the file leaves the data misaligned), which keeps the map alive.
 * rg_safetensors_tensor: the caller gets one hold. rg_safetensors_get: owned by c's scope.
 *   returns  NULL and an error in c: RG_ERR_NOT_FOUND, RG_ERR_DTYPE (a type the engine does not have), RG_ERR_NOMEM
 */
rg_tensor *rg_safetensors_tensor(rg_ctx *c, rg_safetensors *f, const rg_safetensors_entry *e);
rg_tensor *rg_safetensors_get(rg_ctx *c, rg_safetensors *f, const char *name);

/* ---- writing: activations (RG_DUMP) and tests ----------------------------------------------------------------------- */

typedef struct rg_named_tensor {
    const char *name;
    const rg_tensor *tensor;            /* any device, any strides */
} rg_named_tensor;

typedef struct rg_named_text {
    const char *key, *value;
} rg_named_text;

/*
 * Write all or nothing: a temporary file beside `path`, renamed over it at the end. Names must differ.
 *   errors   RG_ERR_IO (names the path and the reason), RG_ERR_INVALID (a name twice), RG_ERR_NOMEM
 */
int rg_safetensors_save(rg_ctx *c, const char *path, const rg_named_tensor *tensors, int n_tensors,
                        const rg_named_text *meta, int n_meta);

#endif
