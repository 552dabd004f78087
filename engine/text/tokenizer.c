/* Finding the tokenizer that belongs to an encoder, and the list of ids. */
#include "engine/text/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool rg_ids_push(rg_ids *ids, int32_t id)
{
    if (ids->n == ids->capacity) {
        const size_t capacity = 2 * ids->n + 64;
        int32_t *more = rg_realloc(ids->id, capacity * sizeof *more);
        if (!more)
            return false;
        ids->id = more;
        ids->capacity = capacity;
    }
    ids->id[ids->n++] = id;
    return true;
}

void rg_ids_release(rg_ids *ids)
{
    rg_free(ids->id);
    *ids = (rg_ids){ 0 };
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

enum { MAX_FILE = 256 << 20 };          /* the largest known is 20 MB */

typedef struct bytes {
    char *data;
    size_t n;
} bytes;

/* FOLDER/NAME as bytes; RG_ERR_NOT_FOUND, not latched, when there is none. */
static int read_file(rg_ctx *c, const char *folder, const char *name, bytes *out)
{
    struct stat st;
    int ret = 0;
    char *path = rg_asprintf("%s/%s", folder, name);
    if (!path)
        return rg_fail(c, RG_ERR_NOMEM, "no memory for a path");
    FILE *f = fopen(path, "rbe");

    if (!f) {
        ret = errno == ENOENT || errno == ENOTDIR ? RG_ERR_NOT_FOUND : rg_fail(c, RG_ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (fstat(fileno(f), &st) || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE) {
        ret = rg_fail(c, RG_ERR_FORMAT, "%s is no file of at most %d MB", path, MAX_FILE >> 20);
        goto done;
    }
    out->n = (size_t)st.st_size;
    if (!(out->data = rg_malloc(out->n)))
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: no memory for %zu bytes", path, out->n);
    else if (fread(out->data, 1, out->n, f) != out->n)
        ret = rg_fail(c, RG_ERR_IO, "%s: could not read %zu bytes", path, out->n);
done:
    if (f)
        fclose(f);
    rg_free(path);
    if (ret < 0) {
        rg_free(out->data);
        *out = (bytes){ 0 };
    }
    return ret;
}

/* As rg_tokenizer_load(), but a folder without the files is RG_ERR_NOT_FOUND, not latched. */
static int load(rg_ctx *c, rg_tokenizer_kind kind, const char *folder, const rg_tokenizer **out)
{
    bytes a = { 0 }, b = { 0 };
    int ret;

    if ((ret = rg_check(c)) < 0)
        return ret;
    if (kind == RG_TOKENIZER_CLIP) {
        if (!(ret = read_file(c, folder, "vocab.json", &a)) && !(ret = read_file(c, folder, "merges.txt", &b)))
            ret = rg_clip_bpe_new(c, folder, a.data, a.n, b.data, b.n, out);
    } else if (!(ret = read_file(c, folder, "tokenizer.json", &a))) {
        ret = rg_unigram_new(c, folder, a.data, a.n, out);
    } else if (ret == RG_ERR_NOT_FOUND && !c->error && !(ret = read_file(c, folder, "spiece.model", &a))) {
        ret = rg_sentencepiece_new(c, folder, a.data, a.n, out);
    }
    rg_free(a.data);
    rg_free(b.data);
    return ret;
}

static const char *files_wanted(rg_tokenizer_kind kind)
{
    return kind == RG_TOKENIZER_CLIP ? "vocab.json and merges.txt" : "tokenizer.json or spiece.model";
}

int rg_tokenizer_load(rg_ctx *c, rg_tokenizer_kind kind, const char *folder, const rg_tokenizer **out)
{
    const int ret = load(c, kind, folder, out);

    if (ret == RG_ERR_NOT_FOUND)
        rg_fail(c, ret, "%s has no %s", folder, files_wanted(kind));
    return ret;
}

/* ---- searching ------------------------------------------------------------------------------------------------------ */

typedef struct search {
    rg_tokenizer_kind kind;
    int n_vocab;
    const rg_tokenizer *best;           /* held */
    char notes[640];                    /* what was looked at and does not fit, for the message */
    bool has_broken;
} search;

static void note(search *s, const char *text)
{
    const size_t n = strlen(s->notes);
    snprintf(s->notes + n, sizeof s->notes - n, "; %s", text);
}

/* True once the search can end: enough, or out of memory. */
static bool try_folder(rg_ctx *c, search *s, const char *folder)
{
    const rg_tokenizer *t;
    char text[320];
    const int ret = load(c, s->kind, folder, &t);

    if (ret == RG_ERR_NOT_FOUND && !c->error)
        return false;
    if (ret < 0) {
        if (ret == RG_ERR_NOMEM || ret == RG_ERR_CANCELLED)
            return true;
        note(s, c->message);            /* another folder may hold a sound one */
        rg_ctx_reset(c);
        s->has_broken = true;
        return false;
    }
    const int missing = s->n_vocab - t->n_ids;
    if (missing < 0 || missing > (s->kind == RG_TOKENIZER_CLIP ? 0 : 512) || (s->best && s->best->n_ids >= t->n_ids)) {
        snprintf(text, sizeof text, "%s has %d tokens", folder, t->n_ids);
        note(s, text);
        rg_unref(t);
        return false;
    }
    rg_unref(s->best);
    s->best = t;
    return missing < 128;               /* tables are padded to a multiple of 128: closer is not to be expected */
}

/* Names that begin like the kind first, then by alphabet. */
static int by_name(const void *a, const void *b, void *prefix)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    const bool px = !strncmp(x, prefix, strlen(prefix)), py = !strncmp(y, prefix, strlen(prefix));
    return px != py ? (int)py - (int)px : strcmp(x, y);
}

/* The folders in one tokenizers folder. */
static bool try_tree(rg_ctx *c, search *s, const char *tree)
{
    char **names = NULL;
    size_t n = 0, capacity = 0;
    bool is_done = try_folder(c, s, tree);
    DIR *dir = is_done ? NULL : opendir(tree);

    for (struct dirent *e; dir && (e = readdir(dir)); ) {
        if (e->d_name[0] == '.')
            continue;
        if (n == capacity) {
            char **more = rg_realloc(names, (capacity = 2 * capacity + 16) * sizeof *more);
            if (!more)
                goto no_memory;
            names = more;
        }
        if (!(names[n] = rg_strdup(e->d_name)))
            goto no_memory;
        n++;
    }
    if (n)
        qsort_r(names, n, sizeof *names, by_name, s->kind == RG_TOKENIZER_CLIP ? "clip" : "t5");
    for (size_t i = 0; i < n && !is_done; i++) {
        char *folder = rg_asprintf("%s/%s", tree, names[i]);
        if (!folder)
            goto no_memory;
        is_done = try_folder(c, s, folder);
        rg_free(folder);
    }
    goto done;
no_memory:
    rg_fail(c, RG_ERR_NOMEM, "no memory to list %s", tree);
    is_done = true;
done:
    if (dir)
        closedir(dir);
    for (size_t i = 0; i < n; i++)
        rg_free(names[i]);
    rg_free(names);
    return is_done;
}

int rg_tokenizer_find(rg_ctx *c, rg_tokenizer_kind kind, int n_vocab, const char *const *roots, int n_roots,
                      const rg_tokenizer **out)
{
    search s = { .kind = kind, .n_vocab = n_vocab };
    char folders[512] = "";

    for (int i = 0; i < n_roots; i++) {
        char *tree = rg_asprintf("%s/tokenizers", roots[i]);
        const size_t n = strlen(folders);
        if (!tree)
            rg_fail(c, RG_ERR_NOMEM, "no memory for a path");
        else
            snprintf(folders + n, sizeof folders - n, "%s%s", n ? ", " : "", tree);
        const bool is_done = !tree || try_tree(c, &s, tree);
        rg_free(tree);
        if (is_done)
            break;
    }
    if (c->error) {
        rg_unref(s.best);
        return c->error;
    }
    if (!s.best)
        return rg_fail(c, s.has_broken ? RG_ERR_FORMAT : RG_ERR_NOT_FOUND,
                       "no %s tokenizer for a vocabulary of %d: searched the folders in %s for %s%s",
                       kind == RG_TOKENIZER_CLIP ? "CLIP" : "T5", n_vocab, n_roots ? folders : "no model directory", files_wanted(kind), s.notes);
    *out = s.best;
    return 0;
}
