/* See profile.h. */
#include "engine/ops/profile.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/ops/backend.h"

enum { IS_TABLE = 1, IS_PROCESSOR_TIME = 2, IS_TRACE = 4, IS_RANGES = 8, NEEDS_TIME = IS_TABLE | IS_TRACE };

typedef struct profile_row {
    const char *op;
    long n_calls;
    double seconds, bytes, flop;
} profile_row;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int modes;
static profile_row rows[64];
static int n_rows;
static FILE *trace;
static bool has_events;
static double trace_start;
static int n_threads;
static double total_flop;               /* under lock */
static __thread double pending_flop;
static __thread int thread_number;      /* from 1 */

double rg_seconds(void)
{
    struct timespec t;
    clock_gettime(modes & IS_PROCESSOR_TIME ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_time(const void *a, const void *b)
{
    const double ta = ((const profile_row *)a)->seconds, tb = ((const profile_row *)b)->seconds;
    return ta < tb ? 1 : ta > tb ? -1 : 0;
}

static void print_table(void)
{
    double total = 0;

    qsort(rows, (size_t)n_rows, sizeof rows[0], by_time);
    for (int i = 0; i < n_rows; i++)
        total += rows[i].seconds;
    fprintf(stderr, "%-20s %8s %10s %6s %10s %10s %10s\n", "op", "calls", "ms", "%", "us/call", "MB out", "GFLOP/s");
    for (int i = 0; i < n_rows; i++) {
        fprintf(stderr, "%-20s %8ld %10.2f %6.1f %10.1f %10.1f", rows[i].op, rows[i].n_calls, rows[i].seconds * 1e3,
                100 * rows[i].seconds / total, rows[i].seconds * 1e6 / (double)rows[i].n_calls, rows[i].bytes / 1e6);
        if (rows[i].flop > 0)
            fprintf(stderr, " %10.1f\n", rows[i].flop / rows[i].seconds * 1e-9);
        else
            fputc('\n', stderr);
    }
}

static void finish(void)
{
    pthread_mutex_lock(&lock);
    if (modes & IS_TABLE)
        print_table();
    if (trace) {
        fputs("\n]}\n", trace);
        fclose(trace);
        trace = NULL;
        modes &= ~IS_TRACE;
    }
    pthread_mutex_unlock(&lock);
}

static void look_around(void)
{
    const char *profile = getenv("RG_PROFILE"), *ranges = getenv("RG_NVTX"), *file = getenv("RG_TRACE");

    if (profile && *profile && strcmp(profile, "0"))
        modes |= IS_TABLE | (!strcmp(profile, "cpu") ? IS_PROCESSOR_TIME : 0);
    if (ranges && !strcmp(ranges, "1"))
        modes |= IS_RANGES;
    atexit(finish);
    if (file && *file) {
        trace = fopen(file, "w");
        if (trace) {
            fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [", trace);
            trace_start = wall_seconds();
            modes |= IS_TRACE;
        } else {
            fprintf(stderr, "rylagraph: RG_TRACE: cannot write %s\n", file);
        }
    }
}

int rg_trace_open(const char *path)
{
    int ret = 0;

    pthread_once(&once, look_around);
    pthread_mutex_lock(&lock);
    if (!trace) {
        if ((trace = fopen(path, "w"))) {
            fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [", trace);
            trace_start = wall_seconds();
            modes |= IS_TRACE;
        } else {
            ret = RG_ERR_IO;
        }
    }
    pthread_mutex_unlock(&lock);
    return ret;
}

/* One complete event. Names are ours or class types of nodes: quotes and backslashes are dropped all the same. Under the lock. */
static void write_event(const char *category, const char *name, double start, double end, double bytes, double flop)
{
    char clean[96];
    size_t n = 0;

    for (const char *p = name; *p && n + 1 < sizeof clean; p++)
        if ((unsigned char)*p >= ' ' && *p != '"' && *p != '\\')
            clean[n++] = *p;
    clean[n] = '\0';
    if (!thread_number)
        thread_number = ++n_threads;
    fprintf(trace, "%s\n{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 1, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f", has_events ? "," : "",
            clean, category, thread_number, (start - trace_start) * 1e6, (end - start) * 1e6);
    if (bytes > 0 || flop > 0)
        fprintf(trace, ", \"args\": {\"bytes\": %.0f, \"flop\": %.0f}", bytes, flop);
    fputc('}', trace);
    has_events = true;
}

static void range(rg_ctx *c, const char *name)
{
    if ((modes & IS_RANGES) && c && c->ops->range)
        c->ops->range(c, name);
}

double rg_span_begin(rg_ctx *c, const char *name)
{
    pthread_once(&once, look_around);
    if (!modes)
        return 0;
    range(c, name);
    return wall_seconds();
}

void rg_span_end(rg_ctx *c, const char *name, double start)
{
    if (start <= 0)
        return;
    if (modes & IS_TRACE) {
        if (c && c->ops->synchronize)
            c->ops->synchronize(c);
        pthread_mutex_lock(&lock);
        if (trace)
            write_event("node", name, start, wall_seconds(), 0, 0);
        pthread_mutex_unlock(&lock);
    }
    range(c, NULL);
}

double rg_profile_start(rg_ctx *c, const char *op)
{
    pthread_once(&once, look_around);
    if (!modes)
        return 0;
    range(c, op);
    if ((modes & NEEDS_TIME) && c->ops->synchronize)
        c->ops->synchronize(c);
    return rg_seconds();
}

void rg_profile_end(rg_ctx *c, const char *op, double start, const rg_tensor *out)
{
    const double flop = pending_flop;

    pending_flop = 0;
    if (modes & NEEDS_TIME) {
        if (c->ops->synchronize)
            c->ops->synchronize(c);

        const double end = rg_seconds(), wall = wall_seconds();
        pthread_mutex_lock(&lock);
        if (modes & IS_TABLE) {
            int i = 0;
            while (i < n_rows && strcmp(rows[i].op, op))
                i++;
            if (i < (int)(sizeof rows / sizeof rows[0])) {
                if (i == n_rows)
                    rows[n_rows++].op = op;
                rows[i].n_calls++;
                rows[i].seconds += end - start;
                rows[i].bytes += (double)rg_nbytes(out);
                rows[i].flop += flop;
            }
        }
        if (trace)
            write_event("op", op, wall - (end - start), wall, (double)rg_nbytes(out), flop);
        pthread_mutex_unlock(&lock);
    }
    range(c, NULL);
}

void rg_work(double flop)
{
    pending_flop = flop;
    pthread_mutex_lock(&lock);
    total_flop += flop;
    pthread_mutex_unlock(&lock);
}

double rg_work_done(void)
{
    pthread_mutex_lock(&lock);
    const double flop = total_flop;
    pthread_mutex_unlock(&lock);
    return flop;
}

bool rg_is_profiling(void)
{
    pthread_once(&once, look_around);
    return modes & NEEDS_TIME;
}
