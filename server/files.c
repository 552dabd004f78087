/*
 * Files as answers. Conditions and ranges: RFC 9110, sections 13 and 14; ETag as aiohttp makes it (time in ns and size, in hex), so
 * that what a browser has cached from a ComfyUI server stays valid.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

const char *rg_content_type(const char *path)
{
    static const struct { const char *extension, *type; } types[] = {
        { ".png", "image/png" }, { ".jpg", "image/jpeg" }, { ".jpeg", "image/jpeg" }, { ".webp", "image/webp" },
        { ".gif", "image/gif" }, { ".svg", "image/svg+xml" }, { ".bmp", "image/bmp" }, { ".ico", "image/vnd.microsoft.icon" },
        { ".avif", "image/avif" }, { ".tif", "image/tiff" }, { ".tiff", "image/tiff" },
        { ".html", "text/html" }, { ".htm", "text/html" }, { ".xhtml", "application/xhtml+xml" },
        { ".js", "application/javascript; charset=utf-8" }, { ".mjs", "application/javascript; charset=utf-8" },
        { ".css", "text/css" }, { ".txt", "text/plain" }, { ".md", "text/markdown" }, { ".csv", "text/csv" },
        { ".json", "application/json" }, { ".map", "application/json" }, { ".wasm", "application/wasm" }, { ".xml", "text/xml" },
        { ".mp4", "video/mp4" }, { ".webm", "video/webm" }, { ".mkv", "video/x-matroska" }, { ".mov", "video/quicktime" },
        { ".mp3", "audio/mpeg" }, { ".wav", "audio/x-wav" }, { ".flac", "audio/flac" }, { ".ogg", "audio/ogg" }, { ".opus", "audio/opus" },
        { ".glb", "model/gltf-binary" }, { ".gltf", "model/gltf+json" }, { ".woff", "font/woff" }, { ".woff2", "font/woff2" },
        { ".ttf", "font/ttf" }, { ".otf", "font/otf" }, { ".zip", "application/zip" }, { ".pdf", "application/pdf" },
    };
    const size_t n = strlen(path);

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const size_t n_extension = strlen(types[i].extension);
        if (n > n_extension && !strcasecmp(path + n - n_extension, types[i].extension))
            return types[i].type;
    }
    return "application/octet-stream";
}

const char *rg_data_type(const char *path)
{
    static const char *const refused[] = { "text/html", "application/xhtml+xml", "application/javascript", "text/css", "image/svg+xml", "text/xml" };
    const char *type = rg_content_type(path);

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (!strncmp(type, refused[i], strlen(refused[i])))
            return "application/octet-stream";
    return type;
}

static bool has_tag(const char *list, const char *etag)
{
    const size_t n = strlen(etag);

    if (!strcmp(list, "*"))
        return true;
    for (const char *p = list; (p = strstr(p, etag)); p += n)
        if (p[n] == '\0' || p[n] == ',' || p[n] == ' ')
            return true;
    return false;
}

static bool read_date(const char *s, time_t *out)
{
    struct tm tm = { 0 };
    const char *end = s ? strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm) : NULL;

    if (!end || *end)
        return false;
    *out = timegm(&tm);
    return true;
}

/* "bytes=a-b", "bytes=a-", "bytes=-n": 1 and the range, 0 for no or another form (the whole file), -1 when nothing of it is there. */
static int read_range(const char *s, size_t size, size_t *at, size_t *end)
{
    char *stop;
    unsigned long long a, b;

    if (!s || strncmp(s, "bytes=", 6) || strchr(s, ','))
        return 0;
    s += 6;
    if (*s == '-') {
        if (!isdigit((unsigned char)s[1]))
            return 0;
        b = strtoull(s + 1, &stop, 10);
        if (*stop)
            return 0;
        if (!b || !size)
            return -1;
        *at = b < size ? size - (size_t)b : 0;
        *end = size;
        return 1;
    }
    if (!isdigit((unsigned char)*s))
        return 0;
    a = strtoull(s, &stop, 10);
    if (*stop != '-')
        return 0;
    s = stop + 1;
    b = size ? size - 1 : 0;
    if (*s) {
        if (!isdigit((unsigned char)*s))
            return 0;
        b = strtoull(s, &stop, 10);
        if (*stop || b < a)
            return 0;
    }
    if (a >= size)
        return -1;
    *at = (size_t)a;
    *end = b >= size ? size : (size_t)b + 1;
    return 1;
}

/* path.gz beside the file, when the client takes gzip; -1: none. */
static int open_compressed(const rg_request *r, const char *path)
{
    const char *accepts = rg_request_header(r, "accept-encoding");
    char *other = accepts && strstr(accepts, "gzip") ? rg_asprintf("%s.gz", path) : NULL;
    const int fd = other ? open(other, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    struct stat st;

    rg_free(other);
    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

void rg_respond_file(rg_request *r, const char *path, const char *content_type)
{
    char etag[64], date[64], range_text[96];
    const char *condition;
    struct stat st;
    struct tm tm;
    time_t then;
    size_t at = 0, end;
    int fd = open_compressed(r, path), status = 200;
    const bool is_compressed = fd >= 0;

    if (fd < 0)                         /* non-blocking: a FIFO in the folder must not hold the loop */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        rg_respond_error(r, errno == EACCES ? 403 : 404);
        return;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        rg_respond_error(r, S_ISDIR(st.st_mode) ? 403 : 404);
        close(fd);
        return;
    }
    end = (size_t)st.st_size;
    const time_t changed = st.st_mtim.tv_sec + (st.st_mtim.tv_nsec > 0);    /* in whole seconds: the next one, as aiohttp has it */
    snprintf(etag, sizeof(etag), "\"%llx-%llx\"", (unsigned long long)st.st_mtim.tv_sec * 1000000000ull + (unsigned long long)st.st_mtim.tv_nsec,
             (unsigned long long)st.st_size);
    gmtime_r(&changed, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);

    if ((condition = rg_request_header(r, "if-match"))) {
        if (!has_tag(condition, etag))
            status = 412;
    } else if (read_date(rg_request_header(r, "if-unmodified-since"), &then) && changed > then) {
        status = 412;
    }
    if (status == 200) {
        if ((condition = rg_request_header(r, "if-none-match"))) {
            if (has_tag(condition, etag))
                status = 304;
        } else if (read_date(rg_request_header(r, "if-modified-since"), &then) && changed <= then) {
            status = 304;
        }
    }
    rg_respond_header(r, "ETag", etag);
    rg_respond_header(r, "Last-Modified", date);
    if (status != 200) {
        close(fd);
        rg_respond_empty(r, status);
        return;
    }
    rg_respond_header(r, "Accept-Ranges", "bytes");
    condition = rg_request_header(r, "if-range");
    if (!condition || !strcmp(condition, etag) || (read_date(condition, &then) && changed <= then)) {
        const int kind = read_range(rg_request_header(r, "range"), end, &at, &end);

        if (kind < 0) {
            snprintf(range_text, sizeof(range_text), "bytes */%lld", (long long)st.st_size);
            rg_respond_header(r, "Content-Range", range_text);
            close(fd);
            rg_respond_empty(r, 416);
            return;
        }
        if (kind > 0) {
            status = 206;
            snprintf(range_text, sizeof(range_text), "bytes %zu-%zu/%lld", at, end - 1, (long long)st.st_size);
            rg_respond_header(r, "Content-Range", range_text);
        }
    }
    if (is_compressed)
        rg_respond_header(r, "Content-Encoding", "gzip");
    rg_respond(r, status, content_type ? content_type : rg_content_type(path), "", 0);
    if (r->status != status) {
        close(fd);
        return;
    }
    r->fd = fd;
    r->file_at = at;
    r->file_end = end;
}
