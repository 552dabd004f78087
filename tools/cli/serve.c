/*
 * rylagraph serve: the server, with ComfyUI's command line. Flags that change what clients see do what they say; those that steer
 * Python and PyTorch are taken, so that a launcher made for ComfyUI works, and named at the start when they have no effect.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/net/http_client.h"
#include "engine/ops/backend.h"
#include "graph/json_text.h"
#include "graph/pack.h"
#include "server/comfy.h"
#include "server/cost.h"
#include "server/log.h"
#include "server/page.h"
#include "server/prune.h"
#include "server/models.h"
#include "server/service.h"
#include "server/upload_parse.h"
#include "server/yaml.h"
#include "tools/cli/cli.h"

static const char usage[] =
    "usage: rylagraph serve [--listen [ADDRESS,...]] [--port N] [--models DIR]... [--base-directory DIR]\n"
    "                       [--input-directory DIR] [--output-directory DIR] [--temp-directory DIR] [--user-directory DIR]\n"
    "                       [--api-key-file FILE] [--jobs-file FILE] [--front-end-root DIR] [--enable-cors-header [ORIGIN]]\n"
    "                       [--max-upload-size MB] [--tls-key FILE --tls-cert FILE] [--multi-user]\n"
    "                       [--models-quota SIZE] [--max-model-size SIZE] [--keep-uploads HOURS]\n"
    "                       [--max-connections N] [--max-connections-per-address N] [--max-request-memory MB]\n"
    "                       [--client-timeout SECONDS] [--keep-jobs N] [--keep-days DAYS]\n"
    "                       [--preview-method none|auto|latent2rgb|taesd] [--preview-size N] [--disable-metadata]\n"
    "                       [--nodes FILE.so]... [--cache-classic | --cache-lru N | --cache-none]\n"
    "                       [--workflows DIR] [--timeout SECONDS] [--gpu-type NAME] [--price USD_PER_SECOND | --price-file FILE]\n"
    "                       [--log-format text|json] [--log-file FILE] [--log-level LEVEL] [--log-requests] [--log-stdout]\n"
    "                       [--analytics-host URL --analytics-key-file FILE]\n"
    "                       [--webhook-secret-file FILE] [--webhook-allow-private] [--webhook-retry SECONDS]\n"
    "                       [--cpu] [--device auto|cpu|cuda[:N]] [--dtype auto|f32|f16|bf16] [--threads N]\n"
    "                       [--grace SECONDS] [--enable-compress-response-body] [--templates-root DIR] [--docs-root DIR]\n"
    "\n"
    "Answers ComfyUI's API (default: 127.0.0.1, port 8188) and runs what is sent. Its other flags: docs/comfyui-api.md.\n"
    "An address that other machines reach needs --api-key-file: one key per line, sent as \"Authorization: Bearer KEY\".\n"
    "A line may name what its key may do: KEY [metrics|read|endpoints|run|models|all],... (docs/security.md). SIGHUP reads it anew.\n"
    "SIGTERM: what runs has --grace seconds (5) to end, what waits stays in --jobs-file. SIGINT: at once. Again: without waiting.\n";

/* ---- flags --------------------------------------------------------------------------------------------------------------- */

enum { MAX_LIST = 64 };

typedef struct flags {
    const char *listen, *base_dir, *input_dir, *output_dir, *temp_dir, *user_dir, *api_key_file, *jobs_file, *front_end_root, *cors, *max_upload,
        *tls_key, *tls_cert, *max_memory, *preview_method, *device, *dtype, *cuda_device, *workflows, *gpu_type, *price, *timeout,
        *models_quota, *max_model, *keep_uploads, *webhook_secret_file, *webhook_retry, *client_timeout;
    const char *grace, *keep_jobs, *keep_days, *log_format, *log_file, *log_level, *analytics_host, *analytics_key_file, *price_file;
    int port, preview_size, threads, cache_lru, max_connections, max_per_address;
    bool is_cpu, is_multi_user, is_metadata_off, is_cache_classic, is_cache_none, is_quick_test, is_webhook_private, help;
    bool has_request_log, is_log_on_stdout;
    const char *templates_root, *docs_root, *packs_on[MAX_LIST + 1];
    bool is_compressing, are_packs_off, is_fp32, is_fp16;
    const char *models[MAX_LIST], *extra_paths[MAX_LIST];
    const char *packs[MAX_LIST];
    int n_models, n_extra_paths, n_packs;
} flags;

typedef enum flag_kind {
    TEXT, NUMBER, FLAG, MODELS, PACKS, EXTRA_PATHS,
    PACKS_ON,
    MAYBE,                              /* the value may be left out: .otherwise then */
    /* ComfyUI's; docs/comfyui-api.md says why each is so */
    SO_ANYWAY, SO_ANYWAY_VALUE,         /* what it asks for is so here whether or not it is given */
    NO_EFFECT, NO_EFFECT_VALUE, NO_EFFECT_MAYBE, NO_EFFECT_LIST,    /* taken, and named at the start */
    REFUSED                             /* .otherwise says why */
} flag_kind;

typedef struct flag {
    const char *name;
    flag_kind kind;
    size_t offset;
    const char *otherwise;
    const char *choices;                /* the values there are, with "|" between; NULL: any */
} flag;

#define F(field) offsetof(flags, field)
static const flag table[] = {
    { "--listen", MAYBE, F(listen), "0.0.0.0,::" }, { "--port", NUMBER, F(port) },
    { "--base-directory", TEXT, F(base_dir) }, { "--input-directory", TEXT, F(input_dir) }, { "--output-directory", TEXT, F(output_dir) },
    { "--temp-directory", TEXT, F(temp_dir) }, { "--user-directory", TEXT, F(user_dir) },
    { "--extra-model-paths-config", EXTRA_PATHS, 0 }, { "--models", MODELS, 0 }, { "--nodes", PACKS, 0 },
    { "--models-quota", TEXT, F(models_quota) }, { "--max-model-size", TEXT, F(max_model) }, { "--keep-uploads", TEXT, F(keep_uploads) },
    { "--api-key-file", TEXT, F(api_key_file) }, { "--jobs-file", TEXT, F(jobs_file) },
    { "--front-end-root", TEXT, F(front_end_root) }, { "--enable-cors-header", MAYBE, F(cors), "*" },
    { "--max-upload-size", TEXT, F(max_upload) }, { "--tls-keyfile", TEXT, F(tls_key) }, { "--tls-certfile", TEXT, F(tls_cert) },
    { "--tls-key", TEXT, F(tls_key) }, { "--tls-cert", TEXT, F(tls_cert) }, { "--max-request-memory", TEXT, F(max_memory) },
    { "--client-timeout", TEXT, F(client_timeout) }, { "--keep-jobs", TEXT, F(keep_jobs) }, { "--keep-days", TEXT, F(keep_days) },
    { "--max-connections", NUMBER, F(max_connections) }, { "--max-connections-per-address", NUMBER, F(max_per_address) },
    { "--multi-user", FLAG, F(is_multi_user) }, { "--preview-method", TEXT, F(preview_method) },
    { "--preview-size", NUMBER, F(preview_size) }, { "--disable-metadata", FLAG, F(is_metadata_off) },
    { "--cpu", FLAG, F(is_cpu) }, { "--device", TEXT, F(device) }, { "--dtype", TEXT, F(dtype) }, { "--threads", NUMBER, F(threads) },
    { "--workflows", TEXT, F(workflows) }, { "--gpu-type", TEXT, F(gpu_type) }, { "--price", TEXT, F(price) }, { "--timeout", TEXT, F(timeout) },
    { "--webhook-secret-file", TEXT, F(webhook_secret_file) }, { "--webhook-allow-private", FLAG, F(is_webhook_private) },
    { "--webhook-retry", TEXT, F(webhook_retry) }, { "--grace", TEXT, F(grace) },
    { "--price-file", TEXT, F(price_file) }, { "--analytics-host", TEXT, F(analytics_host) }, { "--analytics-key-file", TEXT, F(analytics_key_file) },
    { "--log-format", TEXT, F(log_format), .choices = "text|json" }, { "--log-file", TEXT, F(log_file) }, { "--log-requests", FLAG, F(has_request_log) },
    { "--log-level", TEXT, F(log_level), .choices = "debug|info|warning|error" }, { "--log-stdout", FLAG, F(is_log_on_stdout) },
    { "--cuda-device", TEXT, F(cuda_device) }, { "--default-device", TEXT, F(cuda_device) },
    { "--cache-classic", FLAG, F(is_cache_classic) }, { "--cache-lru", NUMBER, F(cache_lru) }, { "--cache-none", FLAG, F(is_cache_none) },
    { "--quick-test-for-ci", FLAG, F(is_quick_test) }, { "--help", FLAG, F(help) },
    /* ComfyUI's with an effect */
    { "--enable-compress-response-body", FLAG, F(is_compressing) }, { "--disable-all-custom-nodes", FLAG, F(are_packs_off) },
    { "--whitelist-custom-nodes", PACKS_ON, 0 }, { "--force-fp32", FLAG, F(is_fp32) }, { "--force-fp16", FLAG, F(is_fp16) },
    { "--templates-root", TEXT, F(templates_root) }, { "--docs-root", TEXT, F(docs_root) },
    /* ComfyUI's without one */
    { "--default-hashing-function", SO_ANYWAY_VALUE, .choices = "md5|sha1|sha256|sha512" },
    { "--verbose", MAYBE, F(log_level), "DEBUG", .choices = "DEBUG|INFO|WARNING|ERROR|CRITICAL" },
    { "--directml", REFUSED, .otherwise = "there is no DirectML here: --cpu, or --device cuda for an NVIDIA GPU" },
    { "--oneapi-device-selector", REFUSED, .otherwise = "there is no oneAPI here: --cpu, or --device cuda for an NVIDIA GPU" },
    { "--comfy-api-base", NO_EFFECT_VALUE }, { "--database-url", NO_EFFECT_VALUE }, { "--front-end-version", NO_EFFECT_VALUE },
    { "--reserve-vram", NO_EFFECT_VALUE }, { "--async-offload", NO_EFFECT }, { "--auto-launch", NO_EFFECT },
    { "--bf16-text-enc", NO_EFFECT }, { "--bf16-unet", NO_EFFECT }, { "--bf16-vae", NO_EFFECT }, { "--cpu-vae", NO_EFFECT },
    { "--cuda-malloc", NO_EFFECT }, { "--deterministic", NO_EFFECT }, { "--disable-cuda-malloc", NO_EFFECT },
    { "--disable-ipex-optimize", NO_EFFECT }, { "--disable-mmap", NO_EFFECT }, { "--disable-smart-memory", NO_EFFECT },
    { "--dont-print-server", NO_EFFECT }, { "--dont-upcast-attention", NO_EFFECT }, { "--force-channels-last", NO_EFFECT },
    { "--force-non-blocking", NO_EFFECT }, { "--force-upcast-attention", NO_EFFECT }, { "--fp16-text-enc", NO_EFFECT },
    { "--fp16-unet", NO_EFFECT }, { "--fp16-vae", NO_EFFECT }, { "--fp32-text-enc", NO_EFFECT }, { "--fp32-unet", NO_EFFECT },
    { "--fp32-vae", NO_EFFECT }, { "--fp64-unet", NO_EFFECT }, { "--fp8_e4m3fn-text-enc", NO_EFFECT },
    { "--fp8_e4m3fn-unet", NO_EFFECT }, { "--fp8_e5m2-text-enc", NO_EFFECT }, { "--fp8_e5m2-unet", NO_EFFECT },
    { "--fp8_e8m0fnu-unet", NO_EFFECT }, { "--gpu-only", NO_EFFECT }, { "--highvram", NO_EFFECT },
    { "--lowvram", NO_EFFECT }, { "--mmap-torch-files", NO_EFFECT }, { "--novram", NO_EFFECT },
    { "--supports-fp8-compute", NO_EFFECT }, { "--use-flash-attention", NO_EFFECT },
    { "--use-pytorch-cross-attention", NO_EFFECT }, { "--use-quad-cross-attention", NO_EFFECT },
    { "--use-sage-attention", NO_EFFECT }, { "--use-split-cross-attention", NO_EFFECT },
    { "--windows-standalone-build", NO_EFFECT }, { "--fast", NO_EFFECT_LIST }, { "--disable-api-nodes", SO_ANYWAY },
    { "--disable-auto-launch", SO_ANYWAY }, { "--disable-xformers", SO_ANYWAY }, { "--normalvram", SO_ANYWAY },
};
enum { N_FLAGS = sizeof(table) / sizeof(table[0]) };

static bool is_flag(const char *word)
{
    return word[0] == '-' && word[1] == '-' && word[2];
}

static int set_number(const flag *f, const char *value, int *out)
{
    char *end;
    const long n = strtol(value, &end, 10);

    if (*end || end == value || n < 0 || n > 65535) {
        rg_cli_say("%s wants a whole number up to 65535, not \"%s\"", f->name, value);
        return RG_EXIT_WRONG;
    }
    *out = (int)n;
    return 0;
}

/* A number above 0, left alone when text is NULL. */
static int set_positive(const char *name, const char *text, double *out)
{
    char *end;

    if (!text)
        return 0;
    *out = strtod(text, &end);
    if (!*end && end != text && *out > 0 && *out < 1e9)
        return 0;
    rg_cli_say("%s wants a number above 0, not \"%s\"", name, text);
    return RG_EXIT_WRONG;
}

/* The flag a word names: in full, or by a beginning that only one has, as Python's argparse. NULL with a message. */
static const flag *find_flag(const char *word, size_t length)
{
    const flag *found = NULL;
    int n = 0;

    for (int k = 0; k < N_FLAGS; k++) {
        if (length < 3 || strncmp(table[k].name, word, length))
            continue;
        if (!table[k].name[length])
            return &table[k];
        found = &table[k];
        n++;
    }
    if (n == 1)
        return found;
    if (n)
        rg_cli_say("%.*s could be several options: %s and others", (int)length, word, found->name);
    else
        rg_cli_say("unknown option %s", word);
    return NULL;
}

static int check_choice(const flag *f, const char *value)
{
    const size_t n = value ? strlen(value) : 0;

    for (const char *p = f->choices; value && p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (!strncmp(p, value, n) && (p[n] == '|' || !p[n]))
            return 0;
    if (!value || !f->choices)
        return 0;
    rg_cli_say("%s wants one of %s, not \"%s\"", f->name, f->choices, value);
    return RG_EXIT_WRONG;
}

/* no_effect: flags that were given in vain, ", " between. */
static int parse_flags(int argc, char **argv, flags *o, char *no_effect, size_t size)
{
    int n_packs_on = 0;

    *o = (flags){ .listen = "127.0.0.1", .port = 8188, .preview_method = "none", .preview_size = 512, .device = "auto", .dtype = "auto" };
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
            o->help = true;
            return 0;
        }
    }
    for (int i = 0; i < argc; i++) {
        char *word = argv[i], *equals = strchr(word, '=');
        const flag *f = find_flag(word, equals ? (size_t)(equals - word) : strlen(word));
        const char *value = equals ? equals + 1 : NULL;

        if (!f)
            return RG_EXIT_WRONG;
        void *field = (char *)o + f->offset;
        const bool has_next = i + 1 < argc && !is_flag(argv[i + 1]);

        if (!value && (f->kind == TEXT || f->kind == NUMBER || f->kind == MODELS || f->kind == PACKS || f->kind == EXTRA_PATHS ||
                       f->kind == NO_EFFECT_VALUE || f->kind == SO_ANYWAY_VALUE)) {
            if (i + 1 >= argc) {
                rg_cli_say("%s wants a value", f->name);
                return RG_EXIT_WRONG;
            }
            value = argv[++i];
        }
        switch (f->kind) {
        case TEXT:
            *(const char **)field = value;
            break;
        case NUMBER:
            if (set_number(f, value, field))
                return RG_EXIT_WRONG;
            break;
        case FLAG:
            *(bool *)field = true;
            break;
        case MAYBE:
            *(const char **)field = value ? value : has_next ? argv[++i] : f->otherwise;
            break;
        case MODELS:
            if (o->n_models < MAX_LIST)
                o->models[o->n_models++] = value;
            break;
        case PACKS:
            if (o->n_packs < MAX_LIST)
                o->packs[o->n_packs++] = value;
            break;
        case EXTRA_PATHS:
            for (;;) {
                if (o->n_extra_paths < MAX_LIST)
                    o->extra_paths[o->n_extra_paths++] = value;
                if (equals || i + 1 >= argc || is_flag(argv[i + 1]))
                    break;
                value = argv[++i];
            }
            break;
        case PACKS_ON:
            for (; value || (i + 1 < argc && !is_flag(argv[i + 1])); value = NULL) {
                const char *name = value ? value : argv[++i];
                if (n_packs_on < MAX_LIST)
                    o->packs_on[n_packs_on++] = name;
                if (value)
                    break;
            }
            break;
        case NO_EFFECT_MAYBE:
            if (!value && has_next)
                value = argv[++i];
            break;
        case NO_EFFECT_LIST:
            while (i + 1 < argc && !is_flag(argv[i + 1]))
                i++;
            break;
        case REFUSED:
            rg_cli_say("%s: %s", f->name, f->otherwise);
            return RG_EXIT_WRONG;
        default:
            break;
        }
        if (check_choice(f, value))
            return RG_EXIT_WRONG;
        if (f->kind == NO_EFFECT || f->kind == NO_EFFECT_VALUE || f->kind == NO_EFFECT_MAYBE || f->kind == NO_EFFECT_LIST)
            snprintf(no_effect + strlen(no_effect), size - strlen(no_effect), "%s%s", *no_effect ? ", " : "", f->name);
    }
    return 0;
}

/* ---- parts of it ------------------------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *listen)
{
    char *copy = rg_strdup(listen), *rest = copy;
    bool is_all = copy != NULL;

    for (char *address; copy && (address = strsep(&rest, ",")); )
        is_all &= !*address || !strncmp(address, "127.", 4) || !strcmp(address, "::1");
    rg_free(copy);
    return is_all;
}

/* Keys of a file (server/keys.h); NULL with a message. */
static rg_keys *read_keys(const char *path)
{
    size_t n_bytes;
    char *text = rg_cli_read(path, &n_bytes), error[300];
    rg_keys *keys = text ? rg_keys_read(text, n_bytes, error, sizeof error) : NULL;

    if (text && !keys)
        rg_cli_say("--api-key-file %s: %s", path, error);
    if (text)
        explicit_bzero(text, n_bytes);
    rg_free(text);
    return keys;
}

/* A file of one line: its text without the line's end, to rg_free(). NULL with a message. */
static char *read_line_file(const char *option, const char *path)
{
    size_t n_bytes;
    char *text = rg_cli_read(path, &n_bytes);

    if (!text)
        return NULL;
    text[strcspn(text, "\r\n")] = '\0';
    if (!*text) {
        rg_cli_say("%s %s: the first line is empty", option, path);
        rg_free(text);
        return NULL;
    }
    return text;
}

static int start_log(const flags *o)
{
    rg_log_options l = { .level = RG_LOG_INFO, .is_json = o->log_format && !strcmp(o->log_format, "json"), .has_requests = o->has_request_log,
                         .file = o->log_file, .fd = o->is_log_on_stdout ? STDOUT_FILENO : STDERR_FILENO };
    char text[300];

    if (o->log_level)
        rg_log_level_named(o->log_level, &l.level);
    if (rg_log_start(&l, text, sizeof(text)) == 0)
        return 0;
    rg_cli_say("--log-file %s", text);
    return RG_EXIT_WRONG;
}

/* Reads the key file anew and opens the log file anew on SIGHUP: on a thread of its own, which waits for the signal. */
typedef struct key_reader {
    pthread_t thread;
    bool is_there;
    atomic_bool is_stopping;
    rg_server *server;
    const char *path;
} key_reader;

static void *key_reader_main(void *arg)
{
    key_reader *k = arg;
    sigset_t hangup;
    int signal;

    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    while (sigwait(&hangup, &signal) == 0 && !atomic_load(&k->is_stopping)) {
        rg_keys *keys = k->path ? read_keys(k->path) : NULL;

        rg_log_reopen();
        if (keys) {
            rg_log_say(RG_LOG_INFO, "%s: %d keys from now on", k->path, rg_keys_count(keys));
            rg_server_set_keys(k->server, keys);
        } else if (k->path) {
            rg_log_say(RG_LOG_WARNING, "%s: the keys stay as they were", k->path);
        }
    }
    return NULL;
}

/* Blocks SIGHUP for all threads that are started afterwards. */
static void block_hangup(void)
{
    sigset_t hangup;

    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &hangup, NULL);
}

static void key_reader_stop(key_reader *k)
{
    if (!k->is_there)
        return;
    atomic_store(&k->is_stopping, true);
    pthread_kill(k->thread, SIGHUP);
    pthread_join(k->thread, NULL);
    k->is_there = false;
}

/* An absolute path (rg_free() it): own when given, else base/name. */
static char *folder(const char *own, const char *base, const char *name)
{
    char cwd[PATH_MAX], *joined = own ? rg_strdup(own) : rg_asprintf("%s/%s", base, name), *path;

    if (!joined || *joined == '/' || !getcwd(cwd, sizeof(cwd)))
        return joined;
    path = rg_asprintf("%s/%s", cwd, joined);
    rg_free(joined);
    return path;
}

/* Everything in a folder, the folder stays. Links are removed, not followed. */
static void empty_folder(const char *path)
{
    DIR *d = opendir(path);

    for (struct dirent *e; d && (e = readdir(d)); ) {
        struct stat st;
        char *child;

        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode) && (child = rg_asprintf("%s/%s", path, e->d_name))) {
            empty_folder(child);
            rmdir(child);
            rg_free(child);
        } else {
            unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    if (d)
        closedir(d);
}

/* ---- the end: on a thread of its own, while the loop still answers ------------------------------------------------------------------- */

typedef struct ender {
    pthread_t thread;
    bool is_there;
    double grace_seconds;
    rg_server *server;
    rg_service *service;
    rg_queue *queue;
} ender;

static int signal_pipe[2] = { -1, -1 }; /* one byte for each signal */

/* Tells systemd ("READY=1", "STOPPING=1") where it has asked for it: Type=notify. */
static void tell_manager(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const size_t n = name ? strlen(name) : 0;

    if (n < 2 || n >= sizeof(a.sun_path) || (*name != '/' && *name != '@'))
        return;
    memcpy(a.sun_path, name, n);
    if (*name == '@')
        a.sun_path[0] = '\0';           /* a name in no file system */
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
            rg_log_say(RG_LOG_WARNING, "NOTIFY_SOCKET %s: %s", name, strerror(errno));
        close(fd);
    }
}

static void on_signal(int signal)
{
    static volatile sig_atomic_t n;
    const char byte = signal == SIGTERM ? 't' : 'i';
    const int kept = errno;

    if (n++ > (signal == SIGTERM) || write(signal_pipe[1], &byte, 1) != 1)
        _exit(RG_EXIT_INTERRUPTED);     /* asked again: do not wait for the step to end */
    errno = kept;
}

static void *ender_main(void *arg)
{
    const ender *e = arg;
    struct pollfd p = { signal_pipe[0], POLLIN, 0 };
    rg_queue_counts counts;
    char byte = 0;

    while (read(signal_pipe[0], &byte, 1) < 0 && errno == EINTR)
        ;
    if (byte) {                         /* 0: the server has ended by itself */
        tell_manager("STOPPING=1");
        rg_service_drain(e->service);
        rg_queue_count(e->queue, &counts);
        if (byte == 't' && counts.running)
            rg_log_say(RG_LOG_INFO, "stopping: what runs has %g seconds to end", e->grace_seconds);
        for (double left = byte == 't' ? e->grace_seconds : 0; counts.running && left > 0; left -= 0.02) {
            if (poll(&p, 1, 20) > 0)
                break;                  /* asked again */
            rg_queue_count(e->queue, &counts);
        }
        rg_service_stop(e->service);    /* whoever waits gets an answer */
        rg_server_flush(e->server, 1);
        rg_server_stop(e->server);
    }
    return NULL;
}

static void ender_stop(ender *e)
{
    const char none = 0;

    if (!e->is_there)
        return;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (write(signal_pipe[1], &none, 1) == 1)
        pthread_join(e->thread, NULL);
    e->is_there = false;
    close(signal_pipe[0]);
    close(signal_pipe[1]);
}

/* What X-GPU-Type says and the price goes by: --gpu-type, else what NVIDIA's driver calls its first device; NULL: the CPU. */
static const char *gpu_name(const flags *o, const rg_ctx *c)
{
    static char line[200];
    const char *name = NULL;
    DIR *d;

    if (o->gpu_type || c->device.type == RG_CPU)
        return o->gpu_type;
    d = opendir("/proc/driver/nvidia/gpus");
    for (struct dirent *e; d && !name && (e = readdir(d)); ) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "/proc/driver/nvidia/gpus/%.200s/information", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (f && !name && fgets(line, sizeof(line), f)) {
            if (!strncmp(line, "Model:", 6)) {
                line[strcspn(line, "\r\n")] = '\0';
                name = line + 6 + strspn(line + 6, " \t");
            }
        }
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return name ? name : "GPU";
}

/* Everybody who wants to hear of jobs. */
struct listeners {
    rg_comfy *comfy;
    rg_service *service;
};

static void on_job(void *user, const rg_job_event *e)
{
    const struct listeners *l = user;

    rg_comfy_on_job(l->comfy, e);
    rg_service_on_job(l->service, e);
}

static void report(void *user, const char *line)
{
    (void)user;
    rg_log_say(RG_LOG_INFO, "%s", line);
}

/* ---- the command ---------------------------------------------------------------------------------------------------------------- */

static int preview_method(const char *name, rg_preview_method *out)
{
    if (!strcmp(name, "none"))
        *out = RG_PREVIEW_NONE;
    else if (!strcmp(name, "auto") || !strcmp(name, "latent2rgb") || !strcmp(name, "taesd"))
        *out = RG_PREVIEW_LATENT2RGB;   /* without a tiny decoder ComfyUI falls back to it, too */
    else {
        rg_cli_say("--preview-method wants none, auto, latent2rgb or taesd, not \"%s\"", name);
        return RG_EXIT_WRONG;
    }
    return 0;
}

/* "~/x" and "$NAME/x" as a shell would read them, then relative to `from`; rg_free() it. */
static char *expand_path(const char *path, const char *from)
{
    rg_text t = { 0 };

    if (*path == '~' && (!path[1] || path[1] == '/') && getenv("HOME")) {
        rg_text_add(&t, getenv("HOME"));
        path++;
    }
    while (*path) {
        const bool has_brace = path[0] == '$' && path[1] == '{';
        const char *name = path + 1 + has_brace;
        const size_t n = *path == '$' ? strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") : 0;
        char copy[128];

        if (n && n < sizeof(copy) && (!has_brace || name[n] == '}')) {
            snprintf(copy, sizeof(copy), "%.*s", (int)n, name);
            if (getenv(copy)) {
                rg_text_add(&t, getenv(copy));
                path = name + n + has_brace;
                continue;
            }
        }
        rg_text_add_bytes(&t, path++, 1);
    }
    char *expanded = rg_text_take(&t), *joined;
    if (!expanded || *expanded == '/')
        return expanded;
    joined = rg_asprintf("%s/%s", from, expanded);
    rg_free(expanded);
    return joined;
}

/* One extra_model_paths.yaml: sections with an optional base_path and is_default, and lines of KEY: FOLDER. */
static int read_extra_paths(rg_env *env, const char *file)
{
    rg_yaml_pair *pairs = NULL;
    char error[256], *folder = rg_strdup(file), *slash = folder ? strrchr(folder, '/') : NULL, *text;
    size_t n_bytes;
    int n, code = RG_EXIT_WRONG;

    if (slash)
        *slash = '\0';
    if (!(text = rg_cli_read(file, &n_bytes)))
        goto done;
    if ((n = rg_yaml_read(text, n_bytes, &pairs, error, sizeof(error))) < 0) {
        rg_cli_say("%s: %s", file, error);
        goto done;
    }
    for (int i = 0; i < n; i++) {
        const char *base = NULL;
        bool is_first = false;

        if (!strcmp(pairs[i].key, "base_path") || !strcmp(pairs[i].key, "is_default") || !*pairs[i].value)
            continue;
        for (int j = 0; j < n; j++) {
            if (strcmp(pairs[j].section, pairs[i].section))
                continue;
            if (!strcmp(pairs[j].key, "base_path"))
                base = pairs[j].value;
            else if (!strcmp(pairs[j].key, "is_default"))
                is_first = !strcasecmp(pairs[j].value, "true") || !strcasecmp(pairs[j].value, "yes") || !strcmp(pairs[j].value, "1");
        }
        char *from = base ? expand_path(base, slash ? folder : ".") : rg_strdup(slash ? folder : ".");
        char *path = from ? expand_path(pairs[i].value, from) : NULL;
        const int ret = path ? rg_env_add_folder(env, pairs[i].key, path, is_first) : RG_ERR_NOMEM;
        rg_free(from);
        rg_free(path);
        if (ret < 0) {
            rg_cli_say("out of memory");
            goto done;
        }
    }
    code = 0;
done:
    rg_yaml_free(pairs);
    rg_free(text);
    rg_free(folder);
    return code;
}

/* Folders beyond the models directories: those of extra-path files, and what ComfyUI's own save nodes write. */
static int add_folders(const flags *o, rg_env *env)
{
    static const char *const saved[] = { "checkpoints", "clip", "vae", "diffusion_models", "loras" };
    char *usual = rg_asprintf("%s/extra_model_paths.yaml", o->base_dir ? o->base_dir : ".");
    char *packs = folder(NULL, o->base_dir ? o->base_dir : ".", "custom_nodes");
    int code = packs && rg_env_add_folder(env, "custom_nodes", packs, false) < 0 ? RG_EXIT_FAILED : 0;

    if (!code && usual && access(usual, R_OK) == 0)
        code = read_extra_paths(env, usual);
    rg_free(packs);
    rg_free(usual);
    for (int i = 0; !code && i < o->n_extra_paths; i++)
        code = read_extra_paths(env, o->extra_paths[i]);
    for (size_t i = 0; !code && i < sizeof(saved) / sizeof(saved[0]); i++) {
        char *path = rg_asprintf("%s/%s", env->output_dir, saved[i]);
        if (path)
            rg_env_add_folder(env, saved[i], path, false);
        rg_free(path);
    }
    return code;
}

/* Environment: models from --models, else BASE/models; the folders made. */
static rg_env *make_env(const flags *o, const char *base, char **user_dir)
{
    rg_cli_options options = { .device = o->device, .dtype = o->dtype, .disable_metadata = o->is_metadata_off };
    char *input = folder(o->input_dir, base, "input"), *output = folder(o->output_dir, base, "output"), *models = folder(NULL, base, "models"),
         *temp = o->temp_dir ? folder(NULL, o->temp_dir, "temp") : folder(NULL, base, "temp");
    rg_env *env = NULL;
    struct stat st;
    char real[PATH_MAX];

    *user_dir = folder(o->user_dir, base, "user");
    if (!input || !output || !temp || !models || !*user_dir)
        goto done;
    for (int i = 0; i < o->n_models && options.n_models < RG_CLI_MAX; i++)
        options.models[options.n_models++] = o->models[i];
    if (!o->n_models && o->base_dir && (stat(models, &st) == 0 || mkdir(models, 0777) == 0))    /* models can be put there later */
        options.models[options.n_models++] = models;
    options.input = input;
    options.output = output;
    if (rg_env_make_folders(input) < 0 || rg_env_make_folders(output) < 0 || rg_env_make_folders(*user_dir) < 0) {
        rg_cli_say("%s, %s, %s: the folders cannot be made: %s", input, output, *user_dir, strerror(errno));
        goto done;
    }
    /* absolute, as the folders of the environment are: paths of requests are compared with it */
    char *absolute = realpath(*user_dir, NULL);
    if (!absolute)
        goto done;
    rg_free(*user_dir);
    *user_dir = absolute;
    if ((env = rg_cli_env(&options))) {
        rg_free(env->temp_dir);
        env->temp_dir = temp;
        temp = NULL;
        if (rg_env_make_folders(env->temp_dir) < 0) {
            rg_cli_say("%s: the folder cannot be made: %s", env->temp_dir, strerror(errno));
            rg_env_free(env);
            env = NULL;
        } else if (realpath(env->temp_dir, real)) {     /* without "." or links: paths are compared with it */
            char *copy = rg_strdup(real);

            if (copy) {
                rg_free(env->temp_dir);
                env->temp_dir = copy;
            }
        }
    }
done:
    rg_free(input);
    rg_free(output);
    rg_free(temp);
    rg_free(models);
    return env;
}

/* A size such as 500M or 2T, left alone when text is NULL. */
static int set_size(const char *name, const char *text, uint64_t *out)
{
    if (!text || rg_size_parse(text, out))
        return 0;
    rg_cli_say("%s wants a size such as 500M, 80G or 2T, not \"%s\"", name, text);
    return RG_EXIT_WRONG;
}

int rg_cli_serve(int argc, char **argv)
{
    static flags o;
    char no_effect[1024] = "", cuda[64];
    int code = parse_flags(argc, argv, &o, no_effect, sizeof(no_effect));
    char *user_dir = NULL, text[1024];
    rg_keys *keys = NULL;
    key_reader reader = { .path = o.api_key_file };
    rg_env *env = NULL;
    rg_ctx *ctx = NULL;
    rg_comfy *comfy = NULL;
    rg_server *server = NULL;
    rg_queue *queue = NULL;
    rg_executor *executor = NULL;
    rg_prune *prune = NULL;
    rg_service *service = NULL;
    rg_models *models = NULL;
    rg_models_options m = { .has_quota = o.models_quota != NULL };
    struct listeners heard;
    double price = 0, timeout = 0, max_memory = 0, keep_hours = 0, webhook_retry = 0, client_seconds = 0, keep_jobs = 0, keep_days = 0;
    double grace = 5;
    ender last = { .is_there = false };
    char *webhook_secret = NULL, *analytics_key = NULL;
    char data_flows[PATH_MAX], own_models[PATH_MAX];
    rg_comfy_options c = { .max_upload_bytes = (size_t)100 << 20 };

    if (code)
        return code;
    if (o.help) {
        fputs(usage, stdout);
        return RG_EXIT_DONE;
    }
    code = RG_EXIT_WRONG;
    if (o.max_upload) {
        char *end;
        const double mb = strtod(o.max_upload, &end);
        if (*end || end == o.max_upload || !(mb > 0) || mb > 1e6) {
            rg_cli_say("--max-upload-size wants a number of MB, not \"%s\"", o.max_upload);
            return code;
        }
        c.max_upload_bytes = (size_t)(mb * 1048576);
        c.is_max_upload_float = true;
    }
    if (set_positive("--price", o.price, &price) || set_positive("--timeout", o.timeout, &timeout) ||
        set_positive("--max-request-memory", o.max_memory, &max_memory) || set_positive("--keep-uploads", o.keep_uploads, &keep_hours) ||
        set_size("--models-quota", o.models_quota, &m.quota_bytes) || set_size("--max-model-size", o.max_model, &m.max_file_bytes) ||
        (o.grace && strcmp(o.grace, "0") && set_positive("--grace", o.grace, &grace)) ||
        set_positive("--webhook-retry", o.webhook_retry, &webhook_retry) || set_positive("--client-timeout", o.client_timeout, &client_seconds) ||
        set_positive("--keep-jobs", o.keep_jobs, &keep_jobs) || set_positive("--keep-days", o.keep_days, &keep_days))
        return code;
    if (o.webhook_secret_file) {
        if (!(webhook_secret = read_line_file("--webhook-secret-file", o.webhook_secret_file)))
            return code;
        if (rg_webhook_secret_problem(webhook_secret)) {
            rg_cli_say("--webhook-secret-file %s: %s", o.webhook_secret_file, rg_webhook_secret_problem(webhook_secret));
            return code;
        }
    }
    if (!o.analytics_host != !o.analytics_key_file || (o.analytics_host && rg_http_url_problem(o.analytics_host))) {
        rg_cli_say("--analytics-host URL and --analytics-key-file FILE go together%s%s", o.analytics_host && o.analytics_key_file ? "; the URL: " : "",
                   o.analytics_host && o.analytics_key_file ? rg_http_url_problem(o.analytics_host) : "");
        return code;
    }
    if (o.analytics_key_file && !(analytics_key = read_line_file("--analytics-key-file", o.analytics_key_file)))
        return code;
    if (preview_method(o.preview_method, &c.preview_method))
        return code;
    if (!o.tls_key != !o.tls_cert) {
        rg_cli_say("--tls-key and --tls-cert go together");
        return code;
    }
    if (o.api_key_file && !(keys = read_keys(o.api_key_file)))
        return code;
    if (keys || o.log_file)
        block_hangup();
    if (!keys && !is_loopback(o.listen)) {
        rg_cli_say("--listen %s can be reached from other machines: that needs --api-key-file FILE (one key per line)", o.listen);
        return code;
    }
    for (int i = 0; i < o.n_packs; i++) {
        if (rg_pack_load(o.packs[i], text, sizeof(text)) < 0) {
            rg_cli_say("--nodes %s", text);
            return code;
        }
    }
    if (o.is_cache_classic + o.is_cache_none + (o.cache_lru > 0) > 1) {
        rg_cli_say("only one of --cache-classic, --cache-lru and --cache-none is possible");
        return code;
    }
    if (o.is_cpu)
        o.device = "cpu";
    else if (o.cuda_device && !strcmp(o.device, "auto")) {
        snprintf(cuda, sizeof(cuda), "cuda:%s", o.cuda_device);
        o.device = cuda;
    }
    if (!strcmp(o.dtype, "auto") && (o.is_fp32 || o.is_fp16))
        o.dtype = o.is_fp32 ? "f32" : "f16";
    if (!(env = make_env(&o, o.base_dir ? o.base_dir : ".", &user_dir)))
        goto done;
    if (add_folders(&o, env))
        goto done;
    empty_folder(env->temp_dir);
    const rg_cli_options device = { .device = o.device, .dtype = o.dtype };
    if (!(ctx = rg_cli_ctx(&device)))
        goto done;
    if ((code = start_log(&o)))
        goto done;
    c.env = env;
    c.device = &ctx->device;
    c.pool = ctx->pool;
    c.user_dir = user_dir;
    c.is_multi_user = o.is_multi_user;
    c.preview_size = o.preview_size;
    c.front_end_root = o.front_end_root;
    c.templates_root = o.templates_root;
    c.docs_root = o.docs_root;
    c.are_packs_off = o.are_packs_off;
    c.packs_on = o.packs_on;
    c.argc = argc;
    c.argv = argv;
    code = RG_EXIT_FAILED;
    if (!(comfy = rg_comfy_new(&c))) {
        rg_cli_say("out of memory");
        goto done;
    }
    snprintf(data_flows, sizeof(data_flows), "%s/workflows", rg_cli_data_dir());
    if (o.grace && !strcmp(o.grace, "0"))
        grace = 0;
    const char *const flows[] = { o.workflows ? o.workflows : data_flows, NULL };
    const char *gpu = gpu_name(&o, ctx);
    if (o.price_file && !price) {
        size_t n_prices;
        char *prices = rg_cli_read(o.price_file, &n_prices);
        const char *key = !gpu ? "CPU" : rg_gpu_key(gpu) ? rg_gpu_key(gpu) : gpu;
        if (prices && (price = rg_price_read(prices, n_prices, key, text, sizeof(text))) < 0)
            rg_cli_say("--price-file %s: %s", o.price_file, text);
        rg_free(prices);
        if (!prices || price < 0) {
            code = RG_EXIT_WRONG;
            goto done;
        }
    }
    const rg_service_options v = { .env = env, .workflow_dirs = flows, .gpu = gpu, .usd_per_second = price, .has_price = o.price || o.price_file,
                                   .timeout_seconds = timeout, .report = report,
                                   .analytics = { .host = o.analytics_host, .key = analytics_key },
                                   .webhook = { .secret = webhook_secret, .allows_private = o.is_webhook_private, .retry_seconds = webhook_retry } };
    if (!(service = rg_service_new(&v, text, sizeof(text)))) {
        rg_cli_say("out of memory");
        goto done;
    }
    if (*text) {                        /* templates that are no good: named, and left out */
        text[strlen(text) - 1] = '\0';
        rg_log_say(RG_LOG_WARNING, "%s", text);
    }
    snprintf(own_models, sizeof(own_models), "%s/models/demo", rg_cli_data_dir());
    m.env = env;
    m.kept_dir = *rg_cli_data_dir() ? own_models : NULL;
    m.keep_seconds = keep_hours * 3600;
    if (!(models = rg_models_new(&m))) {
        rg_cli_say("out of memory");
        goto done;
    }
    heard = (struct listeners){ comfy, service };
    const rg_server_options s = {
        .listen = o.listen, .port = o.port, .max_body_bytes = c.max_upload_bytes, .cors_origin = o.cors, .keys = keys,
        .max_connections = o.max_connections, .max_connections_per_address = o.max_per_address, .max_memory_bytes = (size_t)(max_memory * 1048576),
        .client_seconds = client_seconds,
        .tls_cert = o.tls_cert, .tls_key = o.tls_key, .static_root = o.front_end_root, .user = comfy,
        .is_compressing = o.is_compressing,
        .on_open = rg_comfy_on_open, .on_text = rg_comfy_on_text, .on_close = rg_comfy_on_close,
    };
    keys = NULL;                        /* the server's now */
    if (!(server = rg_server_new(&s, text, sizeof(text)))) {
        rg_cli_say("%s", text);
        goto done;
    }
    /* the store forgets without looking at files: with --keep-jobs that comes second */
    const rg_queue_options q = { .path = o.jobs_file, .max_ended = keep_jobs >= 1 ? (int)fmin(2 * keep_jobs + 1000, 1e9) : 0 };
    if (!(queue = rg_queue_open(&q, text, sizeof(text)))) {
        rg_cli_say("%s", text);
        goto done;
    }
    /* the executor takes no job before the routes are there: its first events go through the server's queue of messages */
    const rg_executor_options x = { .queue = queue, .env = env, .ctx = ctx, .listener = on_job, .listener_user = &heard,
                                    .cache_entries = o.cache_lru, .is_cache_off = o.is_cache_none };
    rg_comfy_start(comfy, server, queue);
    rg_service_start(service, server, queue);
    rg_page_start(server, !o.front_end_root);
    rg_models_start(models, server);
    if (!(executor = rg_executor_start(&x))) {
        rg_cli_say("cannot start the thread that runs jobs");
        goto done;
    }
    rg_comfy_set_executor(comfy, executor);
    rg_service_set_executor(service, executor);
    rg_models_set_executor(models, executor);
    if ((keep_jobs >= 1 || keep_days > 0) &&
        !(prune = rg_prune_start(&(rg_prune_options){ .queue = queue, .env = env, .executor = executor, .keep_seconds = 86400 * keep_days,
                                                      .keep_jobs = keep_jobs >= 1 ? (int)fmin(keep_jobs, 1e9) : 10000 }))) {
        rg_cli_say("cannot start the thread that removes what is old");
        goto done;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (*no_effect)
        rg_log_say(RG_LOG_WARNING, "taken, but without effect here (docs/comfyui-api.md): %s", no_effect);
    last = (ender){ .grace_seconds = grace, .server = server, .service = service, .queue = queue };
    if (pipe2(signal_pipe, O_CLOEXEC) < 0 || pthread_create(&last.thread, NULL, ender_main, &last) != 0) {
        rg_log_say(RG_LOG_ERROR, "cannot wait for signals: %s", strerror(errno));
        goto done;
    }
    last.is_there = true;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    reader.server = server;
    if (o.api_key_file || o.log_file)
        reader.is_there = pthread_create(&reader.thread, NULL, key_reader_main, &reader) == 0;
    rg_log_say(RG_LOG_INFO, "listening on %s, port %d", o.listen, rg_server_port(server));
    tell_manager("READY=1");
    code = RG_EXIT_DONE;
    if (!o.is_quick_test)
        rg_server_run(server);
done:
    ender_stop(&last);
    key_reader_stop(&reader);
    rg_server_end_workers(server);
    rg_models_stop(models);
    rg_prune_stop(prune);
    rg_service_stop(service);
    rg_executor_stop(executor);
    rg_queue_close(queue);
    rg_log_stop();                      /* before the sockets go that it is sent to */
    rg_server_free(server);
    rg_service_free(service);
    rg_models_free(models);
    rg_comfy_free(comfy);
    if (env)
        empty_folder(env->temp_dir);
    rg_ctx_free(ctx);
    rg_env_free(env);
    rg_keys_free(keys);
    if (webhook_secret)
        explicit_bzero(webhook_secret, strlen(webhook_secret));
    rg_free(webhook_secret);
    rg_free(analytics_key);
    rg_free(user_dir);
    return code;
}
