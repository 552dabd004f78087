/*
 * Folders and files around a run: where models lie, what an input may name, where pictures go.
 * Sources: ComfyUI folder_paths.py (folder keys, list rules, save paths), its web client (the %date:...% token).
 */
#include "graph/env.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/weights/manifest.h"
#include "engine/weights/store.h"
#include "graph/json_text.h"
#include "graph/suggest.h"

/* ---- folder keys ------------------------------------------------------------------------------------------------ */

enum { MAX_SUBFOLDERS = 2 };

/* Keys with more than one folder, or with another name. Every other key is one folder of its own name. */
static const struct folder_key {
    const char *key;
    const char *folders[MAX_SUBFOLDERS];
} folder_keys[] = {
    { "diffusion_models", { "unet", "diffusion_models" } },
    { "unet",             { "unet", "diffusion_models" } },     /* the old keys */
    { "text_encoders",    { "text_encoders", "clip" } },
    { "clip",             { "text_encoders", "clip" } },
    { "controlnet",       { "controlnet", "t2i_adapter" } },
};

static const char *const model_extensions[] = {
    ".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx", ".safetensors.index.json", NULL
};

static const char *const image_extensions[] = {                 /* MIME class image, as ComfyUI lists the input folder */
    ".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".ico", ".svg",
    ".ppm", ".pgm", ".pbm", ".pnm", ".ras", ".xbm", ".xpm", ".xwd", ".ief", ".rgb", NULL
};

/* What a list of a key shows: NULL: everything; {""}: files without an extension; {}: nothing. */
static const char *const *key_extensions(const char *key)
{
    static const char *const yaml[] = { ".yaml", NULL }, *const without[] = { "", NULL }, *const none[] = { NULL };

    return !strcmp(key, "configs") ? yaml : !strcmp(key, "classifiers") ? without : !strcmp(key, "diffusers") ? none
         : !strcmp(key, "custom_nodes") ? NULL : model_extensions;
}

/* The folders of a key under one models directory: names[0..n-1]. */
static int key_folders(const char *key, const char *names[MAX_SUBFOLDERS])
{
    for (size_t i = 0; i < sizeof(folder_keys) / sizeof(folder_keys[0]); i++) {
        if (!strcmp(folder_keys[i].key, key)) {
            memcpy(names, folder_keys[i].folders, sizeof(folder_keys[i].folders));
            return MAX_SUBFOLDERS;
        }
    }
    names[0] = key;
    return 1;
}

static bool has_extension(const char *name, const char *const *extensions)
{
    const size_t n = strlen(name);

    if (*extensions && !**extensions)   /* a point at the beginning begins no extension */
        return !strchr(name + (*name == '.'), '.');
    for (; *extensions; extensions++)
        if (n > strlen(*extensions) && !strcasecmp(name + n - strlen(*extensions), *extensions))
            return true;
    return false;
}

bool rg_env_is_model_file(const char *name)
{
    return has_extension(name, model_extensions);
}

/* ---- the environment --------------------------------------------------------------------------------------------- */

/* Lexically clean absolute path, as Python's os.path.abspath(); rg_free() it. */
static char *absolute_path(const char *path)
{
    char cwd[PATH_MAX], *joined, *out;
    size_t n = 0;

    if (path[0] == '/')
        joined = rg_strdup(path);
    else
        joined = getcwd(cwd, sizeof(cwd)) ? rg_asprintf("%s/%s", cwd, path) : NULL;
    out = joined ? rg_malloc(strlen(joined) + 2) : NULL;
    if (!out) {
        rg_free(joined);
        return NULL;
    }
    for (const char *p = joined; *p; ) {
        const char *end = strchrnul(p, '/');
        const size_t len = (size_t)(end - p);

        if (len == 2 && !memcmp(p, "..", 2)) {
            while (n > 0 && out[--n] != '/')
                ;
        } else if (len > 0 && !(len == 1 && *p == '.')) {
            out[n++] = '/';
            memcpy(out + n, p, len);
            n += len;
        }
        p = *end ? end + 1 : end;
    }
    if (!n)
        out[n++] = '/';
    out[n] = '\0';
    rg_free(joined);
    return out;
}

rg_env *rg_env_new(const char *const *model_dirs, int n_model_dirs, const char *input_dir, const char *output_dir)
{
    rg_env *env = rg_calloc(1, sizeof(*env));
    char *slash;

    if (!env)
        return NULL;
    env->has_metadata = true;
    env->model_dirs = rg_calloc((size_t)n_model_dirs + 1, sizeof(*env->model_dirs));
    if (!env->model_dirs)
        goto fail;
    for (int i = 0; i < n_model_dirs; i++, env->n_model_dirs++)
        if (!(env->model_dirs[i] = rg_strdup(model_dirs[i])))
            goto fail;
    if (!(env->input_dir = absolute_path(input_dir)) || !(env->output_dir = absolute_path(output_dir)))
        goto fail;
    if (!(env->store = rg_store_new(model_dirs, n_model_dirs)))
        goto fail;
    slash = strrchr(env->output_dir, '/');
    if (!(env->temp_dir = rg_asprintf("%.*s/temp", (int)(slash - env->output_dir), env->output_dir)))
        goto fail;
    return env;
fail:
    rg_env_free(env);
    return NULL;
}

void rg_env_free(rg_env *env)
{
    if (!env)
        return;
    for (int i = 0; i < env->n_model_dirs; i++)
        rg_free(env->model_dirs[i]);
    rg_free(env->model_dirs);
    for (int i = 0; i < env->n_extra_folders; i++) {
        rg_free(env->extra_folders[i].key);
        rg_free(env->extra_folders[i].path);
    }
    rg_free(env->extra_folders);
    rg_free(env->input_dir);
    rg_free(env->output_dir);
    rg_free(env->temp_dir);
    rg_free(env->manifest_path);
    rg_store_free(env->store);
    rg_free(env);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

struct names {
    char **items;                       /* NULL-terminated */
    int n, capacity;
};

static int names_add(struct names *l, const char *prefix, const char *name)
{
    if (l->n + 2 > l->capacity) {
        const int capacity = l->capacity ? 2 * l->capacity : 16;
        char **items = rg_realloc(l->items, (size_t)capacity * sizeof(*items));

        if (!items)
            return RG_ERR_NOMEM;
        l->items = items;
        l->capacity = capacity;
    }
    if (!(l->items[l->n] = rg_asprintf("%s%s", prefix, name)))
        return RG_ERR_NOMEM;
    l->items[++l->n] = NULL;
    return 0;
}

void rg_names_free(char **names)
{
    for (char **p = names; p && *p; p++)
        rg_free(*p);
    rg_free(names);
}

enum { MAX_FOLDER_DEPTH = 24 };

/* A folder being listed and those around it, so that a link back up is seen. */
struct folder_chain {
    const struct folder_chain *parent;
    dev_t dev;
    ino_t ino;
    int depth;
};

/* Files under dir whose extension fits (NULL: all), with their path below the start. Links are followed; .git is left out. */
static int list_folder(struct names *l, const char *dir, const char *prefix, const char *const *extensions, bool is_recursive,
                       const struct folder_chain *parent)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    struct folder_chain here = { .parent = parent, .depth = parent ? parent->depth + 1 : 0 };
    struct stat st;
    int ret = 0;

    if (!d)
        return 0;                       /* a folder that is not there has no files */
    if (fstat(dirfd(d), &st) < 0)
        goto done;
    here.dev = st.st_dev;
    here.ino = st.st_ino;
    for (const struct folder_chain *p = parent; p; p = p->parent)
        if (p->dev == here.dev && p->ino == here.ino)
            goto done;
    while (!ret && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            char *sub, *sub_prefix;

            if (!is_recursive || !strcmp(e->d_name, ".git") || here.depth >= MAX_FOLDER_DEPTH)
                continue;
            sub = rg_asprintf("%s/%s", dir, e->d_name);
            sub_prefix = rg_asprintf("%s%s/", prefix, e->d_name);
            ret = sub && sub_prefix ? list_folder(l, sub, sub_prefix, extensions, true, &here) : RG_ERR_NOMEM;
            rg_free(sub);
            rg_free(sub_prefix);
        } else if (S_ISREG(st.st_mode) && (!extensions || has_extension(e->d_name, extensions))) {
            ret = names_add(l, prefix, e->d_name);
        }
    }
done:
    closedir(d);
    return ret;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);    /* bytes of UTF-8 sort as Python sorts code points */
}

static const char *current_key(const char *key)
{
    return !strcmp(key, "unet") ? "diffusion_models" : !strcmp(key, "clip") ? "text_encoders" : key;
}

int rg_env_add_folder(rg_env *env, const char *key, const char *path, bool is_first)
{
    struct rg_extra_folder *grown = rg_realloc(env->extra_folders, (size_t)(env->n_extra_folders + 1) * sizeof(*grown)), *e;

    if (!grown)
        return RG_ERR_NOMEM;
    env->extra_folders = grown;
    e = &grown[env->n_extra_folders++];
    *e = (struct rg_extra_folder){ rg_strdup(current_key(key)), rg_strdup(path), is_first };
    if (e->key && e->path)
        return 0;
    rg_free(e->key);
    rg_free(e->path);
    env->n_extra_folders--;
    return RG_ERR_NOMEM;
}

char **rg_env_folders(const rg_env *env, const char *key)
{
    const char *folders[MAX_SUBFOLDERS];
    const int n_folders = strcmp(key, "custom_nodes") ? key_folders(key, folders) : 0;      /* packs lie beside the models */
    char **list = rg_calloc((size_t)(env->n_model_dirs * n_folders + env->n_extra_folders) + 1, sizeof(*list));
    int n = 0;

    for (int pass = 0; list && pass < 3; pass++) {      /* the extra ones that go first, the usual ones, the other extra ones */
        const int n_all = pass == 1 ? env->n_model_dirs * n_folders : env->n_extra_folders;

        for (int i = 0; i < n_all; i++) {
            const struct rg_extra_folder *e = pass == 1 ? NULL : &env->extra_folders[i];

            if (e && (e->is_first != (pass == 0) || strcmp(e->key, current_key(key))))
                continue;
            list[n] = e ? rg_strdup(e->path) : rg_asprintf("%s/%s", env->model_dirs[i / n_folders], folders[i % n_folders]);
            if (!list[n++]) {
                rg_names_free(list);
                return NULL;
            }
        }
    }
    return list;
}

int rg_env_list(rg_env *env, const char *source, char ***names)
{
    struct names l = { 0 };
    int ret = 0, kept = 0;

    if (!strncmp(source, "models:", 7)) {
        char **dirs = rg_env_folders(env, source + 7);

        ret = dirs ? 0 : RG_ERR_NOMEM;
        for (char **dir = dirs; !ret && *dir; dir++)
            ret = list_folder(&l, *dir, "", key_extensions(source + 7), true, NULL);
        rg_names_free(dirs);
    } else if (!strcmp(source, "input:image")) {
        ret = list_folder(&l, env->input_dir, "", image_extensions, false, NULL);
    } else if (!strcmp(source, "input:any")) {
        ret = list_folder(&l, env->input_dir, "", NULL, false, NULL);
    } else {
        RG_BUG("no file source %s", source);
    }
    if (!ret && !l.items && !(l.items = rg_calloc(1, sizeof(*l.items))))
        ret = RG_ERR_NOMEM;
    if (ret < 0) {
        rg_names_free(l.items);
        return ret;
    }
    if (l.n)
        qsort(l.items, (size_t)l.n, sizeof(*l.items), by_name);
    for (int i = 0; i < l.n; i++) {     /* the same name in several folders is offered once */
        if (kept && !strcmp(l.items[kept - 1], l.items[i]))
            rg_free(l.items[i]);
        else
            l.items[kept++] = l.items[i];
    }
    l.items[kept] = NULL;
    *names = l.items;
    return 0;
}

/* ---- looking up --------------------------------------------------------------------------------------------------- */

/* ComfyUI lets a name with ".." or a leading "/" reach anywhere; here it may not leave its folder. */
static bool is_inside(const char *name)
{
    if (!*name || *name == '/')
        return false;
    for (const char *p = name; *p; ) {
        const char *end = strchrnul(p, '/');

        if (end - p == 2 && !memcmp(p, "..", 2))
            return false;
        p = *end ? end + 1 : end;
    }
    return true;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* "; nearest: a, b" or, of a short list, "; there: a, b, c" */
static void add_names(rg_text *t, const char *wanted, char **names)
{
    const char *best[3], *base = strrchr(wanted, '/') ? strrchr(wanted, '/') + 1 : wanted;
    int n = rg_suggest_many(wanted, (const char *const *)names, best, 3), n_all = 0;

    if (!n && base != wanted)
        n = rg_suggest_many(base, (const char *const *)names, best, 3);
    while (names[n_all])
        n_all++;
    if (!n_all) {
        rg_text_add(t, "; no file there fits");
    } else if (n_all <= 4 && !n) {
        for (int i = 0; i < n_all; i++)
            rg_text_format(t, "%s%s", i ? ", " : "; there: ", names[i]);
    } else {
        for (int i = 0; i < n; i++)
            rg_text_format(t, "%s%s", i ? ", " : "; nearest: ", best[i]);
    }
}

bool rg_env_pull_hint(const rg_env *env, const char *folder, const char *name, char *text, size_t text_size)
{
    rg_ctx *c = env->manifest_path ? rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL) : NULL;
    rg_manifest *m = NULL;
    const char *found = NULL;

    if (c && rg_manifest_read(c, env->manifest_path, &m) == 0) {
        const rg_manifest_file *f = folder ? rg_manifest_find_file(m, folder, name) : NULL;
        const rg_manifest_group *g = folder ? NULL : rg_manifest_find_group(m, name);

        found = f && f->url ? f->name : g ? g->name : NULL;
        if (found)
            snprintf(text, text_size, "rylagraph models pull %s", found);
    }
    rg_manifest_free(m);
    rg_ctx_free(c);
    return found != NULL;
}

static void text_out(rg_text *t, char *text, size_t size)
{
    if (size)
        snprintf(text, size, "%s", t->is_failed || !t->data ? "out of memory" : t->data);
    rg_text_release(t);
}

int rg_env_model_path(rg_env *env, const char *folder, const char *name, char **path, char *text, size_t text_size)
{
    char **names = NULL, **dirs, *source, hint[200];
    rg_text t = { 0 };
    int n_searched = 0;

    if (!is_inside(name)) {
        if (*name)
            snprintf(text, text_size, "%s is no name inside the %s folder: it may not be absolute or hold \"..\"", name, folder);
        else
            snprintf(text, text_size, "an empty name, where a file of the %s folder is wanted", folder);
        return RG_ERR_INVALID;
    }
    if (!(dirs = rg_env_folders(env, folder)))
        goto nomem;
    for (char **dir = dirs; *dir; dir++) {
        char *candidate = rg_asprintf("%s/%s", *dir, name);

        if (!candidate)
            goto nomem;
        if (is_file(candidate)) {
            *path = candidate;
            rg_names_free(dirs);
            return 0;
        }
        rg_free(candidate);
    }
    /* name the folders that are there, or all of them if none is */
    for (int pass = 0; pass < 2 && !n_searched; pass++)
        for (char **dir = dirs; *dir; dir++)
            if (pass == 1 || access(*dir, F_OK) == 0)
                rg_text_format(&t, "%s%s", n_searched++ ? ", " : "", *dir);
    rg_names_free(dirs);

    rg_text searched = t;
    t = (rg_text){ 0 };
    rg_text_format(&t, "no file %s in %s", name, n_searched && searched.data ? searched.data : "any models directory (none is set)");
    rg_text_release(&searched);
    source = rg_asprintf("models:%s", folder);
    if (source && rg_env_list(env, source, &names) == 0)
        add_names(&t, name, names);
    if (rg_env_pull_hint(env, folder, name, hint, sizeof(hint)))
        rg_text_format(&t, "; \"%s\" fetches it", hint);
    rg_names_free(names);
    rg_free(source);
    text_out(&t, text, text_size);
    return RG_ERR_NOT_FOUND;
nomem:
    rg_names_free(dirs);
    snprintf(text, text_size, "out of memory");
    return RG_ERR_NOMEM;
}

int rg_env_input_path(rg_env *env, const char *annotated, char **path, char *text, size_t text_size)
{
    const struct { const char *mark, *dir; } marks[] = {
        { " [output]", env->output_dir }, { " [input]", env->input_dir }, { " [temp]", env->temp_dir },
    };
    const char *dir = env->input_dir;
    char *name = rg_strdup(annotated), *candidate, **names = NULL;
    rg_text t = { 0 };
    int ret = 0;

    if (!name)
        goto nomem;
    for (int i = 0; i < 3; i++) {
        const size_t n = strlen(name), n_mark = strlen(marks[i].mark);

        if (n >= n_mark && !strcmp(name + n - n_mark, marks[i].mark)) {
            name[n - n_mark] = '\0';
            dir = marks[i].dir;
            break;
        }
    }
    if (!is_inside(name)) {
        if (*name)
            rg_text_format(&t, "%s is no name inside %s: it may not be absolute or hold \"..\"", name, dir);
        else
            rg_text_format(&t, "an empty name, where a file in %s is wanted", dir);
        ret = RG_ERR_INVALID;
        goto done;
    }
    if (!(candidate = rg_asprintf("%s/%s", dir, name)))
        goto nomem;
    if (is_file(candidate)) {
        *path = candidate;
        goto done;
    }
    rg_free(candidate);
    rg_text_format(&t, "no file %s in %s", name, dir);
    if (dir == env->input_dir && rg_env_list(env, "input:any", &names) == 0)
        add_names(&t, name, names);
    ret = RG_ERR_NOT_FOUND;
    goto done;
nomem:
    ret = RG_ERR_NOMEM;
    rg_text_add(&t, "out of memory");
done:
    if (ret < 0)
        text_out(&t, text, text_size);
    rg_text_release(&t);
    rg_names_free(names);
    rg_free(name);
    return ret;
}

/* ---- saving --------------------------------------------------------------------------------------------------------- */

/* One %date:FORMAT% of the web client: yyyy, yy, MM, M, dd, d, hh, h, mm, m, ss, s; anything else stands as it is. */
static void add_date(rg_text *t, const char *format, const char *end, const struct tm *now)
{
    const struct { char letter; int value; } parts[] = {
        { 'y', now->tm_year + 1900 }, { 'M', now->tm_mon + 1 }, { 'd', now->tm_mday },
        { 'h', now->tm_hour }, { 'm', now->tm_min }, { 's', now->tm_sec },
    };

    while (format < end) {
        int n = 1, i;

        while (format + n < end && format[n] == *format)
            n++;
        for (i = 0; i < 6 && parts[i].letter != *format; i++)
            ;
        if (i == 0 && n >= 2) {
            n = n >= 4 ? 4 : 2;
            rg_text_format(t, n == 4 ? "%04d" : "%02d", n == 4 ? parts[0].value : parts[0].value % 100);
        } else if (i > 0 && i < 6) {
            n = n >= 2 ? 2 : 1;
            rg_text_format(t, n == 2 ? "%02d" : "%d", parts[i].value);
        } else {
            n = 1;
            rg_text_add_bytes(t, format, 1);
        }
        format += n;
    }
}

static char *expand_prefix(const char *prefix, int64_t width, int64_t height)
{
    const time_t seconds = time(NULL);
    struct tm now;
    rg_text t = { 0 };

    localtime_r(&seconds, &now);
    const struct { const char *token; int digits; int64_t value; } tokens[] = {
        { "%width%", 0, width },           { "%height%", 0, height },       { "%year%", 0, now.tm_year + 1900 },
        { "%month%", 2, now.tm_mon + 1 },  { "%day%", 2, now.tm_mday },     { "%hour%", 2, now.tm_hour },
        { "%minute%", 2, now.tm_min },     { "%second%", 2, now.tm_sec },
    };
    while (*prefix) {
        const char *end = !strncmp(prefix, "%date:", 6) ? strchr(prefix + 6, '%') : NULL;
        size_t i = 0;

        if (end) {
            add_date(&t, prefix + 6, end, &now);
            prefix = end + 1;
            continue;
        }
        while (i < 8 && strncmp(prefix, tokens[i].token, strlen(tokens[i].token)))
            i++;
        if (i < 8) {
            rg_text_format(&t, "%0*lld", tokens[i].digits, (long long)tokens[i].value);
            prefix += strlen(tokens[i].token);
        } else {
            rg_text_add_bytes(&t, prefix++, 1);
        }
    }
    return rg_text_take(&t);
}

/* Split as Python's dirname and basename of normpath: "./q/../r/z" is "r" and "z", "dir/" is "" and "dir", "" is "" and ".". */
static int split_prefix(const char *prefix, char **folder, char **name)
{
    char *out = rg_malloc(strlen(prefix) + 3), *slash;
    const bool is_absolute = *prefix == '/';
    size_t n = 0;

    if (!out)
        return RG_ERR_NOMEM;
    for (const char *p = prefix; *p; ) {
        const char *end = strchrnul(p, '/');
        const size_t len = (size_t)(end - p);
        const bool is_up = len == 2 && !memcmp(p, "..", 2);

        if (is_up && n > 0 && !(n >= 2 && !memcmp(out + n - 2, "..", 2) && (n == 2 || out[n - 3] == '/'))) {
            while (n > 0 && out[--n] != '/')
                ;
        } else if (len > 0 && !(len == 1 && *p == '.') && !(is_up && is_absolute)) {
            if (n || is_absolute)
                out[n++] = '/';
            memcpy(out + n, p, len);
            n += len;
        }
        p = *end ? end + 1 : end;
    }
    if (!n)
        out[n++] = is_absolute ? '/' : '.';
    out[n] = '\0';
    slash = strrchr(out, '/');
    *name = rg_strdup(slash ? slash + 1 : out);
    *folder = slash ? rg_strndup(out, slash == out ? 1 : (size_t)(slash - out)) : rg_strdup("");
    rg_free(out);
    if (*name && *folder)
        return 0;
    rg_free(*name);
    rg_free(*folder);
    *name = *folder = NULL;
    return RG_ERR_NOMEM;
}

int rg_env_make_folders(const char *path)
{
    char copy[PATH_MAX];

    if (strlen(path) >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(copy, path);
    for (char *p = copy + 1; ; p++) {
        if (*p == '/' || !*p) {
            const char c = *p;

            *p = '\0';
            if (mkdir(copy, 0777) < 0 && errno != EEXIST)
                return -1;
            *p = c;
            if (!c)
                return 0;
        }
    }
}

/* One more than the largest number among NAME_<digits>_ in a folder, whatever the extension; 1 in a folder without. */
static int64_t next_counter(DIR *d, const char *name)
{
    const size_t n = strlen(name);
    int64_t largest = 0;
    struct dirent *e;

    while ((e = readdir(d))) {
        const char *digits = e->d_name + n + 1;
        size_t n_digits;
        int64_t value;

        if (strncmp(e->d_name, name, n) || e->d_name[n] != '_')
            continue;
        n_digits = strspn(digits, "0123456789");
        if (!n_digits || n_digits > 18 || (digits[n_digits] && digits[n_digits] != '_'))
            continue;
        value = strtoll(digits, NULL, 10);
        if (value > largest)
            largest = value;
    }
    return largest + 1;
}

int rg_env_save_path(rg_env *env, const char *prefix, bool is_temp, int64_t width, int64_t height, rg_save_path *out,
                     char *text, size_t text_size)
{
    const char *base = is_temp ? env->temp_dir : env->output_dir;
    char *expanded = expand_prefix(prefix, width, height), *joined = NULL;
    rg_save_path p = { 0 };
    DIR *d = NULL;
    int ret = RG_ERR_NOMEM;
    size_t n_base = strlen(base);

    snprintf(text, text_size, "out of memory");
    if (!expanded || split_prefix(expanded, &p.subfolder, &p.name) < 0)
        goto done;
    joined = p.subfolder[0] == '/' ? rg_strdup(p.subfolder) : rg_asprintf("%s/%s", base, p.subfolder);
    if (!joined || !(p.folder = absolute_path(joined)))
        goto done;

    if (n_base > 1 && (strncmp(p.folder, base, n_base) || (p.folder[n_base] && p.folder[n_base] != '/'))) {
        size_t common = 0;              /* the longest folder both lie in */

        for (size_t i = 0; i <= n_base && ((p.folder[i] ? p.folder[i] : '/') == (base[i] ? base[i] : '/')); i++) {
            if (!base[i] || base[i] == '/')
                common = i;
            if (!p.folder[i])
                break;
        }
        snprintf(text, text_size, "**** ERROR: Saving image outside the output folder is not allowed."
                 "\n full_output_folder: %s\n         output_dir: %s\n         commonpath: %.*s",
                 p.folder, base, common ? (int)common : 1, base);
        ret = RG_ERR_INVALID;
        goto done;
    }
    d = opendir(p.folder);
    if (!d && errno == ENOENT && rg_env_make_folders(p.folder) == 0)
        d = opendir(p.folder);
    if (!d) {
        snprintf(text, text_size, "cannot use the folder %s: %s", p.folder, strerror(errno));
        ret = RG_ERR_IO;
        goto done;
    }
    p.counter = next_counter(d, p.name);
    *out = p;
    p = (rg_save_path){ 0 };
    ret = 0;
done:
    if (d)
        closedir(d);
    rg_save_path_release(&p);
    rg_free(joined);
    rg_free(expanded);
    return ret;
}

/* A new file beside path, under a name that nobody else uses; its name in *temporary (rg_free() it). -1 and errno on failure. */
static int open_beside(const char *path, char **temporary)
{
    static atomic_uint counter;
    const char *slash = strrchr(path, '/');
    const int n = slash ? (int)(slash - path) + 1 : 0;

    for (int tries = 0; tries < 100; tries++) {
        char *name = rg_asprintf("%.*s.rylagraph-%d-%u", n, path, (int)getpid(), atomic_fetch_add(&counter, 1));
        int fd;

        if (!name) {
            errno = ENOMEM;
            return -1;
        }
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            *temporary = name;
            return fd;
        }
        rg_free(name);
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

static int write_all(int fd, const char *p, size_t n_bytes)
{
    while (n_bytes > 0) {
        const ssize_t n = write(fd, p, n_bytes < (1 << 30) ? n_bytes : 1 << 30);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        n_bytes -= (size_t)n;
    }
    if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)     /* some file systems have nothing to flush */
        return -1;
    return 0;
}

int rg_env_write_file(const char *path, const void *bytes, size_t n_bytes, char *text, size_t text_size)
{
    char *temporary = NULL;
    int fd = open_beside(path, &temporary), reason = 0;

    if (fd < 0 || write_all(fd, bytes, n_bytes) < 0)
        reason = errno;
    if (fd >= 0 && close(fd) < 0 && !reason)
        reason = errno;
    if (!reason && rename(temporary, path) < 0)
        reason = errno;
    if (reason && temporary)
        unlink(temporary);
    rg_free(temporary);
    if (!reason)
        return 0;
    snprintf(text, text_size, "cannot write %s: %s", path, strerror(reason));
    errno = reason;
    return RG_ERR_IO;
}

int rg_env_check_writable(const char *dir, char *text, size_t text_size)
{
    char *probe, *temporary = NULL;
    int fd, reason;

    if (rg_env_make_folders(dir) < 0) {
        snprintf(text, text_size, "cannot make the folder %s: %s", dir, strerror(errno));
        return RG_ERR_IO;
    }
    if (!(probe = rg_asprintf("%s/probe", dir))) {
        snprintf(text, text_size, "out of memory");
        return RG_ERR_NOMEM;
    }
    fd = open_beside(probe, &temporary);        /* asking for permission is not enough: root may, a read-only disk may not */
    reason = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temporary);
    } else {
        snprintf(text, text_size, "cannot write into the folder %s: %s", dir, strerror(reason));
    }
    rg_free(temporary);
    rg_free(probe);
    return fd >= 0 ? 0 : RG_ERR_IO;
}
