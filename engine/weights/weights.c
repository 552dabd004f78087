/*
 * Table loading. See weights.h.
 *
 * DESIGN. Until rg_weights_finish() an rg_weights is a window on a file (a run of its sorted entries under one prefix, with
 * a flag per entry for "somebody asked"); afterwards it is nothing but the holder of the tensors. One decision per model,
 * taken from the sizes alone, says whether linear weights of another dtype than the compute dtype are converted once
 * (is_converting) or left to rg_linear(); tables and vectors follow fixed rules.
 */
#include "engine/weights/weights.h"

#include <fnmatch.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rg_weights {
    rg_object base;
    rg_safetensors *file;               /* NULL once finished */
    char *path, *prefix;
    rg_weight_options options;
    bool is_converting;
    int first, end;                     /* entries under the prefix */
    unsigned char *is_used;             /* of entry first + i */
    rg_tensor **tensors;                /* held */
    int n_tensors, max_tensors;
    char **unused;
    int n_unused;
    size_t n_bytes, n_copied_bytes;
};

enum {
    SERIAL_BYTES = 2 << 20,             /* a tensor in the file up to which one thread converts it */
    SMALL_COPY  = 64,                   /* MB of converted weights that are always affordable */
    MEDIUM_COPY = 512                   /* and that are, if eight times as much is free: widening them again each step costs more */
};

static void weights_free(void *self)
{
    rg_weights *w = self;

    for (int i = 0; i < w->n_tensors; i++)
        rg_unref(w->tensors[i]);
    for (int i = 0; i < w->n_unused; i++)
        rg_free(w->unused[i]);
    rg_free(w->tensors);
    rg_free(w->unused);
    rg_free(w->is_used);
    rg_free(w->path);
    rg_free(w->prefix);
    rg_unref(w->file);
    rg_free(w);
}

static bool is_float(rg_dtype t)
{
    return t == RG_F32 || t == RG_F16 || t == RG_BF16 || t == RG_F8_E4M3 || t == RG_F8_E5M2 || t == RG_F64;
}

/* Is it wise to convert every linear weight to the compute dtype once? */
static bool should_convert(rg_ctx *c, const rg_weights *w)
{
    const size_t size = rg_dtype_size(w->options.compute_dtype);
    uint64_t copy = 0;
    bool is_shrinking = true;

    for (int i = w->first; i < w->end; i++) {
        const rg_safetensors_entry *e = rg_safetensors_at(w->file, i);
        if (e->n_dims < 2 || !is_float(e->dtype) || e->dtype == w->options.compute_dtype)
            continue;
        copy += e->nbytes / rg_dtype_size(e->dtype) * size;
        is_shrinking &= size <= rg_dtype_size(e->dtype);
    }
    if (copy == 0 || copy <= (uint64_t)SMALL_COPY << 20)
        return true;
    if (c->device.type != RG_CPU)       /* it is copied there anyway; memory is dear, and the device widens at its bandwidth */
        return is_shrinking || copy <= (uint64_t)MEDIUM_COPY << 20;
    const uint64_t available = rg_available_bytes();
    return is_shrinking ? copy <= available / 2 : copy <= (uint64_t)MEDIUM_COPY << 20 && copy <= available / 8;
}

int rg_weights_new(rg_ctx *c, rg_safetensors *file, const char *prefix, const rg_weight_options *options, rg_weights **out)
{
    const size_t n = strlen(prefix);
    rg_weights *w;

    if (c->error)
        return c->error;
    if (!(w = rg_calloc(1, sizeof *w)))
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", rg_safetensors_path(file));
    rg_object_init(w, weights_free);
    w->options = *options;
    w->file = rg_ref(file);
    w->path = rg_strdup(rg_safetensors_path(file));
    w->prefix = rg_strdup(prefix);
    w->first = w->end = rg_safetensors_lower_bound(file, prefix);
    while (w->end < rg_safetensors_count(file) && !strncmp(rg_safetensors_at(file, w->end)->name, prefix, n))
        w->end++;
    w->is_used = rg_calloc((size_t)(w->end - w->first) + 1, 1);
    if (!w->path || !w->prefix || !w->is_used) {
        const int ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", rg_safetensors_path(file));
        rg_unref(w);
        return ret;
    }
    w->is_converting = should_convert(c, w);
    *out = w;
    return 0;
}

/* ---- looking -------------------------------------------------------------------------------------------------------- */

/* The entry of a name after the prefix, NULL if absent; *index gets its place for the "used" flags. */
static const rg_safetensors_entry *find(const rg_weights *w, const char *name, int *index)
{
    const size_t n = strlen(w->prefix);
    int low = w->first, high = w->end;

    if (!w->file)
        return NULL;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const rg_safetensors_entry *e = rg_safetensors_at(w->file, middle);
        const int order = strcmp(e->name + n, name);
        if (order == 0) {
            if (index)
                *index = middle - w->first;
            return e;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool rg_weights_has(const rg_weights *w, const char *name)
{
    return find(w, name, NULL) != NULL;
}

int rg_weights_n_dims(const rg_weights *w, const char *name)
{
    const rg_safetensors_entry *e = find(w, name, NULL);

    return e ? e->n_dims : -1;
}

int64_t rg_weights_dim(const rg_weights *w, const char *name, int dim)
{
    const rg_safetensors_entry *e = find(w, name, NULL);

    if (e && dim < 0)
        dim += e->n_dims;
    return e && dim >= 0 && dim < e->n_dims ? e->shape[dim] : 0;
}

/* Does any name start with this, after the prefix? */
static bool has_stem(const rg_weights *w, const char *stem)
{
    const size_t n = strlen(w->prefix), m = strlen(stem);
    int low = w->first, high = w->end;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (strcmp(rg_safetensors_at(w->file, middle)->name + n, stem) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->end && !strncmp(rg_safetensors_at(w->file, low)->name + n, stem, m);
}

int rg_weights_count_blocks(const rg_weights *w, const char *stem)
{
    char text[256];
    int n = 0;

    if (!w->file)
        return 0;
    do
        snprintf(text, sizeof text, "%s%d.", stem, n);
    while (has_stem(w, text) && ++n < 100000);
    return n;
}

const char *rg_weights_path(const rg_weights *w)
{
    return w->path;
}

const char *rg_weights_prefix(const rg_weights *w)
{
    return w->prefix;
}

rg_dtype rg_weights_compute_dtype(const rg_weights *w)
{
    return w->options.compute_dtype;
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

static int hold(rg_ctx *c, rg_weights *w, rg_tensor *t)
{
    if (w->n_tensors == w->max_tensors) {
        const int max = w->max_tensors ? 2 * w->max_tensors : 64;
        rg_tensor **grown = rg_realloc(w->tensors, (size_t)max * sizeof *grown);
        if (!grown)
            return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", w->path);
        w->tensors = grown;
        w->max_tensors = max;
    }
    w->tensors[w->n_tensors++] = rg_ref(t);
    return 0;
}

/*
 * A linear weight that the budget has no room for stays in the mapped file, and comes when it is wanted; only as it lies there. Text encoders, which
 * run once a prompt, take no more than half of it: the rest is the denoiser's.
 */
static bool stays_on_host(const rg_ctx *c, const rg_weights *w, const rg_safetensors_entry *e, rg_dtype storage, rg_dtype dtype)
{
    const bool is_text = w->options.compute_dtype == RG_F32 && c->compute_dtype != RG_F32;

    return c->weight_budget && rg_ctx_bytes(c) + e->nbytes > (is_text ? c->weight_budget / 2 : c->weight_budget) &&
           (storage == RG_N_DTYPES || storage == e->dtype) && (dtype == RG_N_DTYPES || dtype == e->dtype);
}

/* The tensor of an entry, rounded to `storage`, then as `dtype` (RG_N_DTYPES: as it is), on c's device, held by w. */
static int bring(rg_ctx *c, rg_weights *w, const rg_safetensors_entry *e, rg_dtype storage, rg_dtype dtype, bool is_host, const rg_tensor **out)
{
    const int scope = rg_scope_begin(c), n_threads = omp_get_max_threads();
    rg_tensor *t = rg_safetensors_tensor(c, w->file, e);
    const rg_tensor *mapped = t;

    if (e->nbytes < SERIAL_BYTES)       /* hundreds of small tensors: waking threads for each costs more than converting it */
        omp_set_num_threads(1);
    if (t)
        t = rg_tensor_adopt(c, t);
    if (!is_host)
        t = rg_to_device(c, t, c->device);
    if (!is_host && is_float(e->dtype) && storage != RG_N_DTYPES)
        t = rg_to(c, t, storage);
    if (!is_host && dtype != RG_N_DTYPES)
        t = rg_to(c, t, dtype);
    if (t && hold(c, w, t) == 0) {
        w->n_bytes += rg_nbytes(t);
        if (t != mapped)
            w->n_copied_bytes += rg_nbytes(t);
        *out = t;
    }
    omp_set_num_threads(n_threads);
    rg_scope_end(c, scope, NULL);
    return c->error;
}

/*
 * What linear layers are stored as. ComfyUI keeps those of a scaled fp8 file, biases too, in the type of the file's marker (float32
 * stands for e4m3fn), whatever type the file has each of them in.
 */
static rg_dtype linear_storage(const rg_weights *w)
{
    const rg_safetensors_entry *marker = find(w, "scaled_fp8", NULL);

    if (!marker)
        return w->options.storage_dtype;
    return marker->dtype == RG_F32 ? RG_F8_E4M3 : is_float(marker->dtype) ? marker->dtype : RG_N_DTYPES;
}

/* One tensor of a row: found, of the right shape, and brought as `dtype`. */
static int load_tensor(rg_ctx *c, rg_weights *w, const char *name, const rg_weight_row *row, int n_dims, rg_dtype dtype,
                       bool is_optional, const rg_tensor **out)
{
    int index = 0;
    const rg_safetensors_entry *e = find(w, name, &index);
    bool is_same;

    *out = NULL;
    if (!e) {
        if (is_optional)
            return 0;
        return rg_fail(c, RG_ERR_NOT_FOUND, "%s: tensor %s%s is missing", w->path, w->prefix, name);
    }
    is_same = e->n_dims == n_dims;
    for (int i = 0; i < n_dims && is_same; i++)
        is_same = row->shape[i] < 0 || row->shape[i] == e->shape[i];
    if (!is_same) {
        char got[128], wanted[128];
        int g = 0, n = 0;
        for (int i = 0; i < e->n_dims; i++)
            g += snprintf(got + g, sizeof got - (size_t)g, "%s%lld", i ? ", " : "", (long long)e->shape[i]);
        for (int i = 0; i < n_dims; i++)
            n += snprintf(wanted + n, sizeof wanted - (size_t)n, row->shape[i] < 0 ? "%sany" : "%s%lld", i ? ", " : "",
                          (long long)row->shape[i]);
        got[g] = wanted[n] = 0;
        return rg_fail(c, RG_ERR_SHAPE, "%s: tensor %s%s is [%s], wanted [%s]", w->path, w->prefix, name, got, wanted);
    }
    if (!is_float(e->dtype))
        return rg_fail(c, RG_ERR_DTYPE, "%s: tensor %s%s holds %s, wanted floating point", w->path, w->prefix, name, e->dtype_name);
    w->is_used[index] = 1;
    const rg_dtype storage = row->kind == RG_W_KIND_LINEAR ? linear_storage(w) : w->options.storage_dtype;
    const bool is_matrix = row->kind == RG_W_KIND_LINEAR && e->n_dims == 2;

    return bring(c, w, e, storage, dtype, is_matrix && stays_on_host(c, w, e, storage, dtype), out);
}

/* ComfyUI's scaled fp8: X.scale_weight multiplies the weight; X.scale_input only serves fp8 products, which we do not do. */
static int load_scale(rg_ctx *c, rg_weights *w, const char *stem, const char *name, const rg_tensor **out)
{
    char full[512];
    const rg_safetensors_entry *e;
    int index;

    snprintf(full, sizeof full, "%s%s.scale_input", stem, name);
    if (find(w, full, &index))
        w->is_used[index] = 1;
    snprintf(full, sizeof full, "%s%s.scale_weight", stem, name);
    if (!(e = find(w, full, &index)))
        return 0;
    w->is_used[index] = 1;
    if (!is_float(e->dtype) || e->nbytes != rg_dtype_size(e->dtype))
        return rg_fail(c, RG_ERR_SHAPE, "%s: tensor %s%s should be one number", w->path, w->prefix, full);
    return bring(c, w, e, RG_N_DTYPES, RG_F32, false, out);
}

static int load_row(rg_ctx *c, rg_weights *w, const char *stem, const rg_weight_row *row)
{
    const bool is_layer = row->kind != RG_W_KIND_TENSOR, is_optional = row->flags & RG_W_OPTIONAL;
    const rg_dtype compute = row->flags & RG_W_F32 ? RG_F32 : w->options.compute_dtype;
    const rg_tensor *weight = NULL, *bias = NULL, *scale = NULL;
    char name[512];
    int ret, n;

    n = snprintf(name, sizeof name, "%s%s%s", stem, row->name, is_layer ? ".weight" : "");
    if (n < 0 || (size_t)n >= sizeof name)
        return rg_fail(c, RG_ERR_INVALID, "%s: a tensor name of %d characters is too long", w->path, n);

    /* an fp8 weight with a scale keeps its dtype unless the model is converted as a whole; rg_linear() applies the scale */
    const bool is_lazy = row->flags & RG_W_KEEP || (row->kind == RG_W_KIND_LINEAR && !w->is_converting && !(row->flags & RG_W_F32));
    if ((ret = load_tensor(c, w, name, row, row->n_dims, is_lazy ? RG_N_DTYPES : compute, is_optional, &weight)) < 0)
        return ret;
    if (!is_layer) {
        *row->to.tensor = weight;
        return 0;
    }
    if (weight && !(row->flags & RG_W_NO_BIAS)) {
        snprintf(name, sizeof name, "%s%s.bias", stem, row->name);
        if ((ret = load_tensor(c, w, name, row, 1, compute, row->flags & RG_W_MAYBE_BIAS, &bias)) < 0)
            return ret;
    }
    if (row->kind == RG_W_KIND_CONV) {
        *row->to.conv = (rg_conv_weight){ weight, bias };
        return 0;
    }
    if (weight && (ret = load_scale(c, w, stem, row->name, &scale)) < 0)
        return ret;
    *row->to.linear = (rg_linear_weight){ .weight = weight, .bias = bias, .scale = scale };
    return 0;
}

int rg_weights_load(rg_ctx *c, rg_weights *w, const rg_weight_row *rows, int n_rows, const char *stem, ...)
{
    char text[256];
    va_list args;
    int ret;

    if (c->error)
        return c->error;
    if (!w->file)
        RG_BUG("weights of %s are loaded after they were finished", w->path);
    va_start(args, stem);
    vsnprintf(text, sizeof text, stem, args);
    va_end(args);
    for (int i = 0; i < n_rows; i++)
        if ((ret = load_row(c, w, text, &rows[i])) < 0)
            return ret;
    return rg_check(c);                 /* a large model takes a while: somebody may have asked to stop */
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static bool is_ignored(const char *name, const char *const *patterns)
{
    if (!strcmp(name, "scaled_fp8"))    /* the marker of a scaled fp8 file */
        return true;
    for (; patterns && *patterns; patterns++)
        if (!fnmatch(*patterns, name, 0))
            return true;
    return false;
}

int rg_weights_finish(rg_ctx *c, rg_weights *w, const char *const *ignored)
{
    const size_t n = strlen(w->prefix);
    int count = 0;

    if (c->error)
        return c->error;
    for (int i = w->first; i < w->end; i++)
        count += !w->is_used[i - w->first] && !is_ignored(rg_safetensors_at(w->file, i)->name + n, ignored);
    if (count > 0 && !(w->unused = rg_calloc((size_t)count, sizeof *w->unused)))
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", w->path);
    for (int i = w->first; i < w->end; i++) {
        const char *name = rg_safetensors_at(w->file, i)->name;
        if (w->is_used[i - w->first] || is_ignored(name + n, ignored))
            continue;
        if (!(w->unused[w->n_unused] = rg_strdup(name)))
            return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", w->path);
        w->n_unused++;
    }
    rg_unref(w->file);                  /* its maps live on in the tensors; the table is gone */
    w->file = NULL;
    rg_free(w->is_used);
    w->is_used = NULL;
    w->first = w->end = 0;
    return 0;
}

const char *rg_weights_unused(const rg_weights *w, int index)
{
    return index >= 0 && index < w->n_unused ? w->unused[index] : NULL;
}

size_t rg_weights_bytes(const rg_weights *w)
{
    return w->n_bytes;
}

size_t rg_weights_copied_bytes(const rg_weights *w)
{
    return w->n_copied_bytes;
}
