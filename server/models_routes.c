/*
 * What is there: where a model's name leads on disk, lists with details, one file's details, deletion, and the walk that counts
 * bytes and removes uploads nobody goes on with.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "server/models_inside.h"

enum { MAX_WALK_DEPTH = 16, JANITOR_SECONDS = 600 };

static double wall_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double mtime_of(const struct stat *st)
{
    return (double)st->st_mtim.tv_sec + 1e-9 * (double)st->st_mtim.tv_nsec;
}

static void put_text(struct json_object *o, const char *key, const char *s)
{
    json_object_object_add(o, key, s ? json_object_new_string(s) : NULL);
}

bool models_flag(rg_request *r, const char *name)
{
    const char *v = rg_request_query(r, name);

    return v && (!strcmp(v, "1") || !strcasecmp(v, "true") || !strcasecmp(v, "yes"));
}

/* ---- folders ------------------------------------------------------------------------------------------------------------------ */

bool models_is_folder(rg_models *m, const char *key)
{
    static const char *const others[] = { "configs", "custom_nodes", "diffusers", "classifiers" };     /* they hold no model files */
    const rg_env *env = m->options.env;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!strcmp(key, others[i]))
            return false;
    if (comfy_is_folder_key(key))
        return true;
    for (int i = 0; i < env->n_extra_folders; i++)
        if (!strcmp(env->extra_folders[i].key, key))
            return true;
    return false;
}

bool models_is_kept(rg_models *m, const char *path)
{
    const char *kept = m->options.kept_dir;
    const size_t n = kept ? strlen(kept) : 0;

    return kept && !strncmp(path, kept, n) && (!path[n] || path[n] == '/');
}

void place_release(place *p)
{
    if (p->dir >= 0)
        close(p->dir);
    rg_free(p->root);
    *p = (place){ .dir = -1 };
}

/* The folder of root/name, if the name is a file in it. */
static bool find_in(const char *root, const char *name, place *out)
{
    const char *base;
    const int dir = rg_model_dir_open(root, name, false, &base);
    struct stat st;

    if (dir < 0)
        return false;
    if (fstatat(dir, base, &st, 0) < 0 || !S_ISREG(st.st_mode) || !(out->root = rg_strdup(root))) {
        close(dir);
        return false;
    }
    out->dir = dir;
    out->base = base;
    out->is_there = true;
    return true;
}

/* A folder for a new file below root. False with the reason, kept from the first folder that was tried. */
static bool make_in(rg_models *m, const char *root, const char *name, place *out, char *text, size_t text_size)
{
    const char *base;
    int dir;

    if (models_is_kept(m, root)) {
        if (!*text)
            snprintf(text, text_size, "%s belongs to the program and is never changed; start the server with --models DIR", root);
        return false;
    }
    if (rg_env_make_folders(root) < 0 || (dir = rg_model_dir_open(root, name, true, &base)) < 0) {
        if (!*text)
            snprintf(text, text_size, "cannot use the folder of %s/%s: %s", root, name,
                     errno == ELOOP || errno == ENOTDIR ? "something on the way is a link or no folder" : strerror(errno));
        return false;
    }
    if (faccessat(dir, ".", W_OK, AT_EACCESS) < 0 || !(out->root = rg_strdup(root))) {
        if (!*text)
            snprintf(text, text_size, "cannot write into the folder %s: %s", root, strerror(errno));
        close(dir);
        return false;
    }
    out->dir = dir;
    out->base = base;
    return true;
}

int models_place(rg_models *m, const char *key, const char *name, bool is_made, place *out, char *text, size_t text_size)
{
    const size_t n_output = strlen(m->options.env->output_dir);
    char **roots, *path = NULL;
    int status = 0;

    *text = '\0';
    *out = (place){ .dir = -1 };
    if (!models_is_folder(m, key)) {
        const bool is_known = comfy_is_folder_key(key);
        snprintf(text, text_size, is_known ? "the folder %s takes no model files" : "there is no models folder %s; GET /models names them", key);
        return is_known ? 403 : 404;
    }
    if (!*name) {
        snprintf(text, text_size, "a file's name is missing");
        return 404;
    }
    if (rg_model_name_check(name, text, text_size) < 0)
        return 400;
    if (!(roots = rg_env_folders(m->options.env, key)))
        return 500;
    for (char **root = roots; *root && !out->root; root++)
        find_in(*root, name, out);
    if (is_made && !out->root) {
        /* first where the folder has the key's own name, then where it has an old one; never what save nodes write */
        for (int pass = 0; pass < 2; pass++) {
            for (char **root = roots; *root && !out->root; root++) {
                const char *last = strrchr(*root, '/');
                const bool is_own = last && !strcmp(last + 1, key);

                if (is_own == (pass == 0) && (strncmp(*root, m->options.env->output_dir, n_output) || (*root)[n_output] != '/'))
                    make_in(m, *root, name, out, text, text_size);
            }
        }
        if (!out->root) {
            status = 403;
            if (!*text)
                snprintf(text, text_size, "there is no models directory; start the server with --models DIR");
        }
    } else if (!out->root) {
        status = 404;
        if (rg_env_model_path(m->options.env, key, name, &path, text, text_size) == 0) {
            rg_free(path);
            snprintf(text, text_size, "%s/%s is reached through a link, which is not followed here", key, name);
            status = 403;
        }
    }
    rg_names_free(roots);
    return status;
}

/* ---- unfinished uploads ---------------------------------------------------------------------------------------------------------- */

void part_name_write(const part_name *p, char out[256])
{
    snprintf(out, 256, ".%s.%lld.%s.upload", p->name, (long long)p->total, *p->sha256 ? p->sha256 : "-");
}

bool part_name_read(const char *file, part_name *out)
{
    const size_t n = strlen(file);
    const char *end = file + n - 7, *sum = end, *total;
    char *stop;

    if (n < 12 || n > 250 || file[0] != '.' || strcmp(end, ".upload"))
        return false;
    while (sum > file && sum[-1] != '.')
        sum--;
    total = sum - (sum > file);
    while (total > file && total[-1] != '.')
        total--;
    if (total <= file + 2 || total - 2 - file > RG_MODEL_NAME_MAX || *total < '0' || *total > '9')
        return false;
    errno = 0;
    out->total = strtoll(total, &stop, 10);
    if (errno || stop != sum - 1)
        return false;
    out->sha256[0] = '\0';
    if (end - sum == 64 && strspn(sum, "0123456789abcdef") == 64)
        snprintf(out->sha256, sizeof(out->sha256), "%.64s", sum);
    else if (end - sum != 1 || *sum != '-')
        return false;
    snprintf(out->name, sizeof(out->name), "%.*s", (int)(total - 2 - file), file + 1);
    return true;
}

bool find_part(int dir, const char *name, part_name *out, char file[256], struct stat *st)
{
    const int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again >= 0 ? fdopendir(again) : NULL;
    bool is_found = false;

    if (again >= 0 && !d)
        close(again);
    for (struct dirent *e; d && !is_found && (e = readdir(d)); ) {
        part_name p;

        if (!part_name_read(e->d_name, &p) || strcmp(p.name, name) || fstatat(dir, e->d_name, st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st->st_mode))
            continue;
        *out = p;
        snprintf(file, 256, "%s", e->d_name);
        is_found = true;
    }
    if (d)
        closedir(d);
    return is_found;
}

/* With the lock held. */
static bool is_active(const rg_models *m, const char *target)
{
    for (const upload *u = m->uploads; u; u = u->next)
        if (u->target && !strcmp(u->target, target))
            return true;
    return false;
}

char *models_target(int dir, const char *name)
{
    struct stat st;

    return fstat(dir, &st) < 0 ? NULL : rg_asprintf("%llx:%llx/%s", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, name);
}

/* ---- the walk ---------------------------------------------------------------------------------------------------------------------- */

typedef struct visited {
    struct { dev_t dev; ino_t ino; } *folders;
    int n, capacity;
} visited;

/* True the first time. */
static bool visit(visited *v, const struct stat *st)
{
    for (int i = 0; i < v->n; i++)
        if (v->folders[i].dev == st->st_dev && v->folders[i].ino == st->st_ino)
            return false;
    if (v->n == v->capacity) {
        const int capacity = v->capacity ? 2 * v->capacity : 64;
        void *grown = rg_realloc(v->folders, (size_t)capacity * sizeof(*v->folders));

        if (!grown)
            return false;
        v->folders = grown;
        v->capacity = capacity;
    }
    v->folders[v->n].dev = st->st_dev;
    v->folders[v->n++].ino = st->st_ino;
    return true;
}

static void see_part(rg_models *m, models_usage *u, const char *key, const char *prefix, int dir, const char *file, const part_name *p,
                     const struct stat *st)
{
    const double keep = m->options.keep_seconds;
    char *target = models_target(dir, p->name);

    pthread_mutex_lock(&m->lock);
    const bool is_running = target && is_active(m, target);
    pthread_mutex_unlock(&m->lock);
    rg_free(target);
    if (u->oldest > 0 && mtime_of(st) < u->oldest && !is_running && unlinkat(dir, file, 0) == 0)
        return;
    u->bytes += (uint64_t)p->total;
    if (u->uploads) {
        struct json_object *o = json_object_new_object();
        char *name = rg_asprintf("%s%s", prefix, p->name);

        put_text(o, "folder", key);
        put_text(o, "name", name);
        json_object_object_add(o, "received", json_object_new_int64(st->st_size));
        json_object_object_add(o, "size", json_object_new_int64(p->total));
        json_object_object_add(o, "running", json_object_new_boolean(is_running));
        json_object_object_add(o, "expires", json_object_new_double(mtime_of(st) + keep));
        json_object_array_add(u->uploads, o);
        rg_free(name);
    }
}

/* Takes dir over. */
static void walk(rg_models *m, models_usage *u, visited *v, const char *key, const char *prefix, int dir, int depth)
{
    DIR *d = fdopendir(dir);
    struct stat st;

    if (!d) {
        close(dir);
        return;
    }
    if (fstat(dir, &st) < 0 || !visit(v, &st)) {
        closedir(d);
        return;
    }
    for (struct dirent *e; (e = readdir(d)); ) {
        part_name p;

        if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode) && part_name_read(e->d_name, &p)) {
            see_part(m, u, key, prefix, dir, e->d_name, &p, &st);
        } else if (S_ISREG(st.st_mode)) {
            u->bytes += (uint64_t)st.st_size;
        } else if (S_ISDIR(st.st_mode) && e->d_name[0] != '.' && depth < MAX_WALK_DEPTH) {
            const int sub = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            char *sub_prefix = rg_asprintf("%s%s/", prefix, e->d_name);

            if (sub >= 0 && sub_prefix)
                walk(m, u, v, key, sub_prefix, sub, depth + 1);
            else if (sub >= 0)
                close(sub);
            rg_free(sub_prefix);
        }
    }
    closedir(d);
}

static void walk_key(rg_models *m, models_usage *u, visited *v, const char *key)
{
    char **roots = rg_env_folders(m->options.env, key);

    for (char **root = roots; root && *root; root++) {
        const int dir = models_is_kept(m, *root) ? -1 : open(*root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (dir >= 0)
            walk(m, u, v, key, "", dir, 0);
    }
    rg_names_free(roots);
}

void models_walk(rg_models *m, models_usage *u)
{
    const rg_env *env = m->options.env;
    visited v = { 0 };

    for (const char *const *key = comfy_folder_keys; *key; key++)
        if (models_is_folder(m, *key))
            walk_key(m, u, &v, *key);
    for (int i = 0; i < env->n_extra_folders; i++)
        walk_key(m, u, &v, env->extra_folders[i].key);
    rg_free(v.folders);
}

static void *janitor_main(void *arg)
{
    rg_models *m = arg;
    const double keep = m->options.keep_seconds;

    pthread_mutex_lock(&m->lock);
    while (!m->is_stopping) {
        struct timespec until;

        pthread_mutex_unlock(&m->lock);
        models_usage u = { .oldest = wall_now() - keep };
        models_walk(m, &u);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += keep / 4 < 1 ? 1 : keep / 4 > JANITOR_SECONDS ? JANITOR_SECONDS : (time_t)(keep / 4);
        pthread_mutex_lock(&m->lock);
        while (!m->is_stopping && pthread_cond_timedwait(&m->changed, &m->lock, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- details ------------------------------------------------------------------------------------------------------------------------- */

struct json_object *models_describe(const char *key, const char *name, const place *p)
{
    struct json_object *o = json_object_new_object();
    char hex[65], *path = rg_asprintf("%s/%s", p->root, name);
    struct stat st = { 0 };

    fstatat(p->dir, p->base, &st, 0);
    put_text(o, "folder", key);
    put_text(o, "name", name);
    put_text(o, "path", path);
    json_object_object_add(o, "size", json_object_new_int64(st.st_size));
    json_object_object_add(o, "modified", json_object_new_double(mtime_of(&st)));
    put_text(o, "sha256", rg_model_sha256_read(p->dir, p->base, hex) ? hex : NULL);
    if (path)
        models_describe_content(o, path);
    rg_free(path);
    return o;
}

/* Upload-Offset and Upload-Length of an unfinished upload; it is also named in `o` when that is given. */
static void add_part(rg_models *m, rg_request *r, const char *key, const char *name, struct json_object *o)
{
    char **roots = rg_env_folders(m->options.env, key), file[256], number[32];
    bool is_found = false;
    struct stat st;
    part_name p;

    for (char **root = roots; root && *root && !is_found; root++) {
        const char *base;
        const int dir = rg_model_dir_open(*root, name, false, &base);

        if (dir < 0)
            continue;
        is_found = find_part(dir, base, &p, file, &st);
        close(dir);
    }
    rg_names_free(roots);
    if (!is_found)
        return;
    snprintf(number, sizeof(number), "%lld", (long long)st.st_size);
    rg_respond_header(r, "Upload-Offset", number);
    snprintf(number, sizeof(number), "%lld", (long long)p.total);
    rg_respond_header(r, "Upload-Length", number);
    if (o) {
        struct json_object *part = json_object_new_object();

        json_object_object_add(part, "received", json_object_new_int64(st.st_size));
        json_object_object_add(part, "size", json_object_new_int64(p.total));
        json_object_object_add(part, "expires", json_object_new_double(mtime_of(&st) + m->options.keep_seconds));
        json_object_object_add(o, "upload", part);
    }
}

/* GET, HEAD /models/{folder}/{name} */
static void get_model(rg_request *r, void *user)
{
    rg_models *m = user;
    const char *key = rg_request_param(r, 0), *name = rg_request_param(r, 1);
    char text[1024];
    place p;
    const int status = models_place(m, key, name, false, &p, text, sizeof(text));

    if (status) {
        if (status == 404 && models_is_folder(m, key))
            add_part(m, r, key, name, NULL);
        service_refuse(r, status, NULL, "%s", text);
    } else {
        struct json_object *o = models_describe(key, name, &p);

        add_part(m, r, key, name, o);
        rg_respond_json(r, 200, o);
    }
    place_release(&p);
}

void models_list_folder(rg_models *m, rg_request *r, const char *key)
{
    struct json_object *list = json_object_new_array();
    char *source = rg_asprintf("models:%s", key), **names = NULL, text[1024];

    if (source && rg_env_list(m->options.env, source, &names) == 0) {
        for (char **n = names; *n; n++) {
            place p;

            if (models_place(m, key, *n, false, &p, text, sizeof(text)) == 0)
                json_object_array_add(list, models_describe(key, *n, &p));
            place_release(&p);
        }
    }
    rg_names_free(names);
    rg_free(source);
    rg_respond_json(r, 200, list);
}

void models_list_all(rg_models *m, rg_request *r)
{
    struct json_object *o = json_object_new_object(), *folders = json_object_new_array();
    models_usage u = { .uploads = json_object_new_array() };

    models_walk(m, &u);
    for (const char *const *key = comfy_folder_keys; *key; key++) {
        struct json_object *folder = json_object_new_object(), *list = json_object_new_array();
        char **roots = rg_env_folders(m->options.env, *key), *source = rg_asprintf("models:%s", *key), **names = NULL;
        int n = 0;

        for (char **root = roots; root && *root; root++)
            json_object_array_add(list, json_object_new_string(*root));
        if (source && rg_env_list(m->options.env, source, &names) == 0)
            while (names[n])
                n++;
        put_text(folder, "name", *key);
        json_object_object_add(folder, "folders", list);
        json_object_object_add(folder, "files", json_object_new_int(n));
        json_object_object_add(folder, "uploads", json_object_new_boolean(models_is_folder(m, *key)));
        json_object_array_add(folders, folder);
        rg_names_free(names);
        rg_free(source);
        rg_names_free(roots);
    }
    json_object_object_add(o, "folders", folders);
    json_object_object_add(o, "bytes", json_object_new_uint64(u.bytes));
    json_object_object_add(o, "quota", m->options.has_quota ? json_object_new_uint64(m->options.quota_bytes) : NULL);
    json_object_object_add(o, "uploads", u.uploads);
    rg_respond_json(r, 200, o);
}

/* ---- deletion -------------------------------------------------------------------------------------------------------------------------- */

void models_changed(rg_models *m)
{
    if (m->executor)
        rg_executor_free_memory(m->executor, true, true);
}

/* Stop what is being uploaded to a name now. False: it did not let go in time. */
bool models_stop_upload(rg_models *m, const char *target)
{
    struct timespec until;
    bool is_free;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&m->lock);
    for (upload *u = m->uploads; u; u = u->next) {
        if (u->target && !strcmp(u->target, target)) {
            u->is_taken_over = true;
            rg_request_stop_reading(u->r);
        }
    }
    while (!(is_free = !is_active(m, target)) && pthread_cond_timedwait(&m->changed, &m->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&m->lock);
    return is_free;
}

/* Remove the unfinished uploads of a name, in any of the key's folders. Returns how many there were; -1: one is being written. */
static int delete_parts(rg_models *m, const char *key, const char *name, bool is_stopped)
{
    char **roots = rg_env_folders(m->options.env, key), file[256];
    int n = 0;

    for (char **root = roots; root && *root && n >= 0; root++) {
        const char *base;
        const int dir = rg_model_dir_open(*root, name, false, &base);
        char *target = dir >= 0 ? models_target(dir, base) : NULL;
        struct stat st;
        part_name p;

        if (target && !models_is_kept(m, *root)) {
            pthread_mutex_lock(&m->lock);
            const bool is_running = is_active(m, target);
            pthread_mutex_unlock(&m->lock);
            if (is_running && (!is_stopped || !models_stop_upload(m, target)))
                n = -1;
            while (n >= 0 && find_part(dir, base, &p, file, &st) && unlinkat(dir, file, 0) == 0)
                n++;
        }
        rg_free(target);
        if (dir >= 0)
            close(dir);
    }
    rg_names_free(roots);
    return n;
}

static void delete_model(rg_request *r, void *user)
{
    rg_models *m = user;
    const char *key = rg_request_param(r, 0), *name = rg_request_param(r, 1);
    const bool is_upload = models_flag(r, "upload");
    char text[1024];
    place p;
    int status = models_place(m, key, name, false, &p, text, sizeof(text));

    if ((status == 0 || status == 404) && models_is_folder(m, key)) {
        const int n = delete_parts(m, key, name, is_upload);

        if (n < 0) {
            status = 409;
            snprintf(text, sizeof(text), "%s/%s is being uploaded now; DELETE with ?upload=1 stops that", key, name);
        } else if (is_upload || (status == 404 && n)) {
            status = n ? 204 : 404;
            snprintf(text, sizeof(text), "there is no unfinished upload of %s/%s", key, name);
        }
    }
    if (!status && models_is_kept(m, p.root)) {
        status = 403;
        snprintf(text, sizeof(text), "%s belongs to the program and is never changed", p.root);
    } else if (!status && unlinkat(p.dir, p.base, 0) < 0) {
        status = errno == ENOENT ? 404 : errno == EROFS || errno == EACCES || errno == EPERM ? 403 : 500;
        snprintf(text, sizeof(text), "cannot delete %s/%s: %s", p.root, name, strerror(errno));
    } else if (!status) {
        rg_model_sha256_remove(p.dir, p.base);
        models_changed(m);
        status = 204;
    }
    place_release(&p);
    if (status == 204)
        rg_respond_empty(r, 204);
    else
        service_refuse(r, status, NULL, "%s", text);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------------- */

rg_models *rg_models_new(const rg_models_options *o)
{
    rg_models *m = rg_calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->options = *o;
    if (!(m->options.keep_seconds > 0))
        m->options.keep_seconds = 86400;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->admission, NULL);
    pthread_cond_init(&m->changed, NULL);
    return m;
}

void rg_models_start(rg_models *m, rg_server *s)
{
    m->server = s;
    models_add_comfy_routes(m);
    models_add_upload_routes(m);
    rg_server_route(s, "GET", "/models/{folder}/{name:.*}", RG_ROUTE_WORKER | RG_ROUTE_MODELS, get_model, m);
    rg_server_route(s, "DELETE", "/models/{folder}/{name:.*}", RG_ROUTE_WORKER | RG_ROUTE_MODELS, delete_model, m);
    m->has_janitor = pthread_create(&m->janitor, NULL, janitor_main, m) == 0;
}

void rg_models_set_executor(rg_models *m, rg_executor *x)
{
    m->executor = x;
}

void rg_models_stop(rg_models *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->is_stopping = true;
    pthread_cond_broadcast(&m->changed);
    for (upload *u = m->uploads; u; u = u->next)
        rg_request_stop_reading(u->r);
    while (m->n_uploads)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    if (m->has_janitor)
        pthread_join(m->janitor, NULL);
    m->has_janitor = false;
    m->executor = NULL;
}

void rg_models_free(rg_models *m)
{
    if (!m)
        return;
    rg_models_stop(m);
    for (int i = 0; i < MAX_SUMS; i++)
        rg_free(m->sums[i].target);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->admission);
    pthread_mutex_destroy(&m->lock);
    rg_free(m);
}
