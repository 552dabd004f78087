/* What the server tells about itself: /object_info, /system_stats, /features, /embeddings, /models and the small lists. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "engine/weights/safetensors.h"
#include "engine/core/pool.h"
#include "engine/ops/backend.h"
#include "server/comfy_inside.h"

/* Folder keys in ComfyUI's order. */
const char *const comfy_folder_keys[] = {
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models", "embeddings",
    "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "custom_nodes", "hypernetworks", "photomaker",
    "classifiers", "model_patches", "audio_encoders", NULL
};

bool comfy_is_folder_key(const char *key)
{
    for (const char *const *k = comfy_folder_keys; *k; k++)
        if (!strcmp(*k, key))
            return true;
    return false;
}

static void put_string(struct json_object *o, const char *key, const char *s)
{
    json_object_object_add(o, key, s ? json_object_new_string(s) : NULL);
}

static void get_object_info(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *info = rg_object_info(f->options.env, rg_request_param(r, 0));

    if (info)
        rg_respond_json(r, 200, info);
    else
        rg_respond_error(r, 500);
}

static void get_system_stats(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *body = json_object_new_object(), *system = json_object_new_object(), *devices = json_object_new_array();
    struct json_object *device = json_object_new_object(), *argv = json_object_new_array();
    const bool is_cuda = f->options.device->type == RG_CUDA;
    struct sysinfo s = { 0 };
    char name[192] = "cpu";

    sysinfo(&s);
    const int64_t total = (int64_t)s.totalram * s.mem_unit, available = (int64_t)rg_available_bytes();
    int64_t vram_total = total, vram_free = available, held = total, held_free = available;

    put_string(system, "os", "posix");
    json_object_object_add(system, "ram_total", json_object_new_int64(total));
    json_object_object_add(system, "ram_free", json_object_new_int64(available));
    put_string(system, "comfyui_version", "0.3.64");    /* whose API this is */
    put_string(system, "required_frontend_version", "1.27.10");
    put_string(system, "installed_templates_version", NULL);
    put_string(system, "required_templates_version", "0.1.94");
    put_string(system, "python_version", "none (rylagraph " RG_VERSION ")");
    put_string(system, "pytorch_version", "none (rylagraph " RG_VERSION ")");
    json_object_object_add(system, "embedded_python", json_object_new_boolean(false));
    for (int i = 0; i < f->options.argc; i++)
        json_object_array_add(argv, json_object_new_string(f->options.argv[i]));
    json_object_object_add(system, "argv", argv);
    json_object_object_add(body, "system", system);
    if (is_cuda) {                      /* in ComfyUI's words: the device, its name, who hands out its memory */
        const rg_backend *backend = rg_backend_cuda();
        rg_device_info d = { .name = "unknown" };

        if (backend && backend->describe)
            backend->describe(f->options.device->index, &d);
        snprintf(name, sizeof(name), "cuda:%d %s : native", f->options.device->index, d.name);
        vram_total = d.n_bytes;
        vram_free = d.n_free;
        held = f->options.pool ? (int64_t)rg_pool_bytes(f->options.pool) : 0;
        held_free = 0;                  /* what the pool keeps waiting is not told apart */
    }
    put_string(device, "name", name);
    put_string(device, "type", is_cuda ? "cuda" : "cpu");
    json_object_object_add(device, "index", is_cuda ? json_object_new_int(f->options.device->index) : NULL);
    json_object_object_add(device, "vram_total", json_object_new_int64(vram_total));
    json_object_object_add(device, "vram_free", json_object_new_int64(vram_free));
    json_object_object_add(device, "torch_vram_total", json_object_new_int64(held));
    json_object_object_add(device, "torch_vram_free", json_object_new_int64(held_free));
    json_object_array_add(devices, device);
    json_object_object_add(body, "devices", devices);
    rg_respond_json(r, 200, body);
}

static void get_features(rg_request *r, void *user)
{
    rg_respond_json_text(r, 200, comfy_features_text(user));
}

/* ---- models ------------------------------------------------------------------------------------------------------------------------ */

static char **list_key(rg_comfy *f, const char *key)
{
    char *source = rg_asprintf("models:%s", key), **names = NULL;

    if (!source || rg_env_list(f->options.env, source, &names) < 0)
        names = NULL;
    rg_free(source);
    return names;
}

static void get_embeddings(rg_request *r, void *user)
{
    char **names = list_key(user, "embeddings");
    struct json_object *list = json_object_new_array();

    for (char **n = names; n && *n; n++) {
        char *dot = strrchr(*n, '.');

        if (dot && !strchr(dot, '/'))
            *dot = '\0';
        json_object_array_add(list, json_object_new_string(*n));
    }
    rg_names_free(names);
    rg_respond_json(r, 200, list);
}

static struct json_object *folders_of(rg_comfy *f, const char *key)
{
    struct json_object *list = json_object_new_array();
    char **folders = rg_env_folders(f->options.env, key);

    for (char **path = folders; path && *path; path++)
        json_object_array_add(list, json_object_new_string(*path));
    rg_names_free(folders);
    return list;
}

/* ---- small ones ------------------------------------------------------------------------------------------------------------------------- */

/* Scripts below DIR of the web client, as the addresses they are served under. */
static void list_scripts(struct json_object *list, const char *dir, const char *url, int depth)
{
    DIR *d = depth < 8 ? opendir(dir) : NULL;

    for (struct dirent *e; d && (e = readdir(d)); ) {
        const size_t n = strlen(e->d_name);
        char *path = rg_asprintf("%s/%s", dir, e->d_name), *shown = rg_asprintf("%s/%s", url, e->d_name);
        struct stat st;

        if (e->d_name[0] != '.' && path && shown && stat(path, &st) == 0) {
            if (S_ISDIR(st.st_mode))
                list_scripts(list, path, shown, depth + 1);
            else if (n > 3 && !strcmp(e->d_name + n - 3, ".js"))
                json_object_array_add(list, json_object_new_string(shown));
        }
        rg_free(path);
        rg_free(shown);
    }
    if (d)
        closedir(d);
}

/* Loaders that ComfyUI's web page cannot do without (server/page/comfy_loaders.js says why). */
static bool lacks_loader(void)
{
    static const char *const loaders[] = { "CheckpointLoaderSimple", "ImageOnlyCheckpointLoader", "LoraLoader", "LoraLoaderModelOnly", "VAELoader",
                                           "ControlNetLoader", "UNETLoader", "UpscaleModelLoader", "StyleModelLoader", "GLIGENLoader" };

    for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++)
        if (!rg_node_find(loaders[i]))
            return true;
    return false;
}

static void get_extensions(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *list = json_object_new_array();
    char *dir = f->options.front_end_root ? rg_asprintf("%s/extensions", f->options.front_end_root) : NULL;

    if (dir)
        list_scripts(list, dir, "/extensions", 0);
    if (dir && lacks_loader())
        json_object_array_add(list, json_object_new_string("/page/comfy_loaders.js"));
    rg_free(dir);
    rg_respond_json(r, 200, list);
}

static void get_folder_paths(rg_request *r, void *user)
{
    struct json_object *o = json_object_new_object();

    for (const char *const *key = comfy_folder_keys; *key; key++)
        json_object_object_add(o, *key, folders_of(user, *key));
    rg_respond_json(r, 200, o);
}

void comfy_add_info_routes(rg_comfy *f)
{
    rg_server *s = f->server;

    rg_server_route(s, "GET", "/object_info", RG_ROUTE_WORKER, get_object_info, f);
    rg_server_route(s, "GET", "/object_info/{class}", RG_ROUTE_WORKER, get_object_info, f);
    rg_server_route(s, "GET", "/system_stats", RG_ROUTE_WORKER, get_system_stats, f);
    rg_server_route(s, "GET", "/features", 0, get_features, f);
    rg_server_route(s, "GET", "/embeddings", RG_ROUTE_WORKER, get_embeddings, f);
    rg_server_route(s, "GET", "/extensions", RG_ROUTE_WORKER, get_extensions, f);
    rg_server_route(s, "GET", "/internal/folder_paths", RG_ROUTE_NO_TWIN, get_folder_paths, f);
}
