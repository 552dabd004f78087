/*
 * Safetensors files, mapped. See safetensors.h.
 *
 * DESIGN. The header is scanned once by a small strict JSON reader that knows the two shapes it can meet (a table of
 * tensors, a shard index) and skips anything else. Strings are decoded into one arena as large as the header, so that a
 * file of ten thousand tensors costs a handful of allocations. Entries are sorted by name: lookup is a binary search and
 * everything below one prefix is a contiguous run.
 * Source: https://huggingface.co/docs/safetensors (format); its reference reader's checks (serde JSON, exact coverage).
 */
#include "engine/weights/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/core/json.h"

#define MAX_HEADER (100u * 1000 * 1000) /* the format's own limit */

/* One file: the map and the decoded names in it. Tensors hold this, not the table. */
typedef struct shard {
    rg_object base;
    const uint8_t *bytes;
    size_t n_bytes;
    bool is_mapped;
    char *arena;                        /* the header once more, read in place: strings point into it */
} shard;

typedef struct text_pair {
    const char *key, *value;
} text_pair;

struct rg_safetensors {
    rg_object base;
    char *path;
    shard **shards;
    int n_shards;
    rg_safetensors_entry *entries;
    int n_entries, max_entries;
    text_pair *meta;
    int n_meta, max_meta;
};

static void shard_free(void *self)
{
    shard *s = self;

    if (s->is_mapped)
        munmap((void *)s->bytes, s->n_bytes);
    rg_free(s->arena);
    rg_free(s);
}

static void safetensors_free(void *self)
{
    rg_safetensors *f = self;

    for (int i = 0; i < f->n_shards; i++)
        rg_unref(f->shards[i]);
    rg_free(f->shards);
    rg_free(f->entries);
    rg_free(f->meta);
    rg_free(f->path);
    rg_free(f);
}

/* Room for one more element of a growing array; false without memory. */
static bool grow(void *array, int count, int *max, size_t size)
{
    void **p = array;

    if (count < *max)
        return true;
    const int wanted = *max ? *max * 2 : 256;
    void *grown = rg_realloc(*p, (size_t)wanted * size);
    if (!grown)
        return false;
    *p = grown;
    *max = wanted;
    return true;
}

/* ---- the header of one file ----------------------------------------------------------------------------------------- */

static rg_dtype dtype_of_name(const char *name)
{
    for (int t = 0; t < RG_N_DTYPES; t++)
        if (!strcmp(name, rg_dtype_name((rg_dtype)t)))
            return (rg_dtype)t;
    return RG_N_DTYPES;
}

/* What the reader found wrong, with its place. */
static int bad(rg_ctx *c, const char *what, rg_json *j, const char *problem)
{
    return rg_fail(c, RG_ERR_FORMAT, "%s: %s, at byte %zu of the header", what, j->error ? j->error : problem, j->at);
}

/* A string that C can hold; false with j->error set. */
static bool read_text(rg_json *j, const char **text)
{
    size_t n;

    if (rg_json_string(j, text, &n) && strlen(*text) != n)
        j->error = "a NUL stands in a string";
    return !j->error;
}

/* As read_text(), for the next key of an object: false at its end too. */
static bool next_key(rg_json *j, const char **key)
{
    size_t n;

    if (!rg_json_key(j, key, &n))
        return false;
    if (strlen(*key) != n)
        j->error = "a NUL stands in a string";
    return !j->error;
}

static int read_meta(rg_ctx *c, const char *what, rg_json *j, rg_safetensors *f)
{
    const char *key, *value;

    for (rg_json_enter(j, '{'); next_key(j, &key) && read_text(j, &value); ) {
        if (!grow(&f->meta, f->n_meta, &f->max_meta, sizeof *f->meta))
            return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for its metadata", what);
        f->meta[f->n_meta++] = (text_pair){ key, value };
    }
    return 0;
}

/* {"dtype": "BF16", "shape": [3072, 64], "data_offsets": [0, 393216]}. A malformed one leaves j->error. */
static int read_tensor(rg_ctx *c, const char *what, rg_json *j, rg_safetensors_entry *e, int64_t offsets[2])
{
    int has_dtype = 0, has_shape = 0, has_offsets = 0, n_offsets = 0;
    const char *field;

    for (rg_json_enter(j, '{'); next_key(j, &field); ) {
        if (!strcmp(field, "dtype")) {
            has_dtype++;
            if (read_text(j, &e->dtype_name))
                e->dtype = dtype_of_name(e->dtype_name);
        } else if (!strcmp(field, "shape") && !has_shape++) {
            for (rg_json_enter(j, '['); rg_json_item(j); e->n_dims++) {
                if (e->n_dims == RG_MAX_DIMS)
                    return rg_fail(c, RG_ERR_UNSUPPORTED, "%s: tensor %s has more than %d dimensions", what, e->name, RG_MAX_DIMS);
                rg_json_count(j, &e->shape[e->n_dims]);
            }
        } else if (!strcmp(field, "data_offsets") && !has_offsets++) {
            for (rg_json_enter(j, '['); rg_json_item(j) && n_offsets < 2; n_offsets++)
                rg_json_count(j, &offsets[n_offsets]);
            if (!j->error && n_offsets != 2)
                return bad(c, what, j, "two data_offsets were expected");
        } else {
            has_shape += !strcmp(field, "shape");
            has_offsets += !strcmp(field, "data_offsets");
            rg_json_skip(j);
        }
    }
    if (j->error)
        return bad(c, what, j, NULL);
    if (has_dtype > 1 || has_shape > 1 || has_offsets > 1)
        return rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s: %s stands twice", what, e->name,
                       has_dtype > 1 ? "dtype" : has_shape > 1 ? "shape" : "data_offsets");
    if (!has_dtype || !has_shape || !has_offsets)
        return rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s lacks its %s", what, e->name,
                       !has_dtype ? "dtype" : !has_shape ? "shape" : "data_offsets");
    return 0;
}

/* Dtype, shape and byte range must tell the same story. */
static int check_size(rg_ctx *c, const char *what, const rg_safetensors_entry *e, const int64_t offsets[2])
{
    int64_t numel = 1, nbytes;
    bool is_empty = false;

    if (offsets[1] < offsets[0])
        return rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s ends at byte %" PRId64 ", before its start at %" PRId64, what, e->name,
                       offsets[1], offsets[0]);
    for (int i = 0; i < e->n_dims; i++)
        is_empty |= e->shape[i] == 0;
    for (int i = 0; i < e->n_dims; i++)
        if (__builtin_mul_overflow(numel, e->shape[i], &numel) && !is_empty)
            return rg_fail(c, RG_ERR_FORMAT, "%s: the shape of tensor %s overflows", what, e->name);
    if (is_empty)
        numel = 0;
    if (e->dtype == RG_N_DTYPES)        /* refused when somebody asks for it */
        return 0;
    if (__builtin_mul_overflow(numel, (int64_t)rg_dtype_size(e->dtype), &nbytes))
        return rg_fail(c, RG_ERR_FORMAT, "%s: the shape of tensor %s overflows", what, e->name);
    if (nbytes != offsets[1] - offsets[0])
        return rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s spans %" PRId64 " bytes, its dtype %s and shape want %" PRId64, what,
                       e->name, offsets[1] - offsets[0], e->dtype_name, nbytes);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const rg_safetensors_entry *)a)->name, ((const rg_safetensors_entry *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const rg_safetensors_entry *x = a, *y = b;

    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return x->nbytes < y->nbytes ? -1 : x->nbytes > y->nbytes;      /* empty ones first */
}

/* The ranges must tile the data: each starts where the one before ends, and the last ends with the file. */
static int check_coverage(rg_ctx *c, const char *what, rg_safetensors_entry *entries, int n, const uint8_t *data,
                          const uint8_t *end)
{
    bool is_in_order = true;

    for (int i = 1; i < n && is_in_order; i++)
        is_in_order = by_place(&entries[i - 1], &entries[i]) <= 0;
    if (!is_in_order)
        qsort(entries, (size_t)n, sizeof *entries, by_place);
    for (int i = 0; i < n; i++) {
        const uint8_t *at = entries[i].data;
        if (at != data)
            return rg_fail(c, RG_ERR_FORMAT, "%s: the data of tensor %s %s", what, entries[i].name,
                           at < data ? "overlaps the tensor before it" : "starts after a gap");
        data += entries[i].nbytes;
    }
    if (data != end)
        return rg_fail(c, RG_ERR_FORMAT, "%s: %zu bytes at its end belong to no tensor", what, (size_t)(end - data));
    return 0;
}

/* What the first bytes betray when a file is no safetensors file. */
static const char *guess(const uint8_t *b, size_t n)
{
    static const struct { const char *magic; size_t length; const char *text; } known[] = {
        { "PK\003\004",       4, "it looks like a PyTorch or zip file" },
        { "\200\002",         2, "it looks like a Python pickle (.ckpt, .pt)" },
        { "GGUF",             4, "it looks like a GGUF file" },
        { "version https://git-lfs", 23, "it is a Git LFS pointer, not the file itself" },
        { "<!DOCTYPE",        9, "it looks like a web page" },
        { "<html",            5, "it looks like a web page" },
        { "{",                1, "it looks like JSON" },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].length && !memcmp(b, known[i].magic, known[i].length))
            return known[i].text;
    return NULL;
}

static int parse_shard(rg_ctx *c, shard *sh, const char *what, rg_safetensors *f)
{
    const char *hint = guess(sh->bytes, sh->n_bytes);
    uint64_t length = 0;
    int ret;

    if (sh->n_bytes == 0)
        return rg_fail(c, RG_ERR_FORMAT, "%s: the file is empty", what);
    if (sh->n_bytes < 8)
        return rg_fail(c, RG_ERR_FORMAT, "%s: not a safetensors file: %zu bytes are too few", what, sh->n_bytes);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | sh->bytes[i];
    if (length > MAX_HEADER || length > sh->n_bytes - 8) {
        if (hint)
            return rg_fail(c, RG_ERR_FORMAT, "%s: not a safetensors file: %s", what, hint);
        return rg_fail(c, RG_ERR_FORMAT, "%s: %s: it claims a header of %" PRIu64 " bytes, %s", what,
                       length > MAX_HEADER ? "not a safetensors file" : "cut off, or not a safetensors file", length,
                       length > MAX_HEADER ? "the format allows 100000000" : "which goes past its end");
    }

    const uint8_t *const header = sh->bytes + 8, *const data = header + length, *const end = sh->bytes + sh->n_bytes;
    const char *name;
    bool has_meta = false;

    if (length == 0 || header[0] != '{')
        return rg_fail(c, RG_ERR_FORMAT, "%s: not a safetensors file: its header does not start with '{'", what);
    if (!(sh->arena = rg_malloc(length)))
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for a header of %" PRIu64 " bytes", what, length);
    memcpy(sh->arena, header, length);  /* names and metadata are read in place: they point into this copy */
    rg_json j = rg_json_begin(sh->arena, length);

    for (rg_json_enter(&j, '{'); next_key(&j, &name); ) {
        if (!strcmp(name, "__metadata__")) {
            if (has_meta)
                return bad(c, what, &j, "__metadata__ stands twice");
            has_meta = true;
            if ((ret = read_meta(c, what, &j, f)) < 0)
                return ret;
            continue;
        }
        rg_safetensors_entry e = { .name = name, .dtype = RG_N_DTYPES };
        int64_t offsets[2] = { 0, 0 };

        if ((ret = read_tensor(c, what, &j, &e, offsets)) < 0 || (ret = check_size(c, what, &e, offsets)) < 0)
            return ret;
        if (offsets[1] > end - data)
            return rg_fail(c, RG_ERR_FORMAT, "%s: cut off: tensor %s ends at byte %" PRId64 " of the data, the file has %zu", what,
                           name, offsets[1], (size_t)(end - data));
        e.data = data + offsets[0];
        e.nbytes = (size_t)(offsets[1] - offsets[0]);
        if (!grow(&f->entries, f->n_entries, &f->max_entries, sizeof *f->entries))
            return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for its tensor table", what);
        f->entries[f->n_entries++] = e;
    }
    rg_json_finish(&j);
    if (j.error)
        return bad(c, what, &j, NULL);
    if (f->n_entries == 0)              /* an empty model is no mistake of the format */
        return data == end ? 0 : rg_fail(c, RG_ERR_FORMAT, "%s: %zu bytes of data belong to no tensor", what, (size_t)(end - data));
    if ((ret = check_coverage(c, what, f->entries, f->n_entries, data, end)) < 0)
        return ret;
    qsort(f->entries, (size_t)f->n_entries, sizeof *f->entries, by_name);
    for (int i = 1; i < f->n_entries; i++)
        if (!strcmp(f->entries[i - 1].name, f->entries[i].name))
            return rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s stands twice", what, f->entries[i].name);
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static shard *shard_new(rg_ctx *c, const char *what)
{
    shard *s = rg_calloc(1, sizeof *s);

    if (!s) {
        rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", what);
        return NULL;
    }
    rg_object_init(s, shard_free);
    return s;
}

static int map_file(rg_ctx *c, const char *path, shard **out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    shard *s = NULL;
    int ret = 0;

    if (fd < 0)
        return rg_fail(c, errno == ENOENT || errno == ENOTDIR ? RG_ERR_NOT_FOUND : RG_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0) {
        ret = rg_fail(c, RG_ERR_IO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        ret = rg_fail(c, RG_ERR_IO, "%s: not a regular file", path);
    } else if (!(s = shard_new(c, path))) {
        ret = c->error;
    } else if (st.st_size > 0) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            ret = rg_fail(c, RG_ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size, strerror(errno));
        } else {
            s->bytes = map;
            s->n_bytes = (size_t)st.st_size;
            s->is_mapped = true;
        }
    }
    close(fd);
    if (ret < 0)
        rg_unref(s);
    else
        *out = s;
    return ret;
}

static rg_safetensors *safetensors_new(rg_ctx *c, const char *path, int n_shards)
{
    rg_safetensors *f = rg_calloc(1, sizeof *f);

    if (f) {
        rg_object_init(f, safetensors_free);
        f->path = rg_strdup(path);
        f->shards = rg_calloc((size_t)n_shards, sizeof *f->shards);
        if (f->path && f->shards)
            return f;
    }
    rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
    rg_unref(f);
    return NULL;
}

/* Takes over the caller's hold on s. */
static int open_shard(rg_ctx *c, shard *s, const char *what, rg_safetensors **out)
{
    rg_safetensors *f = safetensors_new(c, what, 1);
    int ret;

    if (!f) {
        rg_unref(s);
        return c->error;
    }
    f->shards[f->n_shards++] = s;
    if ((ret = parse_shard(c, s, what, f)) < 0)
        rg_unref(f);
    else
        *out = f;
    return ret;
}

int rg_safetensors_check(rg_ctx *c, int fd, uint64_t n_there, uint64_t n_bytes, const char *what)
{
    rg_safetensors *f = NULL;
    uint64_t length = 0;
    uint8_t first[8];
    shard *s;
    int ret;

    if (n_there < (n_bytes < 8 ? n_bytes : 8))
        return 0;
    if (n_bytes >= 8) {
        if (pread(fd, first, 8, 0) != 8)
            return rg_fail(c, RG_ERR_IO, "%s: cannot be read back", what);
        for (int i = 7; i >= 0; i--)
            length = length << 8 | first[i];
        if (length <= MAX_HEADER && length <= n_bytes - 8 && n_there < 8 + length)
            return 0;
    }
    if (!(s = shard_new(c, what)))
        return c->error;
    if (n_bytes > 0) {                  /* past the end of the file too: nothing there is touched */
        void *map = mmap(NULL, (size_t)n_bytes, PROT_READ, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED) {
            rg_unref(s);
            return rg_fail(c, RG_ERR_IO, "%s: cannot map %" PRIu64 " bytes: %s", what, n_bytes, strerror(errno));
        }
        s->bytes = map;
        s->n_bytes = (size_t)n_bytes;
        s->is_mapped = true;
    }
    if ((ret = open_shard(c, s, what, &f)) < 0)
        return ret;
    rg_unref(f);
    return 1;
}

/* {"metadata": ..., "weight_map": {tensor: file}}: pairs in f->meta for now. */
static int parse_index(rg_ctx *c, shard *sh, const char *path, rg_safetensors *f)
{
    bool has_map = false;
    const char *key;
    int ret;

    if (sh->n_bytes == 0)
        return rg_fail(c, RG_ERR_FORMAT, "%s: the file is empty", path);
    if (sh->n_bytes > MAX_HEADER)
        return rg_fail(c, RG_ERR_FORMAT, "%s: %zu bytes are too many for a shard index", path, sh->n_bytes);
    if (!(sh->arena = rg_malloc(sh->n_bytes)))
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
    memcpy(sh->arena, sh->bytes, sh->n_bytes);
    rg_json j = rg_json_begin(sh->arena, sh->n_bytes);

    for (rg_json_enter(&j, '{'); next_key(&j, &key); ) {
        if (strcmp(key, "weight_map")) {
            rg_json_skip(&j);
            continue;
        }
        if (has_map)
            return bad(c, path, &j, "weight_map stands twice");
        has_map = true;
        if ((ret = read_meta(c, path, &j, f)) < 0)
            return ret;
    }
    rg_json_finish(&j);
    if (j.error)
        return bad(c, path, &j, NULL);
    if (!has_map)
        return rg_fail(c, RG_ERR_FORMAT, "%s: a shard index without weight_map", path);
    return 0;
}

static int pair_by_value(const void *a, const void *b)
{
    return strcmp(((const text_pair *)a)->value, ((const text_pair *)b)->value);
}

/* Shards stand beside the index: a name that leads elsewhere is refused. */
static int open_one_shard(rg_ctx *c, const char *index_path, const char *name, rg_safetensors **out)
{
    const char *slash = strrchr(index_path, '/');
    char *path;
    int ret;

    if (!*name || strchr(name, '/') || !strcmp(name, "..") || !strcmp(name, "."))
        return rg_fail(c, RG_ERR_FORMAT, "%s: shard \"%s\" is not a plain file name", index_path, name);
    path = slash ? rg_asprintf("%.*s/%s", (int)(slash - index_path), index_path, name) : rg_strdup(name);
    if (!path)
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", index_path);
    shard *s = NULL;
    if ((ret = map_file(c, path, &s)) == 0)
        ret = open_shard(c, s, path, out);
    rg_free(path);
    return ret;
}

/* Takes over the caller's hold on s, the index itself. */
static int open_index(rg_ctx *c, shard *s, const char *path, rg_safetensors **out)
{
    rg_safetensors *index = NULL, *f = NULL, *part = NULL;
    int ret, n_files = 0;

    if (!(index = safetensors_new(c, path, 1))) {
        rg_unref(s);
        return c->error;
    }
    index->shards[index->n_shards++] = s;
    if ((ret = parse_index(c, s, path, index)) < 0)
        goto done;

    text_pair *const pairs = index->meta;
    const int n = index->n_meta;
    if (n > 0)
        qsort(pairs, (size_t)n, sizeof *pairs, pair_by_value);
    for (int i = 0; i < n; i++)
        n_files += i == 0 || strcmp(pairs[i].value, pairs[i - 1].value);
    if (!(f = safetensors_new(c, path, n_files ? n_files : 1))) {
        ret = c->error;
        goto done;
    }
    for (int i = 0; i < n; i++) {
        if (i == 0 || strcmp(pairs[i].value, pairs[i - 1].value)) {
            rg_unref(part);
            part = NULL;
            if ((ret = open_one_shard(c, path, pairs[i].value, &part)) < 0)
                goto done;
            f->shards[f->n_shards++] = rg_ref(part->shards[0]);
        }
        const rg_safetensors_entry *e = rg_safetensors_find(part, pairs[i].key);
        if (!e) {
            ret = rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s should be in %s and is not", path, pairs[i].key, pairs[i].value);
            goto done;
        }
        if (!grow(&f->entries, f->n_entries, &f->max_entries, sizeof *f->entries)) {
            ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
            goto done;
        }
        f->entries[f->n_entries] = *e;
        f->entries[f->n_entries++].shard = f->n_shards - 1;
    }
    if (f->n_entries > 0)
        qsort(f->entries, (size_t)f->n_entries, sizeof *f->entries, by_name);
    for (int i = 1; i < f->n_entries; i++)
        if (!strcmp(f->entries[i - 1].name, f->entries[i].name)) {
            ret = rg_fail(c, RG_ERR_FORMAT, "%s: tensor %s stands twice", path, f->entries[i].name);
            goto done;
        }
    *out = f;
    f = NULL;
done:
    rg_unref(part);
    rg_unref(f);
    rg_unref(index);
    return ret;
}

/* Takes over the caller's hold on s. */
static int open_either(rg_ctx *c, shard *s, const char *path, rg_safetensors **out)
{
    static const char suffix[] = ".safetensors.index.json";
    const size_t n = strlen(path);

    if (n >= sizeof suffix - 1 && !strcmp(path + n - (sizeof suffix - 1), suffix))
        return open_index(c, s, path, out);
    return open_shard(c, s, path, out);
}

int rg_safetensors_open(rg_ctx *c, const char *path, rg_safetensors **out)
{
    shard *s = NULL;
    int ret;

    if (c->error)
        return c->error;
    if ((ret = map_file(c, path, &s)) < 0)
        return ret;
    return open_either(c, s, path, out);
}

int rg_safetensors_parse(rg_ctx *c, const void *bytes, size_t n_bytes, const char *what, rg_safetensors **out)
{
    shard *s;

    if (c->error)
        return c->error;
    if (!(s = shard_new(c, what)))
        return c->error;
    s->bytes = bytes;
    s->n_bytes = n_bytes;
    return open_either(c, s, what, out);
}

void rg_safetensors_close(rg_safetensors *f)
{
    rg_unref(f);
}

/* ---- looking ------------------------------------------------------------------------------------------------------- */

int rg_safetensors_count(const rg_safetensors *f)
{
    return f->n_entries;
}

const rg_safetensors_entry *rg_safetensors_at(const rg_safetensors *f, int index)
{
    return index >= 0 && index < f->n_entries ? &f->entries[index] : NULL;
}

int rg_safetensors_lower_bound(const rg_safetensors *f, const char *name)
{
    int low = 0, high = f->n_entries;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (strcmp(f->entries[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const rg_safetensors_entry *rg_safetensors_find(const rg_safetensors *f, const char *name)
{
    const int i = rg_safetensors_lower_bound(f, name);

    return i < f->n_entries && !strcmp(f->entries[i].name, name) ? &f->entries[i] : NULL;
}

const char *rg_safetensors_meta(const rg_safetensors *f, const char *key)
{
    for (int i = 0; i < f->n_meta; i++)
        if (!strcmp(f->meta[i].key, key))
            return f->meta[i].value;
    return NULL;
}

bool rg_safetensors_meta_at(const rg_safetensors *f, int index, const char **key, const char **value)
{
    if (index < 0 || index >= f->n_meta)
        return false;
    *key = f->meta[index].key;
    *value = f->meta[index].value;
    return true;
}

const char *rg_safetensors_path(const rg_safetensors *f)
{
    return f->path;
}

size_t rg_safetensors_file_bytes(const rg_safetensors *f)
{
    size_t sum = 0;

    for (int i = 0; i < f->n_shards; i++)
        sum += f->shards[i]->n_bytes;
    return sum;
}

/* A holder of bytes that were copied because the map leaves them misaligned. */
typedef struct heap_bytes {
    rg_object base;
    _Alignas(64) unsigned char bytes[];
} heap_bytes;

rg_tensor *rg_safetensors_tensor(rg_ctx *c, rg_safetensors *f, const rg_safetensors_entry *e)
{
    rg_tensor *t = NULL;

    if (c->error)
        return NULL;
    if (e->dtype == RG_N_DTYPES) {
        rg_fail(c, RG_ERR_DTYPE, "%s: tensor %s is of type %s, which this program does not know", f->path, e->name, e->dtype_name);
        return NULL;
    }
    if ((uintptr_t)e->data % rg_dtype_size(e->dtype) == 0) {
        t = rg_tensor_wrap((void *)e->data, e->dtype, e->n_dims, e->shape, true, f->shards[e->shard]);
    } else {
        heap_bytes *copy = aligned_alloc(64, (sizeof *copy + e->nbytes + 63) / 64 * 64);
        if (copy) {
            rg_object_init(copy, free);
            memcpy(copy->bytes, e->data, e->nbytes);
            t = rg_tensor_wrap(copy->bytes, e->dtype, e->n_dims, e->shape, true, copy);
            rg_unref(copy);             /* the tensor holds it now, or nobody */
        }
    }
    if (!t)
        rg_fail(c, RG_ERR_NOMEM, "%s: no memory for tensor %s", f->path, e->name);
    return t;
}

rg_tensor *rg_safetensors_get(rg_ctx *c, rg_safetensors *f, const char *name)
{
    const rg_safetensors_entry *e;

    if (c->error)
        return NULL;
    if (!(e = rg_safetensors_find(f, name))) {
        rg_fail(c, RG_ERR_NOT_FOUND, "%s: no tensor %s", f->path, name);
        return NULL;
    }
    rg_tensor *t = rg_safetensors_tensor(c, f, e);
    return t ? rg_tensor_adopt(c, t) : NULL;
}
