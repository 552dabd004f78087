/* Folders and files: lists and look-ups by ComfyUI's rules, names that may not leave their folder, save paths, whole-or-nothing writing. */
#include "tests/graph/graph_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>

static rg_env *small_env(const char *folder)
{
    char first[128], second[128], input[128], output[128];

    snprintf(first, sizeof(first), "%s/first", folder);
    snprintf(second, sizeof(second), "%s/second", folder);
    snprintf(input, sizeof(input), "%s/input", folder);
    snprintf(output, sizeof(output), "%s/output", folder);
    return rg_env_new((const char *const[]){ first, second }, 2, input, output);
}

/* A list's names joined by blanks, in a static buffer. */
static const char *list(rg_env *env, const char *source)
{
    static char text[1024];
    char **names = NULL;

    text[0] = '\0';
    CHECK_INT(rg_env_list(env, source, &names), 0);
    for (int i = 0; names && names[i]; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", names[i]);
    rg_names_free(names);
    return text;
}

TEST(lists_follow_comfyui_s_rules)
{
    const char *folder = new_folder();
    rg_env *env = small_env(folder);
    char link[256], target[256];

    touch(folder, "first/unet", "b.safetensors");
    touch(folder, "first/diffusion_models", "sub/a.GGUF");
    touch(folder, "second/diffusion_models", "b.safetensors");
    touch(folder, "second/diffusion_models", "c.sft");
    touch(folder, "second/diffusion_models", "readme.txt");
    touch(folder, "second/diffusion_models", ".git/x.safetensors");
    touch(folder, "second/diffusion_models", ".hidden.ckpt");
    touch(folder, "first/clip", "t5.safetensors");
    touch(folder, "second/text_encoders", "model.safetensors.index.json");
    touch(folder, "input", "one.png");
    touch(folder, "input", "two.JPG");
    touch(folder, "input", "notes.txt");
    touch(folder, "input", "sub/three.png");
    CHECK_STR(list(env, "models:diffusion_models"), ".hidden.ckpt b.safetensors c.sft sub/a.GGUF");
    CHECK_STR(list(env, "models:unet"), ".hidden.ckpt b.safetensors c.sft sub/a.GGUF");
    CHECK_STR(list(env, "models:text_encoders"), "model.safetensors.index.json t5.safetensors");
    CHECK_STR(list(env, "models:clip"), "model.safetensors.index.json t5.safetensors");
    CHECK_STR(list(env, "models:vae"), "");
    CHECK_STR(list(env, "input:image"), "one.png two.JPG");
    CHECK_STR(list(env, "input:any"), "notes.txt one.png two.JPG");

    /* links are followed, one that leads back up ends */
    snprintf(target, sizeof(target), "%s/first", folder);
    snprintf(link, sizeof(link), "%s/second/diffusion_models/loop", folder);
    CHECK_INT(symlink("..", link), 0);
    snprintf(link, sizeof(link), "%s/second/loras", folder);
    CHECK_INT(symlink(target, link), 0);
    CHECK_STR(list(env, "models:loras"), "clip/t5.safetensors diffusion_models/sub/a.GGUF unet/b.safetensors");
    CHECK_STR(list(env, "models:diffusion_models"), ".hidden.ckpt b.safetensors c.sft loop/loras/clip/t5.safetensors "
              "loop/loras/diffusion_models/sub/a.GGUF loop/loras/unet/b.safetensors loop/text_encoders/model.safetensors.index.json sub/a.GGUF");
    remove_tree(folder);
    rg_env_free(env);
}

TEST(models_are_found_in_order)
{
    const char *folder = new_folder();
    rg_env *env = small_env(folder);
    char *path = NULL, text[900], wanted[256];

    touch(folder, "second/diffusion_models", "a.safetensors");
    touch(folder, "first/diffusion_models", "a.safetensors");
    touch(folder, "first/diffusion_models", "flux1-schnell.safetensors");
    touch(folder, "second/clip", "sub/x.safetensors");
    CHECK_INT(rg_env_model_path(env, "unet", "a.safetensors", &path, text, sizeof(text)), 0);
    snprintf(wanted, sizeof(wanted), "%s/first/diffusion_models/a.safetensors", folder);
    CHECK_STR(path, wanted);
    rg_free(path);
    CHECK_INT(rg_env_model_path(env, "text_encoders", "sub/x.safetensors", &path, text, sizeof(text)), 0);
    rg_free(path);

    CHECK_INT(rg_env_model_path(env, "diffusion_models", "flux1-schnel.safetensors", &path, text, sizeof(text)), RG_ERR_NOT_FOUND);
    snprintf(wanted, sizeof(wanted), "no file flux1-schnel.safetensors in %s/first/diffusion_models, %s/second/diffusion_models; "
             "nearest: flux1-schnell.safetensors", folder, folder);
    CHECK_STR(text, wanted);
    CHECK_INT(rg_env_model_path(env, "vae", "ae.safetensors", &path, text, sizeof(text)), RG_ERR_NOT_FOUND);
    snprintf(wanted, sizeof(wanted), "no file ae.safetensors in %s/first/vae, %s/second/vae; no file there fits", folder, folder);
    CHECK_STR(text, wanted);
    static const char *const bad[] = { "", "/etc/passwd", "..", "../diffusion_models/a.safetensors", "sub/../../x", "a/.." };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_INT(rg_env_model_path(env, "diffusion_models", bad[i], &path, text, sizeof(text)), RG_ERR_INVALID);
    CHECK_INT(rg_env_model_path(env, "diffusion_models", "..safetensors", &path, text, sizeof(text)), RG_ERR_NOT_FOUND);
    remove_tree(folder);
    rg_env_free(env);
}

TEST(input_names_stay_in_their_folders)
{
    const char *folder = new_folder();
    rg_env *env = small_env(folder);
    char *path = NULL, text[900], wanted[256];
    static const struct { const char *name, *place; } good[] = {
        { "one.png", "input" }, { "sub/two.png [input]", "input" }, { "three.png [output]", "output" }, { "four.png [temp]", "temp" },
        { "five [x].png", "input" },
    };
    static const char *const outside[] = { "../secret", "/etc/passwd", "sub/../../secret", "../secret [output]", "", " [input]" };

    touch(folder, "", "secret");
    touch(folder, "input", "one.png");
    touch(folder, "input", "sub/two.png");
    touch(folder, "input", "five [x].png");
    touch(folder, "output", "three.png");
    touch(folder, "temp", "four.png");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK_INT(rg_env_input_path(env, good[i].name, &path, text, sizeof(text)), 0);
        snprintf(wanted, sizeof(wanted), "%s/%s/%.*s", folder, good[i].place,
                 (int)(strstr(good[i].name, " [") && i != 4 ? strstr(good[i].name, " [") - good[i].name : (long)strlen(good[i].name)), good[i].name);
        CHECK_STR(path, wanted);
        rg_free(path);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
        CHECK_INT(rg_env_input_path(env, outside[i], &path, text, sizeof(text)), RG_ERR_INVALID);
    CHECK_INT(rg_env_input_path(env, "ome.png", &path, text, sizeof(text)), RG_ERR_NOT_FOUND);
    snprintf(wanted, sizeof(wanted), "no file ome.png in %s/input; nearest: one.png", folder);
    CHECK_STR(text, wanted);
    CHECK_INT(rg_env_input_path(env, "three.png[output]", &path, text, sizeof(text)), RG_ERR_NOT_FOUND);
    CHECK_INT(rg_env_input_path(env, "sub", &path, text, sizeof(text)), RG_ERR_NOT_FOUND);      /* a folder is no picture */
    remove_tree(folder);
    rg_env_free(env);
}

/* text with the first `from` replaced by `to`, in a static buffer. */
static const char *replaced(const char *text, const char *from, const char *to)
{
    static char out[2][1200];
    static int turn;
    const char *at = strstr(text, from);
    char *o = out[turn = !turn];

    if (!at)
        return text;
    snprintf(o, sizeof(out[0]), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return o;
}

TEST(save_paths_are_comfyui_s)
{
    struct json_object *fixture = open_json("graph/save_path.json");
    const char *folder;
    char *names, text[900], full[512];
    rg_env *env;

    if (!fixture)
        return;
    folder = new_folder();
    env = env_of_files(fixture, folder);
    json_object_object_foreach(json_object_object_get(fixture, "cases"), prefix, wanted) {
        struct json_object *error = json_object_object_get(wanted, "error");
        rg_save_path p = { 0 };
        const int ret = rg_env_save_path(env, prefix, false, 100, 50, &p, text, sizeof(text));
        int64_t counter = json_object_get_int64(json_object_object_get(wanted, "counter"));

        if (!strcmp(prefix, "dir/"))
            counter = 4;                /* ComfyUI counts wrong after a slash and writes over dir_00001_ for ever */
        if (error) {
            const char *ours = text;

            for (int i = 0; i < 4; i++)
                ours = replaced(ours, folder, "ROOT");
            CHECK_INT(ret, RG_ERR_INVALID);
            CHECK_STR(ours, json_object_get_string(error));
            continue;
        }
        if (ret < 0) {
            test_fail(__FILE__, __LINE__, "%s: %s", prefix, text);
            continue;
        }
        CHECK_STR(p.subfolder, json_object_get_string(json_object_object_get(wanted, "subfolder")));
        CHECK_STR(p.name, json_object_get_string(json_object_object_get(wanted, "name")));
        if (p.counter != counter)
            test_fail(__FILE__, __LINE__, "%s: counter %lld, wanted %lld", prefix, (long long)p.counter, (long long)counter);
        names = rg_asprintf("%s/output/%s", folder, json_object_get_string(json_object_object_get(wanted, "folder")));
        CHECK(realpath(names, full) && !strcmp(full, p.folder));
        rg_free(names);
        rg_save_path_release(&p);
    }
    remove_tree(folder);
    rg_env_free(env);
    json_object_put(fixture);
}

TEST(dates_are_expanded_as_the_web_client_does)
{
    const char *folder = new_folder();
    rg_env *env = small_env(folder);
    rg_save_path p = { 0 };
    char text[900], wanted[128];
    time_t before, after;

    do {                                /* until no second passes in between */
        struct tm t;

        before = time(NULL);
        rg_save_path_release(&p);
        CHECK_INT(rg_env_save_path(env, "%date:yyyy-MM-dd%/%date:yy.M.d hh:mm:ss%_%year%%month%%day%_%date:", false, 1, 1, &p, text, sizeof(text)), 0);
        after = time(NULL);
        localtime_r(&before, &t);
        strftime(wanted, sizeof(wanted), "%Y-%m-%d", &t);
        CHECK(before != after || !strcmp(p.subfolder, wanted));
        snprintf(wanted, sizeof(wanted), "%02d.%d.%d %02d:%02d:%02d_%d%02d%02d_%%date:", t.tm_year % 100, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min,
                 t.tm_sec, t.tm_year + 1900, t.tm_mon + 1, t.tm_mday);
        CHECK(before != after || !strcmp(p.name, wanted));
    } while (before != after);
    rg_save_path_release(&p);
    remove_tree(folder);
    rg_env_free(env);
}

static int count_entries(const char *folder)
{
    char command[600];
    FILE *f;
    int n = -1;

    snprintf(command, sizeof(command), "ls -A %s | wc -l", folder);
    if ((f = popen(command, "r"))) {
        if (fscanf(f, "%d", &n) != 1)
            n = -1;
        pclose(f);
    }
    return n;
}

TEST(files_are_written_whole_or_not_at_all)
{
    const char *folder = new_folder();
    char path[512], text[900], *bytes = calloc(1, 100000), *back;
    struct rlimit limit, small = { 4096, RLIM_INFINITY };
    size_t n;

    memset(bytes, 'a', 100000);
    snprintf(path, sizeof(path), "%s/x.png", folder);
    CHECK_INT(rg_env_write_file(path, bytes, 5, text, sizeof(text)), 0);
    CHECK_INT(rg_env_write_file(path, bytes, 7, text, sizeof(text)), 0);        /* replaces */
    back = test_read_file(path, &n);
    CHECK_INT(n, 7);
    free(back);

    /* a file size limit stands for a full disk: the write fails half-way */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    small.rlim_max = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK_INT(rg_env_write_file(path, bytes, 100000, text, sizeof(text)), RG_ERR_IO);
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(strstr(text, path) && strstr(text, "File too large"));
    back = test_read_file(path, &n);
    CHECK_INT(n, 7);                    /* the old one is untouched */
    free(back);
    CHECK_INT(count_entries(folder), 1);

    snprintf(path, sizeof(path), "%s/no/such/folder.png", folder);
    CHECK_INT(rg_env_write_file(path, bytes, 5, text, sizeof(text)), RG_ERR_IO);
    CHECK(strstr(text, "No such file or directory") != NULL);
    snprintf(path, sizeof(path), "%s/new/folder", folder);
    CHECK_INT(rg_env_check_writable(path, text, sizeof(text)), 0);
    CHECK_INT(count_entries(path), 0);
    snprintf(path, sizeof(path), "%s/x.png/under", folder);
    CHECK_INT(rg_env_check_writable(path, text, sizeof(text)), RG_ERR_IO);
    CHECK(strstr(text, "Not a directory") != NULL);
    free(bytes);
    remove_tree(folder);
}
