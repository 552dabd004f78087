/* What clients send, piece by piece: heads, encodings, bodies, forms; and the rules on paths and origins. */
#include "engine/core/ctx.h"
#include "server/http_parse.h"
#include "tests/test.h"

static int64_t parse(const char *text, rg_http_head *h)
{
    static char copy[65536];

    snprintf(copy, sizeof copy, "%s", text);
    return rg_http_parse_head(copy, strlen(copy), h);
}

TEST(head)
{
    rg_http_head h;
    const char *text = "GET /a%2Fb?x=1&y=%20 HTTP/1.1\r\nHost: a:1\r\nX-Y:  v w \t\r\nContent-Length: 12\r\n\r\nrest";

    CHECK_INT(parse(text, &h), strlen(text) - 4);
    CHECK_STR(h.method, "GET");
    CHECK_STR(h.path, "/a%2Fb");
    CHECK_STR(h.query, "x=1&y=%20");
    CHECK_STR(rg_http_field_value(&h, "x-y"), "v w");
    CHECK_INT(h.content_length, 12);
    CHECK(h.is_keep_alive);
    CHECK(!rg_http_field_value(&h, "x-z"));
    for (size_t n = 0; n < strlen(text) - 4; n++) {     /* every beginning of it wants more */
        char copy[256];
        memcpy(copy, text, n);
        CHECK_INT(rg_http_parse_head(copy, n, &h), 0);
    }
}

TEST(refused_heads)
{
    static const struct { const char *text; int status; } heads[] = {
        { "GET\r\n\r\n", -400 }, { "GET / HTTP/2.0\r\n\r\n", -505 }, { "GET / FTP/1.1\r\n\r\n", -400 }, { "GET x HTTP/1.1\r\n\r\n", -400 },
        { "G(T / HTTP/1.1\r\n\r\n", -400 }, { "GET / HTTP/1.1\r\nA b: c\r\n\r\n", -400 }, { "GET / HTTP/1.1\r\n: c\r\n\r\n", -400 },
        { "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", -400 }, { "GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", -400 },
        { "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", -400 }, { "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", -400 },
        { "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", -400 }, { "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", -501 },
        { "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", -400 },
    };
    rg_http_head h;

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        CHECK_INT(parse(heads[i].text, &h), heads[i].status);
}

TEST(keep_alive)
{
    rg_http_head h;

    CHECK(parse("GET / HTTP/1.0\n\n", &h) > 0 && !h.is_keep_alive);
    CHECK(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &h) > 0 && h.is_keep_alive);
    CHECK(parse("GET / HTTP/1.1\r\nConnection: foo, close\r\n\r\n", &h) > 0 && !h.is_keep_alive);
    CHECK(parse("\r\nGET http://h/p?q HTTP/1.1\r\n\r\n", &h) > 0);
    CHECK_STR(h.path, "/p");
}

TEST(queries)
{
    static const struct { const char *query, *name, *value; } queries[] = {
        { "a=1&b=2", "b", "2" }, { "a=1&a=2", "a", "1" }, { "a", "a", "" }, { "a=%41+b%zz", "a", "A b%zz" }, { "%61=x", "a", "x" },
        { "", "a", NULL }, { "ab=1", "a", NULL }, { "a=1=2", "a", "1=2" }, { "x&&a=%C3%A9", "a", "\xc3\xa9" }, { "a=%", "a", "%" },
    };

    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        char *value = rg_query_value(queries[i].query, queries[i].name);
        if (queries[i].value)
            CHECK_STR(value, queries[i].value);
        else
            CHECK(!value);
        rg_free(value);
    }
}

/* A chunked body cut at every place gives the same content. */
TEST(chunked)
{
    static const char text[] = "5\r\nhello\r\n1;x=y\r\n,\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nNEXT";

    for (size_t cut = 0; cut <= sizeof text - 1; cut++) {
        char bytes[sizeof text], content[64];
        rg_chunked c = { 0 };
        size_t n1 = 0, n2 = 0;

        memcpy(bytes, text, sizeof text);
        const int64_t used = rg_chunked_decode(&c, bytes, cut, &n1);
        memcpy(content, bytes, n1);
        memcpy(bytes, text + used, sizeof text - (size_t)used);
        const int64_t more = rg_chunked_decode(&c, bytes, sizeof text - 1 - (size_t)used, &n2);
        memcpy(content + n1, bytes, n2);
        content[n1 + n2] = '\0';
        CHECK_STR(content, "hello,0123456789");
        CHECK(c.is_done);
        CHECK_INT(used + more, sizeof text - 1 - 4);
    }
    static const char *const broken[] = { "x\r\n", "5\rx", "1\r\nab", "\r\n", "1111111111111\r\n", "1\n" };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char bytes[32];
        rg_chunked c = { 0 };
        size_t n;
        strcpy(bytes, broken[i]);
        CHECK_INT(rg_chunked_decode(&c, bytes, strlen(bytes), &n), -1);
    }
}

TEST(multipart)
{
    static const char body[] = "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\ninput\r\n"
        "--B\r\ncontent-disposition: form-data; name=image; filename=\"a \\\"b\\\" %22c.png\"\r\nContent-Type: image/png\r\n\r\n\x00\x01\r\n--x\r\n"
        "--B\r\nContent-Disposition: form-data; name=\"e\"; filename*=UTF-8''%C3%A9.png\r\n\r\n\r\n--B--\r\n";
    static const struct { const char *name, *filename; size_t n; } parts[] = { { "type", NULL, 5 }, { "image", "a \"b\" %22c.png", 7 }, { "e", "\xc3\xa9.png", 0 } };
    size_t at = 0;
    rg_part p;

    for (int i = 0; i < 3; i++) {
        CHECK_INT(rg_multipart_next("multipart/form-data; boundary=\"B\"", body, sizeof body - 1, &at, &p), 1);
        CHECK_STR(p.name, parts[i].name);
        if (parts[i].filename)
            CHECK_STR(p.filename, parts[i].filename);
        else
            CHECK(!p.filename);
        CHECK_INT(p.n_bytes, parts[i].n);
        rg_part_release(&p);
    }
    CHECK_INT(rg_multipart_next("multipart/form-data; boundary=B", body, sizeof body - 1, &at, &p), 0);
    at = 0;
    CHECK_INT(rg_multipart_next("multipart/form-data", body, sizeof body - 1, &at, &p), -1);
    CHECK_INT(rg_multipart_next("application/json", body, sizeof body - 1, &at, &p), -1);
    CHECK_INT(rg_multipart_next(NULL, body, sizeof body - 1, &at, &p), -1);
    for (size_t n = 0; n < sizeof body - 4; n++) {      /* cut short: an error at some point, never a part out of nothing */
        int ret;
        at = 0;
        while ((ret = rg_multipart_next("multipart/form-data; boundary=B", body, n, &at, &p)) == 1)
            rg_part_release(&p);
        CHECK_INT(ret, -1);
    }
}

/* ComfyUI's table, comfyui tests-unit/server_test/test_cache_control.py in facts. */
TEST(cache_control)
{
    static const struct { const char *path; int status; const char *value; } table[] = {
        { "/a.js", 200, "no-cache" }, { "/a.js", 404, "no-cache" }, { "/a.css", 200, "no-cache" }, { "/x/index.json", 200, "no-cache" },
        { "/index-de.json", 200, "no-cache" }, { "/a.json", 200, NULL }, { "/a.PNG", 200, "public, max-age=86400" },
        { "/a.webp", 404, "public, max-age=3600" }, { "/a.jpg", 302, "no-cache" }, { "/a.jpg", 308, "public, max-age=86400" },
        { "/a.jpg", 304, NULL }, { "/a.jpg", 500, NULL }, { "/view", 200, NULL }, { "/a.JS", 200, NULL },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *got = rg_cache_control(table[i].path, table[i].status);
        if (table[i].value)
            CHECK_STR(got, table[i].value);
        else
            CHECK(!got);
    }
}

/* The table in which ComfyUI's answers were recorded. */
TEST(origins)
{
    static const struct { const char *host, *origin; bool is_allowed; } table[] = {
        { "127.0.0.1:8199", "http://evil.com", false }, { "127.0.0.1:8199", "http://127.0.0.1:8199", true },
        { "127.0.0.1:8199", "http://127.0.0.1:9999", false }, { "127.0.0.1:8199", "http://127.0.0.1", true }, { "127.0.0.1:8199", "null", true },
        { "localhost", "http://localhost:8199", true }, { "localhost:8199", "http://127.0.0.1:8199", false },
        { "example.com", "http://evil.com", true }, { "127.0.0.1:8199", NULL, true }, { NULL, "http://evil.com", true },
        { "[::1]:8199", "http://evil.com", false }, { "[::1]:8199", "http://[::1]:8199", true }, { "LOCALHOST:1", "http://localhost:1", true },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (rg_origin_is_allowed(table[i].host, table[i].origin) != table[i].is_allowed)
            test_fail(__FILE__, __LINE__, "host %s, origin %s: wanted %d", table[i].host, table[i].origin, table[i].is_allowed);
}

TEST(routes)
{
    const char *starts[4];
    size_t lengths[4];

    CHECK_INT(rg_route_match("/queue", "/queue", starts, lengths), 0);
    CHECK_INT(rg_route_match("/queue", "/queue/", starts, lengths), -1);
    CHECK_INT(rg_route_match("/queue", "/queu", starts, lengths), -1);
    CHECK_INT(rg_route_match("/userdata/{file}/move/{dest}", "/userdata/a%2Fb/move/c", starts, lengths), 2);
    CHECK_INT(lengths[0], 5);
    CHECK_INT(rg_route_match("/userdata/{file}", "/userdata/a/b", starts, lengths), -1);
    CHECK_INT(rg_route_match("/userdata/{file}", "/userdata/", starts, lengths), -1);
    CHECK_INT(rg_route_match("/p/{rest:.*}", "/p/a/b", starts, lengths), 1);
    CHECK_INT(lengths[0], 3);
}
