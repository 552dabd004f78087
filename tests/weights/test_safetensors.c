/* Safetensors: what opens, what is refused and in which words, and what a writer leaves behind. */
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/weights/safetensors.h"
#include "tests/test.h"

/* A file in memory: length, header, n_data bytes 0, 1, 2, ... */
typedef struct image {
    unsigned char *bytes;
    size_t n_bytes;
} image;

static image make(const char *header, size_t n_data)
{
    const size_t n = strlen(header);
    image m = { aligned_alloc(64, (8 + n + n_data + 63) / 64 * 64), 8 + n + n_data };

    for (int i = 0; i < 8; i++)
        m.bytes[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(m.bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        m.bytes[8 + n + i] = (unsigned char)i;
    return m;
}

/* The header is refused with this code, in words that contain `words`. */
static void check_refused(const char *header, size_t n_data, int code, const char *words)
{
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;
    image m = make(header, n_data);

    if (rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f) != code || !strstr(c->message, words))
        test_fail(__FILE__, __LINE__, "%.100s: got %d \"%s\", wanted %d and \"%s\"", header, c->error, c->message, code, words);
    CHECK(f == NULL);
    rg_safetensors_close(f);
    rg_ctx_free(c);
    free(m.bytes);
}

static void check_opens(const char *header, size_t n_data, int n_tensors)
{
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;
    image m = make(header, n_data);

    if (rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f) < 0)
        test_fail(__FILE__, __LINE__, "%.100s: %s", header, c->message);
    else
        CHECK_INT(rg_safetensors_count(f), n_tensors);
    rg_safetensors_close(f);
    rg_ctx_free(c);
    free(m.bytes);
}

TEST(a_tensor_is_a_view_that_keeps_the_bytes_alive)
{
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;
    image m = make("{\"__metadata__\":{\"a\":\"1\",\"b\\u00e9\":\"x\\ny\"},"
                   "\"w\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]},"
                   "\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[6,6]},"
                   "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[6,7],\"more\":[{\"x\":null}, -1.5e3]}}   ", 7);

    CHECK_INT(rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f), 0);
    CHECK_INT(rg_safetensors_count(f), 3);
    CHECK_STR(rg_safetensors_at(f, 0)->name, "e");
    CHECK_STR(rg_safetensors_at(f, 2)->name, "w");
    CHECK(rg_safetensors_find(f, "nope") == NULL);
    CHECK_INT(rg_safetensors_lower_bound(f, "f"), 1);
    CHECK_STR(rg_safetensors_meta(f, "a"), "1");
    CHECK_STR(rg_safetensors_meta(f, "b\xc3\xa9"), "x\ny");
    CHECK(rg_safetensors_meta(f, "c") == NULL);

    const rg_tensor *w = rg_safetensors_get(c, f, "w"), *s = rg_safetensors_get(c, f, "s"), *e = rg_safetensors_get(c, f, "e");
    rg_safetensors_close(f);
    CHECK_OK(c);
    CHECK_INT(w->n_dims, 2);
    CHECK_INT(rg_dim(w, 1), 3);
    CHECK(w->storage->is_read_only);
    CHECK_INT(rg_get(w, 5), 5);
    CHECK_INT(s->n_dims, 0);
    CHECK_INT(rg_get(s, 0), 6);
    CHECK_INT(rg_numel(e), 0);
    rg_ctx_free(c);
    free(m.bytes);
}

TEST(every_dtype_is_read)
{
    rg_ctx *c = test_ctx();

    for (int t = 0; t < RG_N_DTYPES; t++) {
        char header[200];
        rg_safetensors *f = NULL;
        const int size = (int)rg_dtype_size((rg_dtype)t);

        snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}", rg_dtype_name((rg_dtype)t), 3 * size);
        image m = make(header, (size_t)(3 * size));
        CHECK_INT(rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f), 0);
        const rg_tensor *w = rg_safetensors_get(c, f, "w");
        CHECK_OK(c);
        CHECK_INT(w->dtype, t);
        CHECK_INT(((const unsigned char *)w->data)[3 * size - 1], 3 * size - 1);    /* whether copied for alignment or not */
        rg_safetensors_close(f);
        free(m.bytes);
    }
    rg_ctx_free(c);
}

TEST(an_unknown_dtype_hurts_only_who_asks_for_it)
{
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;
    image m = make("{\"q\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[0,8]},\"w\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[8,9]}}", 9);

    CHECK_INT(rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f), 0);
    CHECK(rg_safetensors_get(c, f, "w") != NULL);
    CHECK(rg_safetensors_get(c, f, "q") == NULL);
    CHECK_ERROR(c, RG_ERR_DTYPE);
    CHECK(strstr(c->message, "q") && strstr(c->message, "U64"));
    rg_safetensors_close(f);
    rg_ctx_free(c);
    free(m.bytes);
}

#define T(name, dtype, shape, from, to) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

TEST(lying_headers_are_refused)
{
    check_opens("{}", 0, 0);
    check_opens("{" T("a", "U8", "[2]", 0, 2) "}", 2, 1);
    check_opens("{" T("b", "U8", "[2]", 2, 4) "," T("a", "U8", "[2]", 0, 2) "}", 4, 2);
    check_opens("{" T("a", "U8", "[9223372036854775807,9223372036854775807,0]", 0, 0) "}", 0, 1);

    check_refused("{" T("a", "U8", "[2]", 0, 2) "}", 1, RG_ERR_FORMAT, "cut off");
    check_refused("{" T("a", "U8", "[2]", 0, 2) "}", 3, RG_ERR_FORMAT, "belong to no tensor");
    check_refused("{}", 3, RG_ERR_FORMAT, "belong to no tensor");
    check_refused("{" T("a", "U8", "[3]", 0, 2) "}", 2, RG_ERR_FORMAT, "tensor a spans 2 bytes, its dtype U8 and shape want 3");
    check_refused("{" T("a", "F32", "[1]", 0, 2) "}", 2, RG_ERR_FORMAT, "want 4");
    check_refused("{" T("a", "U8", "[0]", 2, 0) "}", 2, RG_ERR_FORMAT, "before its start");
    check_refused("{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 1, 3) "}", 3, RG_ERR_FORMAT, "tensor b overlaps");
    check_refused("{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 3, 5) "}", 5, RG_ERR_FORMAT, "tensor b starts after a gap");
    check_refused("{" T("a", "U8", "[2]", 1, 3) "}", 3, RG_ERR_FORMAT, "starts after a gap");
    check_refused("{" T("a", "U8", "[2]", 0, 2) "," T("a", "U8", "[2]", 2, 4) "}", 4, RG_ERR_FORMAT, "a stands twice");
    check_refused("{" T("a", "U8", "[4294967296,4294967296,4294967296]", 0, 2) "}", 2, RG_ERR_FORMAT, "overflows");
    check_refused("{" T("a", "F64", "[2305843009213693951]", 0, 2) "}", 2, RG_ERR_FORMAT, "overflows");
    check_refused("{" T("a", "U8", "[99999999999999999999]", 0, 2) "}", 2, RG_ERR_FORMAT, "too large");
    check_refused("{" T("a", "U8", "[-1]", 0, 2) "}", 2, RG_ERR_FORMAT, "whole number");
    check_refused("{" T("a", "U8", "[2.0]", 0, 2) "}", 2, RG_ERR_FORMAT, "whole number");
    check_refused("{" T("a", "U8", "[02]", 0, 2) "}", 2, RG_ERR_FORMAT, "starts with 0");
    check_refused("{" T("a", "U8", "[1,1,1,1,1,1,2]", 0, 2) "}", 2, RG_ERR_UNSUPPORTED, "more than 6 dimensions");
    check_refused("{" T("a", "U8", "[2]", 0, 9223372036854775807) "}", 2, RG_ERR_FORMAT, "spans");
}

TEST(broken_json_is_refused)
{
    char deep[400];

    check_refused("", 4, RG_ERR_FORMAT, "does not start with '{'");
    check_refused("[]", 0, RG_ERR_FORMAT, "does not start with '{'");
    check_refused(" {}", 0, RG_ERR_FORMAT, "does not start with '{'");
    check_refused("{", 0, RG_ERR_FORMAT, "ends early");
    check_refused("{} x", 0, RG_ERR_FORMAT, "follows");
    check_refused("{\"a", 0, RG_ERR_FORMAT, "does not end");
    check_refused("{\"a\"}", 0, RG_ERR_FORMAT, "a colon was expected");
    check_refused("{\"a\":1}", 0, RG_ERR_FORMAT, "an object was expected");
    check_refused("{\"a\":{}}", 0, RG_ERR_FORMAT, "tensor a lacks its dtype");
    check_refused("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, RG_ERR_FORMAT, "lacks its shape");
    check_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, RG_ERR_FORMAT, "lacks its data_offsets");
    check_refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, RG_ERR_FORMAT, "dtype stands twice");
    check_refused("{\"a\":{\"shape\":[],\"shape\":[]}}", 0, RG_ERR_FORMAT, "shape stands twice");
    check_refused("{\"a\":{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}", 0, RG_ERR_FORMAT, "data_offsets stands twice");
    check_refused("{\"a\":{\"data_offsets\":[0]}}", 0, RG_ERR_FORMAT, "two data_offsets");
    check_refused("{\"a\":{\"data_offsets\":[0,0,0]}}", 0, RG_ERR_FORMAT, "a comma was expected");
    check_refused("{\"a\":{\"shape\":[1,]}}", 0, RG_ERR_FORMAT, "whole number");
    check_refused("{\"__metadata__\":{\"a\":1}}", 0, RG_ERR_FORMAT, "a string was expected");
    check_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, RG_ERR_FORMAT, "stands twice");
    check_refused("{\"\xff\":{}}", 0, RG_ERR_FORMAT, "not UTF-8");
    check_refused("{\"\xc0\xaf\":{}}", 0, RG_ERR_FORMAT, "not UTF-8");
    check_refused("{\"\xed\xa0\x80\":{}}", 0, RG_ERR_FORMAT, "not UTF-8");
    check_refused("{" T("\\ud800", "U8", "[2]", 0, 2) "," T("\\udc00", "U8", "[2]", 2, 4) "}", 4, RG_ERR_FORMAT, "stands twice");    /* both U+FFFD */
    check_refused("{\"\\u0000\":{}}", 0, RG_ERR_FORMAT, "NUL");
    check_refused("{\"\\u00g0\":{}}", 0, RG_ERR_FORMAT, "hexadecimal");
    check_refused("{\"\\x\":{}}", 0, RG_ERR_FORMAT, "escape");
    check_refused("{\"\n\":{}}", 0, RG_ERR_FORMAT, "control character");
    check_refused("{\"a\":{\"x\":01}}", 0, RG_ERR_FORMAT, "starts with 0");
    check_refused("{\"a\":{\"x\":1.}}", 0, RG_ERR_FORMAT, "point");
    check_refused("{\"a\":{\"x\":1e}}", 0, RG_ERR_FORMAT, "exponent");
    check_refused("{\"a\":{\"x\":nul}}", 0, RG_ERR_FORMAT, "a value was expected");
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":{\"x\":", 10);
    deep[sizeof deep - 1] = 0;
    check_refused(deep, 0, RG_ERR_FORMAT, "too deep");
}

static char dir[] = "/tmp/rg_test_XXXXXX";
static bool has_dir;

static void remove_dir(void)
{
    rmdir(dir);
}

/* Path of `name` in a temporary directory, with these bytes in it unless bytes is NULL. */
static char *write_bytes(const char *name, const void *bytes, size_t n)
{
    static char path[256];

    if (!has_dir) {
        has_dir = mkdtemp(dir) != NULL;
        atexit(remove_dir);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (bytes) {
        FILE *f = fopen(path, "wb");
        fwrite(bytes, 1, n, f);
        fclose(f);
    }
    return path;
}

static void check_file_refused(const char *bytes, size_t n, const char *words)
{
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;
    const char *path = write_bytes("bad.safetensors", bytes, n);

    if (rg_safetensors_open(c, path, &f) != RG_ERR_FORMAT || !strstr(c->message, words) || !strstr(c->message, "bad.safetensors"))
        test_fail(__FILE__, __LINE__, "got %d \"%s\", wanted \"%s\"", c->error, c->message, words);
    rg_safetensors_close(f);
    rg_ctx_free(c);
    unlink(path);
}

TEST(files_that_are_something_else_say_what_they_are)
{
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;

    check_file_refused("", 0, "empty");
    check_file_refused("1234567", 7, "too few");
    check_file_refused("\x10\0\0\0\0\0\0\0{}", 10, "goes past its end");
    check_file_refused("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "allows 100000000");
    check_file_refused("PK\003\004 and so on", 15, "zip");
    check_file_refused("GGUF\3\0\0\0 and so on", 18, "GGUF");
    check_file_refused("version https://git-lfs.github.com/spec/v1\n", 43, "Git LFS pointer");
    check_file_refused("<!DOCTYPE html><html>", 21, "web page");

    CHECK_INT(rg_safetensors_open(c, "/nonexistent/x.safetensors", &f), RG_ERR_NOT_FOUND);
    rg_ctx_reset(c);
    CHECK_INT(rg_safetensors_open(c, "/tmp", &f), RG_ERR_IO);
    CHECK(strstr(c->message, "not a regular file") != NULL);
    CHECK(f == NULL);
    rg_ctx_free(c);
}

TEST(what_is_saved_opens_again)
{
    rg_ctx *c = test_ctx();
    rg_tensor *a = rg_new2(c, RG_F32, 3, 4), *b = rg_new1(c, RG_BF16, 5), *e = rg_new1(c, RG_I64, 0);
    char *path = write_bytes("saved.safetensors", NULL, 0);
    rg_safetensors *f = NULL;

    for (int i = 0; i < 12; i++)
        rg_set(a, i, i * 0.25 - 1);
    for (int i = 0; i < 5; i++)
        rg_set(b, i, i);
    const rg_named_tensor tensors[] = { { "b", b }, { "a \"quoted\"\n", rg_transpose(c, a, 0, 1) }, { "e", e } };
    const rg_named_text meta[] = { { "by", "test" } };

    CHECK_INT(rg_safetensors_save(c, path, tensors, 3, meta, 1), 0);
    CHECK_INT(rg_safetensors_open(c, path, &f), 0);
    CHECK_OK(c);
    CHECK_INT(rg_safetensors_count(f), 3);
    CHECK_STR(rg_safetensors_meta(f, "by"), "test");
    const rg_tensor *at = rg_safetensors_get(c, f, "a \"quoted\"\n");
    CHECK_OK(c);
    CHECK_INT(rg_dim(at, 0), 4);
    CHECK_INT(rg_get(at, 1) * 100, 0);                      /* a[1][0] = 4 * 0.25 - 1 */
    CHECK(at->storage->is_read_only);
    CHECK_CLOSE(c, rg_safetensors_get(c, f, "b"), b, 0.0);
    rg_safetensors_close(f);
    CHECK_CLOSE(c, at, rg_transpose(c, a, 0, 1), 0.0);      /* the view keeps the map alive */

    const rg_named_tensor twice[] = { { "b", b }, { "b", a } };
    CHECK_INT(rg_safetensors_save(c, path, twice, 2, NULL, 0), RG_ERR_INVALID);
    rg_ctx_reset(c);
    CHECK_INT(rg_safetensors_save(c, "/nonexistent/x.safetensors", tensors, 3, NULL, 0), RG_ERR_IO);
    unlink(path);
    rg_ctx_free(c);
}

TEST(shards_open_as_one)
{
    rg_ctx *c = test_ctx();
    rg_tensor *a = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 4 }, 1.5), *b = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 4 }, 2.5);
    static const char good[] = "{\"metadata\": {\"total_size\": 32}, \"weight_map\": {\"x.a\": \"m-1.safetensors\", \"x.b\": \"m-2.safetensors\"}}";
    static const struct { const char *text; int code; const char *words; } bad[] = {
        { "{\"weight_map\": {\"x.a\": \"m-1.safetensors\", \"x.c\": \"m-2.safetensors\"}}", RG_ERR_FORMAT, "x.c should be in m-2.safetensors" },
        { "{\"weight_map\": {\"x.a\": \"m-9.safetensors\"}}", RG_ERR_NOT_FOUND, "m-9.safetensors" },
        { "{\"weight_map\": {\"x.a\": \"../m-1.safetensors\"}}", RG_ERR_FORMAT, "not a plain file name" },
        { "{\"weight_map\": {\"x.a\": \"m-1.safetensors\", \"x.a\": \"m-1.safetensors\"}}", RG_ERR_FORMAT, "twice" },
        { "{\"weights\": {}}", RG_ERR_FORMAT, "without weight_map" },
        { "", RG_ERR_FORMAT, "empty" },
    };
    rg_safetensors *f = NULL;

    CHECK_INT(rg_safetensors_save(c, write_bytes("m-1.safetensors", NULL, 0), &(rg_named_tensor){ "x.a", a }, 1, NULL, 0), 0);
    CHECK_INT(rg_safetensors_save(c, write_bytes("m-2.safetensors", NULL, 0), &(rg_named_tensor){ "x.b", b }, 1, NULL, 0), 0);
    CHECK_INT(rg_safetensors_open(c, write_bytes("m.safetensors.index.json", good, sizeof good - 1), &f), 0);
    CHECK_OK(c);
    CHECK_INT(rg_safetensors_count(f), 2);
    CHECK_INT(rg_safetensors_at(f, 1)->shard, 1);
    const rg_tensor *second = rg_safetensors_get(c, f, "x.b");
    rg_safetensors_close(f);
    CHECK_CLOSE(c, second, b, 0.0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        f = NULL;
        CHECK_INT(rg_safetensors_open(c, write_bytes("m.safetensors.index.json", bad[i].text, strlen(bad[i].text)), &f), bad[i].code);
        if (!strstr(c->message, bad[i].words))
            test_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", c->message, bad[i].words);
        CHECK(f == NULL);
        rg_ctx_reset(c);
    }
    unlink(write_bytes("m-1.safetensors", NULL, 0));
    unlink(write_bytes("m-2.safetensors", NULL, 0));
    unlink(write_bytes("m.safetensors.index.json", NULL, 0));
    rg_ctx_free(c);
}

TEST(failing_allocations_end_clean)
{
    image m = make("{\"__metadata__\":{\"a\":\"1\"}," T("b", "U8", "[2]", 2, 4) "," T("a", "U8", "[2]", 0, 2) "}", 4);

    for (int n = 0; n < 100; n++) {
        rg_ctx *c = test_ctx();
        rg_safetensors *f = NULL;

        rg_alloc_fail_after = n;
        const int ret = rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f);
        rg_alloc_fail_after = -1;
        CHECK(ret == 0 || ret == RG_ERR_NOMEM);
        CHECK((ret == 0) == (f != NULL));
        rg_safetensors_close(f);
        rg_ctx_free(c);
        if (ret == 0)
            break;
        CHECK(n < 99);
    }
    free(m.bytes);
}

TEST(ten_thousand_tensors_open_in_milliseconds)
{
    enum { N = 20000 };
    char *header = malloc(N * 160), *p = header;
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;

    *p++ = '{';
    for (int i = 0; i < N; i++)
        p += snprintf(p, 160, "%s\"model.diffusion_model.blocks.%d.attention.to_q.weight\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[%d,%d]}",
                     i ? "," : "", (i * 7919) % N, 2 * i, 2 * i + 2);
    strcpy(p, "}");
    image m = make(header, 2 * N);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    CHECK_INT(rg_safetensors_parse(c, m.bytes, m.n_bytes, "file", &f), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    const double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) * 1e-6;
    printf("(%d tensors: %.1f ms) ", N, ms);
    CHECK(ms < 1000.0);                 /* tens of milliseconds; sanitizers and a busy machine get room */
    CHECK_INT(rg_safetensors_count(f), N);
    rg_safetensors_close(f);
    rg_ctx_free(c);
    free(m.bytes);
    free(header);
}
