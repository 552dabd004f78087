/* See manifest.h. The file is read in place: strings point into its bytes. */
#include "engine/weights/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/core/json.h"
#include "engine/weights/model_file.h"

enum { MAX_BYTES = 8 << 20 };

struct rg_manifest {
    char *text;
    rg_manifest_file *files;
    int n_files, max_files;
    rg_manifest_group *groups;
    int n_groups, max_groups;
};

static bool grow(void *array, int count, int *max, size_t size)
{
    void **p = array;

    if (count < *max)
        return true;
    const int wanted = *max ? *max * 2 : 64;
    void *grown = rg_realloc(*p, (size_t)wanted * size);
    if (!grown)
        return false;
    *p = grown;
    *max = wanted;
    return true;
}

void rg_manifest_free(rg_manifest *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_groups; i++)
        rg_free((void *)m->groups[i].files);
    rg_free(m->groups);
    rg_free(m->files);
    rg_free(m->text);
    rg_free(m);
}

static int bad(rg_ctx *c, const char *what, const rg_json *j)
{
    return rg_fail(c, RG_ERR_FORMAT, "%s: %s, at byte %zu", what, j->error, j->at);
}

/* null, or a string that C can hold. */
static bool read_text(rg_json *j, const char **out)
{
    size_t n;

    *out = NULL;
    if (rg_json_peek(j) == 'n')
        return rg_json_skip(j);
    if (rg_json_string(j, out, &n) && strlen(*out) != n)
        j->error = "a NUL stands in a string";
    return !j->error;
}

static bool next_key(rg_json *j, const char **key)
{
    size_t n;

    if (!rg_json_key(j, key, &n))
        return false;
    if (strlen(*key) != n)
        j->error = "a NUL stands in a key";
    return !j->error;
}

static int read_file(rg_ctx *c, rg_json *j, const char *what, rg_manifest_file *f)
{
    const char *key;

    *f = (rg_manifest_file){ .size = -1 };
    for (rg_json_enter(j, '{'); next_key(j, &key); ) {
        const struct { const char *key; const char **to; } texts[] = {
            { "name", &f->name }, { "folder", &f->folder }, { "file", &f->file }, { "url", &f->url }, { "sha256", &f->sha256 },
            { "licence", &f->licence }, { "note", &f->note },
        };
        const char **to = NULL;

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            if (!strcmp(key, texts[i].key))
                to = texts[i].to;
        if (to)
            read_text(j, to);
        else if (*key == '_' || (rg_json_peek(j) == 'n' && (!strcmp(key, "size") || !strcmp(key, "about_gb"))))
            rg_json_skip(j);
        else if (!strcmp(key, "size"))
            rg_json_count(j, &f->size);
        else if (!strcmp(key, "about_gb"))
            f->about_gb = rg_json_number(j);
        else if (!strcmp(key, "gated"))
            f->is_gated = rg_json_bool(j);
        else if (!strcmp(key, "archive"))
            f->is_archive = rg_json_bool(j);
        else
            return rg_fail(c, RG_ERR_FORMAT, "%s: a file has no key \"%.60s\"", what, key);
    }
    return j->error ? bad(c, what, j) : 0;
}

/* Is it what pull may do with it: a place below the models, an address, a sum that can be one? */
static int check_file(rg_ctx *c, const char *what, const rg_manifest *m, const rg_manifest_file *f)
{
    char text[400];

    if (!f->name || !*f->name || !f->folder || !f->file)
        return rg_fail(c, RG_ERR_FORMAT, "%s: a file lacks its %s", what, !f->name || !*f->name ? "name" : !f->folder ? "folder" : "file");
    if (rg_model_name_check(f->folder, text, sizeof text) < 0 || rg_model_name_check(f->file, text, sizeof text) < 0)
        return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s: %s", what, f->name, text);
    if (strchr(f->file, '/'))
        return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s: \"file\" has a folder in it, which belongs into \"folder\"", what, f->name);
    if (f->url && strncmp(f->url, "https://", 8) && strncmp(f->url, "http://", 7))
        return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s: \"url\" is no http or https address", what, f->name);
    if (f->sha256 && (strlen(f->sha256) != 64 || strspn(f->sha256, "0123456789abcdef") != 64))
        return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s: \"sha256\" is not 64 lower-case hex digits", what, f->name);
    if (f->size == 0 || !(f->about_gb >= 0 && f->about_gb < 1e6))
        return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s: a size that cannot be", what, f->name);
    for (int i = 0; i < m->n_files; i++)
        if (&m->files[i] != f && !strcmp(m->files[i].name, f->name))
            return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s stands twice", what, f->name);
    return 0;
}

/* Names of a group's files, kept as such until all files are known. */
static int read_group(rg_ctx *c, rg_json *j, const char *what, rg_manifest *m, const char *name)
{
    const char **names = NULL;
    int n = 0, max = 0, ret = 0;

    for (int i = 0; i < m->n_groups; i++)
        if (!strcmp(m->groups[i].name, name))
            return rg_fail(c, RG_ERR_FORMAT, "%s: group %.60s stands twice", what, name);
    for (rg_json_enter(j, '['); ret == 0 && rg_json_item(j); ) {
        const char *file;

        if (!read_text(j, &file))
            break;
        if (!file)
            ret = rg_fail(c, RG_ERR_FORMAT, "%s: group %.60s names nothing", what, name);
        else if (!grow(&names, n, &max, sizeof *names))
            ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", what);
        else
            names[n++] = file;
    }
    if (ret == 0 && !j->error && !grow(&m->groups, m->n_groups, &m->max_groups, sizeof *m->groups))
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", what);
    if (ret < 0 || j->error) {
        rg_free(names);
        return ret;
    }
    m->groups[m->n_groups++] = (rg_manifest_group){ name, (const rg_manifest_file *const *)names, n };
    return 0;
}

/* Names become files. */
static int link_groups(rg_ctx *c, const char *what, rg_manifest *m)
{
    for (int g = 0; g < m->n_groups; g++) {
        const void **slots = (const void **)m->groups[g].files;

        for (int i = 0; i < m->n_files; i++)
            if (!strcmp(m->files[i].name, m->groups[g].name))
                return rg_fail(c, RG_ERR_FORMAT, "%s: %.60s is a file and a group", what, m->groups[g].name);
        for (int k = 0; k < m->groups[g].n_files; k++) {
            const char *wanted = slots[k];
            const rg_manifest_file *found = NULL;

            for (int i = 0; i < m->n_files && !found; i++)
                if (!strcmp(m->files[i].name, wanted))
                    found = &m->files[i];
            if (!found)
                return rg_fail(c, RG_ERR_FORMAT, "%s: group %.60s wants %.60s, which is no file of it", what, m->groups[g].name, wanted);
            slots[k] = found;
        }
    }
    return 0;
}

static int parse(rg_ctx *c, rg_manifest *m, size_t n, const char *what)
{
    rg_json j = rg_json_begin(m->text, n);
    const char *key, *name;
    int ret = 0;

    for (rg_json_enter(&j, '{'); ret == 0 && next_key(&j, &key); ) {
        if (!strcmp(key, "files")) {
            for (rg_json_enter(&j, '['); ret == 0 && rg_json_item(&j); ) {
                if (!grow(&m->files, m->n_files, &m->max_files, sizeof *m->files))
                    return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", what);
                if ((ret = read_file(c, &j, what, &m->files[m->n_files])) == 0)
                    m->n_files++;
            }
        } else if (!strcmp(key, "groups")) {
            for (rg_json_enter(&j, '{'); ret == 0 && next_key(&j, &name); )
                ret = read_group(c, &j, what, m, name);
        } else if (*key == '_') {
            rg_json_skip(&j);
        } else {
            ret = rg_fail(c, RG_ERR_FORMAT, "%s: a manifest has no key \"%.60s\"", what, key);
        }
    }
    if (ret < 0)
        return ret;
    rg_json_finish(&j);
    if (j.error)
        return bad(c, what, &j);
    for (int i = 0; i < m->n_files && ret == 0; i++)
        ret = check_file(c, what, m, &m->files[i]);
    return ret < 0 ? ret : link_groups(c, what, m);
}

int rg_manifest_parse(rg_ctx *c, char *text, size_t n, const char *what, rg_manifest **out)
{
    rg_manifest *m = rg_calloc(1, sizeof *m);
    int ret;

    if (!m) {
        rg_free(text);
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", what);
    }
    m->text = text;
    if ((ret = parse(c, m, n, what)) < 0)
        rg_manifest_free(m);
    else
        *out = m;
    return ret;
}

int rg_manifest_read(rg_ctx *c, const char *path, rg_manifest **out)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    char *text = NULL;
    size_t n = 0;
    int ret = 0;

    if (!f)
        return rg_fail(c, errno == ENOENT ? RG_ERR_NOT_FOUND : RG_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_BYTES)
        ret = rg_fail(c, RG_ERR_IO, "%s: no file of at most %d MB", path, MAX_BYTES >> 20);
    else if (!(text = rg_malloc((size_t)st.st_size + 1)))
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
    else
        n = fread(text, 1, (size_t)st.st_size, f);
    fclose(f);
    return ret < 0 ? ret : rg_manifest_parse(c, text, n, path, out);
}

int rg_manifest_n_files(const rg_manifest *m)
{
    return m->n_files;
}

const rg_manifest_file *rg_manifest_file_at(const rg_manifest *m, int i)
{
    return &m->files[i];
}

int rg_manifest_n_groups(const rg_manifest *m)
{
    return m->n_groups;
}

const rg_manifest_group *rg_manifest_group_at(const rg_manifest *m, int i)
{
    return &m->groups[i];
}

const rg_manifest_file *rg_manifest_find(const rg_manifest *m, const char *name)
{
    for (int i = 0; i < m->n_files; i++)
        if (!strcmp(m->files[i].name, name))
            return &m->files[i];
    for (int i = 0; i < m->n_files; i++)
        if (!strcmp(m->files[i].file, name))
            return &m->files[i];
    return NULL;
}

const rg_manifest_group *rg_manifest_find_group(const rg_manifest *m, const char *name)
{
    for (int i = 0; i < m->n_groups; i++)
        if (!strcmp(m->groups[i].name, name))
            return &m->groups[i];
    return NULL;
}

static const char *new_folder(const char *folder)
{
    return !strcmp(folder, "unet") ? "diffusion_models" : !strcmp(folder, "clip") ? "text_encoders" : folder;
}

const rg_manifest_file *rg_manifest_find_file(const rg_manifest *m, const char *folder, const char *file)
{
    for (int i = 0; i < m->n_files; i++)
        if (!strcmp(m->files[i].file, file) && !strcmp(new_folder(m->files[i].folder), new_folder(folder)))
            return &m->files[i];
    return NULL;
}
