/* See download.h. */
#include "engine/net/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "engine/core/sha256.h"
#include "engine/net/http_client.h"
#include "engine/weights/model_file.h"
#include "engine/weights/safetensors.h"

enum { BUFFER_BYTES = 1 << 20, SPARE_BYTES = 64 << 20, MAX_REDIRECTS = 10 };

/* What the file is of: what a later call must find unchanged to go on. */
typedef struct origin {
    char url[2048], version[300];       /* ETag or Last-Modified; "" when the server gives none */
} origin;

typedef struct fetch {
    const rg_download *d;
    rg_download_result *r;
    int dir, fd;                        /* of the folder, of the part */
    char part[256], from[256];
    int64_t have, total;                /* total: -1 while unknown */
    char wanted[65];                    /* the checksum, "" when nobody knows it */
    origin origin;
    rg_sha256 sum;                      /* of the first `have` bytes */
    bool is_checked;                    /* its header was good, or there is none to check */
    bool is_body;                       /* the response's bytes are the file's */
    int error;                          /* why a callback ended the request */
} fetch;

static int fail(fetch *f, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(fetch *f, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(f->r->error, sizeof f->r->error, format, args);
    va_end(args);
    return f->error = code;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_cancelled(const fetch *f)
{
    return f->d->cancel && atomic_load(f->d->cancel);
}

static void note(const fetch *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(const fetch *f, const char *format, ...)
{
    char text[600];
    va_list args;

    if (!f->d->on_note)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->d->on_note(f->d->user, text);
}

/* ---- what lies there ------------------------------------------------------------------------------------------------------- */

static void read_origin(const fetch *f, origin *o)
{
    const int fd = openat(f->dir, f->from, O_RDONLY | O_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;

    *o = (origin){ 0 };
    if (file && fgets(o->url, sizeof o->url, file) && fgets(o->version, sizeof o->version, file)) {
        o->url[strcspn(o->url, "\n")] = '\0';
        o->version[strcspn(o->version, "\n")] = '\0';
    }
    if (file)
        fclose(file);
    else if (fd >= 0)
        close(fd);
}

static void write_origin(const fetch *f)
{
    const int fd = openat(f->dir, f->from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd >= 0) {                      /* without it the next call begins anew: no harm */
        dprintf(fd, "%s\n%s\n", f->origin.url, f->origin.version);
        close(fd);
    }
}

static void remove_part(const fetch *f)
{
    unlinkat(f->dir, f->part, 0);
    unlinkat(f->dir, f->from, 0);
}

/* From the beginning. */
static int start_anew(fetch *f)
{
    if (ftruncate(f->fd, 0) < 0)
        return fail(f, RG_ERR_IO, "%s/%s: %s", f->d->dir, f->part, strerror(errno));
    f->have = 0;
    f->is_checked = false;
    rg_sha256_init(&f->sum);
    return 0;
}

/* Open the part, and sum what an earlier call left, if that was of the same address. */
static int open_part(fetch *f)
{
    origin before;
    struct stat st;
    char *buffer;

    f->fd = openat(f->dir, f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return fail(f, RG_ERR_IO, "%s/%s: %s", f->d->dir, f->part, strerror(errno));
    if (flock(f->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return fail(f, RG_ERR_BUSY, "%s/%s is being fetched by somebody else", f->d->dir, f->d->name);
    rg_sha256_init(&f->sum);
    read_origin(f, &before);
    if (st.st_size == 0)
        return 0;
    /* whoever cannot tell one version from another can only go on when the checksum will tell */
    if (strcmp(before.url, f->d->url) || (!*before.version && !*f->wanted))
        return start_anew(f);
    f->origin = before;
    if (!(buffer = rg_malloc(BUFFER_BYTES)))
        return fail(f, RG_ERR_NOMEM, "out of memory");
    while (f->have < st.st_size && !is_cancelled(f)) {
        const ssize_t n = pread(f->fd, buffer, BUFFER_BYTES, f->have);
        if (n <= 0)
            break;
        rg_sha256_add(&f->sum, buffer, (size_t)n);
        f->have += n;
    }
    rg_free(buffer);
    if (is_cancelled(f))
        return fail(f, RG_ERR_CANCELLED, "interrupted");
    if (f->have < st.st_size)
        return start_anew(f);
    return 0;
}

/* ---- the response ------------------------------------------------------------------------------------------------------------ */

/* "bytes 100-999/1000": first and total; false if it is something else. */
static bool read_range(const char *value, int64_t *first, int64_t *total)
{
    char *end;

    if (!value || strncasecmp(value, "bytes ", 6))
        return false;
    value += 6;
    *first = -1;
    if (*value != '*') {
        *first = strtoll(value, &end, 10);
        if (end == value || *end != '-' || *first < 0)
            return false;
        strtoll(end + 1, &end, 10);
        value = end;
    } else {
        value++;
    }
    if (*value != '/')
        return false;
    *total = strtoll(value + 1, &end, 10);
    return end != value + 1 && *total >= 0;
}

static const char *version_of(const rg_http_response *r)
{
    const char *etag = rg_http_header(r, "etag");

    return etag && strncmp(etag, "W/", 2) ? etag : rg_http_header(r, "last-modified");    /* a weak tag is no proof */
}

/* Size and room, once they are known. */
static int check_size(fetch *f)
{
    const uint64_t there = rg_model_free_bytes(f->dir), left = (uint64_t)(f->total - f->have);

    if (f->d->size > 0 && f->total != f->d->size)
        return fail(f, RG_ERR_FORMAT, "%s has %lld bytes where %lld were expected", f->d->name, (long long)f->total, (long long)f->d->size);
    if (there != UINT64_MAX && there < left + SPARE_BYTES)
        return fail(f, RG_ERR_IO, "%s: %.2f GB are to come, the disk has %.2f GB left", f->d->dir, (double)left / 1e9, (double)there / 1e9);
    return 0;
}

static bool on_head(void *user, const rg_http_response *r)
{
    fetch *f = user;
    const char *length = rg_http_header(r, "content-length"), *version = version_of(r);
    int64_t first = 0, total = -1;

    f->r->status = r->status;
    f->is_body = r->status == 200 || r->status == 206;
    if (!f->is_body)
        return true;
    if (r->status == 206) {
        if (!read_range(rg_http_header(r, "content-range"), &first, &total) || first != f->have)
            return fail(f, RG_ERR_IO, "%s: the server sends another range than was asked for", f->d->name) == 0;
    } else {
        if (f->have > 0) {
            note(f, "%s: the server begins anew", f->d->name);
            if (start_anew(f) < 0)
                return false;
        }
        total = length ? strtoll(length, NULL, 10) : -1;
    }
    if (f->total >= 0 && total >= 0 && f->total != total && f->d->size <= 0)
        return fail(f, RG_ERR_FORMAT, "%s has %lld bytes now, %lld before", f->d->name, (long long)total, (long long)f->total) == 0;
    if (total >= 0)
        f->total = total;
    if (f->total >= 0 && check_size(f) < 0)
        return false;
    snprintf(f->origin.url, sizeof f->origin.url, "%s", f->d->url);
    if (version)
        snprintf(f->origin.version, sizeof f->origin.version, "%s", version);
    write_origin(f);
    return true;
}

static int check_header(fetch *f)
{
    int ret;

    if (f->is_checked)
        return 0;
    if (!rg_model_is_safetensors(f->d->name) || f->total < 0) {
        f->is_checked = f->total >= 0;
        return 0;
    }
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    ret = c ? rg_safetensors_check(c, f->fd, (uint64_t)f->have, (uint64_t)f->total, f->d->name) : RG_ERR_NOMEM;
    if (ret < 0)
        fail(f, ret, "%s", c ? c->message : "out of memory");
    rg_ctx_free(c);
    f->is_checked = ret > 0;
    return ret < 0 ? ret : 0;
}

static bool on_bytes(void *user, const void *bytes, size_t n)
{
    fetch *f = user;
    const char *p = bytes;

    if (!f->is_body)
        return true;
    if (is_cancelled(f))
        return fail(f, RG_ERR_CANCELLED, "interrupted") == 0;
    if (f->total >= 0 && (int64_t)n > f->total - f->have)
        return fail(f, RG_ERR_FORMAT, "%s: more came than the %lld bytes that were announced", f->d->name, (long long)f->total) == 0;
    for (size_t at = 0; at < n; ) {
        const ssize_t k = pwrite(f->fd, p + at, n - at, f->have + (int64_t)at);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            const int reason = errno;
            if (ftruncate(f->fd, f->have) < 0)
                remove_part(f);
            return fail(f, RG_ERR_IO, "%s/%s: %s", f->d->dir, f->part, strerror(reason)) == 0;
        }
        at += (size_t)k;
    }
    rg_sha256_add(&f->sum, bytes, n);
    f->have += (int64_t)n;
    f->r->fetched += (int64_t)n;
    if (check_header(f) < 0)
        return false;
    if (f->d->on_progress)
        f->d->on_progress(f->d->user, f->have, f->total);
    return true;
}

static bool on_progress(void *user, int64_t received, int64_t receive_total, int64_t sent, int64_t send_total)
{
    fetch *f = user;

    (void)received, (void)receive_total, (void)sent, (void)send_total;
    if (is_cancelled(f))
        return fail(f, RG_ERR_CANCELLED, "interrupted") == 0;
    if (f->is_body && f->d->on_progress)
        f->d->on_progress(f->d->user, f->have, f->total);
    return true;
}

/* ---- one request, and all of them ------------------------------------------------------------------------------------------------ */

/* What a status that is no success means for the whole; 0: try again. */
static int refused(fetch *f, int status)
{
    if (status == 401 || status == 403)
        return fail(f, RG_ERR_INVALID, "the server answers %d", status);
    if (status == 404 || status == 410)
        return fail(f, RG_ERR_NOT_FOUND, "the server answers %d: there is no such file", status);
    if (status == 408 || status == 425 || status == 429 || status >= 500)
        return 0;
    return fail(f, RG_ERR_IO, "the server answers %d", status);
}

/*
 * Hugging Face redirects to a store and says, in the redirect, what the file is: its checksum when it is large, its size. None of that
 * is in the store's own answer. A hub that does not say so leaves both unknown.
 */
static int ask_hub(fetch *f, const char *const *headers)
{
    const rg_http_request q = { .url = f->d->url, .method = "HEAD", .headers = headers, .on_progress = on_progress, .user = f };
    const char *etag, *size;
    rg_http_response r;
    int ret = rg_http_perform(&q, &r);

    f->r->status = r.status;
    if (f->error) {
        ret = f->error;
    } else if (ret == 0 && r.status < 400) {
        etag = rg_http_header(&r, "x-linked-etag");
        size = rg_http_header(&r, "x-linked-size");
        if (etag && *etag == '"')
            etag++;
        if (etag && strspn(etag, "0123456789abcdef") == 64 && (!etag[64] || etag[64] == '"') && !*f->wanted)
            snprintf(f->wanted, sizeof f->wanted, "%.64s", etag);
        if (size && strtoll(size, NULL, 10) > 0)
            f->total = strtoll(size, NULL, 10);
        ret = 0;
        if (f->d->size > 0 && f->total != f->d->size)
            ret = fail(f, RG_ERR_FORMAT, "%s has %lld bytes where %lld were expected", f->d->name, (long long)f->total, (long long)f->d->size);
    } else if (ret == 0 && (r.status == 401 || r.status == 403 || r.status == 404)) {
        ret = refused(f, r.status);
    } else {
        ret = 0;                        /* the request proper will say what is wrong */
    }
    rg_http_response_release(&r);
    return ret;
}

/* 1: all has come; 0: try again, after *pause seconds when that is above 0; an error. */
static int request_once(fetch *f, const char *const *token_header, double *pause)
{
    char if_range[330];
    const char *headers[4] = { NULL };
    int n = 0, ret;
    rg_http_response r;

    for (; token_header && token_header[n]; n++)
        headers[n] = token_header[n];
    if (f->have > 0 && *f->origin.version) {
        snprintf(if_range, sizeof if_range, "If-Range: %s", f->origin.version);
        headers[n++] = if_range;
    }
    f->is_body = false;
    const rg_http_request q = { .url = f->d->url, .headers = headers, .offset = f->have, .on_head = on_head, .on_bytes = on_bytes,
                                .on_progress = on_progress, .user = f, .max_redirects = MAX_REDIRECTS };
    ret = rg_http_perform(&q, &r);
    *pause = rg_http_retry_after(&r);
    if (f->error) {
        ret = f->error;
    } else if (ret < 0) {
        if (r.is_refused || ret == RG_ERR_UNSUPPORTED || ret == RG_ERR_NOMEM || ret == RG_ERR_INVALID)
            fail(f, ret, "%s", r.error);
        else
            snprintf(f->r->error, sizeof f->r->error, "%s", r.error);
        ret = f->error;
    } else if (r.status == 416 && f->have > 0) {
        int64_t first, total;
        /* all of it was there already; or it is another file now */
        if (read_range(rg_http_header(&r, "content-range"), &first, &total) && total == f->have && (f->total < 0 || f->total == total)) {
            f->total = total;
            ret = 1;
        } else {
            ret = start_anew(f);
        }
    } else if (r.status != 200 && r.status != 206) {
        snprintf(f->r->error, sizeof f->r->error, "the server answers %d", r.status);
        ret = refused(f, r.status);
    } else {
        if (f->total < 0)
            f->total = f->have;         /* no length was announced: it ended well */
        ret = f->have == f->total;
        if (!ret)
            snprintf(f->r->error, sizeof f->r->error, "the connection ended after %lld of %lld bytes", (long long)f->have, (long long)f->total);
    }
    rg_http_response_release(&r);
    return ret;
}

static bool pause_for(const fetch *f, double seconds)
{
    for (const double end = now() + seconds; now() < end && !is_cancelled(f); )
        usleep(50000);
    return !is_cancelled(f);
}

static int fetch_all(fetch *f, const char *const *token_header)
{
    int n_failures = 0, ret;

    for (;;) {
        const int64_t before = f->have;
        double pause;

        if ((ret = request_once(f, token_header, &pause)) != 0)
            return ret;
        n_failures = f->have > before ? 1 : n_failures + 1;
        if (n_failures > f->d->max_failures)
            return fail(f, RG_ERR_IO, "%s; given up", *f->r->error ? strdupa(f->r->error) : "it did not work");
        if (pause < 0)
            pause = 0.25 * (double)(1 << (n_failures < 8 ? n_failures : 8));
        if (pause > 60)
            pause = 60;
        note(f, "%s: %s; again in %.1f s", f->d->name, *f->r->error ? f->r->error : "broken off", pause);
        if (!pause_for(f, pause))
            return fail(f, RG_ERR_CANCELLED, "interrupted");
    }
}

static int finish(fetch *f)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[32];
    int ret;

    if (f->total == 0)
        return fail(f, RG_ERR_FORMAT, "%s: it is empty", f->d->name);
    f->is_checked = false;
    if ((ret = check_header(f)) < 0)
        return ret;
    rg_sha256_end(&f->sum, digest);
    for (int i = 0; i < 32; i++) {
        f->r->sha256[2 * i] = digits[digest[i] >> 4];
        f->r->sha256[2 * i + 1] = digits[digest[i] & 15];
    }
    f->r->sha256[64] = '\0';
    f->r->is_vouched = *f->wanted;
    if (*f->wanted && strcmp(f->wanted, f->r->sha256))
        return fail(f, RG_ERR_FORMAT, "%s: its SHA-256 is %s, not %s", f->d->name, f->r->sha256, f->wanted);
    if ((ret = rg_model_file_publish(f->dir, f->part, f->d->name, f->d->may_replace)) < 0)
        return fail(f, ret, "%s/%s: %s", f->d->dir, f->d->name, ret == RG_ERR_EXISTS ? "it has come to be there meanwhile" : strerror(errno));
    unlinkat(f->dir, f->from, 0);
    rg_model_sha256_write(f->dir, f->d->name, f->r->sha256);
    f->r->size = f->total;
    return 0;
}

static int make_folders(const char *path)
{
    char copy[4096];

    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return -1;
    for (char *p = copy + 1; ; p++) {
        if (*p && *p != '/')
            continue;
        const char was = *p;
        *p = '\0';
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            return -1;
        if (!(*p = was))
            return 0;
    }
}

int rg_download_file(const rg_download *d, rg_download_result *r)
{
    fetch f = { .d = d, .r = r, .dir = -1, .fd = -1, .total = d->size > 0 ? d->size : -1 };
    const double started = now();
    char *bearer = d->token ? rg_asprintf("Authorization: Bearer %s", d->token) : NULL;
    const char *const token_header[] = { bearer, NULL };
    struct stat st;
    int ret;

    *r = (rg_download_result){ 0 };
    if (d->sha256)
        snprintf(f.wanted, sizeof f.wanted, "%s", d->sha256);
    snprintf(f.part, sizeof f.part, "%s.part", d->name);
    snprintf(f.from, sizeof f.from, "%s.part.from", d->name);
    if (rg_model_name_check(d->name, r->error, sizeof r->error) < 0 || strchr(d->name, '/')) {
        ret = RG_ERR_INVALID;
        goto done;
    }
    if (d->token && !bearer) {
        ret = fail(&f, RG_ERR_NOMEM, "out of memory");
        goto done;
    }
    if (make_folders(d->dir) < 0 || (f.dir = open(d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        ret = fail(&f, RG_ERR_IO, "cannot use the folder %s: %s", d->dir, strerror(errno));
        goto done;
    }
    if (!d->may_replace && fstatat(f.dir, d->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        ret = fail(&f, RG_ERR_EXISTS, "%s/%s is there", d->dir, d->name);
        goto done;
    }
    if (d->is_hub && (ret = ask_hub(&f, bearer ? token_header : NULL)) < 0)
        goto done;
    if ((ret = open_part(&f)) < 0)
        goto done;
    if (f.have > 0)
        note(&f, "%s: goes on after %lld bytes", d->name, (long long)f.have);
    if (f.total >= 0 && f.have > f.total && (ret = start_anew(&f)) < 0)
        goto done;
    if (check_header(&f) < 0 && (ret = start_anew(&f)) < 0)
        goto done;
    f.error = 0;
    if (f.total >= 0 && (ret = check_size(&f)) < 0)
        goto close_part;
    ret = f.total >= 0 && f.have == f.total ? 1 : fetch_all(&f, bearer ? token_header : NULL);
    if (ret == 1)
        ret = finish(&f);
close_part:
    if (ret == RG_ERR_FORMAT)
        remove_part(&f);                /* going on would not make it better */
    else if (ret < 0 && f.have == 0)
        remove_part(&f);
done:
    if (ret == 0)
        *r->error = '\0';
    r->seconds = now() - started;
    if (f.fd >= 0)
        close(f.fd);
    if (f.dir >= 0)
        close(f.dir);
    if (bearer)
        explicit_bzero(bearer, strlen(bearer));
    rg_free(bearer);
    return ret;
}
