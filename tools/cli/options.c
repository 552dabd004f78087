/*
 * Options, in one table. A template's parameters are options too, but only the template knows them: words of the form --NAME
 * that are not in the table are kept with the word after them, and the subcommand decides.
 */
#include <dirent.h>
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/ops/backend.h"
#include "engine/ops/profile.h"
#include "graph/pack.h"
#include "graph/suggest.h"
#include "tools/cli/cli.h"

void rg_cli_say(const char *format, ...)
{
    va_list args;

    fputs("rylagraph: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

typedef enum option_kind { TEXT, NUMBER, FLAG, MODELS, PACKS, SET } option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t offset;
} option;

static const option table[] = {
    { "--models", MODELS, 0 },
    { "--nodes", PACKS, 0 },
    { "--set", SET, 0 },
    { "--input", TEXT, offsetof(rg_cli_options, input) },
    { "--output", TEXT, offsetof(rg_cli_options, output) },
    { "--device", TEXT, offsetof(rg_cli_options, device) },
    { "--dtype", TEXT, offsetof(rg_cli_options, dtype) },
    { "--threads", NUMBER, offsetof(rg_cli_options, threads) },
    { "--vram-budget", TEXT, offsetof(rg_cli_options, budget) },
    { "--trace", TEXT, offsetof(rg_cli_options, trace) },
    { "--json", FLAG, offsetof(rg_cli_options, json) },
    { "--markdown", FLAG, offsetof(rg_cli_options, markdown) },
    { "--quiet", FLAG, offsetof(rg_cli_options, quiet) },
    { "--disable-metadata", FLAG, offsetof(rg_cli_options, disable_metadata) },
    { "--help", FLAG, offsetof(rg_cli_options, help) },
};
enum { N_OPTIONS = sizeof table / sizeof *table };

static int set_option(rg_cli_options *o, const option *opt, const char *value)
{
    void *field = (char *)o + opt->offset;
    char *end;

    switch (opt->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case TEXT:
        *(const char **)field = value;
        return 0;
    case NUMBER: {
        errno = 0;
        const long n = strtol(value, &end, 10);
        if (errno || *end || end == value || n < 1 || n > 4096) {
            rg_cli_say("%s wants a whole number from 1 to 4096, not \"%s\"", opt->name, value);
            return RG_EXIT_WRONG;
        }
        *(int *)field = (int)n;
        return 0;
    }
    case PACKS:
        if (o->n_packs == RG_CLI_MAX) {
            rg_cli_say("more than %d times --nodes", RG_CLI_MAX);
            return RG_EXIT_WRONG;
        }
        o->packs[o->n_packs++] = value;
        return 0;
    case MODELS:
        if (o->n_models == RG_CLI_MAX) {
            rg_cli_say("more than %d times --models", RG_CLI_MAX);
            return RG_EXIT_WRONG;
        }
        o->models[o->n_models++] = value;
        return 0;
    case SET: {
        const char *equals = strchr(value, '='), *dot = strchr(value, '.');
        if (!equals || !dot || dot > equals || dot == value || dot + 1 == equals) {
            rg_cli_say("--set wants NODE.INPUT=VALUE, as in --set 8.seed=7, not \"%s\"", value);
            return RG_EXIT_WRONG;
        }
        if (o->n_sets == RG_CLI_MAX) {
            rg_cli_say("more than %d times --set", RG_CLI_MAX);
            return RG_EXIT_WRONG;
        }
        /* argv is ours to cut */
        *(char *)equals = '\0';
        o->sets[o->n_sets++] = (rg_cli_pair){ value, equals + 1 };
        return 0;
    }
    }
    return RG_EXIT_WRONG;
}

int rg_cli_parse(int argc, char **argv, bool takes_params, rg_cli_options *out)
{
    rg_cli_options *o = out;
    bool only_targets = false;

    *o = (rg_cli_options){ .input = "input", .output = "output", .device = "auto", .dtype = "auto" };
    for (int i = 0; i < argc; i++) {
        char *word = argv[i], *value = NULL;
        const option *found = NULL;

        if (only_targets || strncmp(word, "--", 2) != 0) {
            if (!only_targets && word[0] == '-' && word[1] && strcmp(word, "-h") != 0) {
                rg_cli_say("unknown option %s", word);
                return RG_EXIT_WRONG;
            }
            if (!strcmp(word, "-h")) {
                o->help = true;
                continue;
            }
            if (o->n_targets == RG_CLI_MAX) {
                rg_cli_say("more than %d files", RG_CLI_MAX);
                return RG_EXIT_WRONG;
            }
            o->targets[o->n_targets++] = word;
            continue;
        }
        if (!word[2]) {
            only_targets = true;
            continue;
        }
        char *equals = strchr(word, '=');
        const size_t length = equals ? (size_t)(equals - word) : strlen(word);
        for (int k = 0; k < N_OPTIONS; k++) {
            if (strlen(table[k].name) == length && !strncmp(word, table[k].name, length))
                found = &table[k];
        }
        if (!found && !takes_params) {
            const char *names[N_OPTIONS + 1] = { NULL };
            for (int k = 0; k < N_OPTIONS; k++)
                names[k] = table[k].name;
            const char *near = rg_suggest(word, names);
            rg_cli_say(near ? "unknown option %s; did you mean %s?" : "unknown option %s", word, near);
            return RG_EXIT_WRONG;
        }
        if (found && found->kind == FLAG) {
            if (equals) {
                rg_cli_say("%s takes no value", found->name);
                return RG_EXIT_WRONG;
            }
            set_option(o, found, NULL);
            continue;
        }
        if (equals) {
            value = equals + 1;
            *equals = '\0';
        } else if (i + 1 < argc) {
            value = argv[++i];
        } else {
            rg_cli_say("%s wants a value", word);
            return RG_EXIT_WRONG;
        }
        if (found) {
            if (set_option(o, found, value))
                return RG_EXIT_WRONG;
        } else {
            if (o->n_params == RG_CLI_MAX) {
                rg_cli_say("more than %d parameters", RG_CLI_MAX);
                return RG_EXIT_WRONG;
            }
            o->params[o->n_params++] = (rg_cli_pair){ word + 2, value };
        }
    }
    for (int i = 0; i < o->n_packs; i++) {
        char text[1200];

        if (rg_pack_load(o->packs[i], text, sizeof text) < 0) {
            rg_cli_say("--nodes %s", text);
            return RG_EXIT_WRONG;
        }
    }
    if (o->threads)
        omp_set_num_threads(o->threads);
    return 0;
}

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *rg_cli_data_dir(void)
{
    static char dir[4096];
    static bool is_known;
    /* installed or unpacked: PREFIX/bin/rylagraph; built in the source tree: build/rylagraph */
    static const char *const places[] = { "../share/rylagraph", "..", "." };

    if (is_known)
        return dir;
    is_known = true;
    char program[2048], place[3072], probe[4096];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return dir;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char resolved[4096];
        snprintf(place, sizeof place, "%s/%s", program, places[i]);
        snprintf(probe, sizeof probe, "%s/models/demo", place);
        if (is_directory(probe) && realpath(place, resolved)) {
            memcpy(dir, resolved, sizeof dir);
            break;
        }
    }
    return dir;
}

rg_env *rg_cli_env(const rg_cli_options *o)
{
    const char *dirs[RG_CLI_MAX + 1];
    char demo[4096 + 16];
    int n = 0;

    for (int i = 0; i < o->n_models; i++) {
        if (!is_directory(o->models[i])) {
            rg_cli_say("--models %s: no such directory", o->models[i]);
            return NULL;
        }
        dirs[n++] = o->models[i];
    }
    if (n == 0 && is_directory("models"))
        dirs[n++] = "models";
    if (*rg_cli_data_dir()) {
        snprintf(demo, sizeof demo, "%s/models/demo", rg_cli_data_dir());
        dirs[n++] = demo;
    }
    rg_env *env = rg_env_new(dirs, n, o->input, o->output);
    if (!env) {
        rg_cli_say("out of memory");
        return NULL;
    }
    env->has_metadata = !o->disable_metadata;
    if (*rg_cli_data_dir())
        env->manifest_path = rg_asprintf("%s/models/manifest.json", rg_cli_data_dir());
    return env;
}

/* "8G", "500M", "100000": bytes, in thousands, as files are told. */
static bool size_of(const char *text, size_t *out)
{
    char *end;
    const double n = strtod(text, &end);
    const double unit = *end == 'G' || *end == 'g' ? 1e9 : *end == 'M' || *end == 'm' ? 1e6 : *end == 'K' || *end == 'k' ? 1e3 : 1;

    if (end == text || !(n > 0) || n * unit > 1e15 || (*end && unit > 1 ? end[1] : *end) != '\0')
        return false;
    *out = (size_t)(n * unit);
    return true;
}

rg_ctx *rg_cli_ctx(const rg_cli_options *o)
{
    size_t budget = 0;
    rg_device device = { RG_CPU, 0 };
    rg_dtype dtype = RG_F32;            /* ComfyUI computes in float32 on a CPU: the same picture */
    int error = 0;

    if (!strncmp(o->device, "cuda", 4) && (!o->device[4] || o->device[4] == ':')) {
        device.type = RG_CUDA;
        if (o->device[4]) {
            char *end;
            const long index = strtol(o->device + 5, &end, 10);
            if (*end || end == o->device + 5 || index < 0 || index > 255) {
                rg_cli_say("--device wants auto, cpu, cuda or cuda:N, not \"%s\"", o->device);
                return NULL;
            }
            device.index = (int)index;
        }
        dtype = RG_BF16;
    } else if (strcmp(o->device, "auto") != 0 && strcmp(o->device, "cpu") != 0) {
        rg_cli_say("--device wants auto, cpu, cuda or cuda:N, not \"%s\"", o->device);
        return NULL;
    }
    /* auto is the CPU until tools/gpu_check.sh has passed on a GPU (docs/decisions.md): rg_backend_missing_row() then says when it can */
    if (!strcmp(o->dtype, "f32"))
        dtype = RG_F32;
    else if (!strcmp(o->dtype, "bf16"))
        dtype = RG_BF16;
    else if (!strcmp(o->dtype, "f16"))
        dtype = RG_F16;
    else if (strcmp(o->dtype, "auto") != 0) {
        rg_cli_say("--dtype wants auto, f32, f16 or bf16, not \"%s\"", o->dtype);
        return NULL;
    }
    if (o->budget && !size_of(o->budget, &budget)) {
        rg_cli_say("--vram-budget wants a size as in 8G or 500M, not \"%s\"", o->budget);
        return NULL;
    }
    if (o->trace && rg_trace_open(o->trace) < 0) {
        rg_cli_say("--trace %s: cannot be written: %s", o->trace, strerror(errno));
        return NULL;
    }
    rg_ctx *c = rg_ctx_new(device, dtype, &error);
    if (!c && error == RG_ERR_UNSUPPORTED)
        rg_cli_say("--device %s: this program or this machine has no NVIDIA GPU to run on", o->device);
    else if (!c)
        rg_cli_say("--device %s: %s", o->device, rg_error_text(error));
    if (c && o->budget)
        rg_ctx_set_budget(c, budget);
    else if (c && device.type == RG_CPU)
        rg_ctx_set_limit(c, rg_available_bytes() / 20 * 19);   /* an error with the numbers, not a killed process */
    return c;
}

char *rg_cli_read(const char *path, size_t *n_bytes)
{
    static const size_t MAX_BYTES = (size_t)256 << 20;  /* a workflow is text; this is no model loader */
    struct stat st;
    char *text = NULL;
    FILE *f = fopen(path, "rb");

    if (!f || fstat(fileno(f), &st) < 0) {
        rg_cli_say("%s: %s", path, strerror(errno));
        goto failed;
    }
    if (S_ISDIR(st.st_mode)) {
        rg_cli_say("%s: is a directory, a workflow file was expected", path);
        goto failed;
    }
    size_t n = 0, capacity = 65536;
    if (!(text = rg_malloc(capacity))) {
        rg_cli_say("out of memory");
        goto failed;
    }
    for (;;) {
        n += fread(text + n, 1, capacity - n - 1, f);
        if (n + 1 < capacity)
            break;
        if (capacity >= MAX_BYTES) {
            rg_cli_say("%s: larger than %zu MiB, which no workflow is", path, MAX_BYTES >> 20);
            goto failed;
        }
        char *larger = rg_realloc(text, capacity *= 2);
        if (!larger) {
            rg_cli_say("out of memory");
            goto failed;
        }
        text = larger;
    }
    if (ferror(f)) {
        rg_cli_say("%s: %s", path, strerror(errno));
        goto failed;
    }
    fclose(f);
    text[n] = '\0';
    *n_bytes = n;
    return text;
failed:
    if (f)
        fclose(f);
    rg_free(text);
    return NULL;
}

/* Is this a bare word that may name a template? */
static bool is_template_name(const char *target)
{
    return *target && !strchr(target, '/') && strspn(target, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == strlen(target);
}

/* The template in folder whose name is nearest to the word; false if none is near. */
static bool nearest_template(const char *folder, const char *word, char *near, size_t size)
{
    enum { MAX_TEMPLATES = 256 };
    char names[MAX_TEMPLATES][64];
    const char *list[MAX_TEMPLATES + 1];
    int n = 0;
    DIR *dir = opendir(folder);

    for (struct dirent *entry; dir && n < MAX_TEMPLATES && (entry = readdir(dir)); ) {
        const size_t length = strlen(entry->d_name);
        if (length < 6 || length - 5 >= sizeof names[0] || strcmp(entry->d_name + length - 5, ".json") != 0)
            continue;
        memcpy(names[n], entry->d_name, length - 5);
        names[n][length - 5] = '\0';
        list[n] = names[n];
        n++;
    }
    if (dir)
        closedir(dir);
    list[n] = NULL;
    const char *found = rg_suggest(word, list);
    if (found)
        snprintf(near, size, "%s", found);
    return found != NULL;
}

int rg_cli_find(const char *target, char **path)
{
    char template[4096 + 512], folder[4096 + 16], near[256];

    if (access(target, F_OK) == 0) {
        *path = rg_strdup(target);
        return *path ? 0 : RG_EXIT_WRONG;
    }
    snprintf(folder, sizeof folder, "%s/workflows", rg_cli_data_dir());
    if (is_template_name(target) && strlen(target) < 256) {
        snprintf(template, sizeof template, "%s/%s.json", folder, target);
        if (access(template, F_OK) == 0) {
            *path = rg_strdup(template);
            return *path ? 0 : RG_EXIT_WRONG;
        }
    }
    if (!is_template_name(target))
        rg_cli_say("%s: no such file", target);
    else if (nearest_template(folder, target, near, sizeof near))
        rg_cli_say("%s: no such file, and no such template in %s; did you mean %s?", target, folder, near);
    else
        rg_cli_say("%s: no such file, and no such template in %s", target, folder);
    return RG_EXIT_WRONG;
}
