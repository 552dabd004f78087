/* Which handler a request is for, whether it may reach it, and what answers when there is none. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

/* A browser's WebSocket cannot send Authorization, but it can ask for protocols: "rylagraph, bearer.KEY", the key in base64url. */
static unsigned authorize_protocols(const rg_keys *k, const char *protocols)
{
    const char *at = protocols ? strstr(protocols, "bearer.") : NULL;
    const size_t n = at ? strcspn(at + 7, ", \t") : 0;
    char text[1032], key[1024];

    if (!n || n > 1024)
        return 0;
    for (size_t i = 0; i < n; i++)
        text[i] = at[7 + i] == '-' ? '+' : at[7 + i] == '_' ? '/' : at[7 + i];
    memset(text + n, '=', 3);
    text[n + (4 - n % 4) % 4] = '\0';
    const int n_key = lws_b64_decode_string(text, key, sizeof key);
    return n_key > 0 ? rg_keys_find(k, key, (size_t)n_key) : 0;
}

/* What the request's key may do; without keys everybody may do everything. */
static void authorize(const rg_server *s, rg_request *r)
{
    const char *origin = rg_http_field_value(&r->head, "origin"), *site = rg_http_field_value(&r->head, "sec-fetch-site");
    bool is_basic = false;

    r->may = s->keys ? rg_keys_authorize(s->keys, rg_http_field_value(&r->head, "authorization"), &is_basic) : RG_MAY_ALL;
    if (!r->may && r->route && (r->route->flags & RG_ROUTE_SOCKET))
        r->may = authorize_protocols(s->keys, rg_http_field_value(&r->head, "sec-websocket-protocol"));
    /* a browser adds a password that it knows to what any page asks for: only this server's own pages may use it */
    if (is_basic && ((site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0) ||
                     (origin && !rg_origin_is_own(rg_http_field_value(&r->head, "host"), origin))))
        r->may = 0;
}

static bool may_use(const rg_request *r)
{
    const int flags = r->route ? r->route->flags : 0;
    const bool is_read = r->is_head || !strcmp(r->head.method, "GET");

    if (flags & RG_ROUTE_OPEN)
        return true;
    if ((flags & RG_ROUTE_MODELS) && !is_read)
        return r->may & RG_MAY_MODELS;
    return (r->may & RG_MAY_RUN) || (is_read && (r->may & RG_MAY_READ)) || ((flags & RG_ROUTE_ENDPOINT) && (r->may & RG_MAY_ENDPOINTS)) ||
           ((flags & RG_ROUTE_METRICS) && (r->may & RG_MAY_METRICS)) || ((flags & RG_ROUTE_MODELS) && (r->may & RG_MAY_MODELS));
}

/* Lists the methods of a path, "GET,HEAD,POST", for 405; or "" */
static void allowed_methods(rg_server *s, const char *path, char out[128])
{
    static const char *const order[] = { "DELETE", "GET", "HEAD", "PATCH", "POST", "PUT" };
    const char *starts[4];
    size_t lengths[4];
    bool is_there[6] = { 0 };

    for (const route *t = s->routes; t; t = t->next) {
        const bool is_twin = !strncmp(path, "/api/", 5) && !(t->flags & RG_ROUTE_NO_TWIN);
        if (rg_route_match(t->pattern, path, starts, lengths) < 0 && (!is_twin || rg_route_match(t->pattern, path + 4, starts, lengths) < 0))
            continue;
        for (int i = 0; i < 6; i++)
            is_there[i] |= !strcmp(order[i], t->method) || (!strcmp(order[i], "HEAD") && !strcmp(t->method, "GET"));
    }
    for (int i = 0; i < 6 && s->moving.method; i++)
        is_there[i] |= !strcmp(order[i], s->moving.method) && s->has_moving(s->moving.user, path, NULL);
    out[0] = '\0';
    for (int i = 0; i < 6; i++)
        if (is_there[i])
            snprintf(out + strlen(out), 128 - strlen(out), "%s%s", *out ? "," : "", order[i]);
}

const route *route_find(rg_server *s, rg_request *r)
{
    const char *method = r->is_head ? "GET" : r->head.method, *starts[4];
    size_t lengths[4];

    for (const route *t = s->routes; t; t = t->next) {
        int n;

        if (strcmp(t->method, method))
            continue;
        if ((n = rg_route_match(t->pattern, r->head.path, starts, lengths)) < 0 && !(t->flags & RG_ROUTE_NO_TWIN) &&
            !strncmp(r->head.path, "/api/", 5))
            n = rg_route_match(t->pattern, r->head.path + 4, starts, lengths);
        if (n < 0)
            continue;
        for (int i = 0; i < n; i++) {
            rg_free(r->params[i]);
            if (!(r->params[i] = rg_malloc(lengths[i] + 1)))
                return NULL;
            if (!rg_percent_decode(starts[i], lengths[i], false, r->params[i]))
                *r->params[i] = '\0';   /* a NUL in a name names nothing */
        }
        return t;
    }
    if (s->moving.method && !strcmp(s->moving.method, method) &&
        s->has_moving(s->moving.user, r->head.path, rg_http_field_value(&r->head, "host")))
        return &s->moving;
    return NULL;
}

/* A file below static_root; links that lead out of it are none of its files, as with ComfyUI's library. */
static void serve_static(rg_server *s, rg_request *r)
{
    const char *root = s->options.static_root;
    char *path = rg_malloc(strlen(r->head.path) + 1), *file = NULL, real[PATH_MAX];
    const size_t n_root = root ? strlen(root) : 0;

    if (root && path && rg_percent_decode(r->head.path, strlen(r->head.path), false, path) && *path == '/' && r->head.path[1] != '/') {
        const bool is_index = !strcmp(path, "/") || !strcmp(path, "/api/");

        file = rg_asprintf("%s%s", root, is_index ? "/index.html" : path);
        if (is_index) {
            rg_respond_header(r, "Cache-Control", "no-cache");
            rg_respond_header(r, "Pragma", "no-cache");
            rg_respond_header(r, "Expires", "0");
        }
    }
    /* what "..", links and the like come to */
    if (file && realpath(file, real) && !strncmp(real, root, n_root) && (real[n_root] == '/' || !real[n_root] || n_root == 1))
        rg_respond_file(r, real, rg_content_type(file));
    else
        rg_respond_error(r, 404);
    rg_free(file);
    rg_free(path);
}

void route_none(rg_server *s, rg_request *r)
{
    char allowed[128];

    const bool is_read = r->is_head || !strcmp(r->head.method, "GET");

    allowed_methods(s, r->head.path, allowed);
    if (*allowed && !(s->options.static_root && is_read)) {     /* a path that only takes POST may still be a file's name */
        rg_respond_header(r, "Allow", allowed);
        rg_respond_error(r, 405);
    } else if (!is_read) {
        if (s->options.static_root)
            rg_respond_header(r, "Allow", "GET,HEAD");
        rg_respond_error(r, s->options.static_root ? 405 : 404);
    } else {
        serve_static(s, r);
    }
}

bool route_admit(rg_server *s, rg_request *r)
{
    authorize(s, r);
    if (!s->options.cors_origin && !rg_origin_is_allowed(rg_http_field_value(&r->head, "host"), rg_http_field_value(&r->head, "origin"))) {
        rg_respond_empty(r, 403);
        return false;
    }
    if (s->n_unread > s->options.max_memory_bytes) {
        rg_respond_header(r, "Retry-After", "5");
        rg_respond_error(r, 503);
        return false;
    }
    if (!strcmp(r->head.method, "OPTIONS") || may_use(r))
        return true;
    if (r->may) {
        rg_respond_text(r, 403, "403: Forbidden\n\nThis key may not do that");
    } else {
        rg_respond_header(r, "WWW-Authenticate", "Bearer");
        rg_respond_header(r, "WWW-Authenticate", "Basic realm=\"rylagraph\", charset=\"UTF-8\"");
        rg_respond_error(r, 401);
    }
    return false;
}

bool rg_server_route_at(const rg_server *s, int i, const char **method, const char **pattern, int *flags)
{
    const route *t = s->routes;

    while (t && i-- > 0)
        t = t->next;
    if (!t)
        return false;
    *method = t->method;
    *pattern = t->pattern;
    *flags = t->flags;
    return true;
}

void rg_server_moving_routes(rg_server *s, const char *method, rg_has_route *has_route, int flags, rg_handler *handler, void *user)
{
    s->moving = (route){ NULL, method, "", flags, handler, user };
    s->has_moving = has_route;
}
