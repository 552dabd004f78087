/* Requests as handlers see them, and their answers. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "server/conn.h"
#include "server/log.h"

rg_request *request_new(conn *c)
{
    rg_request *r = rg_calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->server = c->server;
    r->conn = c;
    r->fd = -1;
    r->begun = rg_server_now();
    if (rg_log_wants_requests())
        lws_get_peer_simple(c->wsi, r->address, sizeof r->address);
    atomic_init(&r->n_owners, 1);
    r->head.method = r->head.path = r->head.query = "";
    return r;
}

/* One line per request: what it was and what became of it; no query, which may hold a token. */
static void log_request(const rg_request *r)
{
    const char *id = r->headers.data ? strstr(r->headers.data, "X-Job-Id: ") : NULL;
    const bool is_gone = atomic_load(&r->is_gone);
    char path[300], job[80] = "";

    if (!*r->head.method)               /* a connection that was closed before it asked anything */
        return;
    snprintf(path, sizeof path, "%s", r->head.path);
    if (id)
        snprintf(job, sizeof job, "%.*s", (int)strcspn(id + 10, "\r\n"), id + 10);
    rg_log(RG_LOG_INFO, "request", RG_LOG_TEXT("method", r->head.method), RG_LOG_TEXT("path", path), RG_LOG_INT("status", is_gone ? 499 : r->status),
           RG_LOG_REAL("seconds", rg_server_now() - r->begun), RG_LOG_INT("bytes_in", (int64_t)r->n_received),
           RG_LOG_INT("bytes_out", (int64_t)(r->n_bytes + (r->file_end - r->file_at))), RG_LOG_TEXT("address", r->address),
           RG_LOG_TEXT("job", *job ? job : NULL));
}

void request_free(rg_request *r)
{
    if (rg_log_wants_requests())
        log_request(r);
    for (int i = 0; i < MAX_PARAMS; i++)
        rg_free(r->params[i]);
    for (int i = 0; i < r->n_queries; i++)
        rg_free(r->queries[i].value);
    if (r->fd >= 0)
        close(r->fd);
    rg_text_release(&r->headers);
    body_free(r->pipe);
    rg_free(r->bytes);
    r->server->n_taken -= r->body_capacity;
    rg_free(r->body);
    rg_free(r->head_bytes);
    rg_free(r);
}

bool request_body_add(rg_request *r, const char *bytes, size_t n)
{
    if (r->n_body + n + 1 > r->body_capacity) {
        /* as large as promised, but not before a good part has come: a promise costs a client nothing */
        size_t capacity = 2 * (r->n_body + n) + 1024;
        char *body;

        if (r->head.content_length >= 0 && capacity > (size_t)r->head.content_length + 1 && r->n_body + n <= (size_t)r->head.content_length)
            capacity = (size_t)r->head.content_length + 1;
        if (r->server->n_taken + capacity - r->body_capacity > r->server->options.max_memory_bytes || !(body = rg_realloc(r->body, capacity)))
            return false;
        r->server->n_taken += capacity - r->body_capacity;
        r->body = body;
        r->body_capacity = capacity;
    }
    memcpy(r->body + r->n_body, bytes, n);
    r->n_body += n;
    r->n_received += n;
    r->body[r->n_body] = '\0';
    return true;
}

const char *rg_request_method(const rg_request *r)
{
    return r->head.method;
}

const char *rg_request_path(const rg_request *r)
{
    return r->head.path;
}

const char *rg_request_param(const rg_request *r, int i)
{
    return i >= 0 && i < MAX_PARAMS ? r->params[i] : NULL;
}

const char *rg_request_query(rg_request *r, const char *name)
{
    for (int i = 0; i < r->n_queries; i++)
        if (!strcmp(r->queries[i].name, name))
            return r->queries[i].value;
    if (r->n_queries == MAX_QUERIES)
        return NULL;
    r->queries[r->n_queries].name = name;
    r->queries[r->n_queries].value = rg_query_value(r->head.query, name);
    return r->queries[r->n_queries++].value;
}

const char *rg_request_header(const rg_request *r, const char *name)
{
    return rg_http_field_value(&r->head, name);
}

const char *rg_request_body(const rg_request *r, size_t *n_bytes)
{
    *n_bytes = r->n_body;
    return r->body ? r->body : "";
}

bool rg_request_is_large(const rg_request *r)
{
    return r->n_body > 65536;
}

unsigned rg_request_may(const rg_request *r)
{
    return r->may;
}

bool rg_request_is_gone(const rg_request *r)
{
    return atomic_load(&r->is_gone);
}

rg_server *rg_request_server(const rg_request *r)
{
    return r->server;
}

bool rg_request_json(const rg_request *r, struct json_object **out)
{
    char error[200];

    return rg_json_read(r->body ? r->body : "", r->n_body, 128, out, error, sizeof(error)) == 0;
}

void rg_request_hold(rg_request *r, void (*on_gone)(void *user, rg_request *r), void *user)
{
    r->is_held = true;
    atomic_fetch_add(&r->n_owners, 1);
    pthread_mutex_lock(&r->server->lock);       /* the loop may find the client gone at this moment */
    r->on_gone_user = user;
    r->on_gone = on_gone;
    pthread_mutex_unlock(&r->server->lock);
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------ */

static const char *reason(int status)
{
    static const struct { int status; const char *text; } reasons[] = {
        { 100, "Continue" }, { 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" },
        { 204, "No Content" }, { 206, "Partial Content" }, { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
        { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 409, "Conflict" }, { 410, "Gone" },
        { 412, "Precondition Failed" }, { 413, "Request Entity Too Large" }, { 414, "Request-URI Too Long" },
        { 415, "Unsupported Media Type" }, { 416, "Requested Range Not Satisfiable" }, { 422, "Unprocessable Entity" },
        { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
        { 501, "Not Implemented" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" }, { 507, "Insufficient Storage" },
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}

void rg_respond_header(rg_request *r, const char *name, const char *value)
{
    if (!strcasecmp(name, "Cache-Control"))
        r->has_cache_control = true;
    rg_text_format(&r->headers, "%s: ", name);
    for (; *value; value++)             /* a line end in a value would start a header of somebody else's making */
        rg_text_add_bytes(&r->headers, *value == '\r' || *value == '\n' ? " " : value, 1);
    rg_text_add(&r->headers, "\r\n");
}

void rg_respond(rg_request *r, int status, const char *content_type, const void *bytes, size_t n_bytes)
{
    rg_free(r->bytes);
    r->n_bytes = 0;
    r->status = status;
    if (!(r->bytes = rg_malloc(n_bytes + 1))) {
        r->status = 500;
        return;
    }
    if (n_bytes)
        memcpy(r->bytes, bytes, n_bytes);
    r->n_bytes = n_bytes;
    if (content_type) {
        rg_respond_header(r, "Content-Type", content_type);
        request_compress(r, content_type);
    }
}

void rg_respond_text(rg_request *r, int status, const char *format, ...)
{
    char text[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    rg_respond(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

void rg_respond_json_text(rg_request *r, int status, char *text)
{
    if (!text) {
        rg_respond_error(r, 500);
        return;
    }
    rg_free(r->bytes);
    r->status = status;
    r->bytes = text;
    r->n_bytes = strlen(text);
    rg_respond_header(r, "Content-Type", "application/json; charset=utf-8");
    request_compress(r, "application/json");
}

void rg_respond_json(rg_request *r, int status, struct json_object *v)
{
    rg_respond_json_text(r, status, rg_json_dump(v, 0));
    json_object_put(v);
}

void rg_respond_empty(rg_request *r, int status)
{
    rg_respond(r, status, NULL, "", 0);
}

void rg_respond_error(rg_request *r, int status)
{
    r->is_raised = true;
    if (status == 500)
        rg_respond_text(r, 500, "500 Internal Server Error\n\nServer got itself in trouble");
    else
        rg_respond_text(r, status, "%d: %s", status, reason(status));
}

void request_head_text(rg_request *r, int64_t n_content, bool is_closing, rg_text *t)
{
    const rg_server_options *o = &r->server->options;
    const time_t now = time(NULL);
    const char *cache = r->has_cache_control ? NULL : rg_cache_control(r->head.path, r->status);
    struct tm tm;
    char date[64];

    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    rg_text_format(t, "HTTP/1.1 %d %s\r\n", r->status, reason(r->status));
    if (r->headers.data)
        rg_text_add_bytes(t, r->headers.data, r->headers.n_bytes);
    t->is_failed |= r->headers.is_failed;
    if (n_content >= 0 && r->status != 204 && r->status != 304)
        rg_text_format(t, "Content-Length: %lld\r\n", (long long)n_content);
    if (cache)
        rg_text_format(t, "Cache-Control: %s\r\n", cache);
    if (o->cors_origin && !r->is_raised)
        rg_text_format(t, "Access-Control-Allow-Origin: %s\r\nAccess-Control-Allow-Methods: POST, GET, DELETE, PUT, OPTIONS\r\n"
                          "Access-Control-Allow-Headers: Content-Type, Authorization\r\nAccess-Control-Allow-Credentials: true\r\n",
                       o->cors_origin);
    rg_text_format(t, "Date: %s\r\nServer: rylagraph/" RG_VERSION "\r\n%s\r\n", date, is_closing ? "Connection: close\r\n" : "");
}
