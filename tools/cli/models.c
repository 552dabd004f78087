/* rylagraph models: pull is in pull.c; list shows every model file that a workflow could name, by folder, and what it holds by its tensors. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "engine/weights/detect.h"
#include "tools/cli/cli.h"
#include "tools/cli/pull.h"

static const char usage[] =
    "usage: rylagraph models list [--models DIR]... [--json]\n"
    "       rylagraph models pull NAME|ENDPOINT|URL... (models pull --help)\n"
    "\n"
    "list shows model files by ComfyUI's folder names, with what their tensors say they are; pull fetches them.\n";

static const char *const folders[] = { "checkpoints", "diffusion_models", "text_encoders", "clip_vision", "vae", "loras", "controlnet",
                                       "embeddings", "upscale_models", "style_models" };
enum { N_FOLDERS = sizeof folders / sizeof *folders };

static const char *count_text(int64_t n, char *text, size_t size)
{
    if (n >= 1000000000)
        snprintf(text, size, "%.2f B", (double)n / 1e9);
    else
        snprintf(text, size, "%.2f M", (double)n / 1e6);
    return text;
}

static void show(const char *folder, const char *name, const char *path, rg_ctx *c, struct json_object *list)
{
    rg_file_info info;
    const int ret = rg_describe_file(c, path, &info);

    if (list) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "folder", json_object_new_string(folder));
        json_object_object_add(o, "name", json_object_new_string(name));
        json_object_object_add(o, "path", json_object_new_string(path));
        if (ret < 0) {
            json_object_object_add(o, "error", json_object_new_string(c->message));
        } else {
            json_object_object_add(o, "kind", json_object_new_string(rg_file_kind_name(info.detected.kind)));
            json_object_object_add(o, "title", json_object_new_string(info.detected.title));
            json_object_object_add(o, "parameters", json_object_new_int64(info.n_params));
            json_object_object_add(o, "dtype", info.dtype == RG_N_DTYPES ? NULL : json_object_new_string(rg_dtype_name(info.dtype)));
            json_object_object_add(o, "bytes", json_object_new_uint64(info.file_bytes));
        }
        json_object_array_add(list, o);
    } else if (ret < 0) {
        printf("  %-40s %s\n", name, c->message);
    } else {
        char count[32];
        printf("  %-40s %-28s %10s %-8s %8.1f MB\n", name, info.detected.title, count_text(info.n_params, count, sizeof count),
               info.dtype == RG_N_DTYPES ? "-" : rg_dtype_name(info.dtype), (double)info.file_bytes / 1e6);
    }
    rg_ctx_reset(c);
}

int rg_cli_models(int argc, char **argv)
{
    static rg_cli_options o;
    rg_env *env = NULL;
    rg_ctx *c = NULL;
    struct json_object *list = NULL;
    int code, n_shown = 0;

    if (argc > 0 && !strcmp(argv[0], "pull"))
        return rg_cli_pull(argc - 1, argv + 1);
    code = rg_cli_parse(argc, argv, false, &o);
    if (code)
        return code;
    if (o.help) {
        fputs(usage, stdout);
        return RG_EXIT_DONE;
    }
    if (o.n_targets != 1 || strcmp(o.targets[0], "list") != 0) {
        if (o.n_targets)
            rg_cli_say("models %s: there are `models list` and `models pull`", o.targets[0]);
        fputs(usage, stderr);
        return RG_EXIT_WRONG;
    }
    code = RG_EXIT_WRONG;
    if (!(env = rg_cli_env(&o)) || !(c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL)))
        goto done;
    list = o.json ? json_object_new_array() : NULL;
    for (int i = 0; i < N_FOLDERS; i++) {
        char source[64], **names = NULL;
        snprintf(source, sizeof source, "models:%s", folders[i]);
        if (rg_env_list(env, source, &names) < 0)
            continue;
        if (!list && names && names[0])
            printf("%s\n", folders[i]);
        for (int k = 0; names && names[k]; k++, n_shown++) {
            char *path = NULL, text[512];
            if (rg_env_model_path(env, folders[i], names[k], &path, text, sizeof text) == 0)
                show(folders[i], names[k], path, c, list);
            rg_free(path);
        }
        rg_names_free(names);
    }
    if (list)
        printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
    else if (n_shown == 0)
        printf("no model files; searched the folders of --models DIR (default: ./models)\n");
    code = RG_EXIT_DONE;
done:
    json_object_put(list);
    rg_ctx_free(c);
    rg_env_free(env);
    return code;
}
