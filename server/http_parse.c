/* Parsers of requests. Rules that clients can see are ComfyUI's (aiohttp's); what is not text of a request is refused early. */
#include "server/http_parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/core/ctx.h"

/* ---- the head ------------------------------------------------------------------------------------------------------ */

static bool is_token(unsigned char c)
{
    return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The lines end with "\r\n", or with a bare "\n" as old clients send; the head with an empty one. */
static size_t head_length(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != '\n')
            continue;
        if (i + 1 < n && bytes[i + 1] == '\n')
            return i + 2;
        if (i + 2 < n && bytes[i + 1] == '\r' && bytes[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);

    while (*list) {
        list += strspn(list, ", \t");
        const size_t length = strcspn(list, ", \t");
        if (length == n && !strncasecmp(list, word, n))
            return true;
        list += length;
    }
    return false;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %XX of what needs none: routes are named by it. In place. */
static void decode_unreserved(char *path)
{
    char *out = path;

    for (const char *p = path; *p; p++) {
        const int high = *p == '%' ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1, c = high * 16 + low;

        if (low >= 0 && c < 128 && (isalnum(c) || (c && strchr("-._~", c)))) {
            *out++ = (char)c;
            p += 2;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
}

static int parse_request_line(char *line, rg_http_head *h)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

    if (!version || target == line || version == target + 1)
        return -400;
    *target++ = '\0';
    *version++ = '\0';
    for (const char *p = line; *p; p++)
        if (!is_token((unsigned char)*p))
            return -400;
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127)
            return -400;
    if (!strcmp(version, "HTTP/1.1"))
        h->is_keep_alive = true;
    else if (strcmp(version, "HTTP/1.0"))
        return strncmp(version, "HTTP/", 5) ? -400 : -505;
    h->method = line;
    if (!strncasecmp(target, "http://", 7) || !strncasecmp(target, "https://", 8)) {
        target = strchr(strchr(target, ':') + 3, '/');
        if (!target)
            return -400;
    }
    if (*target != '/' && strcmp(target, "*"))
        return -400;
    char *question = strchr(target, '?'), *hash;
    h->path = target;
    h->query = "";
    if (question) {
        *question = '\0';
        h->query = question + 1;
    }
    if ((hash = strchr(question ? question + 1 : target, '#')))
        *hash = '\0';
    decode_unreserved(target);
    return 0;
}

static int parse_field(char *line, rg_http_head *h)
{
    char *colon = strchr(line, ':'), *value, *end;

    if (!colon || colon == line)
        return -400;                    /* also lines that begin with a blank: folding is gone since RFC 7230 */
    for (char *p = line; p < colon; p++) {
        if (!is_token((unsigned char)*p))
            return -400;
        *p = (char)tolower((unsigned char)*p);
    }
    *colon = '\0';
    value = colon + 1 + strspn(colon + 1, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    for (const char *p = value; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\t') || *p == 127)
            return -400;
    if (h->n_fields == RG_HTTP_MAX_FIELDS)
        return -431;
    h->fields[h->n_fields++] = (rg_http_field){ line, value };
    return 0;
}

static int read_length(const char *s, int64_t *out)
{
    uint64_t n = 0;

    if (!*s)
        return -400;
    for (; *s; s++) {
        if (!isdigit((unsigned char)*s) || n > (uint64_t)INT64_MAX / 16)
            return -400;
        n = n * 10 + (uint64_t)(*s - '0');
    }
    if (*out >= 0 && *out != (int64_t)n)
        return -400;                    /* two lengths: somebody is smuggling */
    *out = (int64_t)n;
    return 0;
}

int64_t rg_http_parse_head(char *bytes, size_t n_bytes, rg_http_head *out)
{
    const size_t limit = n_bytes < RG_HTTP_MAX_HEAD ? n_bytes : RG_HTTP_MAX_HEAD;
    size_t start = 0, length;
    int ret = 0;

    /* empty lines before a request are passed over */
    while (start < limit && (bytes[start] == '\r' || bytes[start] == '\n'))
        start++;
    if (!(length = head_length(bytes + start, limit - start)))
        return n_bytes >= RG_HTTP_MAX_HEAD ? (memchr(bytes, '\n', limit) ? -431 : -414) : 0;
    if (memchr(bytes + start, '\0', length))
        return -400;
    *out = (rg_http_head){ .content_length = -1 };

    bool is_first = true;
    for (char *line = bytes + start, *stop = line + length; line < stop && !ret; ) {
        char *end = memchr(line, '\n', (size_t)(stop - line)), *next;

        if (!end)
            break;
        next = end + 1;
        if (end > line && end[-1] == '\r')
            end--;
        *end = '\0';
        if (!*line)
            break;
        if (strchr(line, '\r'))
            return -400;
        ret = is_first ? parse_request_line(line, out) : parse_field(line, out);
        is_first = false;
        line = next;
    }
    for (int i = 0; i < out->n_fields && !ret; i++) {
        const rg_http_field *f = &out->fields[i];

        if (!strcmp(f->name, "content-length")) {
            ret = read_length(f->value, &out->content_length);
        } else if (!strcmp(f->name, "transfer-encoding")) {
            if (strcasecmp(f->value, "chunked"))
                ret = -501;
            out->is_chunked = true;
        } else if (!strcmp(f->name, "connection")) {
            if (has_word(f->value, "close"))
                out->is_keep_alive = false;
            else if (has_word(f->value, "keep-alive"))
                out->is_keep_alive = true;
        } else if (!strcmp(f->name, "host")) {
            if (f->value != rg_http_field_value(out, "host"))
                ret = -400;             /* two: which one does the origin guard mean? */
        } else if (!strcmp(f->name, "expect")) {
            out->is_continue_wanted = !strcasecmp(f->value, "100-continue");
        }
    }
    if (!ret && out->is_chunked && out->content_length >= 0)
        ret = -400;
    return ret ? ret : (int64_t)(start + length);
}

const char *rg_http_field_value(const rg_http_head *h, const char *name)
{
    for (int i = 0; i < h->n_fields; i++)
        if (!strcmp(h->fields[i].name, name))
            return h->fields[i].value;
    return NULL;
}

/* ---- percent-encoding and queries --------------------------------------------------------------------------------------- */

bool rg_percent_decode(const char *s, size_t n, bool is_query, char *out)
{
    bool is_good = true;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];

        if (c == '%' && i + 2 < n && hex_digit(s[i + 1]) >= 0 && hex_digit(s[i + 2]) >= 0) {
            c = (char)(hex_digit(s[i + 1]) * 16 + hex_digit(s[i + 2]));
            i += 2;
        } else if (c == '+' && is_query) {
            c = ' ';
        }
        if (!c)
            is_good = false;
        *out++ = c;
    }
    *out = '\0';
    return is_good;
}

char *rg_query_value(const char *query, const char *name)
{
    const size_t n_name = strlen(name);

    while (*query) {
        const size_t length = strcspn(query, "&");
        const char *equals = memchr(query, '=', length);
        const size_t n_key = equals ? (size_t)(equals - query) : length;
        char *key = rg_malloc(n_key + 1);

        if (!key)
            return NULL;
        const bool is_good = rg_percent_decode(query, n_key, true, key);
        const bool is_it = is_good && !strcmp(key, name) && strlen(key) == n_name;
        rg_free(key);
        if (is_it && length) {
            const char *v = equals ? equals + 1 : query + length;
            const size_t n = (size_t)(query + length - v);
            char *value = rg_malloc(n + 1);

            if (value && !rg_percent_decode(v, n, true, value)) {
                rg_free(value);         /* what holds a NUL is no name and no number */
                value = NULL;
            }
            return value;
        }
        query += length + (query[length] == '&');
    }
    return NULL;
}

/* ---- chunked bodies --------------------------------------------------------------------------------------------------------- */

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER, CHUNK_TRAILER_LINE, CHUNK_LAST_LF };

int64_t rg_chunked_decode(rg_chunked *c, char *bytes, size_t n_bytes, size_t *n_content)
{
    size_t i = 0, n = 0;

    *n_content = 0;
    while (i < n_bytes && !c->is_done) {
        const char b = bytes[i];

        switch (c->state) {
        case CHUNK_SIZE:
            if (hex_digit(b) >= 0) {
                if (++c->n_digits > 12)
                    return -1;
                c->left = c->left * 16 + (uint64_t)hex_digit(b);
            } else if (!c->n_digits) {
                return -1;
            } else if (b == '\r') {
                c->state = CHUNK_SIZE_LF;
            } else if (b == ';' || b == ' ' || b == '\t') {
                c->state = CHUNK_EXTENSION;
            } else {
                return -1;
            }
            i++;
            break;
        case CHUNK_EXTENSION:
            if (++c->n_trailer > 4096 || b == '\n')
                return -1;
            if (b == '\r')
                c->state = CHUNK_SIZE_LF;
            i++;
            break;
        case CHUNK_SIZE_LF:
            if (b != '\n')
                return -1;
            c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
            c->n_digits = 0;
            i++;
            break;
        case CHUNK_DATA: {
            const size_t take = c->left < n_bytes - i ? (size_t)c->left : n_bytes - i;

            memmove(bytes + n, bytes + i, take);
            n += take;
            i += take;
            c->left -= take;
            if (!c->left)
                c->state = CHUNK_DATA_CR;
            break;
        }
        case CHUNK_DATA_CR:
        case CHUNK_DATA_LF:
            if (b != (c->state == CHUNK_DATA_CR ? '\r' : '\n'))
                return -1;
            c->state = c->state == CHUNK_DATA_CR ? CHUNK_DATA_LF : CHUNK_SIZE;
            i++;
            break;
        case CHUNK_TRAILER:             /* at the start of a line after the last chunk */
            c->state = b == '\r' ? CHUNK_LAST_LF : CHUNK_TRAILER_LINE;
            if (++c->n_trailer > 4096)
                return -1;
            i++;
            break;
        case CHUNK_TRAILER_LINE:
            if (++c->n_trailer > 4096)
                return -1;
            if (b == '\n')
                c->state = CHUNK_TRAILER;
            i++;
            break;
        case CHUNK_LAST_LF:
            if (b != '\n')
                return -1;
            c->is_done = true;
            i++;
            break;
        }
    }
    *n_content = n;
    return (int64_t)i;
}

/* ---- multipart ----------------------------------------------------------------------------------------------------------------- */

/* The value of one parameter of a header ("multipart/form-data; boundary=x"): quoted or bare. rg_free() it; NULL: not there. */
static char *header_parameter(const char *s, const char *end, const char *name)
{
    const size_t n_name = strlen(name);

    while (s < end) {
        while (s < end && *s != ';') {
            if (*s == '"')              /* a ";" within quotes is none */
                for (s++; s < end && *s != '"'; s++)
                    if (*s == '\\' && s + 1 < end)
                        s++;
            if (s < end)
                s++;
        }
        if (s >= end)
            return NULL;
        s++;
        while (s < end && (*s == ' ' || *s == '\t'))
            s++;
        if ((size_t)(end - s) <= n_name || strncasecmp(s, name, n_name) || s[n_name] != '=')
            continue;
        s += n_name + 1;
        char *value = rg_malloc((size_t)(end - s) + 1);
        size_t n = 0;
        if (!value)
            return NULL;
        if (s < end && *s == '"') {
            for (s++; s < end && *s != '"'; s++) {
                if (*s == '\\' && s + 1 < end && (s[1] == '"' || s[1] == '\\'))
                    s++;
                value[n++] = *s;
            }
        } else {
            while (s < end && *s != ';' && *s != ' ' && *s != '\t')
                value[n++] = *s++;
        }
        value[n] = '\0';
        return value;
    }
    return NULL;
}

/* filename*=UTF-8''a%20b.png of RFC 5987; rg_free() it. */
static char *decode_extended(char *value)
{
    char *quote = strchr(value, '\''), *text = quote ? strchr(quote + 1, '\'') : NULL;

    if (!text) {
        rg_free(value);
        return NULL;
    }
    text++;
    char *out = rg_malloc(strlen(text) + 1);
    if (out)
        rg_percent_decode(text, strlen(text), false, out);
    rg_free(value);
    return out;
}

int rg_multipart_next(const char *content_type, const char *body, size_t n_bytes, size_t *at, rg_part *out)
{
    char *boundary, *delimiter;
    const char *end = body + n_bytes, *p = body + *at, *head_end, *stop;
    size_t n;
    int ret = -1;

    *out = (rg_part){ 0 };
    if (!content_type || strncasecmp(content_type, "multipart/form-data", 19))
        return -1;
    boundary = header_parameter(content_type, content_type + strlen(content_type), "boundary");
    delimiter = boundary && *boundary && strlen(boundary) <= 200 ? rg_asprintf("\r\n--%s", boundary) : NULL;
    rg_free(boundary);
    if (!delimiter)
        return -1;
    n = strlen(delimiter);
    if (*at == 0) {                     /* the first delimiter may lack its line end; what comes before it is no content */
        if (n_bytes >= n - 2 && !memcmp(body, delimiter + 2, n - 2)) {
            p = body + n - 2;
        } else {
            p = memmem(body, n_bytes, delimiter, n);
            if (!p)
                goto done;
            p += n;
        }
    }
    /* p is just after a delimiter: "--" ends the form, else a line end and the part's head follow */
    if (end - p >= 2 && p[0] == '-' && p[1] == '-') {
        ret = 0;
        goto done;
    }
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
        goto done;
    head_end = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
    if (!head_end || head_end - p > 16384)
        goto done;
    for (const char *line = p + 2; line < head_end; ) {
        const char *line_end = memmem(line, (size_t)(head_end + 2 - line), "\r\n", 2);

        if (!line_end)
            break;
        if (line_end - line > 20 && !strncasecmp(line, "content-disposition:", 20)) {
            rg_part_release(out);
            out->name = header_parameter(line, line_end, "name");
            char *extended = header_parameter(line, line_end, "filename*");
            out->filename = extended ? decode_extended(extended) : header_parameter(line, line_end, "filename");
        }
        line = line_end + 2;
    }
    out->bytes = head_end + 4;
    if ((size_t)(end - head_end) >= n + 2 && !memcmp(head_end + 2, delimiter, n))
        stop = out->bytes = head_end + 2;       /* an empty part without its own line end */
    else
        stop = memmem(out->bytes, (size_t)(end - out->bytes), delimiter, n);
    if (!stop) {
        rg_part_release(out);
        goto done;
    }
    out->n_bytes = (size_t)(stop - out->bytes);
    *at = (size_t)(stop - body) + n;
    ret = 1;
done:
    rg_free(delimiter);
    return ret;
}

void rg_part_release(rg_part *p)
{
    rg_free(p->name);
    rg_free(p->filename);
    *p = (rg_part){ .bytes = p->bytes, .n_bytes = p->n_bytes };
}

/* ---- rules about requests --------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), n_end = strlen(end);

    return n >= n_end && !strcasecmp(s + n - n_end, end);
}

const char *rg_cache_control(const char *path, int status)
{
    static const char *const pictures[] = { ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp" };
    const size_t n = strlen(path);
    const char *last = strrchr(path, '/');

    last = last ? last + 1 : path;
    if ((n >= 3 && !strcmp(path + n - 3, ".js")) || (n >= 4 && !strcmp(path + n - 4, ".css")) ||
        (!strncmp(last, "index", 5) && n >= 5 && !strcmp(path + n - 5, ".json")))
        return "no-cache";
    for (size_t i = 0; i < sizeof(pictures) / sizeof(pictures[0]); i++) {
        if (!ends_with(path, pictures[i]))
            continue;
        switch (status) {
        case 404:
            return "public, max-age=3600";
        case 200: case 201: case 202: case 203: case 204: case 205: case 206: case 301: case 308:
            return "public, max-age=86400";
        case 302: case 303: case 307:
            return "no-cache";
        default:
            return NULL;
        }
    }
    return NULL;
}

/* Host and port of "[::1]:8188" or "name:80"; port -1 when there is none. */
static void split_host(const char *s, char *host, size_t size, long *port)
{
    const char *end = s + strlen(s), *colon = strrchr(s, ':'), *bracket = strrchr(s, ']');

    *port = -1;
    if (colon && (!bracket || colon > bracket) && (bracket || strchr(s, ':') == colon)) {
        *port = colon[1] ? strtol(colon + 1, NULL, 10) : -1;
        end = colon;
    }
    if (*s == '[' && bracket && bracket < end + 1) {
        s++;
        end = bracket;
    }
    snprintf(host, size, "%.*s", (int)(end - s), s);
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    /*
     * ComfyUI asks the name service; a request must not wait for one here. Names that are the machine itself by definition
     * (RFC 6761) are enough: others are answered as public ones.
     */
    return !strcasecmp(host, "localhost") || ends_with(host, ".localhost") || !strcasecmp(host, "ip6-localhost");
}

/* Both names and ports, if the values have them. */
static bool split_both(const char *host, const char *origin, char host_name[256], char origin_name[256], long *host_port, long *origin_port)
{
    const char *authority = strstr(origin, "://");
    char copy[512];

    if (!authority)
        return false;                   /* "null" names nobody */
    snprintf(copy, sizeof(copy), "%.*s", (int)strcspn(authority + 3, "/?#"), authority + 3);
    split_host(copy, origin_name, 256, origin_port);    /* with a user's name before it, it is another one */
    split_host(host, host_name, 256, host_port);
    return *host_name && *origin_name;
}

bool rg_origin_is_allowed(const char *host, const char *origin)
{
    char host_name[256], origin_name[256];
    long host_port, origin_port;

    if (!host || !origin || !split_both(host, origin, host_name, origin_name, &host_port, &origin_port) || !is_loopback(host_name))
        return true;
    return !strcasecmp(host_name, origin_name) && (host_port < 0 || origin_port < 0 || host_port == origin_port);
}

bool rg_origin_is_own(const char *host, const char *origin)
{
    char host_name[256], origin_name[256];
    long host_port, origin_port;

    if (!host || !split_both(host, origin, host_name, origin_name, &host_port, &origin_port))
        return false;
    return !strcasecmp(host_name, origin_name) && (host_port < 0 || origin_port < 0 || host_port == origin_port);
}

int rg_route_match(const char *pattern, const char *path, const char *starts[4], size_t lengths[4])
{
    int n = 0;

    while (*pattern) {
        if (*pattern == '{') {
            const char *close = strchr(pattern, '}');
            const bool is_rest = close - pattern > 3 && !memcmp(close - 3, ":.*", 3);
            const size_t length = is_rest ? strlen(path) : strcspn(path, "/");

            if (n == 4 || (!length && !is_rest))
                return -1;
            starts[n] = path;
            lengths[n++] = length;
            path += length;
            pattern = close + 1;
        } else if (*pattern++ != *path++) {
            return -1;
        }
    }
    return *path ? -1 : n;
}
