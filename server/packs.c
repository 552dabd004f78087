/*
 * What node packs bring besides their Python code, which does not run here: translations, example workflows. And the two folders of
 * files that ComfyUI takes from packages of its web client: its templates and the help pages of its nodes.
 * Source: ComfyUI app/custom_node_manager.py, server.py (add_routes), v0.3.64.
 */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/comfy_inside.h"

enum { MAX_FILE = 16 << 20 };           /* of a file with translations */

/* Where packs keep workflows, in the order in which they are looked through. */
static const char *const example_folders[] = { "example_workflows", "example", "examples", "workflow", "workflows", NULL };

/* ---- folders ------------------------------------------------------------------------------------------------------------------- */

/* Entries of a folder that are shown (no dot first), of one kind, by name; NULL-terminated, rg_names_free() it. Never fails: empty. */
static char **list_entries(const char *dir, bool is_dir, const char *extension)
{
    struct dirent **entries = NULL;
    const int n = scandir(dir, &entries, NULL, alphasort);
    char **names = rg_calloc((size_t)(n < 0 ? 0 : n) + 1, sizeof(*names));
    int kept = 0;

    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        char *path = rg_asprintf("%s/%s", dir, name);
        struct stat st;

        if (names && path && *name != '.' && (!extension || (dot && !strcmp(dot, extension))) && stat(path, &st) == 0 && !S_ISDIR(st.st_mode) != is_dir &&
            (names[kept] = rg_strdup(name)))
            kept++;
        rg_free(path);
        free(entries[i]);
    }
    free(entries);
    return names;
}

/* Is the pack switched on: by its name, and by --disable-all-custom-nodes and --whitelist-custom-nodes? */
static bool is_enabled(const rg_comfy *f, const char *pack)
{
    const size_t n = strlen(pack);

    if (!*pack || *pack == '.' || strchr(pack, '/') || !strcmp(pack, "__pycache__") || (n > 9 && !strcmp(pack + n - 9, ".disabled")))
        return false;
    if (!f->options.are_packs_off)
        return true;
    for (const char *const *name = f->options.packs_on; name && *name; name++)
        if (!strcmp(*name, pack))
            return true;
    return false;
}

/* ---- translations ---------------------------------------------------------------------------------------------------------------- */

/* An object of a file, or NULL when there is none or it is something else. */
static struct json_object *read_object(const char *dir, const char *name)
{
    char *path = rg_asprintf("%s/%s", dir, name), *text = NULL, error[128];
    FILE *file = path ? fopen(path, "rb") : NULL;
    struct json_object *v = NULL;
    struct stat st;

    if (file && fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MAX_FILE && (text = rg_malloc((size_t)st.st_size + 1))) {
        const size_t n = fread(text, 1, (size_t)st.st_size, file);
        text[n] = '\0';
        if (rg_json_read(text, n, 64, &v, error, sizeof(error)) < 0)
            v = NULL;
    }
    if (file)
        fclose(file);
    rg_free(text);
    rg_free(path);
    return json_object_is_type(v, json_type_object) ? v : (json_object_put(v), NULL);
}

/* Objects are merged key by key, lists put together; anything else of `more` takes the place of what was there. */
static void merge(struct json_object *into, struct json_object *more)
{
    json_object_object_foreach(more, key, value) {
        struct json_object *old = comfy_get(into, key);

        if (json_object_is_type(old, json_type_object) && json_object_is_type(value, json_type_object)) {
            merge(old, value);
        } else if (json_object_is_type(old, json_type_array) && json_object_is_type(value, json_type_array)) {
            for (size_t i = 0; i < json_object_array_length(value); i++)
                json_object_array_add(old, json_object_get(json_object_array_get_idx(value, i)));
        } else {
            json_object_object_add(into, key, json_object_get(value));
        }
    }
}

/* One language of one pack: main.json, with the other files under keys of their own. */
static struct json_object *read_language(const char *dir)
{
    static const char *const more[] = { "nodeDefs", "commands", "settings" };
    struct json_object *all = read_object(dir, "main.json");

    if (!all)
        all = json_object_new_object();
    for (int i = 0; i < 3; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%s.json", more[i]);
        struct json_object *part = read_object(dir, name);
        if (part && json_object_object_length(part))
            json_object_object_add(all, more[i], part);
        else
            json_object_put(part);
    }
    return all;
}

static void get_i18n(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *all = json_object_new_object();
    char **folders = rg_env_folders(f->options.env, "custom_nodes");

    for (char **folder = folders; folder && *folder; folder++) {
        char **packs = list_entries(*folder, true, NULL);

        for (char **pack = packs; pack && *pack; pack++) {
            char *locales = rg_asprintf("%s/%s/locales", *folder, *pack), **languages = locales ? list_entries(locales, true, NULL) : NULL;

            for (char **language = languages; language && *language; language++) {
                char *dir = rg_asprintf("%s/%s", locales, *language);
                struct json_object *said = dir ? read_language(dir) : NULL, *here = comfy_get(all, *language);

                if (!here) {
                    here = json_object_new_object();
                    json_object_object_add(all, *language, here);
                }
                if (said)
                    merge(here, said);
                json_object_put(said);
                rg_free(dir);
            }
            rg_names_free(languages);
            rg_free(locales);
        }
        rg_names_free(packs);
    }
    rg_names_free(folders);
    rg_respond_json(r, 200, all);
}

/* ---- example workflows --------------------------------------------------------------------------------------------------------------- */

static void get_templates(rg_request *r, void *user)
{
    rg_comfy *f = user;
    struct json_object *all = json_object_new_object();
    char **folders = rg_env_folders(f->options.env, "custom_nodes");

    for (char **folder = folders; folder && *folder; folder++) {
        char **packs = list_entries(*folder, true, NULL);

        for (const char *const *place = example_folders; *place; place++) {
            for (char **pack = packs; pack && *pack; pack++) {
                char *dir = rg_asprintf("%s/%s/%s", *folder, *pack, *place), **names = dir ? list_entries(dir, false, ".json") : NULL;

                for (char **name = names; name && *name; name++) {
                    struct json_object *list = comfy_get(all, *pack);

                    if (!list) {
                        list = json_object_new_array();
                        json_object_object_add(all, *pack, list);
                    }
                    json_object_array_add(list, json_object_new_string_len(*name, (int)strlen(*name) - 5));
                }
                rg_names_free(names);
                rg_free(dir);
            }
        }
        rg_names_free(packs);
    }
    rg_names_free(folders);
    rg_respond_json(r, 200, all);
}

/* root/name, when it is there and links lead out of neither; rg_free() it. */
static char *file_inside(const char *root, const char *name)
{
    char *path = comfy_path_inside(root, NULL, name), real_root[PATH_MAX], real[PATH_MAX];

    if (path && realpath(root, real_root) && realpath(path, real)) {
        const size_t n = strlen(real_root);

        if (!strncmp(real, real_root, n) && (real[n] == '/' || !real[n]))
            return path;
    }
    rg_free(path);
    return NULL;
}

static void get_template(rg_request *r, void *user)
{
    rg_comfy *f = user;
    const char *pack = rg_request_param(r, 0), *name = rg_request_param(r, 1);
    char **folders = is_enabled(f, pack) ? rg_env_folders(f->options.env, "custom_nodes") : NULL, *path = NULL;

    for (char **folder = folders; folder && *folder && !path; folder++) {
        for (const char *const *place = example_folders; *place && !path; place++) {
            char *root = rg_asprintf("%s/%s/%s", *folder, pack, *place);

            path = root ? file_inside(root, name) : NULL;
            rg_free(root);
        }
    }
    if (path)
        rg_respond_file(r, path, NULL);
    else
        rg_respond_error(r, 404);
    rg_names_free(folders);
    rg_free(path);
}

/* ---- folders of the web client ----------------------------------------------------------------------------------------------------- */

static void respond_from(rg_request *r, const char *root)
{
    char *path = file_inside(root, rg_request_param(r, 0));

    if (path)
        rg_respond_file(r, path, NULL);
    else
        rg_respond_error(r, 404);
    rg_free(path);
}

static void get_client_template(rg_request *r, void *user)
{
    respond_from(r, ((rg_comfy *)user)->options.templates_root);
}

static void get_help(rg_request *r, void *user)
{
    respond_from(r, ((rg_comfy *)user)->options.docs_root);
}

/* Without --templates-root: the web client's own list if it brings one, else an empty one, for which it would wait for ever. */
static void get_no_templates(rg_request *r, void *user)
{
    rg_comfy *f = user;
    char *path = rg_asprintf("%s/templates/index.json", f->options.front_end_root);

    if (path && access(path, R_OK) == 0)
        rg_respond_file(r, path, NULL);
    else
        rg_respond_json_text(r, 200, rg_strdup("[]"));
    rg_free(path);
}

void comfy_add_pack_routes(rg_comfy *f)
{
    rg_server *s = f->server;

    rg_server_route(s, "GET", "/i18n", RG_ROUTE_WORKER, get_i18n, f);
    rg_server_route(s, "GET", "/workflow_templates", RG_ROUTE_WORKER, get_templates, f);
    rg_server_route(s, "GET", "/api/workflow_templates/{pack}/{file:.*}", RG_ROUTE_NO_TWIN | RG_ROUTE_WORKER, get_template, f);
    if (f->options.templates_root)
        rg_server_route(s, "GET", "/templates/{file:.*}", RG_ROUTE_NO_TWIN | RG_ROUTE_WORKER, get_client_template, f);
    else if (f->options.front_end_root)
        rg_server_route(s, "GET", "/templates/index.json", RG_ROUTE_NO_TWIN | RG_ROUTE_WORKER, get_no_templates, f);
    if (f->options.docs_root)
        rg_server_route(s, "GET", "/docs/{file:.*}", RG_ROUTE_NO_TWIN | RG_ROUTE_WORKER, get_help, f);
}
