/*
 * PUT /models/{folder}/{name}: a file of any size, in one request or in pieces, into a hidden file beside its place, which gets its
 * name once all of it is there and has proved to be what was promised. Each upload has a thread: it waits for the network, the
 * disk and the checksum, none of which the event loop may do.
 *
 * The hidden file is all there is to an unfinished upload: its name says what it will be, its length how much has arrived. So
 * it survives the server, and whoever knows the name goes on with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/weights/safetensors.h"
#include "server/models_inside.h"
#include "server/upload_parse.h"

enum { BUFFER_BYTES = 1 << 20, FLUSH_BYTES = 256 << 20, SPARE_BYTES = 64 << 20 };

/* What one request asks for, and what it has of it. */
typedef struct task {
    upload *u;
    rg_models *m;
    rg_request *r;
    const char *key, *name;
    bool may_replace;
    rg_content_range range;             /* of a request without one: all of the file */
    char sha256[65];                    /* "" when not given */
    place place;
    char file[256];                     /* the hidden one, in place.dir */
    int fd;
    rg_sha256 sum;                      /* of the first n_summed bytes */
    int64_t n_summed;
    bool is_checked;                    /* its header was good, or there is none to check */
    char *buffer;
} task;

static int refuse(task *t, int status, const char *field, const char *format, ...) __attribute__((format(printf, 4, 5)));
static int refuse(task *t, int status, const char *field, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (status == 503)
        rg_respond_header(t->r, "Retry-After", "5");
    service_refuse(t->r, status, field, "%s", text);
    return status;
}

static void add_offset(task *t, int64_t offset, int64_t total)
{
    char number[32];

    snprintf(number, sizeof(number), "%lld", (long long)offset);
    rg_respond_header(t->r, "Upload-Offset", number);
    if (total >= 0) {
        snprintf(number, sizeof(number), "%lld", (long long)total);
        rg_respond_header(t->r, "Upload-Length", number);
    }
}

/* ---- what was asked ------------------------------------------------------------------------------------------------------- */

static int read_request(task *t)
{
    const char *length_text = rg_request_header(t->r, "content-length"), *range = rg_request_header(t->r, "content-range");
    const int64_t length = length_text ? strtoll(length_text, NULL, 10) : -1;
    const int n = rg_sha256_of_headers(rg_request_header(t->r, "x-checksum-sha256"), rg_request_header(t->r, "digest"),
                                       rg_request_header(t->r, "repr-digest"), t->sha256);

    if (n < 0)
        return refuse(t, 400, "X-Checksum-SHA256", "the checksum is malformed, or two headers disagree: X-Checksum-SHA256 has 64 hex digits, "
                      "Digest is sha-256=BASE64, Repr-Digest is sha-256=:BASE64:");
    if (!n)
        t->sha256[0] = '\0';
    t->may_replace = models_flag(t->r, "overwrite");
    if (range) {
        if (!rg_content_range_parse(range, &t->range))
            return refuse(t, 400, "Content-Range", "\"%.100s\" is no range: wanted is bytes FIRST-LAST/TOTAL, with a total", range);
        if (t->range.is_query && length > 0)
            return refuse(t, 400, "Content-Range", "a request with bytes */TOTAL asks how much has arrived, and has no body");
        if (!t->range.is_query && length >= 0 && length != t->range.last - t->range.first + 1)
            return refuse(t, 400, "Content-Range", "the range holds %lld bytes, the body %lld", (long long)(t->range.last - t->range.first + 1),
                          (long long)length);
    } else if (length < 0) {
        return refuse(t, 411, "Content-Length", "how large is it? PUT wants a Content-Length, or a Content-Range with a total");
    } else {
        t->range = (rg_content_range){ .last = length - 1, .total = length };
    }
    if (t->range.total == 0)
        return refuse(t, 400, NULL, "an empty file is no model");
    if (t->m->options.max_file_bytes && (uint64_t)t->range.total > t->m->options.max_file_bytes)
        return refuse(t, 413, NULL, "%lld bytes are more than one model file may have (%llu)", (long long)t->range.total,
                      (unsigned long long)t->m->options.max_file_bytes);
    return 0;
}

/* ---- may it begin? ---------------------------------------------------------------------------------------------------------- */

static int not_there_yet(task *t, const part_name *part, int64_t have)
{
    add_offset(t, have, part ? part->total : -1);
    if (part && part->total != t->range.total)
        return refuse(t, 409, "Content-Range", "the unfinished upload of %s/%s has %lld bytes in all, not %lld", t->key, t->name,
                      (long long)part->total, (long long)t->range.total);
    if (part && *part->sha256 && *t->sha256 && strcmp(part->sha256, t->sha256))
        return refuse(t, 409, "X-Checksum-SHA256", "the unfinished upload of %s/%s is of a file with another checksum", t->key, t->name);
    return refuse(t, 409, "Content-Range", "%lld bytes of %s/%s have arrived: the next piece begins there, not at %lld", (long long)have, t->key,
                  t->name, (long long)t->range.first);
}

/* Room for the rest, by quota and on the disk; `have` is what an upload that is gone on with has already. */
static int check_room(task *t, int64_t have)
{
    const rg_models_options *o = &t->m->options;
    const uint64_t left = (uint64_t)(t->range.total - have), there = rg_model_free_bytes(t->place.dir);
    struct stat st;

    if (o->has_quota) {
        models_usage u = { 0 };
        uint64_t wanted;

        models_walk(t->m, &u);
        wanted = u.bytes + (have ? 0 : (uint64_t)t->range.total);
        if (t->place.is_there && fstatat(t->place.dir, t->place.base, &st, 0) == 0 && wanted >= (uint64_t)st.st_size)
            wanted -= (uint64_t)st.st_size;     /* it makes room */
        if (wanted > o->quota_bytes)
            return refuse(t, 507, NULL, "with these %lld bytes the models would take %llu of %llu (--models-quota)", (long long)t->range.total,
                          (unsigned long long)wanted, (unsigned long long)o->quota_bytes);
    }
    if (there != UINT64_MAX && there < left + SPARE_BYTES)
        return refuse(t, 507, NULL, "%llu bytes are to come, the disk of %s has %llu left", (unsigned long long)left, t->place.root,
                      (unsigned long long)there);
    return 0;
}

/* The hidden file, opened; what has arrived in *have. With the admission lock. */
static int open_part(task *t, int64_t *have)
{
    part_name part = { .total = t->range.total }, found;
    struct stat st;
    int status;

    *have = 0;
    bool is_there = find_part(t->place.dir, t->place.base, &found, t->file, &st);
    if (t->range.is_query) {
        const bool is_this = is_there && found.total == t->range.total;
        struct json_object *o = json_object_new_object();

        add_offset(t, is_this ? st.st_size : 0, t->range.total);
        json_object_object_add(o, "folder", json_object_new_string(t->key));
        json_object_object_add(o, "name", json_object_new_string(t->name));
        json_object_object_add(o, "received", json_object_new_int64(is_this ? st.st_size : 0));
        json_object_object_add(o, "size", json_object_new_int64(t->range.total));
        rg_respond_json(t->r, 202, o);
        return 202;
    }
    if (t->range.first > 0) {
        if (!is_there || found.total != t->range.total || st.st_size != t->range.first ||
            (*found.sha256 && *t->sha256 && strcmp(found.sha256, t->sha256)))
            return not_there_yet(t, is_there ? &found : NULL, is_there ? st.st_size : 0);
        if (*found.sha256)
            memcpy(t->sha256, found.sha256, sizeof(t->sha256));
        *have = st.st_size;
    } else {
        for (; is_there; is_there = find_part(t->place.dir, t->place.base, &found, t->file, &st))   /* it begins anew */
            if (unlinkat(t->place.dir, t->file, 0) < 0)
                break;
        snprintf(part.name, sizeof(part.name), "%s", t->place.base);
        memcpy(part.sha256, t->sha256, sizeof(part.sha256));
        part_name_write(&part, t->file);
    }
    if ((status = check_room(t, *have)))
        return status;
    t->fd = openat(t->place.dir, t->file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (*have ? 0 : O_CREAT | O_EXCL), 0666);
    if (t->fd < 0)
        return refuse(t, errno == EROFS || errno == EACCES ? 403 : 500, NULL, "cannot write into %s: %s", t->place.root, strerror(errno));
    /* reserved now where the file system can, so that it does not run out after an hour */
    if (fallocate(t->fd, FALLOC_FL_KEEP_SIZE, 0, t->range.total) < 0 && (errno == ENOSPC || errno == EDQUOT)) {
        if (!*have)
            unlinkat(t->place.dir, t->file, 0);
        return refuse(t, 507, NULL, "%lld bytes do not fit on the disk of %s", (long long)t->range.total, t->place.root);
    }
    return 0;
}

static bool is_running(rg_models *m, const char *target)
{
    bool is_found = false;

    pthread_mutex_lock(&m->lock);
    for (const upload *u = m->uploads; u; u = u->next)
        is_found |= u->target && !strcmp(u->target, target);
    pthread_mutex_unlock(&m->lock);
    return is_found;
}

static int admit(task *t, int64_t *have)
{
    char text[1024], *target;
    int status = models_place(t->m, t->key, t->name, true, &t->place, text, sizeof(text));

    if (status)
        return refuse(t, status, NULL, "%s", text);
    if (!rg_env_is_model_file(t->name))
        return refuse(t, 400, NULL, "%s: a model file's name ends in .safetensors, .sft, .ckpt, .pt, .pt2, .pth, .bin, .pkl, .gguf or .onnx", t->name);
    if (t->place.is_there && models_is_kept(t->m, t->place.root))
        return refuse(t, 403, NULL, "%s belongs to the program and is never changed", t->place.root);
    if (t->place.is_there && !t->may_replace && !t->range.is_query)
        return refuse(t, 409, NULL, "%s/%s is there; PUT with ?overwrite=true replaces it", t->key, t->name);
    if (faccessat(t->place.dir, ".", W_OK, AT_EACCESS) < 0)
        return refuse(t, 403, NULL, "cannot write into the folder %s: %s", t->place.root, strerror(errno));
    if (!(target = models_target(t->place.dir, t->place.base)))
        return refuse(t, 500, NULL, "out of memory");
    /* a client that lost its connection comes back before the server has noticed: the newer request goes on */
    if (t->range.first > 0)
        models_stop_upload(t->m, target);
    pthread_mutex_lock(&t->m->admission);
    if (is_running(t->m, target)) {
        rg_respond_header(t->r, "Retry-After", "5");
        status = refuse(t, 409, NULL, "%s/%s is being uploaded now", t->key, t->name);
    } else if (!(status = open_part(t, have))) {
        pthread_mutex_lock(&t->m->lock);
        t->u->target = target;
        t->u->received = *have;
        t->u->total = t->range.total;
        target = NULL;
        pthread_mutex_unlock(&t->m->lock);
    }
    pthread_mutex_unlock(&t->m->admission);
    rg_free(target);
    return status;
}

/* ---- checksums so far ---------------------------------------------------------------------------------------------------------- */

static void remember_sum(task *t)
{
    rg_models *m = t->m;
    char *target = rg_strdup(t->u->target);

    if (!target)
        return;
    pthread_mutex_lock(&m->lock);
    rg_free(m->sums[m->next_sum].target);
    m->sums[m->next_sum].target = target;
    m->sums[m->next_sum].n_bytes = t->n_summed;
    m->sums[m->next_sum].sum = t->sum;
    m->next_sum = (m->next_sum + 1) % MAX_SUMS;
    pthread_mutex_unlock(&m->lock);
}

/* What is remembered of this upload's sum is taken out; what was left of an older one with the same name goes. */
static void recall_sum(task *t, int64_t have)
{
    rg_models *m = t->m;

    rg_sha256_init(&t->sum);
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < MAX_SUMS; i++) {
        if (!m->sums[i].target || strcmp(m->sums[i].target, t->u->target))
            continue;
        if (m->sums[i].n_bytes <= have && m->sums[i].n_bytes > t->n_summed) {
            t->sum = m->sums[i].sum;
            t->n_summed = m->sums[i].n_bytes;
        }
        rg_free(m->sums[i].target);
        m->sums[i].target = NULL;
    }
    pthread_mutex_unlock(&m->lock);
}

/* Sum what arrived in earlier requests. False: it cannot be read. */
static bool sum_earlier(task *t, int64_t have)
{
    recall_sum(t, have);
    while (t->n_summed < have) {
        const size_t most = have - t->n_summed < BUFFER_BYTES ? (size_t)(have - t->n_summed) : BUFFER_BYTES;
        const ssize_t n = pread(t->fd, t->buffer, most, t->n_summed);

        if (n <= 0)
            return false;
        rg_sha256_add(&t->sum, t->buffer, (size_t)n);
        t->n_summed += n;
    }
    return true;
}

/* ---- the bytes ----------------------------------------------------------------------------------------------------------------- */

static int check_header(task *t, int64_t n_there)
{
    char message[1024];
    int ret;

    if (t->is_checked)
        return 0;
    if (!rg_model_is_safetensors(t->name)) {
        t->is_checked = true;
        return 0;
    }
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    ret = c ? rg_safetensors_check(c, t->fd, (uint64_t)n_there, (uint64_t)t->range.total, t->name) : RG_ERR_NOMEM;
    snprintf(message, sizeof(message), "%s", c ? c->message : "out of memory");
    rg_ctx_free(c);
    t->is_checked = ret > 0;
    if (ret >= 0)
        return 0;
    if (ret != RG_ERR_FORMAT && ret != RG_ERR_UNSUPPORTED)
        return refuse(t, 500, NULL, "%s", message);
    unlinkat(t->place.dir, t->file, 0); /* going on would not make it better */
    return refuse(t, 422, NULL, "%s", message);
}

static int write_at(int fd, const char *bytes, size_t n, int64_t at)
{
    while (n) {
        const ssize_t k = pwrite(fd, bytes, n, at);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return -1;
        bytes += k;
        n -= (size_t)k;
        at += k;
    }
    return 0;
}

/* The body into the file. 0: all that this request was to bring is there. */
static int receive(task *t, int64_t have)
{
    int64_t at = have, flushed = have;
    int status;

    for (;;) {
        const int64_t n = rg_request_read(t->r, t->buffer, BUFFER_BYTES);

        if (n < 0) {
            pthread_mutex_lock(&t->m->lock);
            const bool is_stopping = t->m->is_stopping, is_taken_over = t->u->is_taken_over;
            pthread_mutex_unlock(&t->m->lock);
            add_offset(t, at, t->range.total);
            return is_taken_over ? refuse(t, 409, NULL, "a newer request goes on with this upload, or has stopped it")
                 : is_stopping ? refuse(t, 503, NULL, "the server is stopping; %lld bytes have arrived", (long long)at)
                 : refuse(t, 400, NULL, "the body broke off or its chunks are malformed; %lld bytes have arrived", (long long)at);
        }
        if (n == 0)
            break;
        if (n > t->range.last + 1 - at)
            return refuse(t, 400, NULL, "more came than the range holds");
        if (write_at(t->fd, t->buffer, (size_t)n, at) < 0) {
            const int reason = errno;

            if (ftruncate(t->fd, at) < 0)
                unlinkat(t->place.dir, t->file, 0);     /* its length must say what is good */
            add_offset(t, at, t->range.total);
            return refuse(t, reason == ENOSPC || reason == EDQUOT ? 507 : 500, NULL, "cannot write %s: %s", t->name, strerror(reason));
        }
        rg_sha256_add(&t->sum, t->buffer, (size_t)n);
        at += n;
        t->n_summed = at;
        pthread_mutex_lock(&t->m->lock);
        t->u->received = at;
        pthread_mutex_unlock(&t->m->lock);
        if ((status = check_header(t, at)))
            return status;
        if (at - flushed >= FLUSH_BYTES) {      /* little by little, or the end would wait for all of it */
            fdatasync(t->fd);
            flushed = at;
        }
    }
    if (at != t->range.last + 1) {
        add_offset(t, at, t->range.total);
        return refuse(t, 400, NULL, "the body ended after %lld bytes of the range", (long long)(at - have));
    }
    return 0;
}

/* All of it is there: is it what was promised? Then it gets its name. */
static void finish(task *t)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[32];
    char hex[65];
    struct stat st;

    if (fstat(t->fd, &st) < 0 || st.st_size != t->range.total) {
        refuse(t, 500, NULL, "the file has %lld bytes on disk, %lld have come", (long long)st.st_size, (long long)t->range.total);
        return;
    }
    t->is_checked = false;              /* again: what was good when it came may have been changed since */
    if (check_header(t, t->range.total))
        return;
    rg_sha256_end(&t->sum, digest);
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = '\0';
    if (*t->sha256 && strcmp(hex, t->sha256)) {
        unlinkat(t->place.dir, t->file, 0);
        refuse(t, 422, "X-Checksum-SHA256", "the SHA-256 of what came is %s, not %s", hex, t->sha256);
        return;
    }
    const int ret = rg_model_file_publish(t->place.dir, t->file, t->place.base, t->may_replace);
    if (ret == RG_ERR_EXISTS) {
        unlinkat(t->place.dir, t->file, 0);
        refuse(t, 409, NULL, "%s/%s has come to be there meanwhile", t->key, t->name);
        return;
    }
    if (ret < 0) {
        refuse(t, 500, NULL, "cannot give %s its name: %s", t->name, strerror(errno));
        return;
    }
    rg_model_sha256_write(t->place.dir, t->place.base, hex);    /* without the note it is as good, only its sum is not known */
    if (t->place.is_there)
        models_changed(t->m);
    rg_respond_header(t->r, "Location", rg_request_path(t->r));
    rg_respond_json(t->r, t->place.is_there ? 200 : 201, models_describe(t->key, t->name, &t->place));
}

static void run(task *t)
{
    int64_t have = 0;

    if (read_request(t) || admit(t, &have))
        return;
    if (!(t->buffer = rg_malloc(BUFFER_BYTES))) {
        refuse(t, 503, NULL, "out of memory");
        return;
    }
    if (!sum_earlier(t, have)) {
        refuse(t, 500, NULL, "what has arrived of %s cannot be read back", t->name);
        return;
    }
    if (check_header(t, have))
        return;
    const int status = receive(t, have);
    if (!status && t->range.last + 1 == t->range.total) {
        finish(t);
        return;
    }
    if (t->n_summed)
        remember_sum(t);
    else
        unlinkat(t->place.dir, t->file, 0);     /* nothing came: nothing to go on with */
    if (!status) {
        struct json_object *o = json_object_new_object();

        add_offset(t, t->n_summed, t->range.total);
        json_object_object_add(o, "folder", json_object_new_string(t->key));
        json_object_object_add(o, "name", json_object_new_string(t->name));
        json_object_object_add(o, "received", json_object_new_int64(t->n_summed));
        json_object_object_add(o, "size", json_object_new_int64(t->range.total));
        rg_respond_json(t->r, 202, o);
    }
}

static void *upload_main(void *arg)
{
    upload *u = arg;
    rg_models *m = u->models;
    task t = { .u = u, .m = m, .r = u->r, .key = rg_request_param(u->r, 0), .name = rg_request_param(u->r, 1), .fd = -1, .place = { .dir = -1 } };

    run(&t);
    if (t.fd >= 0)
        close(t.fd);
    place_release(&t.place);
    rg_free(t.buffer);
    pthread_mutex_lock(&m->lock);       /* out of the list first: whoever hears the answer may begin the next one */
    for (upload **link = &m->uploads; *link; link = &(*link)->next) {
        if (*link == u) {
            *link = u->next;
            break;
        }
    }
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    rg_request_finish(u->r);
    rg_free(u->target);
    rg_free(u);
    pthread_mutex_lock(&m->lock);
    m->n_uploads--;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* On the loop thread, with the head alone. */
static void put_model(rg_request *r, void *user)
{
    rg_models *m = user;
    upload *u = rg_calloc(1, sizeof(*u));
    pthread_attr_t detached;
    pthread_t thread;

    if (u) {
        *u = (upload){ .models = m, .r = r };
        pthread_mutex_lock(&m->lock);
        const bool is_refused = m->is_stopping || m->n_uploads == MAX_UPLOADS;
        if (!is_refused) {
            u->next = m->uploads;
            m->uploads = u;
            m->n_uploads++;
        }
        pthread_mutex_unlock(&m->lock);
        if (is_refused) {
            rg_free(u);
            u = NULL;
        }
    }
    if (!u) {
        rg_respond_header(r, "Retry-After", "5");
        service_refuse(r, 503, NULL, "%d models are being uploaded already", MAX_UPLOADS);
        return;
    }
    rg_request_hold(r, NULL, NULL);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    const int failed = pthread_create(&thread, &detached, upload_main, u);
    pthread_attr_destroy(&detached);
    if (failed) {
        pthread_mutex_lock(&m->lock);
        m->uploads = u->next;           /* nobody else links any: this thread does */
        m->n_uploads--;
        pthread_mutex_unlock(&m->lock);
        rg_free(u);
        service_refuse(r, 503, NULL, "no thread for it");
        rg_request_finish(r);
    }
}

void models_add_upload_routes(rg_models *m)
{
    rg_server_route(m->server, "PUT", "/models/{folder}/{name:.*}", RG_ROUTE_STREAM | RG_ROUTE_MODELS, put_model, m);
}
