/*
 * Model files over HTTP from a client's side: uploads whole, in pieces, broken off, wrong; deletion; that changes are seen without
 * a restart. Checksums are held against libcrypto's and the files against the bytes that were sent.
 */
#include "engine/core/sha256.h"
#include "tests/server/client.h"

#define MAKE(s, ...) test_server s = { 0 };                                                        \
    static const char *const s##_more[] = { __VA_ARGS__ NULL };                                    \
    if (!server_start(&s, 0, s##_more))                                                            \
        SKIP("no program (RG_PROGRAM)")

static void done(test_server *s)
{
    CHECK_INT(server_stop(s, SIGTERM), 0);
    server_remove(s);
}

/* A good safetensors file with one tensor of n_data bytes whose content depends on seed. free() it. */
static char *make_model(size_t n_data, unsigned seed, size_t *n_bytes)
{
    char header[200], *bytes;
    const int n = snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", n_data, n_data);

    *n_bytes = 8 + (size_t)n + n_data;
    bytes = malloc(*n_bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)n >> 8 * i);
    memcpy(bytes + 8, header, (size_t)n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + (size_t)n + i] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
    return bytes;
}

static answer put(int port, const char *path, const char *headers, const void *bytes, size_t n)
{
    return request_with(port, "PUT", path, headers, bytes, n);
}

static int put_status(int port, const char *path, const char *headers, const void *bytes, size_t n)
{
    answer a = put(port, path, headers, bytes, n);
    const int status = a.status;

    answer_free(&a);
    return status;
}

static int status_of(int port, const char *method, const char *path)
{
    answer a = request_with(port, method, path, "", "", 0);
    const int status = a.status;

    answer_free(&a);
    return status;
}

/* The Upload-Offset that HEAD gives; -1: none. */
static long long offset_of(int port, const char *path)
{
    answer a = request_with(port, "HEAD", path, "", "", 0);
    const char *at = strcasestr(a.head, "\r\nUpload-Offset: ");
    const long long n = at ? atoll(at + 17) : -1;

    answer_free(&a);
    return n;
}

static bool wait_for_offset(int port, const char *path, long long wanted)
{
    for (int i = 0; i < 2000; i++) {
        if (offset_of(port, path) == wanted)
            return true;
        usleep(10000);
    }
    return false;
}

/* Does a file of the server's models folder hold exactly these bytes? */
static bool holds(const test_server *s, const char *name, const void *bytes, size_t n)
{
    char path[256];
    size_t n_there = 0;

    snprintf(path, sizeof path, "%s/models/%s", s->dir, name);
    void *there = test_read_file(path, &n_there);
    const bool is_same = there && n_there == n && !memcmp(there, bytes, n);
    free(there);
    return is_same;
}

static bool exists(const test_server *s, const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/models/%s", s->dir, name);
    return access(path, F_OK) == 0;
}

/* How many hidden files lie in a folder. */
static int n_hidden(const test_server *s, const char *folder)
{
    char command[256];
    int n = -1;

    snprintf(command, sizeof command, "find %s/models/%s -name '.?*' -type f | wc -l", s->dir, folder);
    FILE *f = popen(command, "r");
    if (!f || fscanf(f, "%d", &n) != 1)
        n = -1;
    if (f)
        pclose(f);
    return n;
}

static void base64_of_hex(const char *hex, char out[48])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char b[33] = { 0 };

    for (int i = 0; i < 32; i++)
        sscanf(hex + 2 * i, "%2hhx", &b[i]);
    for (int i = 0; i < 11; i++) {
        const unsigned v = (unsigned)b[3 * i] << 16 | (unsigned)b[3 * i + 1] << 8 | b[3 * i + 2];
        for (int k = 0; k < 4; k++)
            out[4 * i + k] = letters[v >> (18 - 6 * k) & 63];
    }
    out[43] = '=';
    out[44] = '\0';
}

TEST(a_file_in_one_request)
{
    MAKE(s, "--models-quota", "40M", "--max-model-size", "9M",);
    size_t n;
    char *bytes = make_model(300000, 1, &n), hex[65], wrong[65], base64[48], headers[200];

    rg_sha256_hex(bytes, n, hex);
    base64_of_hex(hex, base64);
    memcpy(wrong, hex, 65);
    wrong[0] = wrong[0] == '0' ? '1' : '0';

    CHECK_INT(status_of(s.port, "GET", "/models/vae/a.safetensors"), 404);
    answer a = put(s.port, "/models/vae/a.safetensors", "", bytes, n);
    CHECK_INT(a.status, 201);
    CHECK(strstr(a.body, hex) != NULL);
    CHECK(strstr(a.body, "\"format\": \"safetensors\"") != NULL);
    answer_free(&a);
    CHECK(holds(&s, "vae/a.safetensors", bytes, n));
    CHECK_INT(n_hidden(&s, "vae"), 0);
    a = get(s.port, "/models/vae/a.safetensors");
    CHECK_INT(a.status, 200);
    CHECK(strstr(a.body, hex) != NULL);
    answer_free(&a);
    a = get(s.port, "/models/vae");     /* ComfyUI's list stays a list of names */
    CHECK_STR(a.body, "[\"a.safetensors\", \"ae-demo.safetensors\"]");
    answer_free(&a);
    a = get(s.port, "/api/models/vae?details=true");
    CHECK(a.status == 200 && strstr(a.body, "\"size\": ") && strstr(a.body, "\"architecture\": ") && strstr(a.body, "\"dtype\": \"F16\""));
    answer_free(&a);

    /* the sum is of the file as it is: one that was changed since has none */
    char path[256];
    snprintf(path, sizeof path, "%s/models/vae/a.safetensors", s.dir);
    FILE *f = fopen(path, "ab");
    fputc('x', f);
    fclose(f);
    a = get(s.port, "/models/vae/a.safetensors");
    CHECK(strstr(a.body, "\"sha256\": null") != NULL);
    CHECK(strstr(a.body, "\"error\": ") != NULL);       /* and a byte too many is seen in its header */
    answer_free(&a);

    /* checksums, in each of their forms */
    const struct { const char *format, *value; int status; } sums[] = {
        { "X-Checksum-SHA256: %s\r\n", hex, 201 }, { "X-Checksum-SHA256: %s\r\n", wrong, 422 }, { "X-Checksum-SHA256: %s\r\n", "12", 400 },
        { "Digest: md5=abc, SHA-256=%s\r\n", base64, 201 }, { "Repr-Digest: sha-256=:%s:\r\n", base64, 201 },
        { "Repr-Digest: sha-256=%s\r\n", base64, 400 }, { "Digest: sha-256=%s\r\n", "AAAA", 400 }, { "Digest: md5=%s\r\n", "x", 201 },
        { "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\r\nX-Checksum-SHA256: %s\r\n", hex, 400 },
    };
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        snprintf(headers, sizeof headers, sums[i].format, sums[i].value);
        a = put(s.port, "/models/loras/sub/b.safetensors", headers, bytes, n);
        if (a.status != sums[i].status)
            test_fail(__FILE__, __LINE__, "%s gives %d %s", headers, a.status, a.body);
        answer_free(&a);
        CHECK(exists(&s, "loras/sub/b.safetensors") == (sums[i].status == 201));
        CHECK_INT(n_hidden(&s, "loras"), 0);
        if (sums[i].status == 201)
            CHECK_INT(status_of(s.port, "DELETE", "/models/loras/sub/b.safetensors"), 204);
    }

    /* nothing is overwritten unless asked */
    CHECK_INT(put_status(s.port, "/models/loras/c.safetensors", "", bytes, n), 201);
    char *other = make_model(300000, 2, &n);
    CHECK_INT(put_status(s.port, "/models/loras/c.safetensors", "", other, n), 409);
    CHECK(holds(&s, "loras/c.safetensors", bytes, n));
    CHECK_INT(put_status(s.port, "/models/loras/c.safetensors?overwrite=false", "", other, n), 409);
    CHECK_INT(put_status(s.port, "/models/loras/c.safetensors?overwrite=true", "", other, n), 200);
    CHECK(holds(&s, "loras/c.safetensors", other, n));
    /* what came with the program stays */
    CHECK_INT(put_status(s.port, "/models/vae/ae-demo.safetensors?overwrite=true", "", other, n), 403);
    CHECK_INT(status_of(s.port, "DELETE", "/models/vae/ae-demo.safetensors"), 403);

    /* what is no safetensors file under such a name */
    CHECK_INT(put_status(s.port, "/models/loras/d.safetensors", "", "", 0), 400);
    CHECK_INT(put_status(s.port, "/models/loras/d.safetensors", "", "{}", 2), 422);
    CHECK_INT(put_status(s.port, "/models/loras/d.safetensors", "", "<html>no such page</html>", 25), 422);
    CHECK_INT(put_status(s.port, "/models/loras/d.safetensors", "", bytes, n - 1), 422);
    CHECK_INT(put_status(s.port, "/models/loras/d.sft", "", bytes, 8), 422);
    CHECK_INT(n_hidden(&s, "loras"), 0);
    CHECK_INT(put_status(s.port, "/models/loras/d.pt", "", bytes, 8), 201);

    /* limits */
    char *large = calloc(1, (9 << 20) + 1);
    CHECK_INT(put_status(s.port, "/models/loras/e.bin", "", large, (9 << 20) + 1), 413);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/models/loras/quota%d.bin", i);
        CHECK_INT(put_status(s.port, path, "", large, 9 << 20), 201);
    }
    a = put(s.port, "/models/loras/quota4.bin", "", large, 9 << 20);
    CHECK_INT(a.status, 507);
    CHECK(a.body && strstr(a.body, "--models-quota"));
    answer_free(&a);
    CHECK_INT(put_status(s.port, "/models/loras/quota3.bin?overwrite=1", "", large, 9 << 20), 200);
    CHECK_INT(status_of(s.port, "DELETE", "/models/loras/quota0.bin"), 204);
    CHECK_INT(put_status(s.port, "/models/loras/quota4.bin", "", large, 9 << 20), 201);
    a = get(s.port, "/models?details=1");
    CHECK(a.status == 200 && strstr(a.body, "\"quota\": 41943040"));
    answer_free(&a);
    free(large);
    free(other);
    free(bytes);
    done(&s);
}

TEST(names_that_lead_elsewhere)
{
    MAKE(s, NULL,);
    size_t n;
    char *bytes = make_model(100, 1, &n), path[1024], outside[100];
    static const struct { const char *path; int status; } names[] = {
        { "/models/vae/..%2Fx.safetensors", 400 }, { "/models/vae/%2e%2e/%2e%2e/x.safetensors", 400 }, { "/models/vae/a/../x.safetensors", 400 },
        { "/models/vae//x.safetensors", 400 }, { "/models/vae/a//x.safetensors", 400 }, { "/models/vae/%2Fetc%2Fx.safetensors", 400 },
        { "/models/vae/.x.safetensors", 400 }, { "/models/vae/.git/x.safetensors", 400 }, { "/models/vae/a%5Cx.safetensors", 400 },
        { "/models/vae/a%0Ax.safetensors", 400 }, { "/models/vae/%FFx.safetensors", 400 }, { "/models/vae/x.exe", 400 },
        { "/models/vae/x", 400 }, { "/models/vae/x.safetensors.sha256", 400 }, { "/models/vae/.x.safetensors.5.-.upload", 400 },
        { "/models/vae/a/b/c/d/e/f/g/h/i.safetensors", 400 }, { "/models/vae/", 404 }, { "/models/custom_nodes/x.pt", 403 },
        { "/models/configs/x.pt", 403 }, { "/models/..%2Fvae/x.safetensors", 404 }, { "/models/nothing/x.safetensors", 404 },
        { "/models/vae/link/x.safetensors", 403 }, { "/models/vae/link/sub/x.safetensors", 403 }, { "/models/vae/file/x.safetensors", 403 },
    };

    /* a folder of folders that leads out of the models folder by a link, and a file where a folder should be */
    snprintf(outside, sizeof outside, "%s-outside", s.dir);
    snprintf(path, sizeof path, "mkdir -p %s %s/models/vae && ln -s %s %s/models/vae/link && touch %s/models/vae/file %s/keep.safetensors", outside,
             s.dir, outside, s.dir, s.dir, outside);
    CHECK_INT(system(path), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        answer a = put(s.port, names[i].path, "", bytes, n);
        if (a.status != names[i].status)
            test_fail(__FILE__, __LINE__, "PUT %s gives %d %s", names[i].path, a.status, a.body);
        answer_free(&a);
    }
    memset(path, 'a', sizeof path);
    memcpy(path, "/models/vae/", 12);
    strcpy(path + 12 + 140, ".safetensors");
    CHECK_INT(put_status(s.port, path, "", bytes, n), 400);
    snprintf(path, sizeof path, "find %s -name '*.safetensors' ! -name keep.safetensors | grep -q . && exit 9; test -f %s/keep.safetensors", outside, outside);
    CHECK_INT(system(path), 0);
    CHECK_INT(status_of(s.port, "DELETE", "/models/vae/link/keep.safetensors"), 403);
    CHECK_INT(status_of(s.port, "DELETE", "/models/vae/..%2F..%2Fkeep.safetensors"), 400);
    CHECK_INT(status_of(s.port, "DELETE", "/models/vae/none.safetensors"), 404);
    CHECK_INT(system(path), 0);
    snprintf(path, sizeof path, "rm -r %s", outside);
    CHECK_INT(system(path), 0);
    /* the folder itself may be a link: people keep models on another disk */
    snprintf(path, sizeof path, "mkdir %s/disk && ln -s %s/disk %s/models/loras", s.dir, s.dir, s.dir);
    CHECK_INT(system(path), 0);
    CHECK_INT(put_status(s.port, "/models/loras/%C3%A9%20x.safetensors", "", bytes, n), 201);
    CHECK(exists(&s, "../disk/\u00e9 x.safetensors"));
    CHECK_INT(status_of(s.port, "GET", "/models/loras/%C3%A9%20x.safetensors"), 200);
    free(bytes);
    done(&s);
}

TEST(headers_that_make_no_sense)
{
    MAKE(s, NULL,);
    static const struct { const char *headers; int status; } heads[] = {
        { "Content-Length: 4\r\nContent-Range: bytes 0-3/4\r\n", 422 }, /* that one makes sense: four bytes of no safetensors file */
        { "Content-Length: 4\r\nContent-Range: bytes 0-4/5\r\n", 400 }, { "Content-Length: 4\r\nContent-Range: bytes 0-3/3\r\n", 400 },
        { "Content-Length: 4\r\nContent-Range: bytes 3-0/9\r\n", 400 }, { "Content-Length: 4\r\nContent-Range: bytes 0-3/*\r\n", 400 },
        { "Content-Length: 4\r\nContent-Range: bytes */4\r\n", 400 }, { "Content-Length: 4\r\nContent-Range: items 0-3/4\r\n", 400 },
        { "Content-Length: 4\r\nContent-Range: bytes 0-3/99999999999999999999\r\n", 400 }, { "Content-Length: 4\r\nContent-Range: bytes -3/4\r\n", 400 },
        { "Content-Length: 4\r\nContent-Range: bytes 0-3/4, 0-3/4\r\n", 400 }, { "Content-Length: 4\r\nContent-Range: \r\n", 400 },
        { "Content-Length: 4\r\nContent-Range: bytes 5-8/100\r\n", 409 }, { "Transfer-Encoding: chunked\r\n", 411 }, { "", 411 },
        { "Content-Length: 900000000000000000\r\n", 507 }, { "Content-Length: 9223372036854775807\r\n", 400 },
        { "Content-Length: 99999999999999999999\r\n", 400 }, { "Content-Length: -4\r\n", 400 },
        { "Content-Length: 4\r\nContent-Range: bytes 0-3/9223372036854775807\r\n", 507 },
    };

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const int fd = client_open(s.port);
        char head[600];

        snprintf(head, sizeof head, "PUT /models/vae/x.safetensors HTTP/1.1\r\nHost: x\r\n%s\r\nabcd", heads[i].headers);
        client_send(fd, head, strlen(head));
        answer a = read_answer(fd, false);
        if (a.status != heads[i].status)
            test_fail(__FILE__, __LINE__, "%s gives %d %s", heads[i].headers, a.status, a.body);
        answer_free(&a);
        close(fd);
    }
    CHECK_INT(n_hidden(&s, "vae"), 0);
    CHECK_INT(status_of(s.port, "GET", "/models/vae/x.safetensors"), 404);
    done(&s);
}

TEST(a_file_in_pieces)
{
    MAKE(s, NULL,);
    size_t n;
    char *bytes = make_model(3000000, 7, &n), hex[65], headers[300];
    const size_t third = n / 3;

    rg_sha256_hex(bytes, n, hex);
    CHECK_INT(offset_of(s.port, "/models/loras/p.safetensors"), -1);
    snprintf(headers, sizeof headers, "Content-Range: bytes */%zu\r\n", n);
    answer a = put(s.port, "/models/loras/p.safetensors", headers, "", 0);
    CHECK(a.status == 202 && strstr(a.head, "Upload-Offset: 0\r\n"));
    answer_free(&a);
    for (int i = 0; i < 3; i++) {
        const size_t first = (size_t)i * third, last = i == 2 ? n - 1 : first + third - 1;

        snprintf(headers, sizeof headers, "Content-Range: bytes %zu-%zu/%zu\r\n%s%s%s", first, last, n, i ? "" : "X-Checksum-SHA256: ", i ? "" : hex,
                 i ? "" : "\r\n");
        a = put(s.port, "/models/loras/p.safetensors", headers, bytes + first, last - first + 1);
        CHECK_INT(a.status, i == 2 ? 201 : 202);
        answer_free(&a);
        if (i == 2)
            break;
        CHECK_INT(offset_of(s.port, "/models/loras/p.safetensors"), last + 1);
        CHECK_INT(status_of(s.port, "GET", "/models/loras/p.safetensors"), 404);        /* not visible yet */
        a = get(s.port, "/models/loras");
        CHECK(a.status == 200 && !strstr(a.body, "p.safetensors"));
        answer_free(&a);
        a = get(s.port, "/models?details=1");
        CHECK(strstr(a.body, "\"name\": \"p.safetensors\"") != NULL);
        answer_free(&a);
        /* not there, not of that length, not of that sum */
        snprintf(headers, sizeof headers, "Content-Range: bytes %zu-%zu/%zu\r\n", last + 2, last + 2, n);
        a = put(s.port, "/models/loras/p.safetensors", headers, "x", 1);
        snprintf(headers, sizeof headers, "Upload-Offset: %zu\r\n", last + 1);
        CHECK(a.status == 409 && strstr(a.head, headers));
        answer_free(&a);
        snprintf(headers, sizeof headers, "Content-Range: bytes %zu-%zu/%zu\r\n", last + 1, last + 1, n + 1);
        CHECK_INT(put_status(s.port, "/models/loras/p.safetensors", headers, "x", 1), 409);
        snprintf(headers, sizeof headers, "Content-Range: bytes %zu-%zu/%zu\r\nX-Checksum-SHA256: %064d\r\n", last + 1, last + 1, n, 0);
        CHECK_INT(put_status(s.port, "/models/loras/p.safetensors", headers, "x", 1), 409);
        if (i == 0) {                   /* the hidden file survives the server */
            kill(s.pid, SIGKILL);
            waitpid(s.pid, NULL, 0);
            CHECK(server_start(&s, 0, NULL));
        }
    }
    CHECK(holds(&s, "loras/p.safetensors", bytes, n));
    a = get(s.port, "/models/loras/p.safetensors");
    CHECK(strstr(a.body, hex) != NULL);
    answer_free(&a);
    CHECK_INT(offset_of(s.port, "/models/loras/p.safetensors"), -1);

    /* the sum given with the first piece is held against the whole, though the last does not repeat it */
    snprintf(headers, sizeof headers, "Content-Range: bytes 0-%zu/%zu\r\nX-Checksum-SHA256: %064d\r\n", third - 1, n, 0);
    CHECK_INT(put_status(s.port, "/models/loras/q.safetensors", headers, bytes, third), 202);
    snprintf(headers, sizeof headers, "Content-Range: bytes %zu-%zu/%zu\r\n", third, n - 1, n);
    CHECK_INT(put_status(s.port, "/models/loras/q.safetensors", headers, bytes + third, n - third), 422);
    CHECK_INT(n_hidden(&s, "loras"), 0);

    /* a request for the whole begins anew */
    snprintf(headers, sizeof headers, "Content-Range: bytes 0-%zu/%zu\r\n", third - 1, n);
    CHECK_INT(put_status(s.port, "/models/loras/r.safetensors", headers, bytes + third, 1000), 400);
    CHECK_INT(put_status(s.port, "/models/loras/r.safetensors", headers, bytes, third), 202);
    CHECK_INT(put_status(s.port, "/models/loras/r.safetensors", "", bytes, n), 201);
    CHECK_INT(n_hidden(&s, "loras"), 0);

    /* and one can be thrown away */
    CHECK_INT(put_status(s.port, "/models/loras/t.safetensors", headers, bytes, third), 202);
    CHECK_INT(status_of(s.port, "DELETE", "/models/loras/t.safetensors?upload=1"), 204);
    CHECK_INT(status_of(s.port, "DELETE", "/models/loras/t.safetensors?upload=1"), 404);
    CHECK_INT(offset_of(s.port, "/models/loras/t.safetensors"), -1);
    CHECK(exists(&s, "loras/r.safetensors"));
    CHECK_INT(status_of(s.port, "DELETE", "/models/loras/r.safetensors?upload=1"), 404);
    CHECK(exists(&s, "loras/r.safetensors"));
    free(bytes);
    done(&s);
}

/* Send a head and part of the body on a connection that stays open. */
static int put_begin(int port, const char *path, const char *headers, const void *bytes, size_t n_now, size_t n)
{
    const int fd = client_open(port);
    char head[600];

    snprintf(head, sizeof head, "PUT %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", path, headers, n);
    client_send(fd, head, strlen(head));
    client_send(fd, bytes, n_now);
    return fd;
}

TEST(connections_that_break)
{
    MAKE(s, NULL,);
    size_t n;
    char *bytes = make_model(5000000, 3, &n), headers[200];
    const size_t half = n / 2;

    /* cut in the middle, gone on with */
    int fd = put_begin(s.port, "/models/loras/a.safetensors", "", bytes, half, n);
    CHECK(wait_for_offset(s.port, "/models/loras/a.safetensors", (long long)half));
    close(fd);
    snprintf(headers, sizeof headers, "Content-Range: bytes %zu-%zu/%zu\r\n", half, n - 1, n);
    CHECK_INT(put_status(s.port, "/models/loras/a.safetensors", headers, bytes + half, n - half), 201);
    CHECK(holds(&s, "loras/a.safetensors", bytes, n));

    /* gone on with while the server still believes in the first connection */
    fd = put_begin(s.port, "/models/loras/b.safetensors", "", bytes, half, n);
    CHECK(wait_for_offset(s.port, "/models/loras/b.safetensors", (long long)half));
    CHECK_INT(put_status(s.port, "/models/loras/b.safetensors", "", bytes, n), 409);    /* from the start: not while another does it */
    CHECK_INT(status_of(s.port, "DELETE", "/models/loras/b.safetensors"), 409);
    CHECK_INT(put_status(s.port, "/models/loras/b.safetensors", headers, bytes + half, n - half), 201);
    answer a = read_answer(fd, false);
    CHECK_INT(a.status, 409);
    answer_free(&a);
    close(fd);
    CHECK(holds(&s, "loras/b.safetensors", bytes, n));

    /* stopped by somebody */
    fd = put_begin(s.port, "/models/loras/c.safetensors", "", bytes, half, n);
    CHECK(wait_for_offset(s.port, "/models/loras/c.safetensors", (long long)half));
    CHECK_INT(status_of(s.port, "DELETE", "/models/loras/c.safetensors?upload=1"), 204);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 409);
    answer_free(&a);
    close(fd);
    CHECK_INT(n_hidden(&s, "loras"), 0);

    /* a header that cannot be right is refused before the rest is sent */
    bytes[8] = '[';
    fd = put_begin(s.port, "/models/loras/d.safetensors", "", bytes, 1000, n);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 422);
    answer_free(&a);
    close(fd);
    bytes[8] = '{';

    /* Expect: 100-continue: a refusal comes before the body, otherwise the body is asked for */
    fd = put_begin(s.port, "/models/loras/a.safetensors", "Expect: 100-continue\r\n", bytes, 0, n);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 409);
    answer_free(&a);
    close(fd);
    fd = put_begin(s.port, "/models/loras/e.safetensors", "Expect: 100-continue\r\n", bytes, 0, n);
    a = read_answer(fd, true);
    CHECK_INT(a.status, 100);
    answer_free(&a);
    client_send(fd, bytes, n);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 201);
    answer_free(&a);
    /* the connection lives on */
    client_send(fd, "GET /models/loras HTTP/1.1\r\nHost: x\r\n\r\n", 40);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    close(fd);

    /* chunks, with the total in the range; then malformed ones */
    for (int is_bad = 0; is_bad < 2; is_bad++) {
        fd = client_open(s.port);
        snprintf(headers, sizeof headers, "PUT /models/loras/f%d.safetensors HTTP/1.1\r\nHost: x\r\nContent-Range: bytes 0-%zu/%zu\r\n"
                                          "Transfer-Encoding: chunked\r\n\r\n", is_bad, n - 1, n);
        client_send(fd, headers, strlen(headers));
        for (size_t at = 0, size = 100000; at < n; at += size) {
            if (at + size > n)
                size = n - at;
            snprintf(headers, sizeof headers, is_bad && at > 1000000 ? "zz\r\n" : "%zx\r\n", size);
            client_send(fd, headers, strlen(headers));
            client_send(fd, bytes + at, size);
            client_send(fd, "\r\n", 2);
        }
        client_send(fd, "0\r\n\r\n", 5);
        a = read_answer(fd, false);
        CHECK_INT(a.status, is_bad ? 400 : 201);
        answer_free(&a);
        close(fd);
    }
    CHECK(holds(&s, "loras/f0.safetensors", bytes, n));

    /* eight at once, no more; and the server stops although they wait */
    int fds[9];
    for (int i = 0; i < 8; i++) {
        snprintf(headers, sizeof headers, "/models/loras/g%d.safetensors", i);
        fds[i] = put_begin(s.port, headers, "", bytes, 100000, n);
        CHECK(wait_for_offset(s.port, headers, 100000));
    }
    a = put(s.port, "/models/loras/g8.safetensors", "", bytes, n);
    CHECK(a.status == 503 && strcasestr(a.head, "Retry-After"));
    answer_free(&a);
    CHECK_INT(status_of(s.port, "GET", "/health"), 200);
    CHECK_INT(server_stop(&s, SIGTERM), 0);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    CHECK_INT(n_hidden(&s, "loras"), 9);        /* they can be gone on with: the eight, and the one with the malformed chunk */

    /* unfinished ones go after a time; one that is being written stays */
    static const char *const keep[] = { "--keep-uploads", "0.0006", NULL };
    CHECK(server_start(&s, 0, keep));
    fd = put_begin(s.port, "/models/loras/h.safetensors", "", bytes, 100000, n);
    for (int i = 0; i < 2000 && n_hidden(&s, "loras") != 1; i++)
        usleep(20000);
    CHECK_INT(n_hidden(&s, "loras"), 1);
    client_send(fd, bytes + 100000, n - 100000);
    a = read_answer(fd, false);
    CHECK_INT(a.status, 201);
    answer_free(&a);
    close(fd);
    free(bytes);
    done(&s);
}

TEST(memory_stays_small)
{
    MAKE(s, NULL,);
    const size_t n = 96 << 20;
    char *bytes = calloc(1, n), line[200], path[64];
    long before = 0, after = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)s.pid);
    for (int i = 0; i < 2; i++) {
        if (i)
            CHECK_INT(put_status(s.port, "/models/checkpoints/large.ckpt", "", bytes, n), 201);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            sscanf(line, "VmHWM: %ld", i ? &after : &before);
        if (f)
            fclose(f);
    }
    CHECK(before > 0);
    if (after - before > 24 << 10)
        test_fail(__FILE__, __LINE__, "96 MiB of upload took %ld KiB of memory", after - before);
    free(bytes);
    done(&s);
}

TEST(folders_that_cannot_be_written_to)
{
    if (access("/sys/kernel", F_OK) != 0)
        SKIP("no /sys here, where not even root makes folders");
    MAKE(s, "--models", "/sys",);
    size_t n;
    char *bytes = make_model(100, 1, &n);
    answer a = put(s.port, "/models/loras/x.safetensors", "", bytes, n);

    CHECK_INT(a.status, 403);
    CHECK(a.body && strstr(a.body, "/sys/loras"));
    answer_free(&a);
    free(bytes);
    done(&s);
}

TEST(keys_and_what_they_may)
{
    char file[] = "/tmp/rylagraph-test-keys-XXXXXX";
    const int fd = mkstemp(file);
    static const char keys[] = "reader-key-0123456789 read\nmodels-key-0123456789 models\nrunner-key-0123456789 run\n";
    test_server s = { 0 };
    size_t n;
    char *bytes = make_model(100, 1, &n);

    CHECK(write(fd, keys, sizeof keys - 1) == sizeof keys - 1);
    close(fd);
    const char *const more[] = { "--api-key-file", file, NULL };
    if (!server_start(&s, 0, more)) {
        unlink(file);
        free(bytes);
        SKIP("no program (RG_PROGRAM)");
    }
    CHECK_INT(put_status(s.port, "/models/vae/x.safetensors", "", bytes, n), 401);
    CHECK_INT(put_status(s.port, "/models/vae/x.safetensors", "Authorization: Bearer reader-key-0123456789\r\n", bytes, n), 403);
    CHECK_INT(put_status(s.port, "/models/vae/x.safetensors", "Authorization: Bearer runner-key-0123456789\r\n", bytes, n), 403);
    CHECK_INT(put_status(s.port, "/models/vae/x.safetensors", "Authorization: Bearer models-key-0123456789\r\n", bytes, n), 201);
    answer a = request_with(s.port, "GET", "/models/vae/x.safetensors", "Authorization: Bearer reader-key-0123456789\r\n", "", 0);
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = request_with(s.port, "DELETE", "/models/vae/x.safetensors", "Authorization: Bearer runner-key-0123456789\r\n", "", 0);
    CHECK_INT(a.status, 403);
    answer_free(&a);
    a = request_with(s.port, "DELETE", "/models/vae/x.safetensors", "Authorization: Bearer models-key-0123456789\r\n", "", 0);
    CHECK_INT(a.status, 204);
    answer_free(&a);
    unlink(file);
    free(bytes);
    done(&s);
}

/* Decode an empty latent with vae/NAME; the PNG's bytes, free() them. NULL: it failed. */
static char *decode_with(int port, const char *vae, size_t *n)
{
    char *text = NULL, path[200];
    answer a;

    if (asprintf(&text, "{\"prompt\": {\"1\": {\"class_type\": \"VAELoader\", \"inputs\": {\"vae_name\": \"%s\"}},"
                 "\"2\": {\"class_type\": \"EmptySD3LatentImage\", \"inputs\": {\"width\": 64, \"height\": 64, \"batch_size\": 1}},"
                 "\"3\": {\"class_type\": \"VAEDecode\", \"inputs\": {\"samples\": [\"2\", 0], \"vae\": [\"1\", 0]}},"
                 "\"4\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"3\", 0], \"filename_prefix\": \"x\"}}}}", vae) < 0)
        return NULL;
    a = post(port, "/jobs", text);
    free(text);
    const char *id = a.body ? strstr(a.body, "\"id\": \"") : NULL;
    if (a.status != 202 || !id) {
        fprintf(stderr, "%d %s\n", a.status, a.body);
        answer_free(&a);
        return NULL;
    }
    snprintf(path, sizeof path, "/jobs/%.36s", id + 7);
    for (int i = 0; i < 3000; i++) {
        answer_free(&a);
        a = get(port, path);
        if (a.body && (strstr(a.body, "\"state\": \"done\"") || strstr(a.body, "\"state\": \"failed\"")))
            break;
        usleep(10000);
    }
    answer_free(&a);
    strcat(path, "/outputs/0");
    a = get(port, path);
    if (a.status == 200) {
        *n = a.n;
        return a.body;
    }
    answer_free(&a);
    return NULL;
}

static bool offers(int port, const char *name)
{
    answer a = get(port, "/object_info/VAELoader");
    const bool is_there = a.status == 200 && strstr(a.body, name);

    answer_free(&a);
    return is_there;
}

TEST(changes_are_seen_without_a_restart)
{
    MAKE(s, "--disable-metadata",);
    size_t n = 0, n_first = 0, n_second = 0;
    char *bytes = test_read_file(test_demo_path("vae/ae-demo.safetensors"), &n), command[700];

    if (!bytes) {
        done(&s);
        SKIP("no demo model");
    }
    CHECK(!offers(s.port, "mine.safetensors"));
    CHECK_INT(put_status(s.port, "/models/vae/mine.safetensors", "", bytes, n), 201);
    CHECK(offers(s.port, "mine.safetensors"));
    char *first = decode_with(s.port, "mine.safetensors", &n_first), *again, *second;
    CHECK(first != NULL);
    /* other weights under the same name: neither the model nor its pictures are remembered */
    for (size_t i = n / 10; i < n; i++)
        bytes[i] ^= 2;
    CHECK_INT(put_status(s.port, "/models/vae/mine.safetensors?overwrite=true", "", bytes, n), 200);
    second = decode_with(s.port, "mine.safetensors", &n_second);
    CHECK(second != NULL);
    CHECK(first && second && (n_first != n_second || memcmp(first, second, n_first)));
    for (size_t i = n / 10; i < n; i++)
        bytes[i] ^= 2;
    CHECK_INT(put_status(s.port, "/models/vae/mine.safetensors?overwrite=true", "", bytes, n), 200);
    again = decode_with(s.port, "mine.safetensors", &n_second);
    CHECK(first && again && n_first == n_second && !memcmp(first, again, n_first));

    CHECK_INT(status_of(s.port, "DELETE", "/models/vae/mine.safetensors"), 204);
    CHECK(!exists(&s, "vae/mine.safetensors.sha256"));
    CHECK(!offers(s.port, "mine.safetensors"));
    CHECK(decode_with(s.port, "mine.safetensors", &n_second) == NULL);
    /* put there by hand */
    snprintf(command, sizeof command, "mkdir -p %s/models/vae/sub && cp %s %s/models/vae/sub/hand.safetensors", s.dir,
             test_demo_path("vae/ae-demo.safetensors"), s.dir);
    CHECK_INT(system(command), 0);
    CHECK(offers(s.port, "sub/hand.safetensors"));
    answer a = get(s.port, "/models/vae");
    CHECK_STR(a.body, "[\"ae-demo.safetensors\", \"sub/hand.safetensors\"]");
    answer_free(&a);
    again = again ? (free(again), decode_with(s.port, "sub/hand.safetensors", &n_second)) : NULL;
    CHECK(first && again && n_first == n_second && !memcmp(first, again, n_first));
    free(first);
    free(second);
    free(again);
    free(bytes);
    done(&s);
}

/* A job in its steps does not notice that its model is deleted, and another one put in its place; the next job does. */
TEST(a_running_job_keeps_its_model)
{
    MAKE(s, NULL,);
    size_t n = 0;
    char *bytes = test_read_file(test_demo_path("diffusion_models/flux-demo.safetensors"), &n), *text = NULL, path[100];

    if (!bytes) {
        done(&s);
        SKIP("no demo model");
    }
    CHECK_INT(put_status(s.port, "/models/diffusion_models/mine.safetensors", "", bytes, n), 201);
    CHECK(asprintf(&text, "{\"prompt\": {\"1\": {\"class_type\": \"UNETLoader\", \"inputs\": {\"unet_name\": \"mine.safetensors\", \"weight_dtype\": \"default\"}},"
                   "\"2\": {\"class_type\": \"DualCLIPLoader\", \"inputs\": {\"clip_name1\": \"clip_l-demo.safetensors\", \"clip_name2\": \"t5-demo.safetensors\", "
                   "\"type\": \"flux\"}},"
                   "\"3\": {\"class_type\": \"VAELoader\", \"inputs\": {\"vae_name\": \"ae-demo.safetensors\"}},"
                   "\"4\": {\"class_type\": \"CLIPTextEncode\", \"inputs\": {\"text\": \"a house\", \"clip\": [\"2\", 0]}},"
                   "\"5\": {\"class_type\": \"EmptySD3LatentImage\", \"inputs\": {\"width\": 256, \"height\": 256, \"batch_size\": 1}},"
                   "\"6\": {\"class_type\": \"KSampler\", \"inputs\": {\"model\": [\"1\", 0], \"positive\": [\"4\", 0], \"negative\": [\"4\", 0], "
                   "\"latent_image\": [\"5\", 0], \"seed\": 1, \"steps\": 16, \"cfg\": 1.0, \"sampler_name\": \"euler\", \"scheduler\": \"simple\", \"denoise\": 1.0}},"
                   "\"7\": {\"class_type\": \"VAEDecode\", \"inputs\": {\"samples\": [\"6\", 0], \"vae\": [\"3\", 0]}},"
                   "\"8\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"7\", 0], \"filename_prefix\": \"x\"}}}}") > 0);
    answer a = post(s.port, "/jobs", text);
    CHECK_INT(a.status, 202);
    const char *id = a.body ? strstr(a.body, "\"id\": \"") : NULL;
    snprintf(path, sizeof path, "/jobs/%.36s", id ? id + 7 : "");
    bool is_done = false, is_deleted = false;
    for (int i = 0; i < 20000 && !is_done; i++) {
        answer_free(&a);
        a = get(s.port, path);
        is_done = !a.body || !strstr(a.body, "\"state\": \"queued\"") == !strstr(a.body, "\"state\": \"running\"");
        if (!is_deleted && a.body && strstr(a.body, "\"class_type\": \"KSampler\"")) {     /* the model is loaded, steps are being made */
            is_deleted = true;
            CHECK_INT(status_of(s.port, "DELETE", "/models/diffusion_models/mine.safetensors"), 204);
            memset(bytes + n / 2, 0, n / 2);
            CHECK_INT(put_status(s.port, "/models/diffusion_models/mine.safetensors", "", bytes, n), 201);
            CHECK_INT(status_of(s.port, "DELETE", "/models/diffusion_models/mine.safetensors"), 204);
        }
        usleep(5000);
    }
    CHECK(is_deleted);
    if (!a.body || !strstr(a.body, "\"state\": \"done\""))
        test_fail(__FILE__, __LINE__, "the job: %s", a.body ? a.body : "(no answer)");
    answer_free(&a);
    a = post(s.port, "/jobs", text);
    CHECK_INT(a.status, 404);           /* the file is gone, whatever is remembered of it */
    answer_free(&a);
    free(text);
    free(bytes);
    done(&s);
}

TEST(comfyui_lists_and_pictures_of_models)
{
    MAKE(s, NULL,);
    size_t n;
    char *bytes = make_model(100, 1, &n), command[1200];
    const char *png = "docs/images/demo.png";
    answer a;

    CHECK_INT(put_status(s.port, "/models/loras/one.safetensors", "", bytes, n), 201);
    CHECK_INT(put_status(s.port, "/models/loras/sub/two.safetensors", "", bytes, n), 201);
    CHECK_INT(put_status(s.port, "/models/loras/three.gguf", "", bytes, n), 201);
    a = get(s.port, "/experiment/models/loras");
    CHECK(a.status == 200 && strstr(a.body, "\"name\": \"one.safetensors\", \"pathIndex\": 0, \"modified\": "));
    CHECK(strstr(a.body, "\"sub/two.safetensors\"") && !strstr(a.body, "three") && !strstr(a.body, "sha256"));
    answer_free(&a);
    a = get(s.port, "/loras");
    CHECK(a.status == 200 && strstr(a.body, "\"count\": 2") && strstr(a.body, "\"name\": \"one.safetensors\", \"path\": \"/"));
    answer_free(&a);
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/nothing"), 404);
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/preview/loras/0/one.safetensors"), 404);
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/preview/loras/x/one.safetensors"), 500);
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/preview/loras/99/one.safetensors"), 500);
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/preview/nothing/0/one.safetensors"), 404);
    snprintf(command, sizeof command, "cp %s %s/models/loras/one.preview.png && cp %s %s/models/loras/sub/two.png && touch %s/models/loras/three.png", png,
             s.dir, png, s.dir, s.dir);
    CHECK_INT(system(command), 0);
    for (int i = 0; i < 2; i++) {
        a = get(s.port, i ? "/experiment/models/preview/loras/0/sub/two.safetensors" : "/api/experiment/models/preview/loras/-3/one.safetensors");
        CHECK_INT(a.status, 200);
        CHECK(strstr(a.head, "image/webp") && a.n > 12 && !memcmp(a.body, "RIFF", 4) && !memcmp(a.body + 8, "WEBP", 4));
        answer_free(&a);
    }
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/preview/loras/0/three.gguf"), 404);  /* no picture, whatever its name */
    CHECK_INT(status_of(s.port, "GET", "/experiment/models/preview/vae/0/..%2Floras/one.safetensors"), 404);
    free(bytes);
    done(&s);
}
