/*
 * rylagraph models pull against servers of our own: ranges, redirects, tokens, connections that break, files that are not what they
 * should be. One server plays Hugging Face, the other the store that it redirects to; both remember what they were asked.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/core/sha256.h"
#include "engine/weights/manifest.h"
#include "tests/cli/program.h"

/* ---- the servers ----------------------------------------------------------------------------------------------------------- */

enum { N_DATA = 3 << 20 };

typedef struct seen {                   /* of the requests for one path, HEAD included */
    char path[64];
    int n, n_ranges, n_tokens, n_if_range;
    char last_range[80];
} seen;

static struct {
    int fd[2], port[2];                 /* hub, store */
    char *data, hex[65];                /* a good safetensors file */
    size_t n;
    pthread_mutex_t lock;
    seen seen[64];
    int n_seen;
} web = { .lock = PTHREAD_MUTEX_INITIALIZER };

static seen *seen_of(const char *path)
{
    for (int i = 0; i < web.n_seen; i++)
        if (!strcmp(web.seen[i].path, path))
            return &web.seen[i];
    seen *s = &web.seen[web.n_seen++];
    *s = (seen){ 0 };
    snprintf(s->path, sizeof s->path, "%s", path);
    return s;
}

static void say(int fd, const char *text)
{
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Up to n bytes, in small pieces when slow. */
static void send_bytes(int fd, const char *bytes, size_t n, bool is_slow)
{
    for (size_t at = 0; at < n; ) {
        const size_t piece = is_slow && n - at > 16384 ? 16384 : n - at;
        const ssize_t k = send(fd, bytes + at, piece, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        at += (size_t)k;
        if (is_slow)
            usleep(20000);
    }
}

static bool begins(const char *text, const char *start)
{
    return !strncmp(text, start, strlen(start));
}

static void answer(int fd, int which, char *head)
{
    char path[64], method[8], out[700];
    const char *range = strcasestr(head, "\r\nRange: bytes="), *token = strcasestr(head, "\r\nAuthorization: Bearer secret\r\n");
    long long first = range ? atoll(range + 15) : 0;
    const char *if_range = strcasestr(head, "\r\nIf-Range: "), *version = "\"v1\"";
    const char *data = web.data;
    size_t n = web.n;

    if (sscanf(head, "%7s %63[^ ?]", method, path) != 2)
        return;
    const char *what = strrchr(path, '/') + 1;
    pthread_mutex_lock(&web.lock);
    seen *s = seen_of(path);
    s->n++;
    s->n_ranges += range != NULL;
    s->n_if_range += if_range != NULL;
    s->n_tokens += strcasestr(head, "\r\nAuthorization:") != NULL;
    snprintf(s->last_range, sizeof s->last_range, "%.*s", range ? (int)strcspn(range + 2, "\r") : 0, range ? range + 2 : "");
    const int count = s->n;
    pthread_mutex_unlock(&web.lock);

    if (which == 0 && (begins(path, "/org/") || begins(path, "/gated/"))) {     /* the hub: asks for a token, knows the sum, redirects */
        if (begins(path, "/gated/") && !token) {
            say(fd, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            return;
        }
        snprintf(out, sizeof out, "HTTP/1.1 302 Found\r\nX-Linked-Etag: \"%s\"\r\nX-Linked-Size: %zu\r\nLocation: http://127.0.0.1:%d/store/%s?signed=1\r\n"
                                  "Content-Length: 0\r\nConnection: close\r\n\r\n", web.hex, n, web.port[1], what);
        say(fd, out);
        return;
    }
    if (begins(what, "404") || begins(what, "403")) {
        snprintf(out, sizeof out, "HTTP/1.1 %.3s No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", what);
        say(fd, out);
        return;
    }
    if (begins(what, "busy") && count <= 2) {
        say(fd, "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        return;
    }
    if (begins(what, "416") && range) {
        snprintf(out, sizeof out, "HTTP/1.1 416 No\r\nContent-Range: bytes */%zu\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", n);
        say(fd, out);
        return;
    }
    if (begins(what, "page")) {
        data = "<!DOCTYPE html><html>please log in</html>";
        n = strlen(data);
    }
    if (begins(what, "changed") && count > 1)
        version = "\"v2\"";
    if (if_range && strncmp(if_range + 12, version, strlen(version)))
        range = NULL;                   /* it is another file now: all of it */
    if (begins(what, "norange"))
        range = NULL;
    first = range ? first : 0;
    if (begins(what, "otherrange") && range)
        snprintf(out, sizeof out, "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-%zu/%zu\r\nContent-Length: %zu\r\nETag: %s\r\nConnection: close\r\n\r\n", n - 1, n, n,
                 version);
    else if (range)
        snprintf(out, sizeof out, "HTTP/1.1 206 Part\r\nContent-Range: bytes %lld-%zu/%zu\r\nContent-Length: %zu\r\nETag: %s\r\nConnection: close\r\n\r\n", first,
                 n - 1, n, n - (size_t)first, version);
    else if (begins(what, "nolength"))
        snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    else if (begins(what, "huge"))
        snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Length: 900000000000000\r\nConnection: close\r\n\r\n");
    else
        snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s%s\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n", n,
                 begins(what, "noversion") ? "X-None: " : "ETag: ", version);
    say(fd, out);
    if (!strcmp(method, "HEAD"))
        return;
    /* the connection is cut: "cut" after a third, twice; the others once */
    const bool is_cut = begins(what, "cutalways") || (begins(what, "cut") && count <= 2) ||
                        ((begins(what, "norange") || begins(what, "changed") || begins(what, "otherrange") || begins(what, "416")) && count == 1);
    const size_t most = begins(what, "cutalways") ? (count == 1 ? 1000 : 0) : is_cut ? n / 3 : n - (size_t)first;
    send_bytes(fd, data + first, most < n - (size_t)first ? most : n - (size_t)first, begins(what, "slow"));
}

typedef struct talk {
    int fd, which;
} talk;

static void *talk_main(void *arg)
{
    talk *t = arg;
    char head[8192];
    size_t n = 0;
    ssize_t k;

    while (n + 1 < sizeof head && (k = recv(t->fd, head + n, sizeof head - 1 - n, 0)) > 0) {
        head[n += (size_t)k] = '\0';
        if (strstr(head, "\r\n\r\n")) {
            answer(t->fd, t->which, head);
            break;
        }
    }
    close(t->fd);
    free(t);
    return NULL;
}

static void *listen_main(void *arg)
{
    const int which = *(int *)arg;

    for (int fd; (fd = accept(web.fd[which], NULL, NULL)) >= 0; ) {
        talk *t = malloc(sizeof *t);
        pthread_t thread;

        *t = (talk){ fd, which };
        if (pthread_create(&thread, NULL, talk_main, t) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

/* Both servers, until the process ends. */
static void web_start(void)
{
    static int numbers[2] = { 0, 1 };
    char header[100];

    if (web.data)
        return;
    const int n = snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", N_DATA, N_DATA);
    web.n = 8 + (size_t)n + N_DATA;
    web.data = calloc(1, web.n);
    web.data[0] = (char)n;
    memcpy(web.data + 8, header, (size_t)n);
    for (size_t i = 8 + (size_t)n; i < web.n; i++)
        web.data[i] = (char)(i * 2654435761u >> 13);
    rg_sha256_hex(web.data, web.n, web.hex);
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t size = sizeof a;
        pthread_t thread;

        web.fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(bind(web.fd[i], (struct sockaddr *)&a, sizeof a) == 0 && listen(web.fd[i], 16) == 0);
        getsockname(web.fd[i], (struct sockaddr *)&a, &size);
        web.port[i] = ntohs(a.sin_port);
        pthread_create(&thread, NULL, listen_main, &numbers[i]);
        pthread_detach(thread);
    }
}

/* ---- the program -------------------------------------------------------------------------------------------------------------- */

static char folder[64], *said;          /* where the files go; what the program wrote to standard error */

static pid_t begin(const char *const *args)
{
    char path[128], url[64];
    const char *argv[24] = { program_path(), "models", "pull" };
    int n = 3;
    pid_t pid;

    for (; args[n - 3]; n++)
        argv[n] = args[n - 3];
    snprintf(path, sizeof path, "%s/said", folder);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", web.port[0]);
    pid = fork();
    if (pid == 0) {
        const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dup2(fd, 2);
        dup2(fd, 1);
        setenv("HF_ENDPOINT", url, 1);
        unsetenv("http_proxy");
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    return pid;
}

static int end(pid_t pid)
{
    char path[128];
    int status = 0;
    size_t n;

    waitpid(pid, &status, 0);
    snprintf(path, sizeof path, "%s/said", folder);
    free(said);
    said = test_read_file(path, &n);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define PULL(...) end(begin((const char *const[]){ __VA_ARGS__, NULL }))

/* An address on the store, in one of a few static buffers. */
static const char *at(const char *what)
{
    static char text[4][128];
    static int i;

    i = (i + 1) % 4;
    snprintf(text[i], sizeof text[i], "http://127.0.0.1:%d/x/%s", web.port[1], what);
    return text[i];
}

static bool is_whole(const char *name)
{
    char path[200];
    size_t n = 0;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    void *there = test_read_file(path, &n);
    const bool is_same = there && n == web.n && !memcmp(there, web.data, n);
    free(there);
    return is_same;
}

static long long size_of(const char *name)
{
    char path[200];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0 ? (long long)st.st_size : -1;
}

static seen look(const char *path)
{
    pthread_mutex_lock(&web.lock);
    const seen s = *seen_of(path);
    pthread_mutex_unlock(&web.lock);
    return s;
}

static bool start(void)
{
    if (!program_path())
        return false;
    unsetenv("HF_TOKEN");
    web_start();
    strcpy(folder, program_folder());
    pthread_mutex_lock(&web.lock);
    web.n_seen = 0;
    pthread_mutex_unlock(&web.lock);
    return true;
}

static void stop(void)
{
    program_clean(folder);
    free(said);
    said = NULL;
}

/* The program said all of these, or the test shows what it said. */
static void check_said(int line, const char *part)
{
    if (!said || !strstr(said, part))
        test_fail(__FILE__, line, "\"%s\" is not in: %s", part, said ? said : "(nothing)");
}
#define SAID(part) check_said(__LINE__, part)

TEST(an_address)
{
    if (!start())
        return;
    CHECK_INT(PULL(at("plain.safetensors"), "--dir", folder), 0);
    CHECK(is_whole("plain.safetensors"));
    SAID(web.hex);
    SAID("not vouched for");
    CHECK_INT(size_of("plain.safetensors.part"), -1);
    CHECK_INT(size_of("plain.safetensors.part.from"), -1);
    CHECK(size_of("plain.safetensors.sha256") > 64);
    CHECK_INT(look("/x/plain.safetensors").n, 1);
    /* there already; then anew */
    CHECK_INT(PULL(at("plain.safetensors"), "--dir", folder), 0);
    SAID("there already");
    CHECK_INT(look("/x/plain.safetensors").n, 1);
    CHECK_INT(PULL(at("plain.safetensors"), "--dir", folder, "--force"), 0);
    CHECK_INT(look("/x/plain.safetensors").n, 2);
    CHECK(is_whole("plain.safetensors"));
    /* several, of which one fails: the others are fetched */
    CHECK_INT(PULL(at("404.safetensors"), at("two.safetensors?download=true"), "--dir", folder, "--quiet"), 1);
    SAID("404: there is no such file");
    CHECK(is_whole("two.safetensors"));
    CHECK_INT(size_of("404.safetensors.part"), -1);
    CHECK_INT(PULL(at("403.safetensors"), "--dir", folder), 1);
    SAID("answers 403");
    CHECK_INT(PULL(at("nolength.safetensors"), "--dir", folder), 0);
    CHECK(is_whole("nolength.safetensors"));
    stop();
}

TEST(connections_that_break)
{
    static const char *const names[] = { "cut.safetensors", "norange.safetensors", "changed.safetensors", "416.safetensors", "busy.safetensors" };

    if (!start())
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        CHECK_INT(PULL(at(names[i]), "--dir", folder), 0);
        if (!is_whole(names[i]))
            test_fail(__FILE__, __LINE__, "%s: %s", names[i], said);
        snprintf(path, sizeof path, "/x/%s", names[i]);
        CHECK_INT(look(path).n, i == 0 || i == 3 || i == 4 ? 3 : 2);
    }
    const seen cut = look("/x/cut.safetensors");
    char range[80];
    snprintf(range, sizeof range, "Range: bytes=%zu-", web.n / 3 * 2);
    CHECK_STR(cut.last_range, range);
    CHECK_INT(cut.n_if_range, 2);
    /* no end of it: a thousand bytes, then nothing */
    CHECK_INT(PULL(at("cutalways.safetensors"), "--dir", folder, "--retries", "1"), 1);
    SAID("given up");
    CHECK_INT(size_of("cutalways.safetensors"), -1);
    CHECK_INT(size_of("cutalways.safetensors.part"), 1000);
    /* a server that sends another part than was asked for */
    CHECK_INT(PULL(at("otherrange.safetensors"), "--dir", folder), 1);
    SAID("another range");
    CHECK_INT(size_of("otherrange.safetensors"), -1);
    /* nobody there */
    CHECK_INT(PULL("http://127.0.0.1:1/x/none.safetensors", "--dir", folder, "--quiet", "--retries=1"), 1);
    SAID("given up");
    stop();
}

TEST(interrupted_and_gone_on_with)
{
    if (!start())
        return;
    const char *const args[] = { at("slow.safetensors"), "--dir", folder, NULL };
    pid_t pid = begin(args);
    for (int i = 0; i < 2000 && size_of("slow.safetensors.part") < 200000; i++)
        usleep(10000);
    /* two at once would spoil the file */
    CHECK_INT(PULL(at("slow.safetensors"), "--dir", folder), 1);
    SAID("somebody else");
    kill(pid, SIGINT);
    CHECK_INT(end(pid), 130);
    SAID("goes on");
    const long long part = size_of("slow.safetensors.part");
    CHECK(part >= 200000 && part < (long long)web.n);
    CHECK_INT(size_of("slow.safetensors"), -1);
    CHECK_INT(PULL(at("slow.safetensors"), "--dir", folder), 0);
    CHECK(is_whole("slow.safetensors"));
    char range[80];
    snprintf(range, sizeof range, "Range: bytes=%lld-", part);
    CHECK_STR(look("/x/slow.safetensors").last_range, range);

    /* what was left of another address, or of one that gives no version, is not gone on with */
    char command[300];
    snprintf(command, sizeof command, "cd %s && head -c 5000 /dev/zero > plain.safetensors.part && head -c 5000 /dev/zero > noversion.safetensors.part && "
             "printf 'http://elsewhere/x\\n\"v1\"\\n' > plain.safetensors.part.from && printf '%s\\n\\n' > noversion.safetensors.part.from", folder,
             at("noversion.safetensors"));
    CHECK_INT(system(command), 0);
    CHECK_INT(PULL(at("plain.safetensors"), at("noversion.safetensors"), "--dir", folder), 0);
    CHECK(is_whole("plain.safetensors") && is_whole("noversion.safetensors"));
    CHECK_INT(look("/x/plain.safetensors").n_ranges, 0);
    CHECK_INT(look("/x/noversion.safetensors").n_ranges, 0);
    stop();
}

TEST(not_what_it_should_be)
{
    if (!start())
        return;
    CHECK_INT(PULL(at("page.safetensors"), "--dir", folder), 1);
    SAID("it looks like a web page");
    CHECK_INT(size_of("page.safetensors"), -1);
    CHECK_INT(size_of("page.safetensors.part"), -1);
    CHECK_INT(PULL(at("huge.safetensors"), "--dir", folder), 1);
    SAID("the disk has");
    CHECK_INT(PULL(at("x.safetensors")), 2);
    SAID("--dir");
    CHECK_INT(PULL("ftp://127.0.0.1/x.safetensors", "--dir", folder), 2);
    CHECK_INT(PULL("http://user:password@127.0.0.1/x.safetensors", "--dir", folder), 2);
    CHECK_INT(PULL(at(""), "--dir", folder), 2);
    CHECK_INT(PULL(at(".hidden.safetensors"), "--dir", folder), 2);
    CHECK_INT(PULL(at("x.safetensors"), "--dir", "/proc/none"), 1);
    SAID("cannot use the folder");
    CHECK_INT(PULL("no-such-model"), 2);
    CHECK_INT(PULL("flux-dev", "--retries", "many"), 2);
    CHECK_INT(PULL("--lits"), 2);
    SAID("did you mean --list");
    stop();
}

/* A manifest of our own, whose addresses are the test's servers. */
static const char *write_manifest(const char *wrong_sum)
{
    static char path[100];
    FILE *f;

    snprintf(path, sizeof path, "%s/manifest.json", folder);
    f = fopen(path, "w");
    fprintf(f, "{\"files\": ["
               "{\"name\": \"open\", \"folder\": \"vae\", \"file\": \"open.safetensors\", \"url\": \"https://huggingface.co/org/a/resolve/main/open.safetensors\"},"
               "{\"name\": \"gated\", \"folder\": \"loras/sub\", \"file\": \"gated.safetensors\", \"gated\": true, \"size\": %zu, \"sha256\": \"%s\","
               " \"url\": \"https://huggingface.co/gated/a/resolve/main/gated.safetensors\"},"
               "{\"name\": \"wrong\", \"folder\": \"vae\", \"file\": \"wrong.safetensors\", \"url\": \"%s\", \"sha256\": \"%s\"},"
               "{\"name\": \"sized\", \"folder\": \"vae\", \"file\": \"sized.safetensors\", \"url\": \"%s\", \"size\": 5},"
               "{\"name\": \"large\", \"folder\": \"vae\", \"file\": \"large.safetensors\", \"url\": \"%s\", \"about_gb\": 900000},"
               "{\"name\": \"nowhere\", \"folder\": \"diffusers\", \"file\": \"tree\", \"url\": null, \"note\": \"look elsewhere\"},"
               "{\"name\": \"unet\", \"folder\": \"diffusion_models\", \"file\": \"unet.safetensors\", \"url\": \"%s\"}"
               "], \"groups\": {\"both\": [\"open\", \"gated\"]}}", web.n, web.hex, at("w.safetensors"), wrong_sum, at("s.safetensors"), at("l.safetensors"),
            at("u.safetensors"));
    fclose(f);
    return path;
}

TEST(names_groups_and_tokens)
{
    char wrong[65];

    if (!start())
        return;
    memset(wrong, 'a', 64);
    wrong[64] = '\0';
    const char *manifest = write_manifest(wrong);
    /* without a token: one of the two, and what to do about the other */
    CHECK_INT(PULL("both", "--models", folder, "--manifest", manifest), 1);
    CHECK(is_whole("vae/open.safetensors"));
    SAID("agree to its licence at http://127.0.0.1");
    SAID("as it should be");            /* the hub vouched for it */
    CHECK_INT(size_of("loras/sub/gated.safetensors"), -1);
    /* with it: sent to the hub, not to the store behind it */
    setenv("HF_TOKEN", "secret", 1);
    CHECK_INT(PULL("both", "--models", folder, "--manifest", manifest), 0);
    CHECK(is_whole("loras/sub/gated.safetensors"));
    SAID("open.safetensors: there already");
    CHECK_INT(look("/gated/a/resolve/main/gated.safetensors").n_tokens, 2);     /* of three requests: one was without */
    CHECK_INT(look("/store/gated.safetensors").n, 1);
    CHECK_INT(look("/store/gated.safetensors").n_tokens, 0);
    CHECK_INT(PULL(at("plain.safetensors"), "--dir", folder), 0);
    CHECK_INT(look("/x/plain.safetensors").n_tokens, 0);        /* another port is another host */
    setenv("HF_TOKEN", "false", 1);
    CHECK_INT(PULL("gated", "--models", folder, "--manifest", manifest, "--force"), 1);
    SAID("the account of HF_TOKEN");
    CHECK(is_whole("loras/sub/gated.safetensors"));     /* what was there stays */
    unsetenv("HF_TOKEN");

    CHECK_INT(PULL("wrong", "--models", folder, "--manifest", manifest), 1);
    SAID(wrong);
    CHECK_INT(size_of("vae/wrong.safetensors"), -1);
    CHECK_INT(size_of("vae/wrong.safetensors.part"), -1);
    CHECK_INT(PULL("sized", "--models", folder, "--manifest", manifest), 1);
    SAID("where 5 were expected");
    CHECK_INT(PULL("large", "--models", folder, "--manifest", manifest), 1);
    SAID("the disk of");
    CHECK_INT(look("/x/l.safetensors").n, 0);
    CHECK_INT(PULL("nowhere", "--models", folder, "--manifest", manifest), 1);
    SAID("look elsewhere");
    CHECK_INT(PULL("bath", "--models", folder, "--manifest", manifest), 2);
    SAID("did you mean both");
    /* by the file's own name, into a folder of one's own; and where an old folder has it */
    CHECK_INT(PULL("open.safetensors", "--dir", folder, "--manifest", manifest), 0);
    CHECK(is_whole("open.safetensors"));
    char command[300];
    snprintf(command, sizeof command, "mkdir %s/unet && echo x > %s/unet/unet.safetensors", folder, folder);
    CHECK_INT(system(command), 0);
    CHECK_INT(PULL("unet", "--models", folder, "--manifest", manifest), 0);
    CHECK_INT(look("/x/u.safetensors").n, 0);
    /* a file that is there but is not that one */
    snprintf(command, sizeof command, "truncate -s %zu %s/loras/sub/gated.safetensors", web.n, folder);
    CHECK_INT(system(command), 0);
    snprintf(command, sizeof command, "printf x | dd of=%s/loras/sub/gated.safetensors bs=1 seek=500 conv=notrunc 2>/dev/null", folder);
    CHECK_INT(system(command), 0);
    CHECK_INT(PULL("gated", "--models", folder, "--manifest", manifest), 1);
    SAID("--force fetches it anew");

    CHECK_INT(PULL("--list", "--models", folder, "--manifest", manifest), 0);
    SAID("both");
    SAID("there  vae/open.safetensors");
    CHECK_INT(PULL("--list", "both", "--models", folder, "--manifest", manifest), 0);
    SAID("loras/sub/gated.safetensors");
    stop();
}

/* The shipped manifest: what it names for an endpoint is what `check` finds missing for it. */
TEST(groups_are_what_endpoints_miss)
{
    static const char *const endpoints[] = { "flux", "flux-dev", "wan2" };
    char empty[] = "/tmp/rylagraph-test-XXXXXX", path[200], command[600], line[1000];
    rg_manifest *m = NULL;
    rg_ctx *c = test_ctx();

    if (!program_path() || !mkdtemp(empty)) {
        rg_ctx_free(c);
        return;
    }
    CHECK_INT(rg_manifest_read(c, "models/manifest.json", &m), 0);
    CHECK_OK(c);
    for (size_t i = 0; m && i < sizeof endpoints / sizeof *endpoints; i++) {
        const rg_manifest_group *g = rg_manifest_find_group(m, endpoints[i]);
        int n_missing = 0;

        CHECK(g != NULL);
        snprintf(path, sizeof path, "%s/out", empty);
        snprintf(command, sizeof command, "%s check %s --prompt x --models %s > %s 2>&1", program_path(), endpoints[i], empty, path);
        CHECK(system(command) != 0);
        FILE *f = fopen(path, "r");
        while (g && f && fgets(line, sizeof line, f)) {
            const char *at_file = strstr(line, ": no file ");
            bool is_named = false;

            if (!at_file)
                continue;
            n_missing++;
            for (int k = 0; k < g->n_files; k++) {
                const size_t n = strlen(g->files[k]->file);
                char hint[300];

                if (strncmp(at_file + 10, g->files[k]->file, n) || at_file[10 + n] != ' ')
                    continue;
                is_named = true;
                snprintf(hint, sizeof hint, "rylagraph models pull %s", g->files[k]->name);
                if (!strstr(line, hint))
                    test_fail(__FILE__, __LINE__, "no \"%s\" in: %s", hint, line);
            }
            if (!is_named)
                test_fail(__FILE__, __LINE__, "group %s lacks what is missing: %s", endpoints[i], line);
        }
        if (f)
            fclose(f);
        CHECK_INT(n_missing, g ? g->n_files : -1);
    }
    rg_manifest_free(m);
    rg_ctx_free(c);
    program_clean(empty);
}

/* Every model file that a shipped template names is in the group of its name. */
TEST(groups_have_what_templates_name)
{
    static const char *const templates[] = { "flux", "flux-dev", "flux-lora", "flux-instantid", "wan2", "seedvr2" };
    rg_manifest *m = NULL;
    rg_ctx *c = test_ctx();

    CHECK_INT(rg_manifest_read(c, "models/manifest.json", &m), 0);
    for (size_t i = 0; m && i < sizeof templates / sizeof *templates; i++) {
        const rg_manifest_group *g = rg_manifest_find_group(m, templates[i]);
        char path[100];
        struct json_object *root, *graph;
        int n_named = 0;

        snprintf(path, sizeof path, "workflows/%s.json", templates[i]);
        root = json_object_from_file(path);
        CHECK(g && root);
        json_object_object_get_ex(root, "graph", &graph);
        json_object_object_foreach(graph, id, node) {
            struct json_object *inputs = NULL;
            (void)id;
            json_object_object_get_ex(node, "inputs", &inputs);
            json_object_object_foreach(inputs, key, value) {
                const char *name = json_object_get_string(value), *dot = name ? strrchr(name, '.') : NULL;
                bool is_there = false;

                if (!json_object_is_type(value, json_type_string) || !dot || (strcmp(dot, ".safetensors") && strcmp(dot, ".bin")))
                    continue;
                n_named++;
                for (int k = 0; k < g->n_files; k++)
                    is_there |= !strcmp(g->files[k]->file, name);
                if (!is_there)
                    test_fail(__FILE__, __LINE__, "%s: %s %s is not in its group", templates[i], key, name);
            }
        }
        CHECK(n_named > 0);
        json_object_put(root);
    }
    rg_manifest_free(m);
    rg_ctx_free(c);
}

TEST(manifests_that_are_none)
{
    static const struct { const char *text, *error; } bad[] = {
        { "", "" }, { "[]", "" }, { "{\"files\": [{}]}", "lacks its name" }, { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\"}]}", "lacks its file" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"../b\", \"file\": \"c\"}]}", "is no name" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"/b\", \"file\": \"c\"}]}", "is no name" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"d/c\"}]}", "belongs into" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\", \"url\": \"file:///etc/passwd\"}]}", "no http" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\", \"sha256\": \"ABC\"}]}", "64 lower-case" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\", \"size\": 0}]}", "size" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\", \"size\": -1}]}", "" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\", \"sise\": 1}]}", "no key \"sise\"" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\"}, {\"name\": \"a\", \"folder\": \"b\", \"file\": \"d\"}]}", "stands twice" },
        { "{\"groups\": {\"g\": [\"a\"]}}", "which is no file" }, { "{\"groups\": {\"g\": [null]}}", "names nothing" },
        { "{\"groups\": {\"g\": [], \"g\": []}}", "stands twice" }, { "{\"more\": 1}", "no key \"more\"" }, { "{} x", "" },
        { "{\"files\": [{\"name\": \"a\", \"folder\": \"b\", \"file\": \"c\"}], \"groups\": {\"a\": []}}", "a file and a group" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rg_ctx *c = test_ctx();
        rg_manifest *m = NULL;
        const int ret = rg_manifest_parse(c, rg_strdup(bad[i].text), strlen(bad[i].text), "m", &m);

        if (ret != RG_ERR_FORMAT || !strstr(c->message, bad[i].error))
            test_fail(__FILE__, __LINE__, "%s gives %d, %s", bad[i].text, ret, c->message);
        if (ret == 0)
            rg_manifest_free(m);
        rg_ctx_free(c);
    }
}
