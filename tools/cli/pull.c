/*
 * rylagraph models pull. Names come from the manifest (models/manifest.json): a file, or a group with the name of an endpoint, which
 * is all files that the endpoint needs. Anything with "://" is an address.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/core/sha256.h"
#include "engine/net/download.h"
#include "engine/net/http_client.h"
#include "engine/weights/manifest.h"
#include "engine/weights/model_file.h"
#include "graph/suggest.h"
#include "tools/cli/cli.h"
#include "tools/cli/progress.h"
#include "tools/cli/pull.h"

const char rg_cli_pull_usage[] =
    "usage: rylagraph models pull NAME|ENDPOINT|URL... [--models DIR] [--dir DIR] [--force] [--retries N] [--manifest FILE] [--quiet]\n"
    "       rylagraph models pull --list [NAME|ENDPOINT...]\n"
    "\n"
    "Fetches model files. NAME is one of --list; an endpoint's name (flux-dev) stands for all files it needs. A file goes to its\n"
    "folder below --models (default: ./models), or into --dir, which a URL wants. What a Ctrl-C or a lost connection leaves\n"
    "(NAME.part) is gone on with. --force fetches and replaces what is there.\n"
    "HF_TOKEN in the environment is sent to huggingface.co (or HF_ENDPOINT) alone, CIVITAI_API_TOKEN to civitai.com.\n";

enum { MAX_TARGETS = 256, NAME_WIDTH = 44 };

/* One file to fetch. */
typedef struct target {
    const rg_manifest_file *known;      /* NULL: an address */
    char url[2048], dir[2048], twin[2048], name[RG_MODEL_NAME_MAX + 1];     /* twin: the folder's old name, or "" */
} target;

typedef struct options {
    const char *names[MAX_TARGETS];
    int n_names;
    const char *models, *dir, *manifest, *retries;
    int n_retries;
    bool is_list, is_force, is_quiet, help;
} options;

static atomic_bool is_interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    if (atomic_exchange(&is_interrupted, true))
        _exit(RG_EXIT_INTERRUPTED);     /* asked twice; what arrived is in its file either way */
}

static int parse(int argc, char **argv, options *o)
{
    const struct { const char *name; const char **text; bool *flag; } table[] = {
        { "--models", &o->models, NULL }, { "--dir", &o->dir, NULL }, { "--manifest", &o->manifest, NULL },
        { "--retries", &o->retries, NULL },
        { "--list", NULL, &o->is_list }, { "--force", NULL, &o->is_force }, { "--quiet", NULL, &o->is_quiet }, { "--help", NULL, &o->help },
    };
    enum { N = sizeof table / sizeof *table };

    *o = (options){ .n_retries = 5 };
    for (int i = 0; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        const size_t n = strncmp(argv[i], "--", 2) == 0 && equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        int k = 0;

        if (argv[i][0] != '-') {
            if (o->n_names == MAX_TARGETS) {
                rg_cli_say("more than %d names", MAX_TARGETS);
                return RG_EXIT_WRONG;
            }
            o->names[o->n_names++] = argv[i];
            continue;
        }
        if (!strcmp(argv[i], "-h")) {
            o->help = true;
            continue;
        }
        while (k < N && (strlen(table[k].name) != n || strncmp(table[k].name, argv[i], n)))
            k++;
        if (k == N) {
            const char *names[N + 1] = { NULL }, *near;
            for (int m = 0; m < N; m++)
                names[m] = table[m].name;
            near = rg_suggest(argv[i], names);
            rg_cli_say(near ? "unknown option %s; did you mean %s?" : "unknown option %s", argv[i], near);
            return RG_EXIT_WRONG;
        }
        if (table[k].flag) {
            if (n < strlen(argv[i])) {
                rg_cli_say("%s takes no value", table[k].name);
                return RG_EXIT_WRONG;
            }
            *table[k].flag = true;
        } else if (n < strlen(argv[i])) {
            *table[k].text = argv[i] + n + 1;
        } else if (i + 1 < argc) {
            *table[k].text = argv[++i];
        } else {
            rg_cli_say("%s wants a value", table[k].name);
            return RG_EXIT_WRONG;
        }
    }
    if (o->retries) {
        char *end;
        const long n = strtol(o->retries, &end, 10);

        if (*end || end == o->retries || n < 0 || n > 1000) {
            rg_cli_say("--retries wants a whole number up to 1000, not \"%s\"", o->retries);
            return RG_EXIT_WRONG;
        }
        o->n_retries = (int)n;
    }
    return 0;
}

/* ---- what a person sees -------------------------------------------------------------------------------------------------------- */

static const char *size_text(int64_t n, char text[24])
{
    if (n >= 1000000000)
        snprintf(text, 24, "%.2f GB", (double)n / 1e9);
    else if (n >= 1000000)
        snprintf(text, 24, "%.1f MB", (double)n / 1e6);
    else
        snprintf(text, 24, "%lld B", (long long)n);
    return text;
}

typedef struct bar {
    const char *name;
    bool is_terminal, is_quiet, is_drawn;
    double started, drawn;
    int64_t first;                      /* bytes that were there when it began */
    int tenths;                         /* said so far, where there is no terminal */
} bar;

static void clear(bar *b)
{
    if (b->is_drawn)
        fputs("\r\033[K", stderr);
    b->is_drawn = false;
}

static void draw(void *user, int64_t received, int64_t total)
{
    bar *b = user;
    const double at = rg_cli_now();
    char have[24], all[24], line[32], left[32] = "";
    struct winsize w;
    int width;

    if (b->is_quiet)
        return;
    if (b->first < 0) {
        b->first = received;
        b->started = at;
    }
    if (!b->is_terminal) {              /* a log: one line per tenth, or per minute where the end is not known */
        const int tenths = total > 0 ? (int)(received / (total / 10 + 1)) : (int)((at - b->started) / 60);
        if (tenths > b->tenths) {
            b->tenths = tenths;
            fprintf(stderr, "%s: %s%s%s\n", b->name, size_text(received, have), total > 0 ? " of " : "", total > 0 ? size_text(total, all) : "");
        }
        return;
    }
    if (at - b->drawn < 0.1)
        return;
    b->drawn = at;
    const double rate = at > b->started + 0.5 ? (double)(received - b->first) / (at - b->started) : 0;
    if (rate > 0 && total > 0) {
        const double seconds = (double)(total - received) / rate;
        if (seconds < 3600)
            snprintf(left, sizeof left, ", %d:%02d left", (int)seconds / 60, (int)seconds % 60);
        else if (seconds < 360000)
            snprintf(left, sizeof left, ", %d:%02d h left", (int)seconds / 3600, (int)seconds / 60 % 60);
    }
    width = (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80) - 72;
    width = width < 0 ? 0 : width > 30 ? 30 : width;
    const int filled = total > 0 ? (int)((double)width * (double)received / (double)total) : 0;
    memset(line, '#', (size_t)filled);
    memset(line + filled, '.', (size_t)(width - filled));
    line[width] = '\0';
    fprintf(stderr, "\r\033[K%.30s %s%s%s%s%s", b->name, width ? "[" : "", line, width ? "] " : "", size_text(received, have), total > 0 ? "/" : "");
    if (total > 0)
        fputs(size_text(total, all), stderr);
    if (rate > 0)
        fprintf(stderr, " %.1f MB/s%s", rate / 1e6, left);
    fflush(stderr);
    b->is_drawn = true;
}

static void say_note(void *user, const char *text)
{
    bar *b = user;

    if (b->is_quiet)
        return;
    clear(b);
    fprintf(stderr, "%s\n", text);
}

/* ---- what is asked for ------------------------------------------------------------------------------------------------------------ */

/* Names of files and groups that are near, in one line; "" when none is. */
static void suggest(const rg_manifest *m, const char *word, char *text, size_t size)
{
    const int n_files = rg_manifest_n_files(m), n_groups = rg_manifest_n_groups(m);
    const char **names = rg_calloc((size_t)(n_files + n_groups) + 1, sizeof *names), *best[3];

    text[0] = '\0';
    if (!names)
        return;
    for (int i = 0; i < n_files; i++)
        names[i] = rg_manifest_file_at(m, i)->name;
    for (int i = 0; i < n_groups; i++)
        names[n_files + i] = rg_manifest_group_at(m, i)->name;
    const int n = rg_suggest_many(word, names, best, 3);
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), size - strlen(text), "%s%s", i ? ", " : "; did you mean ", best[i]);
    rg_free(names);
}

/* Where ComfyUI would find it too; "" when there is no other place. */
static void other_place(const char *root, const rg_manifest_file *f, char *dir, size_t size)
{
    static const char *const twins[][2] = { { "diffusion_models", "unet" }, { "text_encoders", "clip" } };

    dir[0] = '\0';
    for (int i = 0; i < 4; i++)
        if (!strcmp(f->folder, twins[i / 2][i % 2]))
            snprintf(dir, size, "%s/%s", root, twins[i / 2][1 - i % 2]);
}

static int add_file(const options *o, const rg_manifest_file *f, target *targets, int *n)
{
    target *t = &targets[*n];

    for (int i = 0; i < *n; i++)
        if (targets[i].known == f)
            return 0;                   /* two endpoints share it */
    if (*n == MAX_TARGETS) {
        rg_cli_say("more than %d files", MAX_TARGETS);
        return RG_EXIT_WRONG;
    }
    t->known = f;
    snprintf(t->name, sizeof t->name, "%s", f->file);
    snprintf(t->url, sizeof t->url, "%s", f->url ? f->url : "");
    t->twin[0] = '\0';
    if (!o->dir)
        other_place(o->models ? o->models : "models", f, t->twin, sizeof t->twin);
    const int length = o->dir ? snprintf(t->dir, sizeof t->dir, "%s", o->dir)
                              : snprintf(t->dir, sizeof t->dir, "%s/%s", o->models ? o->models : "models", f->folder);
    if (length >= (int)sizeof t->dir) {
        rg_cli_say("the folder's path is too long");
        return RG_EXIT_WRONG;
    }
    (*n)++;
    return 0;
}

static int add_url(const options *o, const rg_manifest *m, const char *url, target *targets, int *n)
{
    target *t = &targets[*n];
    const char *problem = rg_http_url_problem(url), *end = url + strcspn(url, "?#"), *name = end;
    char text[400];

    for (int i = 0; m && i < rg_manifest_n_files(m); i++)
        if (rg_manifest_file_at(m, i)->url && !strcmp(rg_manifest_file_at(m, i)->url, url))
            return add_file(o, rg_manifest_file_at(m, i), targets, n);
    if (*n == MAX_TARGETS)
        problem = "too many files";
    while (name > url && name[-1] != '/')
        name--;
    if (problem || end - name > RG_MODEL_NAME_MAX || strlen(url) >= sizeof t->url) {
        rg_cli_say("%s: %s", url, problem ? problem : "the address is too long");
        return RG_EXIT_WRONG;
    }
    if (!o->dir) {
        rg_cli_say("%s: where is it to go? --dir DIR, for example --dir models/loras", url);
        return RG_EXIT_WRONG;
    }
    *t = (target){ 0 };
    snprintf(t->name, sizeof t->name, "%.*s", (int)(end - name), name);
    snprintf(t->url, sizeof t->url, "%s", url);
    snprintf(t->dir, sizeof t->dir, "%s", o->dir);
    /* what servers mean by a name is up to them, but a file's name it must be: percent signs stay as they are */
    if (rg_model_name_check(t->name, text, sizeof text) < 0) {
        rg_cli_say("%s: %s", url, text);
        return RG_EXIT_WRONG;
    }
    (*n)++;
    return 0;
}

static int add_name(const options *o, const rg_manifest *m, const char *name, target *targets, int *n)
{
    const rg_manifest_group *g = rg_manifest_find_group(m, name[0] == '/' ? name + 1 : name);
    const rg_manifest_file *f = g ? NULL : rg_manifest_find(m, name);
    char text[300];
    int code = 0;

    for (int i = 0; g && !code && i < g->n_files; i++)
        code = add_file(o, g->files[i], targets, n);
    if (g)
        return code;
    if (f)
        return add_file(o, f, targets, n);
    suggest(m, name, text, sizeof text);
    rg_cli_say("there is no model file and no endpoint \"%s\" in the manifest%s; `models pull --list` names them", name, text);
    return RG_EXIT_WRONG;
}

/* ---- tokens and addresses ---------------------------------------------------------------------------------------------------------- */

/* Where Hugging Face is: HF_ENDPOINT, as its own tools take it, without "/" at the end. */
static const char *hub(void)
{
    static char text[512];
    const char *given = getenv("HF_ENDPOINT");

    snprintf(text, sizeof text, "%s", given && *given ? given : "https://huggingface.co");
    while (*text && text[strlen(text) - 1] == '/')
        text[strlen(text) - 1] = '\0';
    return text;
}

static bool same_host(const char *a, const char *b)
{
    char host_a[300], host_b[300];

    rg_http_url_host(a, host_a, sizeof host_a);
    rg_http_url_host(b, host_b, sizeof host_b);
    return *host_a && !strcmp(host_a, host_b) && !strncmp(a, b, strcspn(b, ":") + 1);
}

static bool is_loopback(const char *url)
{
    char host[300];

    rg_http_url_host(url, host, sizeof host);
    return !strncmp(host, "127.", 4) || !strncmp(host, "localhost:", 10) || !strncmp(host, "[::1]", 5);
}

/* The token that belongs to an address, NULL: none. Never over an open line, except to this machine. */
static const char *token_of(const char *url)
{
    const struct { const char *where, *variable; } tokens[] = {
        { hub(), "HF_TOKEN" }, { "https://civitai.com", "CIVITAI_API_TOKEN" },
    };

    if (strncmp(url, "https://", 8) && !is_loopback(url))
        return NULL;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        const char *token = getenv(tokens[i].variable);
        if (token && *token && same_host(url, tokens[i].where) && !token[strcspn(token, "\r\n")])
            return token;
    }
    return NULL;
}

/* Addresses of huggingface.co are those of HF_ENDPOINT when that is set. */
static void use_endpoint(target *t)
{
    static const char usual[] = "https://huggingface.co/";
    char moved[sizeof t->url];

    if (strncmp(t->url, usual, sizeof usual - 1) || !strcmp(hub(), "https://huggingface.co"))
        return;
    if (snprintf(moved, sizeof moved, "%s/%s", hub(), t->url + sizeof usual - 1) < (int)sizeof moved)
        memcpy(t->url, moved, sizeof moved);
}

/* ---- fetching ------------------------------------------------------------------------------------------------------------------------ */

/* Is it there, as it should be? 1: yes; 0: it is to be fetched; -1: something else lies there (said). */
static int is_there(const target *t, bool is_force)
{
    char other[2100] = "";

    if (t->known && !is_force && *t->twin) {
        snprintf(other, sizeof other, "%s/%s", t->twin, t->name);
        if (access(other, F_OK) == 0)
            return 1;
    }
    char *path = rg_asprintf("%s/%s", t->dir, t->name), hex[65] = "";
    const int64_t size = t->known ? t->known->size : -1;
    const char *sha256 = t->known ? t->known->sha256 : NULL;
    struct stat st;
    int ret = 0;

    if (path && stat(path, &st) == 0 && !is_force) {
        const int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        ret = 1;
        if (size > 0 && st.st_size != size) {
            rg_cli_say("%s has %lld bytes where %lld were expected; --force fetches it anew", path, (long long)st.st_size, (long long)size);
            ret = -1;
        } else if (sha256 && (rg_model_sha256_read(dir, t->name, hex) || rg_sha256_file(path, hex) == 0) && strcmp(hex, sha256)) {
            rg_cli_say("%s: its SHA-256 is %s, not %s; --force fetches it anew", path, hex, sha256);
            ret = -1;
        }
        if (dir >= 0)
            close(dir);
    }
    rg_free(path);
    return ret;
}

static void say_refused(const target *t, int status, const char *token)
{
    char host[300], page[2048];
    const char *resolve = strstr(t->url, "/resolve/");

    rg_http_url_host(t->url, host, sizeof host);
    host[strcspn(host, ":")] = '\0';
    if (!same_host(t->url, hub()) || !resolve) {
        rg_cli_say("%s: %s answers %d%s", t->name, host, status, token ? ", in spite of the token" : "");
        return;
    }
    snprintf(page, sizeof page, "%.*s", (int)(resolve - t->url), t->url);
    if (token)
        rg_cli_say("%s: %s answers %d: the account of HF_TOKEN may not have it; its licence is agreed to at %s", t->name, host, status, page);
    else
        rg_cli_say("%s: %s answers %d: agree to its licence at %s, and set HF_TOKEN to a token of your account", t->name, host, status, page);
}

/* 0, RG_EXIT_FAILED or RG_EXIT_INTERRUPTED. */
static int pull(target *t, const options *o)
{
    bar b = { .name = t->name, .is_terminal = isatty(STDERR_FILENO), .is_quiet = o->is_quiet, .first = -1 };
    rg_download_result r;
    char size[24];
    int ret;

    if (!*t->url) {
        rg_cli_say("%s is not to be had from one address: %s", t->known->name, t->known->note ? t->known->note : "see where it comes from");
        return RG_EXIT_FAILED;
    }
    use_endpoint(t);
    if ((ret = is_there(t, o->is_force)) != 0) {
        if (ret > 0 && !o->is_quiet)
            fprintf(stderr, "%s: there already\n", t->name);
        return ret > 0 ? 0 : RG_EXIT_FAILED;
    }
    const char *token = token_of(t->url);
    const rg_download d = {
        .url = t->url, .dir = t->dir, .name = t->name, .sha256 = t->known ? t->known->sha256 : NULL, .size = t->known ? t->known->size : -1,
        .token = token, .is_hub = same_host(t->url, hub()), .may_replace = o->is_force, .max_failures = o->n_retries, .cancel = &is_interrupted,
        .on_progress = draw, .on_note = say_note, .user = &b,
    };
    if (!b.is_quiet && !b.is_terminal)
        fprintf(stderr, "%s: from %.*s\n", t->name, (int)strcspn(t->url, "?"), t->url);
    ret = rg_download_file(&d, &r);
    clear(&b);
    if (ret == RG_ERR_CANCELLED) {
        rg_cli_say("interrupted; the same command goes on with %s/%s.part", t->dir, t->name);
        return RG_EXIT_INTERRUPTED;
    }
    if (ret == RG_ERR_INVALID && (r.status == 401 || r.status == 403)) {
        say_refused(t, r.status, token);
        return RG_EXIT_FAILED;
    }
    if (ret < 0) {
        rg_cli_say("%s: %s", t->url, r.error);
        return RG_EXIT_FAILED;
    }
    if (!o->is_quiet) {
        fprintf(stderr, "%s/%s: %s in %.1f s, sha256 %s%s\n", t->dir, t->name, size_text(r.size, size), r.seconds, r.sha256,
                r.is_vouched ? " as it should be" : " (not vouched for by anybody)");
        if (t->known && t->known->is_archive)
            fprintf(stderr, "%s: %s\n", t->name, t->known->note ? t->known->note : "to be unpacked");
    }
    return 0;
}

/* Rough sizes are enough to see that it cannot work; each file's own is checked again before it is fetched. */
static bool has_room(const target *targets, int n, const options *o)
{
    const char *where = o->dir ? o->dir : o->models ? o->models : "models";
    double wanted = 0;
    struct statvfs v;
    struct stat st;

    for (int i = 0; i < n; i++) {
        char *path = rg_asprintf("%s/%s", targets[i].dir, targets[i].name);
        if (targets[i].known && (o->is_force || !path || stat(path, &st) < 0))
            wanted += targets[i].known->size > 0 ? (double)targets[i].known->size : targets[i].known->about_gb * 0.8e9;
        rg_free(path);
    }
    for (int i = 0; i < n; i++) {
        char *path = rg_asprintf("%s/%s.part", targets[i].dir, targets[i].name);
        if (path && stat(path, &st) == 0)
            wanted -= (double)st.st_size;
        rg_free(path);
    }
    if (statvfs(where, &v) < 0 && statvfs(".", &v) < 0)
        return true;
    const double there = (double)v.f_bavail * (double)v.f_frsize;
    if (wanted <= there)
        return true;
    rg_cli_say("these files take about %.1f GB, the disk of %s has %.1f GB left", wanted / 1e9, where, there / 1e9);
    return false;
}

/* ---- --list ---------------------------------------------------------------------------------------------------------------------------- */

static void list_file(const rg_manifest_file *f, const options *o)
{
    const char *root = o->models ? o->models : "models";
    char *path = rg_asprintf("%s/%s/%s", root, f->folder, f->file), *part = rg_asprintf("%s/%s/%s.part", root, f->folder, f->file), size[24] = "";
    char twin[2048], other[2400] = "";

    other_place(root, f, twin, sizeof twin);
    if (*twin)
        snprintf(other, sizeof other, "%s/%s", twin, f->file);
    const char *state = (path && access(path, F_OK) == 0) || (*other && access(other, F_OK) == 0) ? "there" : part && access(part, F_OK) == 0 ? "begun" : "";

    if (f->size > 0)
        size_text(f->size, size);
    else if (f->about_gb > 0)
        snprintf(size, sizeof size, "~%g GB", f->about_gb);
    printf("  %-34s %-9s %-6s %s/%s%s%s\n", f->name, size, state, f->folder, f->file, f->is_gated ? "  (licence to be agreed to; HF_TOKEN)" : "",
           f->url ? "" : "  (by hand)");
    rg_free(path);
    rg_free(part);
}

static int list(const rg_manifest *m, const options *o)
{
    if (!o->n_names) {
        printf("files\n");
        for (int i = 0; i < rg_manifest_n_files(m); i++)
            list_file(rg_manifest_file_at(m, i), o);
        printf("endpoints\n");
    }
    for (int i = 0; i < rg_manifest_n_groups(m); i++) {
        const rg_manifest_group *g = rg_manifest_group_at(m, i);
        bool is_asked = !o->n_names;

        for (int k = 0; k < o->n_names; k++)
            is_asked |= !strcmp(o->names[k], g->name);
        if (!is_asked)
            continue;
        printf("%s%-34s", o->n_names ? "" : "  ", g->name);
        for (int k = 0; !o->n_names && k < g->n_files; k++)
            printf(" %s", g->files[k]->name);
        printf("\n");
        for (int k = 0; o->n_names && k < g->n_files; k++)
            list_file(g->files[k], o);
    }
    for (int k = 0; k < o->n_names; k++) {
        const rg_manifest_file *f = rg_manifest_find_group(m, o->names[k]) ? NULL : rg_manifest_find(m, o->names[k]);

        if (f) {
            list_file(f, o);
        } else if (!rg_manifest_find_group(m, o->names[k])) {
            char text[300];
            suggest(m, o->names[k], text, sizeof text);
            rg_cli_say("there is no model file and no endpoint \"%s\" in the manifest%s", o->names[k], text);
            return RG_EXIT_WRONG;
        }
    }
    return RG_EXIT_DONE;
}

int rg_cli_pull(int argc, char **argv)
{
    static target targets[MAX_TARGETS];
    const struct sigaction interrupt = { .sa_handler = on_interrupt };
    options o;
    rg_manifest *m = NULL;
    rg_ctx *c = NULL;
    char path[4096 + 64];
    int code = parse(argc, argv, &o), n = 0, worst = 0;

    if (code)
        return code;
    if (o.help) {
        fputs(rg_cli_pull_usage, stdout);
        return RG_EXIT_DONE;
    }
    if (!o.n_names && !o.is_list) {
        fputs(rg_cli_pull_usage, stderr);
        return RG_EXIT_WRONG;
    }
    code = RG_EXIT_WRONG;
    snprintf(path, sizeof path, "%s/models/manifest.json", rg_cli_data_dir());
    if (!(c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL)) || rg_manifest_read(c, o.manifest ? o.manifest : path, &m) < 0) {
        rg_cli_say("%s", c ? c->message : "out of memory");
        goto done;
    }
    if (o.is_list) {
        code = list(m, &o);
        goto done;
    }
    for (int i = 0; i < o.n_names; i++)
        if ((code = strstr(o.names[i], "://") ? add_url(&o, m, o.names[i], targets, &n) : add_name(&o, m, o.names[i], targets, &n)))
            goto done;
    code = RG_EXIT_FAILED;
    if (!has_room(targets, n, &o))
        goto done;
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < n && worst != RG_EXIT_INTERRUPTED; i++) {       /* one that fails does not keep the others */
        const int ret = pull(&targets[i], &o);
        worst = ret ? ret : worst;
    }
    code = worst;
done:
    rg_manifest_free(m);
    rg_ctx_free(c);
    return code;
}
