/*
 * libcurl, behind http_client.h. It is loaded on first use: linked in, it and its 20 libraries would double the time of every
 * start (docs/decisions.md). Redirects are followed here, not by libcurl, because what may be followed is ours to say, and so that
 * the callbacks see the final response alone. Each request has a handle, and so connections and a name cache, of its own: a
 * connection made for one that may go anywhere is never used by one that may not.
 */
#include "engine/net/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"

enum { MAX_HEADERS = 200, MAX_HEADER_BYTES = 128 << 10, DEFAULT_MAX_BODY = 1 << 20 };

/* ---- the library ----------------------------------------------------------------------------------------------------- */

#define CURL_FUNCTIONS(X)                                                                                                  \
    X(curl_global_init) X(curl_easy_init) X(curl_easy_setopt) X(curl_easy_perform) X(curl_easy_getinfo) X(curl_easy_cleanup) \
    X(curl_easy_strerror) X(curl_slist_append) X(curl_slist_free_all) X(curl_getdate)

/* libcurl wraps some of these in macros that check types: not here, where the names stand for pointers */
#undef curl_easy_setopt
#undef curl_easy_getinfo
static struct {
#define X(name) __typeof__(&name) name;
    CURL_FUNCTIONS(X)
#undef X
} curl;
static char load_error[200];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    static const char *const names[] = { "libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so" };
    void *library = NULL;

    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++) {
        if (!(library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL)) && !*load_error)
            snprintf(load_error, sizeof load_error, "libcurl does not load: %s", dlerror());
    }
    if (!library)
        return;
    *load_error = '\0';
#define X(name)                                                                                 \
    if (!(*(void **)&curl.name = dlsym(library, #name)))                                        \
        snprintf(load_error, sizeof load_error, "this libcurl has no %s", #name);
    CURL_FUNCTIONS(X)
#undef X
    if (!*load_error && curl.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        snprintf(load_error, sizeof load_error, "libcurl does not start");
}

/* ---- addresses ------------------------------------------------------------------------------------------------------- */

static bool is_public_v4(uint32_t a)    /* host order */
{
    static const struct { uint32_t net; int bits; } reserved[] = {
        { 0x00000000, 8 },  { 0x0a000000, 8 },  { 0x64400000, 10 }, { 0x7f000000, 8 },  { 0xa9fe0000, 16 }, { 0xac100000, 12 },
        { 0xc0000000, 24 }, { 0xc0000200, 24 }, { 0xc0586300, 24 }, { 0xc0a80000, 16 }, { 0xc6120000, 15 }, { 0xc6336400, 24 },
        { 0xcb007100, 24 }, { 0xe0000000, 3 },
    };

    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (((a ^ reserved[i].net) >> (32 - reserved[i].bits)) == 0)
            return false;
    }
    return true;
}

static uint32_t get_v4(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

bool rg_http_is_public(const struct sockaddr *address)
{
    static const unsigned char nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

    if (address->sa_family == AF_INET)
        return is_public_v4(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family != AF_INET6)
        return false;
    const unsigned char *b = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
    if (!memcmp(b, nat64, sizeof nat64))
        return is_public_v4(get_v4(b + 12));
    if ((b[0] & 0xe0) != 0x20)          /* 2000::/3 is all that is handed out; mapped IPv4, ::1, fc00::, fe80::, ff00:: are outside */
        return false;
    if (b[0] == 0x20 && b[1] == 0x02)   /* 6to4 carries an IPv4 address */
        return is_public_v4(get_v4(b + 2));
    if (b[0] == 0x20 && b[1] == 0x01)   /* 2001::/23: Teredo, benchmarks and other protocols'; 2001:db8::/32: documentation */
        return b[2] >= 2 && !(b[2] == 0x0d && b[3] == 0xb8);
    return !(b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10);     /* 3fff::/20: documentation */
}

/* ---- URLs ------------------------------------------------------------------------------------------------------------ */

/* Start and end of "host:port" in a URL with a scheme that we speak; false for others. */
static bool find_host(const char *url, const char **from, const char **to)
{
    const size_t n_scheme = !strncasecmp(url, "http://", 7) ? 7 : !strncasecmp(url, "https://", 8) ? 8 : 0;

    if (!n_scheme)
        return false;
    *from = url + n_scheme;
    *to = *from + strcspn(*from, "/?#");
    return true;
}

const char *rg_http_url_problem(const char *url)
{
    const char *from, *to;

    if (strlen(url) > 4000)
        return "it is longer than 4,000 bytes";
    for (const char *at = url; *at; at++) {
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || *at == '\\')
            return "it holds a character that must be percent-encoded";
    }
    if (!find_host(url, &from, &to))
        return "it must begin with http:// or https://";
    if (memchr(from, '@', (size_t)(to - from)))
        return "it must not hold a user name or password";
    if (to == from || *from == ':')
        return "it has no host";
    /* host, or [IPv6 address], and perhaps a port of digits */
    const char *end = *from == '[' ? memchr(from, ']', (size_t)(to - from)) : from + strcspn(from, ":/?#");
    if (!end)
        return "its [ has no ]";
    end += *from == '[';
    if (end < to && (*end != ':' || to - end > 6 || strspn(end + 1, "0123456789") < (size_t)(to - end - 1)))
        return "what follows the host is no port";
    return NULL;
}

void rg_http_url_host(const char *url, char *host, size_t host_size)
{
    const char *from, *to;
    size_t n = 0;
    bool has_port = false;

    *host = '\0';
    if (!find_host(url, &from, &to))
        return;
    for (const char *at = from; at < to; at++) {
        if (*at == '@') {               /* what stands before is no host */
            n = 0;
            has_port = false;
            continue;
        }
        has_port = *at == ':' || (has_port && *at != ']');      /* the colons of an IPv6 address stand in [] */
        if (n + 1 < host_size)
            host[n++] = *at >= 'A' && *at <= 'Z' ? (char)(*at + 32) : *at;
    }
    host[n] = '\0';
    if (!has_port)
        snprintf(host + n, host_size - n, ":%d", from - url == 8 ? 443 : 80);
}

void rg_http_url_shown(const char *url, char *out, size_t size)
{
    const char *at = NULL, *from, *to;

    if (find_host(url, &from, &to))
        at = memchr(from, '@', (size_t)(to - from));
    if (at)
        snprintf(out, size, "%.*s%.*s", (int)(from - url), url, (int)strcspn(at + 1, "?#"), at + 1);
    else
        snprintf(out, size, "%.*s", (int)strcspn(url, "?#"), url);
}

/* ---- one request ------------------------------------------------------------------------------------------------------- */

typedef struct exchange {
    const rg_http_request *q;
    rg_http_response *r;
    CURL *handle;
    size_t n_header_bytes;
    int hops_left;
    bool is_skipped;                    /* a redirect that will be followed: its body is nobody's */
    bool has_head;                      /* the final response's head was handed on */
    bool is_cancelled, is_private, is_flooded, is_nomem;
    bool has_read;                      /* the body was asked for */
} exchange;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void drop_headers(rg_http_response *r)
{
    for (int i = 0; i < r->n_headers; i++)
        rg_free(r->headers[i]);
    r->n_headers = 0;
}

const char *rg_http_header(const rg_http_response *r, const char *name)
{
    const size_t n = strlen(name);

    for (int i = r->n_headers - 1; i >= 0; i--) {
        const char *h = r->headers[i];
        if (!strncasecmp(h, name, n) && h[n] == ':')
            return h + n + 1 + strspn(h + n + 1, " \t");
    }
    return NULL;
}

double rg_http_retry_after(const rg_http_response *r)
{
    const char *value = rg_http_header(r, "Retry-After");
    char *end;

    if (!value || !*value)
        return -1;
    const double seconds = strtod(value, &end);
    if (end != value && !*end)
        return seconds >= 0 && seconds <= 1e9 ? seconds : -1;
    const time_t date = curl.curl_getdate ? curl.curl_getdate(value, NULL) : -1;
    if (date == -1)
        return -1;
    const double left = difftime(date, time(NULL));
    return left > 0 ? left : 0;
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static size_t on_header(char *line, size_t size, size_t n, void *user)
{
    exchange *x = user;
    rg_http_response *r = x->r;
    size_t length = size * n;

    if ((x->n_header_bytes += length) > MAX_HEADER_BYTES) {
        x->is_flooded = true;
        return 0;
    }
    while (length && (line[length - 1] == '\r' || line[length - 1] == '\n'))
        length--;
    if (length > 5 && !memcmp(line, "HTTP/", 5)) {          /* the first line of a response, perhaps after a 1xx */
        drop_headers(r);
        return size * n;
    }
    if (length) {
        if (x->has_head)                /* trailers */
            return size * n;
        if (r->n_headers == MAX_HEADERS || memchr(line, '\0', length)) {
            x->is_flooded = true;
            return 0;
        }
        if (!(r->headers[r->n_headers] = rg_strndup(line, length))) {
            x->is_nomem = true;
            return 0;
        }
        r->n_headers++;
        return size * n;
    }
    long status = 0;
    curl.curl_easy_getinfo(x->handle, CURLINFO_RESPONSE_CODE, &status);
    if (x->has_head || (status >= 100 && status < 200))     /* more may come */
        return size * n;
    r->status = (int)status;
    x->is_skipped = is_redirect(r->status) && x->hops_left > 0 && rg_http_header(r, "Location");
    if (x->is_skipped)
        return size * n;
    x->has_head = true;
    if (x->q->on_head && !x->q->on_head(x->q->user, r)) {
        x->is_cancelled = true;
        return 0;
    }
    return size * n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    exchange *x = user;
    rg_http_response *r = x->r;
    const size_t length = size * n, most = x->q->max_body ? x->q->max_body : DEFAULT_MAX_BODY;

    if (x->is_skipped)
        return length;
    if (x->q->on_bytes) {
        x->is_cancelled = !x->q->on_bytes(x->q->user, bytes, length);
        return x->is_cancelled ? 0 : length;
    }
    const size_t kept = length < most - r->n_body ? length : most - r->n_body;
    char *grown = kept ? rg_realloc(r->body, r->n_body + kept + 1) : r->body;
    if (kept && !grown) {
        x->is_nomem = true;
        return 0;
    }
    r->body = grown;
    if (kept) {
        memcpy(r->body + r->n_body, bytes, kept);
        r->n_body += kept;
        r->body[r->n_body] = '\0';
    }
    return length;
}

static size_t on_read(char *to, size_t size, size_t n, void *user)
{
    exchange *x = user;

    x->has_read = true;
    const int64_t got = x->q->read(x->q->user, to, size * n);
    if (got < 0) {
        x->is_cancelled = true;
        return CURL_READFUNC_ABORT;
    }
    return (size_t)got;
}

static int on_progress(void *user, curl_off_t receive_total, curl_off_t received, curl_off_t send_total, curl_off_t sent)
{
    exchange *x = user;

    if (x->q->on_progress && !x->is_skipped && !x->q->on_progress(x->q->user, received, receive_total, sent, send_total)) {
        x->is_cancelled = true;
        return 1;
    }
    return 0;
}

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    exchange *x = user;

    if (address->family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&address->addr)->sin_addr, x->r->address, sizeof x->r->address);
    else if (address->family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)&address->addr)->sin6_addr, x->r->address, sizeof x->r->address);
    if (x->q->is_public_only && !rg_http_is_public(&address->addr)) {
        x->is_private = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Where certificates of authorities are, on the systems that a bundle may run on. */
static const char *system_ca_file(void)
{
    static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
                                         "/etc/ssl/cert.pem" };
    const char *own = getenv("SSL_CERT_FILE");

    if (own && *own)
        return own;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (access(files[i], R_OK) == 0)
            return files[i];
    }
    return NULL;                        /* what libcurl was built with */
}

static int fail(rg_http_response *r, int code, const char *method, const char *url, const char *format, ...)
{
    char shown[200], reason[180];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    rg_http_url_shown(url, shown, sizeof shown);
    snprintf(r->error, sizeof r->error, "%s %s: %s", method, shown, reason);
    return code;
}

/* Headers for a hop; NULL with is_nomem set. Secrets stay with the first host. */
static struct curl_slist *hop_headers(exchange *x, bool is_same_host, bool has_body)
{
    static const char *const secret[] = { "Authorization:", "Proxy-Authorization:", "Cookie:" };
    struct curl_slist *list = curl.curl_slist_append(NULL, "Expect:"), *longer;
    bool has_type = false;
    char range[64];

    x->is_nomem = !list;
    for (int i = 0; list && x->q->headers && x->q->headers[i]; i++) {
        const char *h = x->q->headers[i];
        bool is_secret = false;

        for (size_t k = 0; k < sizeof secret / sizeof *secret; k++)
            is_secret |= !strncasecmp(h, secret[k], strlen(secret[k]));
        has_type |= !strncasecmp(h, "Content-Type:", 13);
        if (is_secret && !is_same_host)
            continue;
        if (!(longer = curl.curl_slist_append(list, h)))
            x->is_nomem = true;
        list = longer ? longer : list;
    }
    if (list && x->q->offset > 0) {
        snprintf(range, sizeof range, "Range: bytes=%lld-", (long long)x->q->offset);
        if (!(longer = curl.curl_slist_append(list, range)))
            x->is_nomem = true;
        list = longer ? longer : list;
    }
    if (list && has_body && !has_type) {
        if (!(longer = curl.curl_slist_append(list, "Content-Type:")))     /* none, instead of a form's */
            x->is_nomem = true;
        list = longer ? longer : list;
    }
    return list;
}

/* One hop. *next is where a redirect leads (rg_free() it), or stays NULL. */
static int hop(exchange *x, const char *url, const char *first_host, const char *method, bool has_body, double seconds_left, char **next)
{
    const rg_http_request *q = x->q;
    rg_http_response *r = x->r;
    char text[CURL_ERROR_SIZE] = "", host[300];
    struct curl_slist *headers = NULL;
    int ret = 0;
    CURL *h = x->handle = curl.curl_easy_init();

    rg_http_url_host(url, host, sizeof host);
    if (!h || !(headers = hop_headers(x, !strcmp(host, first_host), has_body)) || x->is_nomem) {
        if (h)
            curl.curl_easy_cleanup(h);
        curl.curl_slist_free_all(headers);
        return fail(r, RG_ERR_NOMEM, method, url, "out of memory");
    }
    x->n_header_bytes = 0;
#define SET(option, value) curl.curl_easy_setopt(h, option, value)
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_ERRORBUFFER, text);
    SET(CURLOPT_URL, url);
    SET(CURLOPT_USERAGENT, "rylagraph/" RG_VERSION);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, x);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, x);
    if (q->is_public_only)
        SET(CURLOPT_PROXY, "");         /* a proxy would connect in our place */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(1000 * (q->connect_seconds > 0 ? q->connect_seconds : 30)));
    if (seconds_left > 0)
        SET(CURLOPT_TIMEOUT_MS, (long)(1000 * seconds_left) + 1);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)(q->stall_seconds > 0 ? q->stall_seconds + 0.999 : 60));
    SET(CURLOPT_BUFFERSIZE, 256L << 10);
    const char *ca = q->ca_file ? q->ca_file : system_ca_file();
    if (ca)
        SET(CURLOPT_CAINFO, ca);
    if (has_body && q->read) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, x);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)(q->read_size < 0 ? -1 : q->read_size));
    } else if (has_body) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, q->body ? q->body : "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->n_body);
    }
    if (!strcmp(method, "HEAD"))
        SET(CURLOPT_NOBODY, 1L);
    else
        SET(CURLOPT_CUSTOMREQUEST, method);
#undef SET
    const CURLcode code = curl.curl_easy_perform(h);
    if (code == CURLE_OK && x->is_skipped) {
        char *target = NULL;
        curl.curl_easy_getinfo(h, CURLINFO_REDIRECT_URL, &target);
        if (target && !(*next = rg_strdup(target)))
            ret = fail(r, RG_ERR_NOMEM, method, url, "out of memory");
        else if (!target)
            ret = fail(r, RG_ERR_IO, method, url, "redirected (%d) to an unusable address", r->status);
    } else if (x->is_cancelled) {
        ret = fail(r, RG_ERR_CANCELLED, method, url, "cancelled");
    } else if (x->is_nomem || code == CURLE_OUT_OF_MEMORY) {
        ret = fail(r, RG_ERR_NOMEM, method, url, "out of memory");
    } else if (x->is_private && code != CURLE_OK) {
        r->is_refused = true;
        ret = fail(r, RG_ERR_INVALID, method, url, "%s is not a public address", r->address);
    } else if (x->is_flooded) {
        ret = fail(r, RG_ERR_IO, method, url, "the response has too many headers (over %d, or over %d KB)", MAX_HEADERS, MAX_HEADER_BYTES >> 10);
    } else if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
        r->is_refused = true;
        ret = fail(r, RG_ERR_INVALID, method, url, "the URL is malformed");
    } else if (code != CURLE_OK) {
        ret = fail(r, RG_ERR_IO, method, url, "%s%s%s%s", *text ? text : curl.curl_easy_strerror(code), *r->address ? " (" : "", r->address,
                   *r->address ? ")" : "");
    }
    curl.curl_easy_cleanup(h);
    curl.curl_slist_free_all(headers);
    return ret;
}

int rg_http_perform(const rg_http_request *q, rg_http_response *r)
{
    const double begun = now();
    bool has_body = q->body || q->read;
    const char *method = q->method ? q->method : has_body ? "POST" : "GET", *problem;
    char first_host[300], *url = rg_strdup(q->url), *next = NULL;
    exchange x = { .q = q, .r = r, .hops_left = q->max_redirects };
    int ret = 0;

    *r = (rg_http_response){ 0 };
    if (!url || !(r->headers = rg_calloc(MAX_HEADERS, sizeof *r->headers))) {
        rg_free(url);
        return fail(r, RG_ERR_NOMEM, method, q->url, "out of memory");
    }
    pthread_once(&once, load);
    if (*load_error) {
        ret = fail(r, RG_ERR_UNSUPPORTED, method, url, "%s", load_error);
        goto done;
    }
    if (!strncasecmp(url, "http", 4) && strchr(url, '@'))
        problem = NULL;                 /* a user name in one's own URL is fine */
    else
        problem = rg_http_url_problem(url);
    if (problem) {
        r->is_refused = true;
        ret = fail(r, RG_ERR_INVALID, method, url, "the URL: %s", problem);
        goto done;
    }
    rg_http_url_host(url, first_host, sizeof first_host);
    for (;;) {
        const double left = q->total_seconds > 0 ? q->total_seconds - (now() - begun) : 0;
        if (q->total_seconds > 0 && left <= 0) {
            ret = fail(r, RG_ERR_IO, method, url, "not done within %.0f s", q->total_seconds);
            break;
        }
        if ((ret = hop(&x, url, first_host, method, has_body, left, &next)) < 0 || !next)
            break;
        if (rg_http_url_problem(next) || (!strncasecmp(url, "https:", 6) && strncasecmp(next, "https:", 6))) {
            char shown[120];
            rg_http_url_shown(next, shown, sizeof shown);
            r->is_refused = true;
            ret = fail(r, RG_ERR_INVALID, method, url, "redirected (%d) to %s, which is not followed", r->status, shown);
            break;
        }
        /* the method stays, except where RFC 9110 and every browser make a GET of it */
        if (strcmp(method, "HEAD") && (r->status == 303 || (r->status < 303 && !strcmp(method, "POST")))) {
            method = "GET";
            has_body = false;
        } else if (has_body && q->read && x.has_read) {
            r->is_refused = true;
            ret = fail(r, RG_ERR_INVALID, method, url, "redirected (%d) after the body was sent, which cannot be sent again", r->status);
            break;
        }
        char host[300];
        rg_http_url_host(next, host, sizeof host);
        if (strcmp(host, first_host))
            snprintf(first_host, sizeof first_host, "-");       /* secrets do not come back either */
        rg_free(url);
        url = next;
        next = NULL;
        x.hops_left--;
        x.is_skipped = false;
    }
    rg_free(next);
    if (ret == 0 && !q->on_bytes && !r->body && !(r->body = rg_strdup("")))
        ret = fail(r, RG_ERR_NOMEM, method, url, "out of memory");
done:
    r->url = url;
    r->seconds = now() - begun;
    return ret;
}

void rg_http_response_release(rg_http_response *r)
{
    if (r->headers)
        drop_headers(r);
    rg_free(r->headers);
    rg_free(r->body);
    rg_free(r->url);
    *r = (rg_http_response){ 0 };
}
