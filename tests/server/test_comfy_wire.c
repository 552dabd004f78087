/* Corners of ComfyUI's API: what node packs bring, packed answers, masks that keep texts, flags. Checked against ComfyUI by tools/reference/wire.py. */
#include <zlib.h>

#include "engine/media/picture.h"
#include "tests/server/client.h"

static void put_file(const char *dir, const char *name, const void *bytes, size_t n)
{
    char path[512], *slash;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n);
    if (f)
        fclose(f);
}

static void put_text(const char *dir, const char *name, const char *text)
{
    put_file(dir, name, text, strlen(text));
}

static void wants(const test_server *s, const char *path, int status, const char *body)
{
    answer a = get(s->port, path);

    if (a.status != status || (body && strcmp(a.body, body)))
        test_fail(__FILE__, __LINE__, "GET %s: %d %.300s; wanted %d %s", path, a.status, a.body, status, body ? body : "");
    answer_free(&a);
}

/* A --base-directory with two packs in it, and the folders of a web client. */
static bool start(test_server *s, const char *const *more)
{
    strcpy(s->dir, "/tmp/rylagraph-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return false;
    put_text(s->dir, "custom_nodes/one/example_workflows/First Flow.json", "{\"nodes\": []}");
    put_text(s->dir, "custom_nodes/one/example_workflows/First Flow.jpg", "picture");
    put_text(s->dir, "custom_nodes/one/example_workflows/.hidden.json", "{}");
    put_text(s->dir, "custom_nodes/one/locales/en/main.json", "{\"hello\": \"Hello\", \"both\": {\"x\": 1}, \"list\": [1]}");
    put_text(s->dir, "custom_nodes/one/locales/en/nodeDefs.json", "{\"A\": {\"display_name\": \"An A\"}}");
    put_text(s->dir, "custom_nodes/one/locales/fr/commands.json", "not json");
    put_text(s->dir, "custom_nodes/two/workflows/w.json", "{}");
    put_text(s->dir, "custom_nodes/two/locales/en/main.json", "{\"hello\": \"Later\", \"both\": {\"y\": 2}, \"list\": [2]}");
    put_text(s->dir, "custom_nodes/off.disabled/workflows/w.json", "{}");
    put_text(s->dir, "custom_nodes/alone.py", "");
    put_text(s->dir, "outside.txt", "secret");
    put_text(s->dir, "client/templates/index.json", "[]");
    char link[512], target[512];
    snprintf(link, sizeof link, "%s/custom_nodes/one/example_workflows/leak.json", s->dir);
    snprintf(target, sizeof target, "%s/outside.txt", s->dir);
    return symlink(target, link) == 0 && server_start(s, 0, more);
}

TEST(packs)
{
    static const char *const hidden[] = { "%2e%2e/%2e%2e/%2e%2e/outside.txt", "..%2f..%2f..%2foutside.txt", "../../../outside.txt", "leak.json", "nope.json" };
    char path[256], root[256];
    test_server s = { 0 };

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    CHECK(start(&s, NULL));
    wants(&s, "/i18n", 200, "{\"en\": {\"hello\": \"Later\", \"both\": {\"x\": 1, \"y\": 2}, \"list\": [1, 2], \"nodeDefs\": {\"A\": {\"display_name\": \"An A\"}}}, \"fr\": {}}");
    wants(&s, "/api/workflow_templates", 200, "{\"one\": [\"First Flow\", \"leak\"], \"off.disabled\": [\"w\"], \"two\": [\"w\"]}");
    wants(&s, "/api/workflow_templates/one/First%20Flow.json", 200, "{\"nodes\": []}");
    wants(&s, "/api/workflow_templates/one/First%20Flow.jpg", 200, "picture");
    wants(&s, "/api/workflow_templates/two/w.json", 200, "{}");
    wants(&s, "/api/workflow_templates/off.disabled/w.json", 404, NULL);
    wants(&s, "/workflow_templates/one/First%20Flow.json", 404, NULL);
    wants(&s, "/api/workflow_templates/one/%00", 403, NULL);     /* a name with a NUL is none: the folder itself */
    wants(&s, "/api/workflow_templates/../outside.txt", 404, NULL);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        snprintf(path, sizeof path, "/api/workflow_templates/one/%s", hidden[i]);
        wants(&s, path, 404, NULL);
    }
    server_stop(&s, SIGTERM);

    snprintf(root, sizeof root, "%s/client/templates", s.dir);
    const char *const off[] = { "--disable-all-custom-nodes", "--whitelist-custom-nodes", "two", "--templates-root", root, NULL };
    CHECK(server_start(&s, 0, off));
    wants(&s, "/api/workflow_templates/one/First%20Flow.json", 404, NULL);
    wants(&s, "/api/workflow_templates/two/w.json", 200, "{}");
    wants(&s, "/templates/index.json", 200, "[]");
    wants(&s, "/templates/%2e%2e/%2e%2e/outside.txt", 404, NULL);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}

/* Unpacks by zlib itself, as a browser would: 15 + 32 takes gzip and deflate. */
static bool unpacks_to(const answer *a, const char *text)
{
    unsigned char out[4096];
    z_stream z = { .next_in = (Bytef *)a->body, .avail_in = (uInt)a->n, .next_out = out, .avail_out = sizeof out - 1 };

    if (inflateInit2(&z, 15 + 32) != Z_OK)
        return false;
    const int ret = inflate(&z, Z_FINISH);
    out[z.total_out] = '\0';
    inflateEnd(&z);
    return ret == Z_STREAM_END && !strcmp((char *)out, text);
}

TEST(packed_answers)
{
    static const char queue[] = "{\"queue_running\": [], \"queue_pending\": []}";
    static const struct { const char *accepts, *coding; } cases[] = {
        { "gzip", "gzip" }, { "gzip, deflate, br", "deflate" }, { "deflate", NULL }, { "gzip;q=0", NULL }, { "gzip; q=0.5", "gzip" }, { "br", NULL }, { "identity", NULL },
    };
    static const char *const on[] = { "--enable-compress-response-body", NULL };
    test_server s = { 0 };

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    CHECK(server_start(&s, 0, on));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[128], wanted[64];

        snprintf(header, sizeof header, "Accept-Encoding: %s\r\n", cases[i].accepts);
        answer a = request_with(s.port, "GET", "/queue", header, "", 0);
        CHECK_INT(a.status, 200);
        snprintf(wanted, sizeof wanted, "Content-Encoding: %s\r\n", cases[i].coding);
        if (cases[i].coding)
            CHECK(strstr(a.head, wanted) && strstr(a.head, "Vary: Accept-Encoding\r\n") && unpacks_to(&a, queue));
        else
            CHECK(!strstr(a.head, "Content-Encoding") && !strcmp(a.body, queue));
        answer_free(&a);
    }
    answer a = request_with(s.port, "GET", "/nope", "Accept-Encoding: gzip\r\n", "", 0);    /* errors go out as they are */
    CHECK_STR(a.body, "404: Not Found");
    answer_free(&a);
    server_stop(&s, SIGTERM);
    CHECK(server_start(&s, 0, NULL));
    a = request_with(s.port, "GET", "/queue", "Accept-Encoding: gzip\r\n", "", 0);
    CHECK_STR(a.body, queue);
    answer_free(&a);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}

/* /upload/mask: the original's pixels and texts, the alpha of the upload. */
TEST(mask_keeps_texts)
{
    static const rg_picture_text texts[] = { { "prompt", "{\"1\": 2}" }, { "workflow", "{\"nodes\": [\"\xc3\xbc \xe2\x82\xac\"]}" }, { "last", "x" } };
    static const char head[] = "--B\r\nContent-Disposition: form-data; name=\"original_ref\"\r\n\r\n{\"filename\": \"old.png\", \"type\": \"input\"}\r\n"
                               "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"%s\"\r\n\r\n";
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    uint8_t old[3 * 4 * 2], mask[4 * 4 * 2], *bytes = NULL, *upload = NULL;
    size_t n, n_upload;
    rg_picture *p = NULL;
    rg_picture_text *found;
    test_server s = { 0 };
    int n_found;

    if (!getenv("RG_PROGRAM")) {
        rg_ctx_free(c);
        SKIP("RG_PROGRAM is not set");
    }
    for (size_t i = 0; i < sizeof old; i++)
        old[i] = (uint8_t)(i * 9);
    for (size_t i = 0; i < sizeof mask; i++)
        mask[i] = (uint8_t)(i * 7);
    CHECK(server_start(&s, 0, NULL));
    CHECK_INT(rg_png_encode(c, old, 4, 2, 3, 4, texts, 3, &bytes, &n), 0);
    put_file(s.dir, "input/old.png", bytes, n);
    CHECK_INT(rg_png_encode(c, mask, 4, 2, 4, 4, NULL, 0, &upload, &n_upload), 0);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "new.png", "new.jpg", "new.webp" };
        char body[4096];

        size_t at = (size_t)snprintf(body, sizeof body, head, names[i]);
        memcpy(body + at, upload, n_upload);
        at += n_upload;
        memcpy(body + at, "\r\n--B--\r\n", 9);
        answer a = request_with(s.port, "POST", "/upload/mask", "Content-Type: multipart/form-data; boundary=B\r\n", body, at + 9);
        CHECK_INT(a.status, i == 1 ? 400 : 200);        /* JPEG has no alpha */
        answer_free(&a);
    }
    answer a = get(s.port, "/view?type=input&filename=new.png");
    CHECK_INT(a.status, 200);
    CHECK_INT(rg_picture_texts(c, a.body, a.n, &found, &n_found), 0);
    CHECK_INT(n_found, 3);
    for (int i = 0; i < n_found && i < 3; i++) {
        CHECK_STR(found[i].key, texts[i].key);
        CHECK_STR(found[i].text, texts[i].text);
    }
    rg_picture_texts_free(found, n_found);
    CHECK_INT(rg_picture_decode(c, a.body, a.n, &p), 0);
    for (int i = 0; p && p->alpha && i < 8; i++)
        CHECK(p->alpha[i] == mask[4 * i + 3] && !memcmp(p->rgb + 3 * i, old + 3 * i, 3));
    CHECK(p && p->alpha);
    rg_picture_free(p);
    answer_free(&a);
    a = get(s.port, "/view?type=input&filename=new.webp");
    CHECK(a.status == 200 && a.n > 12 && !memcmp(a.body + 8, "WEBP", 4));
    answer_free(&a);
    rg_free(bytes);
    rg_free(upload);
    rg_ctx_free(c);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}

/* Flags: taken, refused, by a beginning that only one has. */
TEST(flags)
{
    static const struct { const char *flag[3]; bool is_taken; } cases[] = {
        { { "--fast", "fp16_accumulation", "autotune" }, true }, { { "--lowvram", "--use-sage-attention", "--force-fp32" }, true },
        { { "--default-hashing-function", "md5", NULL }, true }, { { "--default-hashing-function", "md4", NULL }, false },
        { { "--verbose", NULL, NULL }, true }, { { "--verbose", "LOUD", NULL }, false }, { { "--enable-compress", NULL, NULL }, true },
        { { "--cache", NULL, NULL }, false }, { { "--directml", NULL, NULL }, false }, { { "--oneapi-device-selector", "gpu", NULL }, false }, { { "--nope", NULL, NULL }, false },
    };
    test_server s = { 0 };

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const more[] = { cases[i].flag[0], cases[i].flag[1], cases[i].flag[2], NULL };

        if (server_start(&s, 0, more) != cases[i].is_taken)
            test_fail(__FILE__, __LINE__, "%s is%s taken", cases[i].flag[0], cases[i].is_taken ? " not" : "");
        server_stop(&s, SIGTERM);
    }
    server_remove(&s);
}
