/* Batches of events to HOST/batch/, in the form of PostHog's API: {"api_key", "batch": [{"event", "properties", "timestamp", "uuid"}]}. */
#include "server/analytics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "engine/core/ctx.h"
#include "engine/net/http_client.h"
#include "graph/json_text.h"
#include "server/log.h"

enum { MAX_WAITING = 1000, MAX_BATCH = 100, MAX_TRIES = 3 };
static const double last_seconds = 3;   /* what the end of the server waits for */

struct rg_analytics {
    rg_analytics_options options;
    char *url;
    char id[48];                        /* distinct_id: this process, nobody in person */
    pthread_t thread;
    atomic_llong n_sent, n_dropped;

    pthread_mutex_t lock;               /* all below */
    pthread_cond_t changed;             /* monotonic */
    char *events[MAX_WAITING];          /* each as JSON, oldest first */
    int n;
    bool is_stopping;
    double deadline;                    /* monotonic; once is_stopping */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void random_id(char id[37])
{
    unsigned char b[16] = { 0 };

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        snprintf((char *)b, sizeof b, "%.0f", now() * 1e6);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (int i = 0, at = 0; i < 16; i++)
        at += snprintf(id + at, (size_t)(37 - at), "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
}

void rg_analytics_send(rg_analytics *a, const char *event, struct json_object *properties)
{
    struct timespec t;
    char at[40], id[37];

    if (!a) {
        json_object_put(properties);
        return;
    }
    struct json_object *o = json_object_new_object();
    if (!properties)
        properties = json_object_new_object();
    clock_gettime(CLOCK_REALTIME, &t);
    rg_utc_text((double)t.tv_sec + 1e-9 * (double)t.tv_nsec, at);
    random_id(id);                      /* a batch that is sent twice counts once */
    json_object_object_add(properties, "distinct_id", json_object_new_string(a->id));
    json_object_object_add(properties, "$lib", json_object_new_string("rylagraph"));
    json_object_object_add(properties, "$lib_version", json_object_new_string(RG_VERSION));
    json_object_object_add(properties, "$process_person_profile", json_object_new_boolean(false));
    json_object_object_add(o, "event", json_object_new_string(event));
    json_object_object_add(o, "properties", properties);
    json_object_object_add(o, "timestamp", json_object_new_string(at));
    json_object_object_add(o, "uuid", json_object_new_string(id));
    char *text = rg_json_dump(o, 0);
    json_object_put(o);
    pthread_mutex_lock(&a->lock);
    if (!text || a->n == MAX_WAITING) {
        atomic_fetch_add(&a->n_dropped, 1);
        rg_free(text);
    } else {
        a->events[a->n++] = text;
        if (a->n == 1 || a->n == MAX_BATCH)
            pthread_cond_signal(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
}

/* a->lock is held; it waits until then, or for a signal. False: the time is over. */
static bool wait_until(rg_analytics *a, double until)
{
    const struct timespec t = { (time_t)until, (long)((until - (double)(time_t)until) * 1e9) };

    return pthread_cond_timedwait(&a->changed, &a->lock, &t) == 0;
}

static bool goes_on(void *user, int64_t received, int64_t receive_total, int64_t sent, int64_t send_total)
{
    rg_analytics *a = user;

    pthread_mutex_lock(&a->lock);
    const bool is_late = a->is_stopping && now() > a->deadline;
    pthread_mutex_unlock(&a->lock);
    return !is_late;
}

/* One batch, up to three times. True: it was taken. */
static bool send_batch(rg_analytics *a, const char *body)
{
    static const char *const headers[] = { "Content-Type: application/json", NULL };

    for (int i = 1; ; i++) {
        rg_http_response r;
        pthread_mutex_lock(&a->lock);
        const bool is_last = a->is_stopping || i == MAX_TRIES;
        const double left = a->is_stopping ? a->deadline - now() : 15;
        pthread_mutex_unlock(&a->lock);
        const rg_http_request q = { .url = a->url, .headers = headers, .body = body, .n_body = strlen(body), .max_body = 1, .connect_seconds = 10,
                                    .total_seconds = left > 0.1 ? left : 0.1, .max_redirects = 3, .on_progress = goes_on, .user = a };
        const int ret = rg_http_perform(&q, &r);
        const int status = r.status;
        if (ret < 0 || status / 100 != 2)
            rg_log(RG_LOG_WARNING, "analytics were not taken", RG_LOG_INT("status", status), RG_LOG_TEXT("error", ret < 0 ? r.error : NULL));
        rg_http_response_release(&r);
        if (ret == 0 && status / 100 == 2)
            return true;
        if (is_last || (ret == 0 && status < 500 && status != 429))     /* what is wrong with it stays wrong */
            return false;
        pthread_mutex_lock(&a->lock);
        for (const double until = now() + i * i; !a->is_stopping && now() < until && wait_until(a, until); )
            ;
        pthread_mutex_unlock(&a->lock);
    }
}

static void *analytics_main(void *arg)
{
    rg_analytics *a = arg;

    if (a->options.on_start)
        a->options.on_start(a->options.user, a);
    pthread_mutex_lock(&a->lock);
    while (!a->is_stopping || (a->n && now() < a->deadline)) {
        while (!a->n && !a->is_stopping)
            pthread_cond_wait(&a->changed, &a->lock);
        for (const double until = now() + a->options.flush_seconds; !a->is_stopping && a->n < MAX_BATCH && now() < until; )
            wait_until(a, until);
        if (!a->n)
            continue;
        const int n = a->n < MAX_BATCH ? a->n : MAX_BATCH;
        rg_text body = { 0 };
        struct json_object *key = json_object_new_string(a->options.key);
        rg_text_add(&body, "{\"api_key\": ");
        rg_json_write(&body, key, 0);
        json_object_put(key);
        rg_text_add(&body, ", \"batch\": [");
        for (int i = 0; i < n; i++) {
            rg_text_add(&body, i ? ", " : "");
            rg_text_add(&body, a->events[i]);
            rg_free(a->events[i]);
        }
        rg_text_add(&body, "]}");
        a->n -= n;
        memmove(a->events, a->events + n, (size_t)a->n * sizeof *a->events);
        pthread_mutex_unlock(&a->lock);
        const bool is_sent = !body.is_failed && send_batch(a, body.data);
        atomic_fetch_add(is_sent ? &a->n_sent : &a->n_dropped, n);
        rg_text_release(&body);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

rg_analytics *rg_analytics_start(const rg_analytics_options *o)
{
    rg_analytics *a = rg_calloc(1, sizeof *a);
    size_t n = strlen(o->host);
    pthread_condattr_t monotonic;
    char id[37];

    if (!a)
        return NULL;
    a->options = *o;
    a->options.flush_seconds = o->flush_seconds > 0 ? o->flush_seconds : 10;
    while (n && o->host[n - 1] == '/')
        n--;
    a->url = rg_asprintf("%.*s/batch/", (int)n, o->host);
    random_id(id);
    snprintf(a->id, sizeof a->id, "rylagraph-%s", id);
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (a->url && pthread_create(&a->thread, NULL, analytics_main, a) == 0)
        return a;
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    rg_free(a->url);
    rg_free(a);
    return NULL;
}

void rg_analytics_stop(rg_analytics *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->is_stopping = true;
    a->deadline = now() + last_seconds;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    for (int i = 0; i < a->n; i++)
        rg_free(a->events[i]);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    rg_free(a->url);
    rg_free(a);
}

void rg_analytics_count(rg_analytics *a, rg_analytics_totals *out)
{
    *out = (rg_analytics_totals){ 0 };
    if (a)
        *out = (rg_analytics_totals){ atomic_load(&a->n_sent), atomic_load(&a->n_dropped) };
}
