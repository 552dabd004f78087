/* ComfyUI's own routes about models: /models, /experiment/models with its pictures, /view_metadata. Sources: server.py, app/model_manager.py. */
#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/media/picture.h"
#include "server/models_inside.h"

static void put_string(struct json_object *o, const char *key, const char *s)
{
    json_object_object_add(o, key, s ? json_object_new_string(s) : NULL);
}

static bool ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), n_end = strlen(end);

    return n >= n_end && !strcmp(name + n - n_end, end);
}

/* ---- lists ------------------------------------------------------------------------------------------------------------------ */

/* ComfyUI's answer, or with ?details=1 more about each folder, the bytes they take together, and unfinished uploads. */
static void get_models(rg_request *r, void *user)
{
    struct json_object *list;

    if (models_flag(r, "details")) {
        models_list_all(user, r);
        return;
    }
    list = json_object_new_array();
    for (const char *const *key = comfy_folder_keys; *key; key++)
        json_object_array_add(list, json_object_new_string(*key));
    rg_respond_json(r, 200, list);
}

static void get_models_folder(rg_request *r, void *user)
{
    rg_models *m = user;
    const char *key = rg_request_param(r, 0);
    struct json_object *list;
    char **names = NULL, *source;

    if (models_flag(r, "details") && models_is_folder(m, key)) {
        models_list_folder(m, r, key);
        return;
    }
    if (!comfy_is_folder_key(key)) {
        rg_respond_empty(r, 404);
        return;
    }
    source = rg_asprintf("models:%s", key);
    list = json_object_new_array();
    if (source && rg_env_list(m->options.env, source, &names) == 0)
        for (char **n = names; *n; n++)
            json_object_array_add(list, json_object_new_string(*n));
    rg_names_free(names);
    rg_free(source);
    rg_respond_json(r, 200, list);
}

static void get_experiment_models(rg_request *r, void *user)
{
    rg_models *m = user;
    struct json_object *list = json_object_new_array();

    for (const char *const *key = comfy_folder_keys; *key; key++) {
        struct json_object *o, *folders;
        char **roots;

        if (!strcmp(*key, "configs") || !strcmp(*key, "custom_nodes"))
            continue;
        o = json_object_new_object();
        folders = json_object_new_array();
        roots = rg_env_folders(m->options.env, *key);
        for (char **root = roots; root && *root; root++)
            json_object_array_add(folders, json_object_new_string(*root));
        rg_names_free(roots);
        put_string(o, "name", *key);
        json_object_object_add(o, "folders", folders);
        json_object_array_add(list, o);
    }
    rg_respond_json(r, 200, list);
}

/* Nothing hidden, and files of these kinds alone; a name in two folders stands twice. */
static void list_experiment(struct json_object *list, const char *dir, const char *prefix, int index, int depth)
{
    static const char *const extensions[] = { ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft" };
    DIR *d = depth < 24 ? opendir(dir) : NULL;      /* a link that leads back up ends somewhere */

    for (struct dirent *e; d && (e = readdir(d)); ) {
        const char *dot = strrchr(e->d_name, '.');
        struct stat st;
        bool is_model = false;

        if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            char *sub = rg_asprintf("%s/%s", dir, e->d_name), *sub_prefix = rg_asprintf("%s%s/", prefix, e->d_name);

            if (sub && sub_prefix)
                list_experiment(list, sub, sub_prefix, index, depth + 1);
            rg_free(sub);
            rg_free(sub_prefix);
            continue;
        }
        for (size_t i = 0; dot && i < sizeof(extensions) / sizeof(extensions[0]); i++)
            is_model |= !strcasecmp(dot, extensions[i]);
        if (!is_model)
            continue;
        struct json_object *o = json_object_new_object();
        char *name = rg_asprintf("%s%s", prefix, e->d_name);
        put_string(o, "name", name);
        json_object_object_add(o, "pathIndex", json_object_new_int(index));
        json_object_object_add(o, "modified", json_object_new_double((double)st.st_mtim.tv_sec + 1e-9 * (double)st.st_mtim.tv_nsec));
        json_object_object_add(o, "created", json_object_new_double((double)st.st_ctim.tv_sec + 1e-9 * (double)st.st_ctim.tv_nsec));
        json_object_object_add(o, "size", json_object_new_int64(st.st_size));
        json_object_array_add(list, o);
        rg_free(name);
    }
    if (d)
        closedir(d);
}

static void get_experiment_folder(rg_request *r, void *user)
{
    rg_models *m = user;
    const char *key = rg_request_param(r, 0);
    struct json_object *list;
    char **roots;

    if (!comfy_is_folder_key(key)) {
        rg_respond_empty(r, 404);
        return;
    }
    list = json_object_new_array();
    roots = rg_env_folders(m->options.env, key);
    for (int i = 0; roots && roots[i]; i++)
        list_experiment(list, roots[i], "", i, 0);
    rg_names_free(roots);
    rg_respond_json(r, 200, list);
}

/* ---- headers ------------------------------------------------------------------------------------------------------------------ */

/* The JSON header of a safetensors file of at most `most` bytes; NULL when there is none. */
static struct json_object *read_header(const char *path, uint64_t most)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct json_object *root = NULL;
    unsigned char first[8];
    char *text = NULL, error[128];
    uint64_t n = 0;

    if (fd >= 0 && read(fd, first, 8) == 8) {
        for (int i = 7; i >= 0; i--)
            n = n << 8 | first[i];
        if (n <= most && (text = rg_malloc((size_t)n + 1)) && pread(fd, text, (size_t)n, 8) == (ssize_t)n &&
            rg_json_read(text, (size_t)n, 16, &root, error, sizeof(error)) < 0)
            root = NULL;
    }
    if (fd >= 0)
        close(fd);
    rg_free(text);
    return root;
}

static void get_view_metadata(rg_request *r, void *user)
{
    rg_models *m = user;
    const char *name = rg_request_query(r, "filename"), *key = rg_request_param(r, 0);
    char *path = NULL, text[256];
    struct json_object *root = NULL, *metadata;

    if (name && comfy_is_folder_key(key) && ends_in(name, ".safetensors") &&
        rg_env_model_path(m->options.env, key, name, &path, text, sizeof(text)) == 0)
        root = read_header(path, 1 << 20);
    metadata = comfy_get(root, "__metadata__");
    if (metadata)
        rg_respond_json(r, 200, json_object_get(metadata));
    else
        rg_respond_empty(r, 404);
    json_object_put(root);
    rg_free(path);
}

/* ---- pictures of models ---------------------------------------------------------------------------------------------------------- */

static bool is_picture_name(const char *name)
{
    return !strncmp(rg_content_type(name), "image/", 6);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A model's cover from its header: ssmd_cover_images is a JSON list, as text, of pictures in base64. */
static rg_picture *header_cover(rg_ctx *c, const char *path)
{
    struct json_object *root = read_header(path, 8 << 20), *covers = NULL;
    const char *text = comfy_get_string(comfy_get(root, "__metadata__"), "ssmd_cover_images"), *base64 = NULL;
    EVP_ENCODE_CTX *decoder = EVP_ENCODE_CTX_new();
    rg_picture *p = NULL;
    unsigned char *bytes = NULL;
    char error[128];
    int n = 0, n_last = 0;

    if (text && rg_json_read(text, strlen(text), 8, &covers, error, sizeof(error)) == 0 && json_object_is_type(covers, json_type_array) &&
        json_object_array_length(covers) > 0)
        base64 = json_object_get_string(json_object_array_get_idx(covers, 0));
    if (base64 && decoder && (bytes = rg_malloc(strlen(base64) / 4 * 3 + 8))) {
        EVP_DecodeInit(decoder);
        if (EVP_DecodeUpdate(decoder, bytes, &n, (const unsigned char *)base64, (int)strlen(base64)) < 0 ||
            EVP_DecodeFinal(decoder, bytes + n, &n_last) < 0 || rg_picture_decode(c, bytes, (size_t)(n + n_last), &p) < 0)
            p = NULL;
    }
    rg_free(bytes);
    EVP_ENCODE_CTX_free(decoder);
    json_object_put(covers);
    json_object_put(root);
    return p;
}

/*
 * The first of: pictures beside the model, STEM.png or STEM.preview.png and the like, in the order of their names; the cover in the header
 * of STEM.safetensors. A file that is no picture ends the search, as with ComfyUI.
 */
static rg_picture *find_preview(rg_ctx *c, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash + 1, *dot = strrchr(base, '.');
    const size_t n_stem = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    char *dir_path = rg_strndup(path, (size_t)(slash - path)), *names[64], *cover = NULL, *found = NULL;
    DIR *d = dir_path ? opendir(dir_path) : NULL;
    rg_picture *p = NULL;
    int n = 0;

    for (struct dirent *e; d && n < 64 && (e = readdir(d)); ) {
        const char *end = e->d_name + n_stem, *last = strrchr(e->d_name, '.');

        if (strncmp(e->d_name, base, n_stem) || *end != '.')
            continue;
        if (is_picture_name(e->d_name) && (last == end || (!strncmp(end, ".preview", 8) && last == end + 8))) {
            if ((names[n] = rg_strdup(e->d_name)))
                n++;
        } else if (!cover && ends_in(e->d_name, ".safetensors")) {
            cover = rg_asprintf("%s/%s", dir_path, e->d_name);
        }
    }
    if (d)
        closedir(d);
    qsort(names, (size_t)n, sizeof(*names), by_name);
    if (n && (found = rg_asprintf("%s/%s", dir_path, names[0]))) {
        if (rg_picture_load(c, found, &p) < 0)
            p = NULL;
    } else if (cover) {
        p = header_cover(c, cover);
    }
    while (n)
        rg_free(names[--n]);
    rg_free(found);
    rg_free(cover);
    rg_free(dir_path);
    return p;
}

/* The index-th folder of a key, from the end when negative, as Python counts; NULL when there is none. rg_free() it. */
static char *folder_at(rg_models *m, const char *key, long index)
{
    char **roots = rg_env_folders(m->options.env, key), *root = NULL;
    long n = 0;

    while (roots && roots[n])
        n++;
    if (index < 0)
        index += n;
    if (index >= 0 && index < n)
        root = rg_strdup(roots[index]);
    rg_names_free(roots);
    return root;
}

static void get_preview(rg_request *r, void *user)
{
    rg_models *m = user;
    const char *key = rg_request_param(r, 0), *index_text = rg_request_param(r, 1), *name = rg_request_param(r, 2);
    char *end, *root = NULL, *path = NULL;
    const long index = strtol(index_text, &end, 10);
    rg_ctx *c = NULL;
    rg_picture *p = NULL;
    uint8_t *pixels = NULL, *bytes = NULL;
    size_t n_bytes = 0;
    int channels;

    if (!*index_text || *end) {
        rg_respond_error(r, 500);
        return;
    }
    if (!comfy_is_folder_key(key)) {
        rg_respond_empty(r, 404);
        return;
    }
    if (!(root = folder_at(m, key, index))) {
        rg_respond_error(r, 500);
        return;
    }
    /* ComfyUI would follow a name out of the folder */
    if ((path = comfy_path_inside(root, NULL, name)) && strlen(path) > strlen(root) + 1 && (c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL)))
        p = find_preview(c, path);
    if (p) {
        const size_t n = (size_t)(p->width * p->height);

        channels = p->alpha ? 4 : 3;
        if ((pixels = rg_malloc(n * (size_t)channels + 1))) {
            for (size_t i = 0; i < n; i++) {
                memcpy(pixels + i * (size_t)channels, p->rgb + 3 * i, 3);
                if (p->alpha)
                    pixels[4 * i + 3] = p->alpha[i];
            }
            if (rg_webp_encode(c, pixels, p->width, p->height, channels, 80, false, NULL, 0, &bytes, &n_bytes) < 0)
                bytes = NULL;
        }
    }
    if (bytes)
        rg_respond(r, 200, "image/webp", bytes, n_bytes);
    else
        rg_respond_empty(r, 404);
    rg_free(bytes);
    rg_free(pixels);
    rg_picture_free(p);
    rg_ctx_free(c);
    rg_free(path);
    rg_free(root);
}

void models_add_comfy_routes(rg_models *m)
{
    rg_server *s = m->server;

    rg_server_route(s, "GET", "/models", RG_ROUTE_WORKER | RG_ROUTE_MODELS, get_models, m);
    rg_server_route(s, "GET", "/models/{folder}", RG_ROUTE_WORKER | RG_ROUTE_MODELS, get_models_folder, m);
    rg_server_route(s, "GET", "/experiment/models", RG_ROUTE_WORKER, get_experiment_models, m);
    rg_server_route(s, "GET", "/experiment/models/{folder}", RG_ROUTE_WORKER, get_experiment_folder, m);
    rg_server_route(s, "GET", "/experiment/models/preview/{folder}/{path_index}/{filename:.*}", RG_ROUTE_WORKER, get_preview, m);
    rg_server_route(s, "GET", "/view_metadata/{folder}", RG_ROUTE_WORKER, get_view_metadata, m);
}
