/*
 * Weights of one network, loaded through tables: a family file writes rows of (name, field, sizes) and gets tensors back
 * in the right dtype on the right device; a missing or misshapen tensor is an error naming it.
 *
 *     static int load_block(rg_ctx *c, rg_weights *w, const rg_flux_config *f, int i, flux_single *b)
 *     {
 *         const int64_t D = f->hidden, M = f->mlp_hidden, Dh = D / f->n_heads;
 *         const rg_weight_row rows[] = {
 *             RG_W_LINEAR("linear1",             b->linear1,    3 * D + M, D),
 *             RG_W_LINEAR("linear2",             b->linear2,    D, D + M),
 *             RG_W_VECTOR("norm.query_norm.scale", b->query_norm, Dh),
 *             RG_W_LINEAR("modulation.lin",      b->mod,        3 * D, D),
 *         };
 *         return rg_weights_load(c, w, rows, RG_W_COUNT(rows), "single_blocks.%d.", i);
 *     }
 *
 * The rg_weights holds every tensor it handed out: the family's struct keeps one hold on it (and no other) and lets go of
 * that in its free(). A family offers  int rg_NAME_load(rg_ctx *c, rg_weights *w, rg_thing **out)  and load.c calls it.
 *
 * Dtypes. A tensor of the compute dtype stays a view of the mapped file. Others are converted once when the whole model is
 * small or the memory is clearly there; else they stay as they are and rg_linear() widens them on the way. Vectors (norm
 * scales, biases) are always converted. With fp8 storage asked for (UNETLoader's weight_dtype) every tensor is rounded to fp8
 * first, as ComfyUI does, vectors too. `X.scale_weight` of ComfyUI's scaled fp8 files goes into rg_linear_weight.scale.
 * On a GPU everything is uploaded.
 */
#ifndef RG_WEIGHTS_WEIGHTS_H
#define RG_WEIGHTS_WEIGHTS_H

#include "engine/ops/ops.h"
#include "engine/weights/safetensors.h"

typedef struct rg_weights rg_weights;   /* an rg_object */

typedef struct rg_weight_options {
    rg_dtype compute_dtype;             /* what the network computes in */
    rg_dtype storage_dtype;             /* RG_F8_E4M3, RG_F8_E5M2: round to it and keep it so; RG_N_DTYPES: as the file has it */
} rg_weight_options;

/*
 * The tensors of `file` whose names start with `prefix` ("", "model.diffusion_model.", "vae."), seen without it. One hold in *out.
 * Nothing is loaded yet: look at shapes, make a config, then load.
 */
int rg_weights_new(rg_ctx *c, rg_safetensors *file, const char *prefix, const rg_weight_options *options, rg_weights **out);

/* ---- looking -------------------------------------------------------------------------------------------------------- */

bool rg_weights_has(const rg_weights *w, const char *name);

/* Size of one dimension of a tensor, negative dims from the end; 0 when there is no such tensor or dimension. */
int64_t rg_weights_dim(const rg_weights *w, const char *name, int dim);
int rg_weights_n_dims(const rg_weights *w, const char *name);      /* -1 when absent */

/* How many blocks follow each other from 0: "double_blocks." looks for double_blocks.0. , double_blocks.1. , ... */
int rg_weights_count_blocks(const rg_weights *w, const char *stem);

const char *rg_weights_path(const rg_weights *w);
const char *rg_weights_prefix(const rg_weights *w);

/* What RG_W_LINEAR and so on will compute in. */
rg_dtype rg_weights_compute_dtype(const rg_weights *w);

/* ---- loading -------------------------------------------------------------------------------------------------------- */

typedef enum rg_weight_kind { RG_W_KIND_TENSOR, RG_W_KIND_LINEAR, RG_W_KIND_CONV } rg_weight_kind;

enum {                                  /* flags */
    RG_W_OPTIONAL   = 1,                /* may be absent: its fields are NULL then */
    RG_W_NO_BIAS    = 2,                /* a linear or convolution without bias */
    RG_W_MAYBE_BIAS = 4,                /* bias NULL when the file has none */
    RG_W_KEEP       = 8,                /* never converted: tables that rows are picked from */
    RG_W_F32        = 16                /* always float32, whatever the compute dtype */
};

typedef struct rg_weight_row {
    const char *name;                   /* after the stem; a linear or convolution without ".weight" */
    rg_weight_kind kind;
    unsigned flags;
    union {
        const rg_tensor **tensor;
        rg_linear_weight *linear;
        rg_conv_weight *conv;
    } to;
    int n_dims;
    int64_t shape[4];                   /* wanted; -1: any */
} rg_weight_row;

/* Rows. Trailing initialisers may follow: RG_W_LINEAR("img_in", m->img_in, D, n, .flags = RG_W_MAYBE_BIAS). */
#define RG_W_LINEAR(name_, field_, n_out_, n_in_, ...) \
    { .name = (name_), .kind = RG_W_KIND_LINEAR, .to.linear = &(field_), .n_dims = 2,              \
      .shape = { (n_out_), (n_in_) }, ##__VA_ARGS__ }
#define RG_W_CONV(name_, field_, c_out_, c_in_, kh_, kw_, ...) \
    { .name = (name_), .kind = RG_W_KIND_CONV, .to.conv = &(field_), .n_dims = 4,                  \
      .shape = { (c_out_), (c_in_), (kh_), (kw_) }, ##__VA_ARGS__ }
#define RG_W_VECTOR(name_, field_, n_, ...) \
    { .name = (name_), .kind = RG_W_KIND_TENSOR, .to.tensor = &(field_), .n_dims = 1,              \
      .shape = { (n_) }, ##__VA_ARGS__ }
#define RG_W_MATRIX(name_, field_, rows_, columns_, ...) \
    { .name = (name_), .kind = RG_W_KIND_TENSOR, .to.tensor = &(field_), .n_dims = 2,              \
      .shape = { (rows_), (columns_) }, ##__VA_ARGS__ }

#define RG_W_COUNT(rows) ((int)(sizeof(rows) / sizeof *(rows)))

/*
 * Fill the fields of a table. `stem` is printf's format for what precedes every row's name: "double_blocks.%d.", "".
 *   errors   RG_ERR_NOT_FOUND (missing), RG_ERR_SHAPE, RG_ERR_DTYPE, RG_ERR_NOMEM; all name file and tensor
 */
int rg_weights_load(rg_ctx *c, rg_weights *w, const rg_weight_row *rows, int n_rows, const char *stem, ...)
    __attribute__((format(printf, 5, 6)));

/*
 * Loading is over: note what nobody asked for and let go of the file's table.
 *   ignored   NULL-terminated fnmatch patterns of harmless extras ("text_projection*", "*.position_ids"), or NULL
 */
int rg_weights_finish(rg_ctx *c, rg_weights *w, const char *const *ignored);

/* Names nobody asked for and no pattern covers, as ComfyUI's "unexpected keys": no error. NULL past the end. */
const char *rg_weights_unused(const rg_weights *w, int index);

/* Bytes of the tensors in use, and how many of those are copies (the rest are views of the mapped file). */
size_t rg_weights_bytes(const rg_weights *w);
size_t rg_weights_copied_bytes(const rg_weights *w);

#endif
