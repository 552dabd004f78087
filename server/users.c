/*
 * Users, settings and userdata: files under the user folder, one profile folder per user. Without --multi-user there is one user,
 * "default". Names protect nothing; they only choose a folder (ComfyUI app/user_manager.py, v0.3.64).
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/comfy_inside.h"

static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;     /* settings are read, changed and written as one */

static char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    struct stat st;

    if (f && fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size < (64 << 20) && (text = rg_malloc((size_t)st.st_size + 1))) {
        *n = fread(text, 1, (size_t)st.st_size, f);
        text[*n] = '\0';
    }
    if (f)
        fclose(f);
    return text;
}

static struct json_object *read_json(const char *path)
{
    struct json_object *v = NULL;
    char error[128], *text;
    size_t n = 0;

    if ((text = read_all(path, &n)) && rg_json_read(text, n, 64, &v, error, sizeof(error)) < 0)
        v = NULL;
    rg_free(text);
    return json_object_is_type(v, json_type_object) ? v : (json_object_put(v), NULL);
}

/* False with the reason in errno. */
static bool write_file(const char *path, const void *bytes, size_t n)
{
    char *folder = rg_strdup(path), text[512], *slash = folder ? strrchr(folder, '/') : NULL;
    bool is_written = false;

    if (slash) {
        *slash = '\0';
        is_written = rg_env_make_folders(folder) == 0 && rg_env_write_file(path, bytes, n, text, sizeof(text)) == 0;
    }
    const int reason = errno;
    rg_free(folder);
    errno = reason;
    return is_written;
}

/* ---- who --------------------------------------------------------------------------------------------------------------------------- */

/* The profile folder of the request's user; rg_free() it. NULL: unknown user. */
static char *profile(rg_comfy *f, rg_request *r)
{
    const char *name = rg_request_header(r, "comfy-user");
    char *path, *list;

    if (!f->options.is_multi_user)
        return comfy_path_inside(f->options.user_dir, NULL, "default");
    if (!name)
        name = "default";               /* who is none of those in the list, unless somebody put it there */
    list = rg_asprintf("%s/users.json", f->options.user_dir);
    struct json_object *users = list ? read_json(list) : NULL;
    path = comfy_get(users, name) ? comfy_path_inside(f->options.user_dir, NULL, name) : NULL;
    json_object_put(users);
    rg_free(list);
    return path && strcmp(path, f->options.user_dir) ? path : (rg_free(path), NULL);
}

static void get_users(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = json_object_new_object();
    char *path;
    struct stat st;

    json_object_object_add(body, "storage", json_object_new_string("server"));
    if (f->options.is_multi_user) {
        path = rg_asprintf("%s/users.json", f->options.user_dir);
        struct json_object *users = path ? read_json(path) : NULL;
        if (!users)
            users = json_object_new_object();
        json_object_object_add(body, "users", users);
    } else {
        path = profile(f, r);
        json_object_object_add(body, "migrated", json_object_new_boolean(path && stat(path, &st) == 0));
    }
    rg_free(path);
    rg_respond_json(r, 200, body);
}

static void post_users(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = NULL, *users = NULL, *answer;
    const char *name;
    unsigned char random[16];
    rg_text id = { 0 };
    char *path = rg_asprintf("%s/users.json", f->options.user_dir), *text = NULL;

    pthread_mutex_lock(&files_lock);
    if (!path || !rg_request_json(r, &body) || !(name = comfy_get_string(body, "username")) || strspn(name, " \t\r\n") == strlen(name) ||
        getrandom(random, sizeof(random), 0) != sizeof(random)) {
        rg_respond_error(r, 500);
        goto done;
    }
    if (!(users = read_json(path)))
        users = json_object_new_object();
    json_object_object_foreach(users, key, value) {
        (void)key;
        if (json_object_is_type(value, json_type_string) && !strcmp(json_object_get_string(value), name)) {
            answer = json_object_new_object();
            json_object_object_add(answer, "error", json_object_new_string("Duplicate username."));
            rg_respond_json(r, 400, answer);
            goto done;
        }
    }
    bool was_other = false;
    for (const char *p = name; *p; p++) {
        const bool is_plain = isalnum((unsigned char)*p) || *p == '-' || *p == '_';

        if (is_plain)
            rg_text_add_bytes(&id, p, 1);
        else if (!was_other)
            rg_text_add(&id, "-");
        was_other = !is_plain;
    }
    random[6] = (random[6] & 15) | 64;
    random[8] = (random[8] & 63) | 128;
    rg_text_add(&id, "_");
    for (int i = 0; i < 16; i++)
        rg_text_format(&id, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", random[i]);
    if (id.is_failed) {
        rg_respond_error(r, 500);
        goto done;
    }
    json_object_object_add(users, id.data, json_object_new_string(name));
    if (!(text = rg_json_dump(users, 0)) || !write_file(path, text, strlen(text)))
        rg_respond_error(r, 500);
    else
        rg_respond_json(r, 200, json_object_new_string(id.data));
done:
    pthread_mutex_unlock(&files_lock);
    rg_text_release(&id);
    rg_free(text);
    rg_free(path);
    json_object_put(users);
    json_object_put(body);
}

/* ---- settings --------------------------------------------------------------------------------------------------------------------------- */

/* Settings of the request's user as an object (new when there are none); *path is the file's. NULL: answered with 401. */
static struct json_object *open_settings(rg_comfy *f, rg_request *r, char **path)
{
    char *folder = profile(f, r);
    struct json_object *settings;

    *path = folder ? rg_asprintf("%s/comfy.settings.json", folder) : NULL;
    rg_free(folder);
    if (!*path) {
        rg_respond_error(r, 401);
        return NULL;
    }
    settings = read_json(*path);
    return settings ? settings : json_object_new_object();
}

static void get_settings(rg_request *r, void *user)
{
    char *path;
    struct json_object *settings = open_settings(user, r, &path);

    if (settings)
        rg_respond_json(r, 200, settings);
    rg_free(path);
}

static void get_setting(rg_request *r, void *user)
{
    char *path;
    struct json_object *settings = open_settings(user, r, &path);

    if (settings) {
        rg_respond_json(r, 200, json_object_get(comfy_get(settings, rg_request_param(r, 0))));
        json_object_put(settings);
    }
    rg_free(path);
}

static void save_settings(rg_request *r, struct json_object *settings, const char *path)
{
    char *text = rg_json_dump(settings, 4);

    errno = ENOMEM;
    if (text && write_file(path, text, strlen(text)))
        rg_respond_empty(r, 200);
    else
        comfy_refuse_file(r, "comfy.settings.json", errno);
    rg_free(text);
}

static void post_settings(rg_request *r, void *user)
{
    struct json_object *body = NULL, *settings;
    char *path = NULL;

    if (!rg_request_json(r, &body) || !json_object_is_type(body, json_type_object)) {
        json_object_put(body);
        rg_respond_error(r, 500);
        return;
    }
    pthread_mutex_lock(&files_lock);
    if ((settings = open_settings(user, r, &path))) {
        json_object_object_foreach(body, key, value)
            json_object_object_add(settings, key, json_object_get(value));
        save_settings(r, settings, path);
        json_object_put(settings);
    }
    pthread_mutex_unlock(&files_lock);
    json_object_put(body);
    rg_free(path);
}

static void post_setting(rg_request *r, void *user)
{
    struct json_object *body = NULL, *settings;
    char *path = NULL;

    if (!rg_request_json(r, &body)) {
        rg_respond_error(r, 500);
        return;
    }
    pthread_mutex_lock(&files_lock);
    if ((settings = open_settings(user, r, &path))) {
        json_object_object_add(settings, rg_request_param(r, 0), json_object_get(body));
        save_settings(r, settings, path);
        json_object_put(settings);
    }
    pthread_mutex_unlock(&files_lock);
    json_object_put(body);
    rg_free(path);
}

/* ---- userdata ------------------------------------------------------------------------------------------------------------------------------ */

static bool is_true(const char *s)
{
    return s && !strcasecmp(s, "true");
}

static struct json_object *file_info(const char *shown, const struct stat *st)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "path", json_object_new_string(shown));
    json_object_object_add(o, "size", json_object_new_int64(st->st_size));
    json_object_object_add(o, "modified", json_object_new_double((double)st->st_mtim.tv_sec + 1e-9 * (double)st->st_mtim.tv_nsec));
    json_object_object_add(o, "created", json_object_new_double((double)st->st_ctim.tv_sec + 1e-9 * (double)st->st_ctim.tv_nsec));
    return o;
}

typedef struct listing {
    struct json_object *list;
    bool is_recursive, has_info, is_split, is_tree;
    int n;
} listing;

static int by_kind_and_name(const struct dirent **a, const struct dirent **b)
{
    return strcasecmp((*a)->d_name, (*b)->d_name);
}

static void add_file(listing *l, const char *shown, const struct stat *st)
{
    if (l->has_info) {
        json_object_array_add(l->list, file_info(shown, st));
    } else if (l->is_split) {
        struct json_object *parts = json_object_new_array();
        char *copy = rg_strdup(shown), *rest = copy;

        json_object_array_add(parts, json_object_new_string(shown));
        for (char *part; (part = strsep(&rest, "/")); )
            json_object_array_add(parts, json_object_new_string(part));
        json_object_array_add(l->list, parts);
        rg_free(copy);
    } else {
        json_object_array_add(l->list, json_object_new_string(shown));
    }
}

/* Entries below dir, named by their path from where the listing began. */
static void list_dir(listing *l, const char *dir, const char *prefix, int depth)
{
    struct dirent **entries = NULL;
    const int n = scandir(dir, &entries, NULL, by_kind_and_name);

    for (int pass = 0; pass < 2; pass++) {      /* folders first in a tree, files first elsewhere */
        for (int i = 0; i < n; i++) {
            const char *name = entries[i]->d_name;
            char *path, *shown;
            struct stat st;

            if (!strcmp(name, ".") || !strcmp(name, "..") || (*name == '.' && !l->is_tree) || l->n > 100000)
                continue;
            path = rg_asprintf("%s/%s", dir, name);
            shown = rg_asprintf("%s%s%s", prefix, *prefix ? "/" : "", name);
            if (path && shown && stat(path, &st) == 0) {
                const bool is_dir = S_ISDIR(st.st_mode), is_turn = is_dir == ((pass == 0) == l->is_tree);

                if (is_turn && is_dir) {
                    if (l->is_tree) {
                        struct json_object *o = json_object_new_object();
                        json_object_object_add(o, "name", json_object_new_string(name));
                        json_object_object_add(o, "path", json_object_new_string(shown));
                        json_object_object_add(o, "type", json_object_new_string("directory"));
                        json_object_array_add(l->list, o);
                    }
                    if (l->is_recursive && depth < 24)
                        list_dir(l, path, shown, depth + 1);
                    l->n++;
                } else if (is_turn && S_ISREG(st.st_mode)) {
                    if (l->is_tree) {
                        struct json_object *o = json_object_new_object();
                        json_object_object_add(o, "name", json_object_new_string(name));
                        json_object_object_add(o, "path", json_object_new_string(shown));
                        json_object_object_add(o, "type", json_object_new_string("file"));
                        json_object_object_add(o, "size", json_object_new_int64(st.st_size));
                        json_object_object_add(o, "modified", json_object_new_double((double)st.st_mtim.tv_sec + 1e-9 * (double)st.st_mtim.tv_nsec));
                        json_object_array_add(l->list, o);
                    } else {
                        add_file(l, shown, &st);
                    }
                    l->n++;
                }
            }
            rg_free(path);
            rg_free(shown);
        }
    }
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
}

/* Directories first, then by lower-case name, over the whole tree. */
static int by_type_and_name(const void *a, const void *b)
{
    struct json_object *x = *(struct json_object *const *)a, *y = *(struct json_object *const *)b;
    const int types = strcmp(comfy_get_string(x, "type"), comfy_get_string(y, "type"));

    return types ? types : strcasecmp(comfy_get_string(x, "name"), comfy_get_string(y, "name"));
}

/* ROOT/NAME of a query: decoded once more if it still holds a "%", as ComfyUI does. NULL: it leads out. */
static char *path_of_query(const char *root, const char *name)
{
    char *decoded = rg_malloc(strlen(name) + 1), *path = NULL;

    if (decoded && rg_percent_decode(name, strlen(name), false, decoded))
        path = comfy_path_inside(root, NULL, decoded);
    rg_free(decoded);
    return path;
}

static void get_userdata(rg_request *r, void *user)
{
    const char *dir = rg_request_query(r, "dir");
    char *root, *path = NULL;
    struct stat st;

    if (!dir || !*dir) {
        rg_respond_text(r, 400, "Directory not provided");
        return;
    }
    if (!(root = profile(user, r)))
        rg_respond_error(r, 500);
    else if (!(path = path_of_query(root, dir)))
        rg_respond_text(r, 403, "Invalid directory");
    else if (stat(path, &st) < 0)
        rg_respond_text(r, 404, "Directory not found");
    else {
        listing l = { .list = json_object_new_array(), .is_recursive = is_true(rg_request_query(r, "recurse")),
                      .has_info = is_true(rg_request_query(r, "full_info")), .is_split = is_true(rg_request_query(r, "split")) };
        list_dir(&l, path, "", 0);
        rg_respond_json(r, 200, l.list);
    }
    rg_free(path);
    rg_free(root);
}

static void get_userdata_v2(rg_request *r, void *user)
{
    const char *sub = rg_request_query(r, "path");
    char *root = profile(user, r), *path = NULL;
    struct stat st;

    if (!root) {
        rg_respond_text(r, 403, "Invalid user specified in request");
        return;
    }
    path = path_of_query(root, sub ? sub : "");
    if (!path)
        rg_respond_text(r, 400, "Invalid path requested");
    else if (stat(path, &st) < 0) {
        if (!sub || !*sub)
            rg_respond_json_text(r, 200, rg_strdup("[]"));
        else
            rg_respond_text(r, 404, "Requested path not found");
    } else if (!S_ISDIR(st.st_mode))
        rg_respond_text(r, 400, "Requested path is not a directory");
    else {
        listing l = { .list = json_object_new_array(), .is_recursive = true, .is_tree = true };
        const char *shown = path + strlen(root);
        list_dir(&l, path, *shown == '/' ? shown + 1 : shown, 0);
        json_object_array_sort(l.list, by_type_and_name);
        rg_respond_json(r, 200, l.list);
    }
    rg_free(path);
    rg_free(root);
}

/* The file a parameter names, decoded once more if it still holds a "%"; *root is the profile's. NULL: answered. */
static char *userdata_path(rg_comfy *f, rg_request *r, const char *param, char **root)
{
    char *decoded, *path;

    *root = NULL;
    if (!param || !*param) {
        rg_respond_empty(r, 400);
        return NULL;
    }
    if (!(*root = profile(f, r)) || !(decoded = rg_malloc(strlen(param) + 1))) {
        rg_respond_error(r, 500);
        return NULL;
    }
    const bool is_good = rg_percent_decode(param, strlen(param), false, decoded);
    path = is_good ? comfy_path_inside(*root, NULL, decoded) : NULL;
    rg_free(decoded);
    if (!path || !strcmp(path, *root)) {
        rg_free(path);
        rg_respond_empty(r, 403);
        return NULL;
    }
    return path;
}

static void respond_stored(rg_request *r, const char *root, const char *path)
{
    const char *shown = path + strlen(root) + 1;
    struct stat st;

    if (is_true(rg_request_query(r, "full_info")) && stat(path, &st) == 0)
        rg_respond_json(r, 200, file_info(shown, &st));
    else
        rg_respond_json(r, 200, json_object_new_string(shown));
}

static bool may_overwrite(rg_request *r)
{
    const char *v = rg_request_query(r, "overwrite");

    return !v || strcmp(v, "false");
}

static void get_userdata_file(rg_request *r, void *user)
{
    char *root, *path = userdata_path(user, r, rg_request_param(r, 0), &root);
    struct stat st;

    if (path && stat(path, &st) < 0)
        rg_respond_empty(r, 404);
    else if (path) {
        const char *type = rg_content_type(path);

        rg_respond_header(r, "X-Content-Type-Options", "nosniff");
        rg_respond_file(r, path, !strcmp(type, "text/css") ? type : rg_data_type(path));    /* the web client's page has a user.css */
    }
    rg_free(path);
    rg_free(root);
}

static void post_userdata_file(rg_request *r, void *user)
{
    char *root, *path = userdata_path(user, r, rg_request_param(r, 0), &root);
    size_t n;
    const char *body = rg_request_body(r, &n);

    if (path && !may_overwrite(r) && access(path, F_OK) == 0)
        rg_respond_text(r, 409, "File already exists");
    else if (path && !write_file(path, body, n)) {
        if (errno == EINVAL || errno == ENAMETOOLONG || errno == EISDIR || errno == ENOTDIR)
            rg_respond_text(r, 400, "The file cannot be written");
        else
            comfy_refuse_file(r, strrchr(path, '/') + 1, errno);
    } else if (path)
        respond_stored(r, root, path);
    rg_free(path);
    rg_free(root);
}

static void delete_userdata_file(rg_request *r, void *user)
{
    char *root, *path = userdata_path(user, r, rg_request_param(r, 0), &root);
    struct stat st;

    if (path && stat(path, &st) < 0)
        rg_respond_empty(r, 404);
    else if (path && unlink(path) < 0)
        rg_respond_error(r, 500);
    else if (path)
        rg_respond_empty(r, 204);
    rg_free(path);
    rg_free(root);
}

static void move_userdata_file(rg_request *r, void *user)
{
    char *root, *root2 = NULL, *to = NULL, *from = userdata_path(user, r, rg_request_param(r, 0), &root);
    struct stat st;

    if (from && stat(from, &st) < 0)
        rg_respond_empty(r, 404);
    else if (from && (to = userdata_path(user, r, rg_request_param(r, 1), &root2))) {
        char *folder = rg_strdup(to), *slash = folder ? strrchr(folder, '/') : NULL;
        /* onto a folder is into it, under its own name; what is there already stays */
        const bool is_into = stat(to, &st) == 0 && S_ISDIR(st.st_mode);
        char *inner = is_into ? rg_asprintf("%s%s", to, strrchr(from, '/')) : NULL;
        const bool is_taken = inner && access(inner, F_OK) == 0;

        if (slash)
            *slash = '\0';
        if (!may_overwrite(r) && access(to, F_OK) == 0)
            rg_respond_text(r, 409, "File already exists");
        else if (!slash || is_taken || (is_into && !inner) || rg_env_make_folders(folder) < 0 || rename(from, inner ? inner : to) < 0)
            rg_respond_error(r, 500);
        else
            respond_stored(r, root, to);
        rg_free(inner);
        rg_free(folder);
    }
    rg_free(from);
    rg_free(to);
    rg_free(root);
    rg_free(root2);
}

/* ---- /internal/files ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct dated {
    char *name;
    struct timespec time;
} dated;

static int newest_first(const void *a, const void *b)
{
    const struct timespec x = ((const dated *)a)->time, y = ((const dated *)b)->time;

    return x.tv_sec != y.tv_sec ? (x.tv_sec < y.tv_sec) - (x.tv_sec > y.tv_sec) : (x.tv_nsec < y.tv_nsec) - (x.tv_nsec > y.tv_nsec);
}

static void get_internal_files(rg_request *r, void *user)
{
    const char *folder = comfy_folder(user, rg_request_param(r, 0));
    struct json_object *list;
    dated *files = NULL;
    int n = 0, capacity = 0;
    DIR *d;

    if (!folder) {
        rg_respond_json_text(r, 400, rg_strdup("{\"error\": \"Invalid directory type\"}"));
        return;
    }
    d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        struct stat st;

        if (fstatat(dirfd(d), e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
            continue;
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            dated *grown = rg_realloc(files, (size_t)capacity * sizeof(*files));
            if (!grown)
                break;
            files = grown;
        }
        files[n++] = (dated){ rg_strdup(e->d_name), st.st_mtim };
    }
    if (d)
        closedir(d);
    if (n)
        qsort(files, (size_t)n, sizeof(*files), newest_first);
    list = json_object_new_array();
    for (int i = 0; i < n; i++) {
        if (files[i].name)
            json_object_array_add(list, json_object_new_string(files[i].name));
        rg_free(files[i].name);
    }
    rg_free(files);
    rg_respond_json(r, 200, list);
}

void comfy_add_user_routes(rg_comfy *f)
{
    rg_server *s = f->server;

    rg_server_route(s, "GET", "/users", RG_ROUTE_WORKER, get_users, f);
    rg_server_route(s, "POST", "/users", RG_ROUTE_WORKER, post_users, f);
    rg_server_route(s, "GET", "/settings", RG_ROUTE_WORKER, get_settings, f);
    rg_server_route(s, "POST", "/settings", RG_ROUTE_WORKER, post_settings, f);
    rg_server_route(s, "GET", "/settings/{id}", RG_ROUTE_WORKER, get_setting, f);
    rg_server_route(s, "POST", "/settings/{id}", RG_ROUTE_WORKER, post_setting, f);
    rg_server_route(s, "GET", "/userdata", RG_ROUTE_WORKER, get_userdata, f);
    rg_server_route(s, "GET", "/v2/userdata", RG_ROUTE_WORKER, get_userdata_v2, f);
    rg_server_route(s, "GET", "/userdata/{file}", RG_ROUTE_WORKER, get_userdata_file, f);
    rg_server_route(s, "POST", "/userdata/{file}", RG_ROUTE_WORKER, post_userdata_file, f);
    rg_server_route(s, "DELETE", "/userdata/{file}", RG_ROUTE_WORKER, delete_userdata_file, f);
    rg_server_route(s, "POST", "/userdata/{file}/move/{dest}", RG_ROUTE_WORKER, move_userdata_file, f);
    rg_server_route(s, "GET", "/internal/files/{type}", RG_ROUTE_NO_TWIN | RG_ROUTE_WORKER, get_internal_files, f);
}
