/*
 * Requests that look like a client's and then go wrong: for every route of a server, with parameters, queries, headers and bodies
 * that fit sometimes, and with bytes changed. The same seed makes the same requests.
 */
#ifndef RG_TESTS_SERVER_REQUEST_MAKER_H
#define RG_TESTS_SERVER_REQUEST_MAKER_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/conn.h"

typedef struct maker {
    uint64_t state;                     /* of the random numbers */
    const route *routes[256];
    int n_routes;
    const uint8_t *picture;             /* a PNG, for uploads */
    size_t n_picture;
    char id[64];                        /* of some job */
    unsigned char *bytes;               /* the request being made */
    size_t n, capacity;
} maker;

static unsigned any(maker *m, unsigned n)       /* 0 .. n - 1; splitmix64 */
{
    uint64_t z = (m->state += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (unsigned)((z ^ (z >> 31)) >> 33) % n;
}

static void add_raw(maker *m, const void *bytes, size_t n)
{
    if (m->n + n > m->capacity) {
        m->capacity = 2 * (m->n + n) + 4096;
        m->bytes = realloc(m->bytes, m->capacity);
    }
    if (n)
        memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

static void add(maker *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(maker *m, const char *format, ...)
{
    char text[8192];
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_raw(m, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

#define PICK(m, list) ((list)[any((m), sizeof(list) / sizeof *(list))])

static const char *const maker_names[] = {
    "in.png", "a.json", "input", "output", "temp", "default", "loras", "checkpoints", "small.safetensors", "LoadImage", "SaveImage", "KSampler",
    "0", "1", "-1", "99999999999999999999", "blank", "..", "../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2fjobs.db", "%252e%252e%252fx",
    "%00", "a%00b", "/etc/passwd", "%2Fetc%2Fpasswd", "..%5c..%5cx", "C:%5cx", "a%2Fb%2Fc.json", ".", "%", "%zz", "%ff%fe", "a b", "%0d%0aX-Evil:%201",
    "x.html", "x.svg", "in.png%20[input]", "nope", "blank_00001_.png", "workflows%2Fa.json", "~", "con", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static const char *const maker_queries[] = {
    "", "?filename=in.png&type=input", "?filename=in.png&type=input&preview=jpeg;70", "?filename=in.png&type=input&preview=webp;",
    "?filename=in.png&type=input&channel=a", "?filename=in.png&type=input&channel=rgb", "?filename=../jobs.db&type=output", "?filename=%2e%2e/x",
    "?filename=blank_00001_.png", "?filename=in.png&subfolder=../input", "?filename=small.safetensors", "?filename=..%2f..%2fx.safetensors",
    "?dir=workflows&recurse=true&full_info=true", "?dir=/&recurse=true&split=true", "?dir=..", "?path=..%2f..", "?path=", "?overwrite=false",
    "?full_info=true", "?max_items=3", "?max_items=-1&offset=99999999999", "?offset=2&max_items=0", "?limit=2&offset=1", "?state=done", "?state=x",
    "?limit=99999999999999999999", "?clientId=fuzz", "?clientId=", "?deep=1", "?format=jpeg", "?format=webp", "?format=x", "?a=%00&b", "?=&=&&", "?%",
    "?filename=a&filename=b", "?overwrite=true&sha256=00",
};

static const char *const maker_headers[] = {
    "", "", "", "Range: bytes=0-3\r\n", "Range: bytes=-5\r\n", "Range: bytes=5-2\r\n", "Range: bytes=0-,1-\r\n", "Range: bytes=99999999999999999999-\r\n",
    "If-None-Match: *\r\n", "If-Match: \"x\"\r\n", "If-Modified-Since: Wed, 21 Oct 2065 07:28:00 GMT\r\n", "If-Range: \"x\"\r\nRange: bytes=1-\r\n",
    "Last-Event-ID: 1\r\n", "Last-Event-ID: -99999999999999999999\r\n", "Last-Event-ID: x\r\n", "Origin: http://evil.com\r\n", "Origin: null\r\n",
    "Accept: image/webp,image/png\r\n", "Accept-Encoding: gzip\r\n", "Prefer: respond-async\r\n", "Idempotency-Key: one\r\n", "Expect: 100-continue\r\n",
    "Connection: close\r\n", "Authorization: Bearer x\r\n", "Authorization: Basic eDp4\r\n", "comfy-user: ../x\r\n", "X: \xff\x01\r\n",
    "Content-Range: bytes 0-3/8\r\n", "Content-Range: bytes */8\r\n", "X-Sha256: 00\r\n",
};

static const char *const maker_words[] = {
    "{", "}", "[", "]", "\"", "null", "true", "-1", "1e999", "18446744073709551616", "9999999999999999999999999", "0.1e-400", "\\u0000", "\\ud800", "\\uDFFF\\ud800",
    "..", "../", "%2e", "%00", "\r\n", "\r\n\r\n", "--B", "--B--", ";", "=", "boundary=", "filename*=UTF-8''%ff", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n", "ffffffffffffffff\r\n", "HTTP/1.1", "\xff", "\x80\x80", "data:image/png;base64,", "iVBORw0KGgo", "[\"1\", 0]", "\"class_type\"", "\"inputs\"", "__proto__",
    "2147483648", "-2147483649", "NaN", "Infinity", ",", ":", "\t", "\"prompt\":", "\"extra_data\": null", "\"nodes\": [],", "\"links\":", "\"version\": 0.4,",
};

/* A graph that runs, usually: sizes and links vary. */
static void add_graph(maker *m)
{
    static const char *const wrong[] = {
        "{}", "[]", "null", "{\"1\": 5}", "{\"1\": {\"class_type\": \"Nope\"}}", "{\"1\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0]}}}",
        ("{\"nodes\": [{\"id\": 1, \"type\": \"EmptyImage\", \"widgets_values\": [8, 8, 1, 0], \"outputs\": [{\"links\": [1]}]}, {\"id\": 2, \"type\": \"SaveImage\", "
        "\"inputs\": [{\"name\": \"images\", \"link\": 1}], \"widgets_values\": [\"ui\"]}], \"links\": [[1, 1, 0, 2, 0, \"IMAGE\"]], \"version\": 0.4}"),
    };
    static const char *const sizes[] = { "8", "16", "0", "-1", "\"8\"", "64", "16384", "1.5", "[\"3\", 0]", "null", "true", "1e3" };

    if (any(m, 4) == 0) {
        add(m, "%s", PICK(m, wrong));
        return;
    }
    add(m, "{\"1\": {\"class_type\": \"%s\", \"inputs\": {\"width\": %s, \"height\": %s, \"batch_size\": 1, \"color\": %u, \"image\": \"%s\"}}, ",
        any(m, 3) ? "EmptyImage" : "LoadImage", any(m, 3) ? "8" : PICK(m, sizes), any(m, 3) ? "8" : PICK(m, sizes), any(m, 1 << 24), any(m, 2) ? "in.png" : PICK(m, maker_names));
    if (any(m, 2))
        add(m, "\"3\": {\"class_type\": \"ImageScale\", \"inputs\": {\"image\": [\"1\", 0], \"upscale_method\": \"bilinear\", \"width\": %s, \"height\": 4, \"crop\": \"disabled\"}}, ",
            any(m, 3) ? "4" : PICK(m, sizes));
    add(m, "\"2\": {\"class_type\": \"%s\", \"inputs\": {\"images\": [\"%s\", %s], \"filename_prefix\": \"%s\"}}}", any(m, 3) ? "SaveImage" : "PreviewImage",
        any(m, 3) ? "1" : "3", any(m, 8) ? "0" : "7", any(m, 3) ? "fuzz" : PICK(m, maker_names));
}

static void add_base64(maker *m, const uint8_t *b, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i + 2 < n; i += 3) {
        const unsigned v = (unsigned)b[i] << 16 | (unsigned)b[i + 1] << 8 | b[i + 2];
        const char four[4] = { digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63] };
        add_raw(m, four, 4);
    }
}

static void add_form(maker *m)
{
    add(m, "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"%s\"\r\nContent-Type: image/png\r\n\r\n", any(m, 2) ? "up.png" : PICK(m, maker_names));
    add_raw(m, m->picture, m->n_picture);
    for (unsigned i = any(m, 4); i > 0; i--) {
        static const char *const fields[][2] = {
            { "type", "input" }, { "type", "temp" }, { "type", "nope" }, { "subfolder", "s" }, { "subfolder", "../.." }, { "overwrite", "true" },
            { "original_ref", "{\"filename\": \"in.png\", \"type\": \"input\"}" }, { "original_ref", "{\"filename\": \"../x [input]\"}" }, { "", "" },
        };
        const unsigned k = any(m, sizeof fields / sizeof *fields);
        add(m, "\r\n--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s", fields[k][0], fields[k][1]);
    }
    add(m, "\r\n--B--\r\n");
}

/* A body of some kind; returns the headers that go with it. */
static const char *add_body(maker *m)
{
    static const char *const others[] = {
        "", "{}", "[]", "null", "nonsense", "{\"clear\": true}", "{\"delete\": [\"fuzz\", 5, null]}", "{\"unload_models\": true, \"free_memory\": true}",
        "{\"username\": \"x\"}", "{\"a\": {\"b\": [1, 2.5, \"\xc3\xa4\"]}}", "{\"size\": 8}", "{\"size\": \"8\", \"seed\": 5, \"x\": 1}", "{\"size\": -1}",
        "{\"endpoint\": \"blank\"}", "{\"endpoint\": \"blank\", \"parameters\": {\"size\": 4}}", "{\"endpoint\": \"nope\"}", "{\"endpoint\": [], \"parameters\": 5}",
        "{\"image\": \"in.png\"}", "{\"image\": \"../jobs.db\"}", "{\"image\": \"data:image/png;base64,AAAA\"}", "{\"prompt_id\": \"fuzz\"}",
        "{\"enabled\": true, \"clientId\": \"fuzz\"}", "{\"endpoint\": \"blank\", \"webhook\": \"http://127.0.0.1:1/x\"}",
        "{\"endpoint\": \"blank\", \"webhook\": {\"url\": \"file:///etc/passwd\"}}", "{\"url\": \"http://[::1]/\", \"events\": [\"*\"]}",
    };
    static const char weights[] = "\x4f\0\0\0\0\0\0\0{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}\0\0\0\0";

    switch (any(m, 8)) {
    case 0:
    case 1:
        add(m, "{\"prompt\": ");
        add_graph(m);
        if (any(m, 2))
            add(m, ", \"client_id\": \"%s\"", any(m, 2) ? "fuzz" : "other");
        if (any(m, 3) == 0)
            add(m, ", \"prompt_id\": \"%s\"", any(m, 2) ? "fuzz" : PICK(m, maker_names));
        if (any(m, 4) == 0)
            add(m, ", \"extra_data\": {\"extra_pnginfo\": {\"workflow\": {\"a\": 1}}}");
        if (any(m, 5) == 0)
            add(m, ", \"partial_execution_targets\": [\"2\", 5]");
        add(m, "}");
        return "";
    case 2:
        add(m, "{\"workflow\": ");
        add_graph(m);
        add(m, "%s}", any(m, 2) ? ", \"prompt\": \"text\"" : "");
        return "";
    case 3:
        add_form(m);
        return any(m, 8) ? "Content-Type: multipart/form-data; boundary=B\r\n" : "Content-Type: multipart/form-data; boundary=\"\\\"\r\n";
    case 5:
        add_raw(m, weights, sizeof weights - 1);
        return "";
    case 4:
        add(m, "{\"image\": \"%s", any(m, 2) ? "data:image/png;base64," : "");
        add_base64(m, m->picture, m->n_picture);
        add(m, "\"}");
        return "";
    default:
        add(m, "%s", PICK(m, others));
        return "";
    }
}

/* Change a few bytes somewhere. */
static void spoil(maker *m)
{
    for (unsigned i = 1 + any(m, 4); i > 0 && m->n; i--) {
        const size_t at = any(m, (unsigned)m->n);
        const char *word = PICK(m, maker_words);
        const size_t n_word = strlen(word);
        size_t n;

        switch (any(m, 6)) {
        case 0:
            m->bytes[at] ^= (unsigned char)(1u << any(m, 8));
            break;
        case 1:
            m->bytes[at] = (unsigned char)any(m, 256);
            break;
        case 2:                         /* take out */
            n = 1 + any(m, 16) < m->n - at ? 1 + any(m, 16) : m->n - at;
            n = n < m->n - at ? n : m->n - at;
            memmove(m->bytes + at, m->bytes + at + n, m->n - at - n);
            m->n -= n;
            break;
        case 3:                         /* say twice */
            n = 1 + any(m, 64);
            n = n < m->n - at ? n : m->n - at;
            add_raw(m, m->bytes, n);    /* room; the bytes are put right below */
            memmove(m->bytes + at + n, m->bytes + at, m->n - n - at);
            break;
        default:                        /* put in */
            add_raw(m, word, n_word);
            memmove(m->bytes + at + n_word, m->bytes + at, m->n - n_word - at);
            memcpy(m->bytes + at, word, n_word);
            break;
        }
    }
}

/* WebSocket frames as a client sends them, more or less. */
static void make_frames(maker *m)
{
    static const char *const texts[] = {
        "", "x", "nonsense", "{\"type\": \"feature_flags\", \"data\": {\"supports_preview_metadata\": true}}", "{\"type\": \"feature_flags\", \"data\": 5}",
        "{\"type\": 5}", "[]", "\xff\xfe", "{\"type\": \"feature_flags\"", "\x03\xe8", "\x03",
    };

    m->n = 0;
    for (unsigned i = 1 + any(m, 5); i > 0; i--) {
        static const unsigned char opcodes[] = { 1, 1, 2, 0, 9, 10, 8, 3, 15 };
        const char *text = PICK(m, texts);
        size_t n = strlen(text);
        const unsigned char mask[4] = { (unsigned char)any(m, 256), 2, 3, (unsigned char)any(m, 256) };
        unsigned char head[14] = { (unsigned char)((any(m, 4) ? 0x80 : 0) | PICK(m, opcodes)) };
        size_t n_head = 2;
        uint64_t said = n;

        if (any(m, 20) == 0)
            said = any(m, 2) ? UINT64_MAX : (uint64_t)1 << any(m, 40);
        if (any(m, 4) == 0 && said < 65536) {
            head[1] = 126;
            head[2] = (unsigned char)(said >> 8);
            head[3] = (unsigned char)said;
            n_head = 4;
        } else if (said >= 126 || any(m, 4) == 0) {
            head[1] = 127;
            for (int k = 0; k < 8; k++)
                head[2 + k] = (unsigned char)(said >> (56 - 8 * k));
            n_head = 10;
        } else {
            head[1] = (unsigned char)said;
        }
        if (any(m, 20))
            head[1] |= 0x80;
        if (any(m, 30) == 0)
            head[0] |= 0x40;
        memcpy(head + n_head, mask, 4);
        add_raw(m, head, n_head + 4);
        for (size_t k = 0; k < n; k++) {
            const unsigned char b = (unsigned char)text[k] ^ mask[k & 3];
            add_raw(m, &b, 1);
        }
    }
    if (any(m, 3) == 0)
        spoil(m);
}

/* One request for a route (any when NULL), into m->bytes. True: it asks for a WebSocket. */
static bool make_request(maker *m, const route *r)
{
    static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "X" };
    unsigned char *body;
    size_t n_body, begin = m->n;

    if (!r)
        r = m->routes[any(m, (unsigned)m->n_routes)];
    const bool is_socket = r->flags & RG_ROUTE_SOCKET;
    /* the body first, its length is wanted in the head */
    const char *type = "";
    if (strcmp(r->method, "GET") || any(m, 10) == 0)
        type = add_body(m);
    n_body = m->n - begin;
    body = malloc(n_body + 1);
    if (n_body)
        memcpy(body, m->bytes + begin, n_body);
    m->n = begin;

    add(m, "%s %s", any(m, 16) ? r->method : PICK(m, methods), !(r->flags & RG_ROUTE_NO_TWIN) && any(m, 3) == 0 ? "/api" : "");
    for (const char *p = r->pattern; *p; p++) {
        if (*p != '{') {
            add_raw(m, p, 1);
            continue;
        }
        add(m, "%s", strstr(r->pattern, "/jobs") && any(m, 4) ? m->id : PICK(m, maker_names));
        p = strchr(p, '}');
    }
    add(m, "%s HTTP/1.%d\r\nHost: %s\r\n", any(m, 2) ? "" : PICK(m, maker_queries), any(m, 20) ? 1 : 0, any(m, 4) ? "127.0.0.1" : "[::1]:80");
    if (is_socket)
        add(m, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n");
    add(m, "%s%s", PICK(m, maker_headers), PICK(m, maker_headers));
    if (any(m, 8)) {
        add(m, "%sContent-Length: %zu\r\n\r\n", type, n_body);
        add_raw(m, body, n_body);
    } else {
        add(m, "%sTransfer-Encoding: chunked\r\n\r\n", type);
        for (size_t at = 0; at < n_body; ) {
            const size_t n = 1 + any(m, 2000) < n_body - at ? 1 + any(m, 500) : n_body - at;
            const size_t k = n < n_body - at ? n : n_body - at;
            add(m, "%zx\r\n", k);
            add_raw(m, body + at, k);
            add(m, "\r\n");
            at += k;
        }
        add(m, "0\r\n\r\n");
    }
    free(body);
    return is_socket;
}

#endif
