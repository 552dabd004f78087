/*
 * The page's files as answers: ETag and 304, gzip for clients that take it, and a Content-Security-Policy under which nothing but
 * these files runs, so that a prompt or a file name that looks like HTML stays text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/page.h"

static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/* "gzip" or "*" in a list, unless its weight is zero. Source: RFC 9110, 12.5.3. */
static bool takes_gzip(const char *accepts)
{
    for (const char *p = accepts; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        p += strspn(p, " \t");
        const size_t n = strcspn(p, " \t;,");
        const char *end = p + strcspn(p, ","), *q = p + n + strspn(p + n, " \t;");
        if (!(n == 4 && !strncasecmp(p, "gzip", 4)) && !(n == 1 && *p == '*'))
            continue;
        return !(q < end && (*q == 'q' || *q == 'Q') && q[1] == '=') || strtod(q + 2, NULL) > 0;
    }
    return false;
}

static void respond_file(rg_request *r, const rg_page_file *f)
{
    const bool is_gzip = takes_gzip(rg_request_header(r, "accept-encoding"));
    const char *known = rg_request_header(r, "if-none-match");
    char etag[64];

    snprintf(etag, sizeof etag, "\"%s%s\"", f->etag, is_gzip ? "-gz" : "");
    rg_respond_header(r, "ETag", etag);
    rg_respond_header(r, "Vary", "Accept-Encoding");
    rg_respond_header(r, "Cache-Control", "no-cache");      /* keep it, but ask: a newer program has newer files */
    rg_respond_header(r, "Content-Security-Policy", policy);
    rg_respond_header(r, "X-Content-Type-Options", "nosniff");
    rg_respond_header(r, "Referrer-Policy", "no-referrer");
    if (known && (!strcmp(known, "*") || strstr(known, etag))) {
        rg_respond_empty(r, 304);
        return;
    }
    if (is_gzip)
        rg_respond_header(r, "Content-Encoding", "gzip");
    const char *dot = strrchr(f->name, '.'), *type = !dot ? "application/octet-stream" : !strcmp(dot, ".html") ? "text/html; charset=utf-8"
                      : !strcmp(dot, ".css") ? "text/css; charset=utf-8" : rg_content_type(f->name);
    rg_respond(r, 200, type, is_gzip ? f->gzip : f->bytes, is_gzip ? f->n_gzip : f->n_bytes);
}

static void get_file(rg_request *r, void *user)
{
    const char *name = rg_request_param(r, 0);

    for (const rg_page_file *f = rg_page_files; f->name; f++) {
        if (!strcmp(f->name, name ? name : "index.html")) {
            respond_file(r, f);
            return;
        }
    }
    rg_respond_error(r, 404);
}

void rg_page_start(rg_server *s, bool is_root)
{
    rg_server_route(s, "GET", "/page", RG_ROUTE_OPEN | RG_ROUTE_NO_TWIN, get_file, NULL);
    rg_server_route(s, "GET", "/page/{file}", RG_ROUTE_OPEN | RG_ROUTE_NO_TWIN, get_file, NULL);
    if (is_root)
        rg_server_route(s, "GET", "/", RG_ROUTE_OPEN | RG_ROUTE_NO_TWIN, get_file, NULL);
}
