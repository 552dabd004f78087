/*
 * Textual inversion files. Source: Gal et al. 2022, arXiv:2208.01618; ComfyUI sd1_clip.py, load_embed.
 * ComfyUI visits the folders under embeddings/ in no fixed order; here they come by name, the outer before the inner.
 */
#include "engine/text/embedding.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "engine/ops/ops.h"
#include "engine/weights/safetensors.h"

enum { MAX_DEPTH = 16 };                /* of folders in folders: a link may lead round in a circle */

/*
 * The path without "." and "..", taken by its letters: "a/../b" is "b" even if there is no a. out has room for it. False if it is
 * absolute, empty, or leaves the folder that it starts from.
 */
static bool clean_path(const char *path, char *out)
{
    size_t n_out = 0;

    if (*path == '/')
        return false;
    while (*path) {
        const size_t n = strcspn(path, "/");
        if (n == 2 && !memcmp(path, "..", 2)) {
            if (!n_out)
                return false;
            while (n_out && out[--n_out] != '/')
                continue;
        } else if (n && !(n == 1 && *path == '.')) {
            if (n_out)
                out[n_out++] = '/';
            memcpy(out + n_out, path, n);
            n_out += n;
        }
        path += n + (path[n] == '/');
    }
    out[n_out] = '\0';
    return n_out > 0;
}

static bool is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

/* FOLDER/NAME, or with an extension: a new string, NULL if there is no such file (or no memory, latched). */
static char *file_in(rg_ctx *c, const char *folder, const char *name)
{
    static const char *const extensions[] = { "", ".safetensors", ".pt", ".bin" };

    for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++) {
        char *path = rg_asprintf("%s/%s%s", folder, name, extensions[i]);
        if (!path) {
            rg_fail(c, RG_ERR_NOMEM, "no memory for a path");
            return NULL;
        }
        if (is_file(path))
            return path;
        rg_free(path);
    }
    return NULL;
}

static int only_folders(const struct dirent *e)
{
    return strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && (e->d_type == DT_DIR || e->d_type == DT_LNK || e->d_type == DT_UNKNOWN);
}

/* The file in this folder or, by name, in the folders below it. */
static char *search(rg_ctx *c, const char *folder, const char *name, int depth)
{
    struct dirent **entries;
    char *found = file_in(c, folder, name);

    if (found || c->error || depth == MAX_DEPTH)
        return found;
    const int n = scandir(folder, &entries, only_folders, alphasort);
    for (int i = 0; i < n; i++) {
        char *below = found || c->error ? NULL : rg_asprintf("%s/%s", folder, entries[i]->d_name);
        if (below)
            found = search(c, below, name, depth + 1);
        rg_free(below);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return found;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && !strcasecmp(text + n - n_end, end);
}

/* The entry that lies next in the file after `after` (NULL: the first) and whose name fits; the order in which ComfyUI sees them. */
static const rg_safetensors_entry *next_entry(const rg_safetensors *f, const rg_safetensors_entry *after, const char *prefix,
                                              const char *suffix)
{
    const rg_safetensors_entry *best = NULL;

    for (int i = 0; i < rg_safetensors_count(f); i++) {
        const rg_safetensors_entry *e = rg_safetensors_at(f, i);
        const size_t n = strlen(e->name);
        if (strncmp(e->name, prefix, strlen(prefix)) || n < strlen(suffix) || strcmp(e->name + n - strlen(suffix), suffix))
            continue;
        if ((!after || (const char *)e->data > (const char *)after->data) && (!best || (const char *)e->data < (const char *)best->data))
            best = e;
    }
    return best;
}

/* Several tensors of a bundle, one after the other. */
static rg_tensor *bundled(rg_ctx *c, rg_safetensors *f, const char *suffix)
{
    rg_tensor *all = NULL;

    for (const rg_safetensors_entry *e = NULL; (e = next_entry(f, e, "bundle_emb.", suffix)); ) {
        rg_tensor *part = rg_to_device(c, rg_safetensors_get(c, f, e->name), c->device);
        all = all ? rg_concat(c, all, part, 0) : part;
    }
    return all;
}

static rg_tensor *pick(rg_ctx *c, rg_safetensors *f, const char *key)
{
    rg_tensor *t;

    if (key && rg_safetensors_find(f, key))
        return rg_safetensors_get(c, f, key);
    if ((t = bundled(c, f, ".string_to_param.*")) || c->error)
        return t;
    char *suffix = rg_asprintf(".%s", key ? key : "");
    if (!suffix)
        rg_fail(c, RG_ERR_NOMEM, "no memory for a name");
    t = suffix && key ? bundled(c, f, suffix) : NULL;
    rg_free(suffix);
    if (t || c->error)
        return t;
    const rg_safetensors_entry *first = next_entry(f, NULL, "", "");
    return first ? rg_safetensors_get(c, f, first->name) : NULL;
}

int rg_embedding_load(rg_ctx *c, const char *const *roots, int n_roots, const char *name, const char *key, rg_tensor **out)
{
    rg_safetensors *f = NULL;
    char *path = NULL;

    *out = NULL;
    if (rg_check(c) < 0)
        return c->error;
    char *clean = rg_malloc(strlen(name) + 1);
    if (!clean)
        return rg_fail(c, RG_ERR_NOMEM, "no memory for a path");
    for (int i = 0; clean_path(name, clean) && i < n_roots && !path && !c->error; i++) {
        char *folder = rg_asprintf("%s/embeddings", roots[i]);
        if (!folder)
            rg_fail(c, RG_ERR_NOMEM, "no memory for a path");
        else
            path = search(c, folder, clean, 0);
        rg_free(folder);
    }
    rg_free(clean);
    if (!path)
        return c->error;
    const int scope = rg_scope_begin(c);
    if (!ends_with(path, ".safetensors")) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "%s: only .safetensors files of embeddings can be read; convert it", path);
    } else if (rg_safetensors_open(c, path, &f) == 0) {
        rg_tensor *t = pick(c, f, key);
        if (t && (t->n_dims < 1 || t->n_dims > 2))
            rg_fail(c, RG_ERR_UNSUPPORTED, "%s: an embedding has %d dimensions, wanted [rows, width]", path, t->n_dims);
        else if (t)
            *out = rg_ref(t);
        else if (!c->error)
            rg_fail(c, RG_ERR_FORMAT, "%s holds no tensor", path);
    }
    rg_scope_end(c, scope, NULL);
    rg_safetensors_close(f);
    rg_free(path);
    return c->error;
}
