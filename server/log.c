/* The log of log.h: two buffers that change places, one that is added to and one that is being written. */
#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/ctx.h"
#include "engine/core/utf8.h"

enum { MAX_LINE = 4000, MAX_WAITING = 1 << 20, N_KEPT = 300 };

typedef struct kept_line {
    char time[40];
    char *text;
} kept_line;

static struct {
    atomic_int level;                   /* above all levels while not started: see write_line() */
    atomic_bool has_requests;
    bool is_json, is_started;
    char *file;

    pthread_mutex_t lock;               /* all below */
    pthread_cond_t changed;
    pthread_t thread;
    bool is_stopping, wants_reopen;
    int fd;
    char *waiting;
    size_t n_waiting, capacity;
    int64_t n_unsaid;                   /* dropped since the last line that said so */
    rg_log_totals totals;
    kept_line kept[N_KEPT];             /* line i is at i % N_KEPT */
    uint64_t n_kept;                    /* ever; the newest has this number */
    void (*on_written)(void *user);
    void *on_written_user;
} the = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .level = RG_LOG_WARNING, .fd = STDERR_FILENO };

static const char *const level_names[] = { "debug", "info", "warning", "error" };

bool rg_log_level_named(const char *name, rg_log_level *out)
{
    for (int i = 0; i < 4; i++) {
        if (!strcasecmp(name, level_names[i])) {
            *out = (rg_log_level)i;
            return true;
        }
    }
    *out = RG_LOG_ERROR;
    return !strcasecmp(name, "critical");
}

bool rg_log_wants(rg_log_level level)
{
    return (int)level >= atomic_load_explicit(&the.level, memory_order_relaxed);
}

bool rg_log_wants_requests(void)
{
    return atomic_load_explicit(&the.has_requests, memory_order_relaxed);
}

void rg_utc_text(double seconds, char text[40])
{
    const time_t t = (time_t)seconds;
    struct tm utc;
    char date[24];

    gmtime_r(&t, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, 40, "%s.%03dZ", date, (int)((seconds - (double)t) * 1000));
}

/* ---- a line ---------------------------------------------------------------------------------------------------------------- */

/* A text of limited size: what does not fit is cut. */
typedef struct line {
    size_t n;
    char text[MAX_LINE];
} line;

static void add_bytes(line *l, const char *bytes, size_t n)
{
    if (n > sizeof l->text - 1 - l->n)
        n = sizeof l->text - 1 - l->n;
    memcpy(l->text + l->n, bytes, n);
    l->n += n;
    l->text[l->n] = '\0';
}

static void add(line *l, const char *text)
{
    add_bytes(l, text, strlen(text));
}

/* In quotes, as JSON: UTF-8 stays, other bytes become U+FFFD. A long one is cut, so that the line stays whole JSON. */
static void add_quoted(line *l, const char *text, size_t most)
{
    add(l, "\"");
    for (const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text); at < end && most > 0; most--) {
        char escape[8];
        const char *p = (const char *)at;
        const int c = *at;

        if (c == '"' || c == '\\') {
            snprintf(escape, sizeof escape, "\\%c", c);
            add(l, escape);
            at++;
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(escape, sizeof escape, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\u%04x", c);
            add(l, escape);
            at++;
        } else if (c < 0x80) {
            add_bytes(l, p, 1);
            at++;
        } else {
            const int n = rg_utf8_length(p, (size_t)(end - at));
            if (n > 0)
                add_bytes(l, p, (size_t)n);
            else
                add(l, "\xef\xbf\xbd");
            at += n > 0 ? n : 1;
        }
    }
    add(l, "\"");
}

/* A text without anything that would confuse the fields of a line stands without quotes. */
static bool is_plain(const char *text)
{
    for (; *text; text++) {
        if (*text <= ' ' || *text >= 0x7f || *text == '"' || *text == '=' || *text == '\\')
            return false;
    }
    return true;
}

static void add_value(line *l, const rg_log_field *f, bool is_json)
{
    char number[340];

    if (f->kind == RG_LOG_IS_TEXT) {
        if (!is_json && *f->text && strlen(f->text) < 600 && is_plain(f->text))
            add(l, f->text);
        else
            add_quoted(l, f->text, 600);
        return;
    }
    if (f->kind == RG_LOG_IS_INT)
        snprintf(number, sizeof number, "%lld", (long long)f->whole);
    else                                /* what is no number would be no JSON */
        snprintf(number, sizeof number, "%.6f", f->real - f->real == 0 ? f->real : 0.0);
    if (f->kind == RG_LOG_IS_REAL) {
        size_t n = strlen(number);
        while (number[n - 1] == '0' && number[n - 2] != '.')
            number[--n] = '\0';
    }
    add(l, number);
}

/* "job ended: job=x seconds=0.5" */
static void make_text(line *l, const char *message, const rg_log_field *fields)
{
    bool is_first = true;

    for (const char *at = message; *at; at++)           /* one line, whatever is in it */
        add_bytes(l, *at == '\n' || *at == '\r' ? " " : at, 1);
    for (const rg_log_field *f = fields; f && f->name; f++) {
        if (f->kind == RG_LOG_IS_TEXT && !f->text)
            continue;
        add(l, is_first ? ": " : " ");
        is_first = false;
        add(l, f->name);
        add(l, "=");
        add_value(l, f, false);
    }
}

static void make_json(line *l, const char *time, rg_log_level level, const char *message, const rg_log_field *fields)
{
    add(l, "{\"time\": \"");
    add(l, time);
    add(l, "\", \"level\": \"");
    add(l, level_names[level]);
    add(l, "\", \"message\": ");
    add_quoted(l, message, 600);
    for (const rg_log_field *f = fields; f && f->name; f++) {
        if (f->kind == RG_LOG_IS_TEXT && !f->text)
            continue;
        if (l->n > sizeof l->text - 700)                /* rather a field less than a line that is no JSON */
            break;
        add(l, ", \"");
        add(l, f->name);
        add(l, "\": ");
        add_value(l, f, true);
    }
    add(l, "}");
}

/* ---- the buffers; the.lock is held -------------------------------------------------------------------------------------- */

static bool put_waiting(const char *text, size_t n)
{
    if (the.n_waiting + n > MAX_WAITING)
        return false;
    if (the.n_waiting + n > the.capacity) {
        size_t capacity = the.capacity ? 2 * the.capacity : 8192;
        while (capacity < the.n_waiting + n)
            capacity *= 2;
        char *grown = rg_realloc(the.waiting, capacity);
        if (!grown)
            return false;
        the.waiting = grown;
        the.capacity = capacity;
    }
    memcpy(the.waiting + the.n_waiting, text, n);
    the.n_waiting += n;
    return true;
}

static void keep(const char *time, const char *text)
{
    kept_line *k = &the.kept[++the.n_kept % N_KEPT];

    rg_free(k->text);
    snprintf(k->time, sizeof k->time, "%s", time);
    k->text = rg_strdup(text);
}

void rg_log_write(rg_log_level level, const char *message, const rg_log_field *fields)
{
    struct timespec t;
    struct tm parts;
    char utc[40], local[40], date[24];
    line text = { .n = 0 }, out = { .n = 0 };

    if (!rg_log_wants(level))
        return;
    clock_gettime(CLOCK_REALTIME, &t);
    rg_utc_text((double)t.tv_sec + 1e-9 * (double)t.tv_nsec, utc);
    localtime_r(&t.tv_sec, &parts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(local, sizeof local, "%s.%06d", date, (int)(t.tv_nsec / 1000));
    make_text(&text, message, fields);
    if (the.is_json) {                  /* set once, before the first thread */
        make_json(&out, utc, level, message, fields);
    } else {
        add(&out, utc);
        add(&out, " ");
        add(&out, level_names[level]);
        add(&out, " ");
        add_bytes(&out, text.text, text.n);
    }
    if (out.n > sizeof out.text - 2)
        out.n = sizeof out.text - 2;
    out.text[out.n++] = '\n';
    if (text.n > sizeof text.text - 2)
        text.n = sizeof text.text - 2;
    text.text[text.n++] = '\n';
    text.text[text.n] = '\0';
    pthread_mutex_lock(&the.lock);
    the.totals.n_lines[level]++;
    if (!the.is_started) {
        fwrite(out.text, 1, out.n, stderr);
    } else if (put_waiting(out.text, out.n)) {
        pthread_cond_signal(&the.changed);
    } else {
        the.totals.n_dropped++;
        the.n_unsaid++;
    }
    keep(local, text.text);
    pthread_mutex_unlock(&the.lock);
}

void rg_log_say(rg_log_level level, const char *format, ...)
{
    char text[1000];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rg_log_write(level, text, NULL);
}

void rg_log_count(rg_log_totals *out)
{
    pthread_mutex_lock(&the.lock);
    *out = the.totals;
    pthread_mutex_unlock(&the.lock);
}

/* ---- the thread that writes --------------------------------------------------------------------------------------------- */

static void write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t written = write(fd, bytes, n);
        if (written > 0) {
            bytes += written;
            n -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            struct pollfd p = { fd, POLLOUT, 0 };
            poll(&p, 1, 1000);
        } else if (written < 0 && errno != EINTR) {
            return;                     /* a full disk, a reader that left: what cannot be written is gone */
        }
    }
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static void *log_main(void *arg)
{
    char *bytes = NULL;
    size_t capacity = 0;

    pthread_mutex_lock(&the.lock);
    for (;;) {
        while (!the.n_waiting && !the.wants_reopen && !the.is_stopping)
            pthread_cond_wait(&the.changed, &the.lock);
        if (the.wants_reopen) {
            const int fd = open_file(the.file);
            if (fd >= 0) {
                close(the.fd);
                the.fd = fd;
            }
            the.wants_reopen = false;
        }
        if (!the.n_waiting) {
            if (the.is_stopping)
                break;
            continue;
        }
        char *const full = the.waiting;
        const size_t n = the.n_waiting, full_capacity = the.capacity;
        the.waiting = bytes;
        the.capacity = capacity;
        the.n_waiting = 0;
        bytes = full;
        capacity = full_capacity;
        const int64_t n_unsaid = the.n_unsaid;
        the.n_unsaid = 0;
        const int fd = the.fd;
        void (*on_written)(void *user) = the.on_written;
        void *user = the.on_written_user;
        pthread_mutex_unlock(&the.lock);
        write_all(fd, bytes, n);
        if (on_written)
            on_written(user);
        if (n_unsaid)
            rg_log_say(RG_LOG_WARNING, "%lld lines of the log were dropped: it is not read fast enough", (long long)n_unsaid);
        pthread_mutex_lock(&the.lock);
    }
    pthread_mutex_unlock(&the.lock);
    rg_free(bytes);
    return NULL;
}

int rg_log_start(const rg_log_options *o, char *text, size_t text_size)
{
    int fd = o->fd;

    if (o->file && ((fd = open_file(o->file)) < 0 || !(the.file = rg_strdup(o->file)))) {
        snprintf(text, text_size, "%s: %s", o->file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    tzset();                            /* localtime_r() need not */
    the.fd = fd;
    the.is_json = o->is_json;
    the.is_stopping = false;
    if (pthread_create(&the.thread, NULL, log_main, NULL) != 0) {
        snprintf(text, text_size, "no thread for the log");
        if (o->file)
            close(fd);
        rg_free(the.file);
        the.file = NULL;
        the.fd = STDERR_FILENO;
        return -1;
    }
    the.is_started = true;
    atomic_store(&the.level, (int)o->level);
    atomic_store(&the.has_requests, o->has_requests);
    return 0;
}

void rg_log_stop(void)
{
    struct timespec until;

    if (!the.is_started)
        return;
    pthread_mutex_lock(&the.lock);
    the.on_written = NULL;
    the.is_stopping = true;
    pthread_cond_signal(&the.changed);
    pthread_mutex_unlock(&the.lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    if (pthread_timedjoin_np(the.thread, NULL, &until) != 0)
        return;                         /* nobody reads: it stays as it is, for what is left of the process */
    pthread_mutex_lock(&the.lock);
    the.is_started = false;
    atomic_store(&the.level, RG_LOG_WARNING);
    atomic_store(&the.has_requests, false);
    if (the.file)
        close(the.fd);
    rg_free(the.file);
    the.file = NULL;
    the.fd = STDERR_FILENO;
    rg_free(the.waiting);
    the.waiting = NULL;
    the.capacity = 0;
    for (int i = 0; i < N_KEPT; i++) {
        rg_free(the.kept[i].text);
        the.kept[i].text = NULL;
    }
    pthread_mutex_unlock(&the.lock);
}

void rg_log_reopen(void)
{
    pthread_mutex_lock(&the.lock);
    the.wants_reopen = the.file != NULL;
    pthread_cond_signal(&the.changed);
    pthread_mutex_unlock(&the.lock);
}

/* ---- the last lines --------------------------------------------------------------------------------------------------------- */

uint64_t rg_log_each(uint64_t after, rg_log_line_fn *fn, void *user)
{
    pthread_mutex_lock(&the.lock);
    const uint64_t newest = the.n_kept, oldest = newest > N_KEPT ? newest - N_KEPT + 1 : 1;
    for (uint64_t i = after + 1 > oldest ? after + 1 : oldest; i <= newest; i++) {
        const kept_line *k = &the.kept[i % N_KEPT];
        if (k->text)
            fn(user, k->time, k->text);
    }
    pthread_mutex_unlock(&the.lock);
    return newest;
}

void rg_log_on_written(void (*fn)(void *user), void *user)
{
    pthread_mutex_lock(&the.lock);
    the.on_written = fn;
    the.on_written_user = user;
    pthread_mutex_unlock(&the.lock);
}
