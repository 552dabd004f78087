/*
 * Disks that say no: folders that are read-only for an unprivileged user, and a disk that is full (stood in for by a limit on the size
 * of files, which fails writes in the same places). Clear errors, a store that stays consistent, nothing half-written, and a server
 * that goes on.
 */
#include <dirent.h>
#include <sys/resource.h>

#include "engine/media/picture.h"
#include "tests/server/client.h"

/* Files of a folder whose names begin with prefix; *n_temporary: those that are left over from writing. */
static int count_files(const char *dir, const char *name, const char *prefix, int *n_temporary)
{
    char path[200];
    int n = 0;
    DIR *d;

    *n_temporary = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        n += !strncmp(e->d_name, prefix, strlen(prefix));
        *n_temporary += e->d_name[0] == '.' && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    if (d)
        closedir(d);
    return n;
}

static answer upload(int port, size_t n)
{
    static const char head[] = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"up.bin\"\r\n\r\n", tail[] = "\r\n--B--\r\n";
    char *body = malloc(n + sizeof head + sizeof tail);

    memcpy(body, head, sizeof head - 1);
    memset(body + sizeof head - 1, 'x', n);
    memcpy(body + sizeof head - 1 + n, tail, sizeof tail - 1);
    answer a = request_with(port, "POST", "/upload/image", "Content-Type: multipart/form-data; boundary=B\r\n", body, sizeof head - 1 + n + sizeof tail - 1);
    free(body);
    return a;
}

/* The history's text of a prompt (free() it) once it has ended. */
static char *ended(int port, const char *id)
{
    char path[100];

    snprintf(path, sizeof path, "/history/%s", id);
    for (int i = 0; i < 2000; i++, usleep(10000)) {
        answer a = get(port, path);
        if (a.n > 2)
            return a.body;
        answer_free(&a);
    }
    return strdup("(never ended)");
}

/* input/noise.png: 800 KB that no packing makes smaller. */
static void save_noise(const char *dir)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    uint8_t *pixels = malloc(512 * 512 * 3), *bytes = NULL;
    size_t n = 0;
    char path[100];

    for (uint32_t i = 0, x = 1; i < 512 * 512 * 3; i++)
        pixels[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    CHECK_INT(rg_png_encode(c, pixels, 512, 512, 3, 1, NULL, 0, &bytes, &n), 0);
    snprintf(path, sizeof path, "%s/input/noise.png", dir);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && n > 500000);
    if (f)
        fclose(f);
    rg_free(bytes);
    free(pixels);
    rg_ctx_free(c);
}

/* Run EmptyImage(size) into SaveImage; its history. */
static char *run(int port, const char *id, int size)
{
    char body[1000];

    snprintf(body, sizeof body, "{\"prompt_id\": \"%s\", \"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": %d, \"height\": %d, \"batch_size\": 1, "
             "\"color\": %d}}, \"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"disk\"}}}}", id, size, size, size);
    answer a = post(port, "/prompt", body);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    return ended(port, id);
}

/* Start with so many bytes per file at most (0: any), and as nobody. Both are inherited: they are set here for the moment of starting. */
static bool start_limited(test_server *s, rlim_t file_bytes, bool is_unprivileged, const char *const *more)
{
    struct rlimit old;

    getrlimit(RLIMIT_FSIZE, &old);
    const struct rlimit now = { file_bytes ? file_bytes : old.rlim_cur, old.rlim_max };
    setrlimit(RLIMIT_FSIZE, &now);
    if (is_unprivileged && setresuid(65534, 65534, 0) < 0)
        return false;                   /* the saved id, which exec drops, brings this process back */
    const bool has_started = server_start(s, 0, more);
    if (is_unprivileged && setresuid(0, 0, 0) < 0)
        return false;
    setrlimit(RLIMIT_FSIZE, &old);
    return has_started;
}

TEST(full_disk)
{
    test_server s = { 0 };
    char state[100];
    int n_temporary;

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    strcpy(s.dir, "/tmp/rylagraph-test-XXXXXX");
    CHECK(mkdtemp(s.dir) != NULL);
    snprintf(state, sizeof state, "%s/jobs.db", s.dir);
    const char *const more[] = { "--jobs-file", state, NULL };
    CHECK(start_limited(&s, 400000, false, more));      /* the store and small pictures fit, a large picture does not */
    char *text = run(s.port, "small", 16);
    CHECK(strstr(text, "\"status_str\": \"success\""));
    free(text);
    answer a = upload(s.port, 1 << 20);
    CHECK_INT(a.status, 507);
    CHECK(strstr(a.body, "up.bin"));
    answer_free(&a);
    CHECK_INT(count_files(s.dir, "input", "up.bin", &n_temporary), 0);
    CHECK_INT(n_temporary, 0);
    a = upload(s.port, 1000);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    char *settings = malloc(1 << 20);
    memset(settings, 'x', (1 << 20) - 1);
    settings[(1 << 20) - 1] = '\0';
    a = request_with(s.port, "POST", "/userdata/large.txt", "", settings, strlen(settings));
    CHECK(a.status >= 400);
    answer_free(&a);
    free(settings);
    /* a picture too large for the disk (noise does not compress): its job fails and says why, nothing of it stays */
    save_noise(s.dir);
    static const char noise[] = "{\"prompt_id\": \"noise\", \"prompt\": {\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"noise.png\"}}, "
        "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"disk\"}}}}";
    a = post(s.port, "/prompt", noise);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    text = ended(s.port, "noise");
    CHECK(strstr(text, "\"status_str\": \"error\"") && strstr(text, "File too large"));
    free(text);
    text = run(s.port, "again", 24);
    CHECK(strstr(text, "\"status_str\": \"success\""));
    free(text);
    CHECK_INT(count_files(s.dir, "output", "disk", &n_temporary), 2);
    CHECK_INT(n_temporary, 0);
    int status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* so many that the store itself cannot grow: what is accepted is kept, what is not is refused, and nothing is lost or twice */
    CHECK(start_limited(&s, 500000, false, more));
    int n_accepted = 0, n_refused = 0;
    char body[9000], filler[8000];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    for (int i = 0; i < 200 && n_refused < 5; i++) {
        snprintf(body, sizeof body, "{\"prompt_id\": \"many%d\", \"extra_data\": {\"x\": \"%s\"}, \"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 8, "
                 "\"height\": 8, \"batch_size\": 1, \"color\": %d}}, \"2\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"1\", 0]}}}}", i, filler, i);
        a = post(s.port, "/prompt", body);
        n_accepted += a.status == 200;
        n_refused += a.status >= 500;
        CHECK(a.status == 200 || a.status >= 500);
        answer_free(&a);
    }
    CHECK(n_refused > 0);
    a = get(s.port, "/health");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(server_start(&s, 0, more));   /* room again: everything accepted comes to its end */
    int n_done = 0;
    for (int i = 0; i < 2000; i++, usleep(10000)) {
        a = get(s.port, "/prompt");
        const bool is_idle = a.body && strstr(a.body, "\"queue_remaining\": 0");
        answer_free(&a);
        if (is_idle)
            break;
    }
    for (int i = 0; i < 200; i++) {
        char path[60];
        snprintf(path, sizeof path, "/history/many%d", i);
        a = get(s.port, path);
        n_done += a.n > 2;
        answer_free(&a);
    }
    printf("%d accepted, %d refused, %d in the history afterwards\n", n_accepted, n_refused, n_done);
    CHECK_INT(n_done, n_accepted);
    status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    server_remove(&s);
}

TEST(read_only_folders)
{
    static const char *const folders[] = { "input", "output", "user", "models", "state", "state/temp" };
    test_server s = { 0 };
    char path[200], state[100], temp[100];
    int n_temporary;

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    if (geteuid() != 0)
        SKIP("only root can make another user's folders");
    strcpy(s.dir, "/tmp/rylagraph-test-XXXXXX");
    CHECK(mkdtemp(s.dir) != NULL);
    chmod(s.dir, 0755);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", s.dir, folders[i]);
        mkdir(path, 0755);
        if (!strncmp(folders[i], "state", 5))
            CHECK(chown(path, 65534, 65534) == 0);
    }
    snprintf(state, sizeof state, "%s/state/jobs.db", s.dir);
    snprintf(temp, sizeof temp, "%s/state/temp", s.dir);
    /* everything but the state folder belongs to root */
    CHECK(start_limited(&s, 0, true, (const char *const[]){ "--jobs-file", state, "--temp-directory", temp, NULL }));
    answer a = get(s.port, "/object_info/LoadImage");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = upload(s.port, 1000);
    CHECK_INT(a.status, 403);
    CHECK(strstr(a.body, "Permission denied"));
    answer_free(&a);
    a = post(s.port, "/settings", "{\"a\": 1}");
    CHECK(a.status >= 400);
    answer_free(&a);
    char *text = run(s.port, "refused", 8);
    CHECK(strstr(text, "\"status_str\": \"error\"") && strstr(text, "Permission denied"));
    free(text);
    a = get(s.port, "/health");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    CHECK_INT(count_files(s.dir, "output", "", &n_temporary), 2);      /* "." and ".." */
    const int status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    server_remove(&s);
}
