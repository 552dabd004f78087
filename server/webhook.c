/*
 * Webhooks: reading them from requests, signing, and the threads that send.
 *
 * DESIGN
 *   One thread plans: whenever something changed or falls due it asks the queue what is pending, and starts a thread for each
 *   delivery that may be sent now. Nothing is remembered between two looks but what is being sent, so a restart needs no special
 *   case: what was pending is still pending. A try that the process did not survive is made again (at least once, never lost).
 *   Names are resolved anew for each try, and the address is looked at when the connection is made: a name that points elsewhere by
 *   then does not get past the ban on private addresses.
 */
#include "server/webhook.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "engine/core/ctx.h"
#include "engine/net/http_client.h"
#include "graph/json_text.h"

enum { MAX_SENDING = 16, MAX_PER_HOST = 4, MIN_KEY = 16, MAX_KEY = 128, DEFAULT_TRIES = 8 };

static const double max_wait = 86400;   /* the most that Retry-After may ask for */

const char *rg_webhook_event_name(rg_job_state s)
{
    return s == RG_JOB_DONE ? "completed" : rg_job_state_name(s);
}

/* ---- signing --------------------------------------------------------------------------------------------------------- */

/* The key of a secret; its length, or -1. */
static int secret_key(const char *secret, unsigned char key[MAX_KEY + 3])
{
    const bool is_coded = !strncmp(secret, "whsec_", 6);
    const char *text = is_coded ? secret + 6 : secret;
    const size_t n = strlen(text);

    if (!is_coded) {
        if (n < MIN_KEY || n > MAX_KEY)
            return -1;
        memcpy(key, text, n);
        return (int)n;
    }
    char padded[MAX_KEY * 4 / 3 + 8];   /* libcrypto wants the padding that some leave out */
    const size_t n_bare = strcspn(text, "=");
    if (n_bare > MAX_KEY * 4 / 3 || n_bare % 4 == 1 || n - n_bare > 2 || strspn(text + n_bare, "=") != n - n_bare ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != n_bare)
        return -1;
    memcpy(padded, text, n_bare);
    const size_t n_padded = (n_bare + 3) / 4 * 4;
    memset(padded + n_bare, '=', n_padded - n_bare);
    const int got = EVP_DecodeBlock(key, (const unsigned char *)padded, (int)n_padded) - (int)(n_padded - n_bare);
    return got < MIN_KEY || got > MAX_KEY ? -1 : got;
}

const char *rg_webhook_secret_problem(const char *secret)
{
    unsigned char key[MAX_KEY + 3];

    if (secret_key(secret, key) >= 0)
        return NULL;
    return strncmp(secret, "whsec_", 6) ? "it must be 16 to 128 bytes long, or whsec_ and so many in base64" : "behind whsec_ it must be base64 of 16 to 128 bytes";
}

bool rg_webhook_sign(const char *secret, const char *id, int64_t timestamp, const char *body, char signature[64])
{
    unsigned char key[MAX_KEY + 3], mac[EVP_MAX_MD_SIZE];
    unsigned int n_mac = 0;
    const int n_key = secret_key(secret, key);
    char *text = n_key < 0 ? NULL : rg_asprintf("%s.%lld.%s", id, (long long)timestamp, body);

    if (!text || !HMAC(EVP_sha256(), key, n_key, (const unsigned char *)text, strlen(text), mac, &n_mac)) {
        rg_free(text);
        return false;
    }
    rg_free(text);
    memcpy(signature, "v1,", 3);
    EVP_EncodeBlock((unsigned char *)signature + 3, mac, (int)n_mac);
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

/* A host written as an address that is not public: refused at once, instead of with the first try. Names are looked at then. */
static bool is_private_literal(const char *host)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    char bare[64];

    if (*host == '[') {
        snprintf(bare, sizeof bare, "%.*s", (int)strcspn(host + 1, "]"), host + 1);
        return inet_pton(AF_INET6, bare, &v6.sin6_addr) == 1 && !rg_http_is_public((struct sockaddr *)&v6);
    }
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(host, ":"), host);
    if (!strcmp(bare, "localhost"))
        return true;
    return inet_pton(AF_INET, bare, &v4.sin_addr) == 1 && !rg_http_is_public((struct sockaddr *)&v4);
}

static int read_events(struct json_object *list, unsigned *events, char *text, size_t text_size)
{
    if (!json_object_is_type(list, json_type_array) || json_object_array_length(list) == 0) {
        snprintf(text, text_size, "webhook.events wants a list of queued, running, completed, failed, cancelled");
        return RG_ERR_INVALID;
    }
    *events = 0;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *v = json_object_array_get_idx(list, i);
        const char *name = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
        unsigned found = 0;

        for (int s = RG_JOB_QUEUED; s <= RG_JOB_CANCELLED; s++) {
            if (!strcmp(name, rg_webhook_event_name((rg_job_state)s)))
                found = 1u << s;
        }
        if (!found) {
            snprintf(text, text_size, "webhook.events has %.60s, possible are queued, running, completed, failed and cancelled",
                     json_object_to_json_string(v));
            return RG_ERR_INVALID;
        }
        *events |= found;
    }
    return 0;
}

int rg_webhook_read(struct json_object *v, bool allows_private, char **webhook, unsigned *events, const char **field, char *text, size_t text_size)
{
    struct json_object *url = json_object_is_type(v, json_type_string) ? v : get(v, "url"), *secret = get(v, "secret"), *list = get(v, "events");
    const char *problem;
    char host[300];

    *events = 1u << RG_JOB_DONE | 1u << RG_JOB_FAILED | 1u << RG_JOB_CANCELLED;
    *field = "webhook";
    if (json_object_is_type(v, json_type_object)) {
        json_object_object_foreach(v, key, value) {
            (void)value;
            if (strcmp(key, "url") && strcmp(key, "secret") && strcmp(key, "events")) {
                snprintf(text, text_size, "webhook has %.60s, it takes url, secret and events", key);
                return RG_ERR_INVALID;
            }
        }
    }
    *field = "webhook.url";
    if (!json_object_is_type(url, json_type_string)) {
        snprintf(text, text_size, "webhook wants a URL, or an object with url, secret and events");
        return RG_ERR_INVALID;
    }
    if ((size_t)json_object_get_string_len(url) != strlen(json_object_get_string(url)))
        problem = "it holds a NUL";
    else
        problem = rg_http_url_problem(json_object_get_string(url));
    if (problem) {
        snprintf(text, text_size, "webhook.url: %s", problem);
        return RG_ERR_INVALID;
    }
    rg_http_url_host(json_object_get_string(url), host, sizeof host);
    if (!allows_private && is_private_literal(host)) {
        snprintf(text, text_size, "webhook.url: %.100s is not a public address", host);
        return RG_ERR_INVALID;
    }
    *field = "webhook.secret";
    if (secret && (!json_object_is_type(secret, json_type_string) || (problem = rg_webhook_secret_problem(json_object_get_string(secret))))) {
        snprintf(text, text_size, "webhook.secret: %s", json_object_is_type(secret, json_type_string) ? problem : "it must be text");
        return RG_ERR_INVALID;
    }
    *field = "webhook.events";
    if (list && read_events(list, events, text, text_size) < 0)
        return RG_ERR_INVALID;
    struct json_object *stored = json_object_new_object();
    json_object_object_add(stored, "url", json_object_get(url));
    json_object_object_add(stored, "host", json_object_new_string(host));
    if (secret)
        json_object_object_add(stored, "secret", json_object_get(secret));
    *webhook = rg_json_dump(stored, 0);
    json_object_put(stored);
    *field = NULL;
    snprintf(text, text_size, "no memory for the webhook");
    return *webhook ? 0 : RG_ERR_NOMEM;
}

/* ---- sending ----------------------------------------------------------------------------------------------------------- */

typedef struct sending {
    rg_webhooks *w;
    bool is_used;
    char host[300];
    rg_delivery *d;
} sending;

struct rg_webhooks {
    rg_webhook_options options;
    pthread_t planner;
    atomic_bool is_stopping;
    atomic_llong n_delivered, n_retried, n_failed;

    pthread_mutex_t lock;               /* all below; never held while the queue is asked */
    pthread_cond_t changed;             /* monotonic */
    bool is_woken;
    int n_sending;
    sending slots[MAX_SENDING];
};

static double now_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* After so many tries (1: the first): four times as long each time, a fifth more or less, so that many do not come back at once. */
static double backoff(const rg_webhooks *w, int n_tries)
{
    uint32_t random = 0;
    double wait = w->options.retry_seconds;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = 1u << 31;
    for (int i = 1; i < n_tries && wait < max_wait; i++)
        wait *= 4;
    return wait * (0.8 + 0.4 * (double)random / 4294967296.0);
}

static bool goes_on(void *user, int64_t received, int64_t receive_total, int64_t sent, int64_t send_total)
{
    rg_webhooks *w = user;

    return !atomic_load(&w->is_stopping);
}

/* One try: what came of it into a; *wait is what the receiver asks for, < 0: nothing. False: broken off by the end of the server. */
static bool send_once(rg_webhooks *w, const rg_delivery *d, const char *body, rg_delivery_attempt *a, rg_delivery_state *state, double *wait)
{
    struct json_object *webhook = json_tokener_parse(d->webhook);
    const char *url = json_object_get_string(get(webhook, "url")), *own = json_object_get_string(get(webhook, "secret"));
    const char *secret = own ? own : w->options.secret;
    const int64_t timestamp = (int64_t)a->at;
    char id[100], stamp[60], attempt[40], signature[100], mac[64];
    const char *headers[] = { "Content-Type: application/json", id, stamp, attempt, NULL, NULL };
    rg_http_response r = { 0 };
    bool is_over = true;

    snprintf(id, sizeof id, "webhook-id: %.80s", d->id);
    snprintf(stamp, sizeof stamp, "webhook-timestamp: %lld", (long long)timestamp);
    snprintf(attempt, sizeof attempt, "webhook-attempt: %d", a->n);
    if (secret && rg_webhook_sign(secret, d->id, timestamp, body, mac)) {
        snprintf(signature, sizeof signature, "webhook-signature: %s", mac);
        headers[4] = signature;
    } else if (secret) {                /* never unsigned what should be signed */
        a->error = rg_strdup("no memory to sign it");
        json_object_put(webhook);
        return true;
    }
    const rg_http_request q = { .url = url ? url : "", .headers = headers, .body = body, .n_body = strlen(body), .max_body = 1, .connect_seconds = 10,
                                .total_seconds = w->options.timeout_seconds, .is_public_only = !w->options.allows_private,
                                .on_progress = goes_on, .user = w };
    const int ret = rg_http_perform(&q, &r);
    a->status = r.status;
    a->seconds = r.seconds;
    if (ret == 0 && r.status >= 200 && r.status < 300) {
        *state = RG_DELIVERY_DELIVERED;
    } else if (ret == 0) {
        *wait = rg_http_retry_after(&r);
        if (r.status == 410)            /* it asks not to be told again */
            *state = RG_DELIVERY_FAILED;
        a->error = rg_asprintf(r.status / 100 == 3 ? "the receiver answered %d; redirects are not followed" : "the receiver answered %d", r.status);
    } else if (r.is_refused) {
        *state = RG_DELIVERY_FAILED;
        a->error = rg_strdup(*r.address ? "the host does not lead to a public address" : r.error);
    } else {
        is_over = ret != RG_ERR_CANCELLED;
        a->error = rg_strdup(r.error);
    }
    rg_http_response_release(&r);
    json_object_put(webhook);
    return is_over;
}

static void send_delivery(rg_webhooks *w, const rg_delivery *d)
{
    rg_delivery_attempt a = { .n = d->n_attempts + 1, .at = now_wall() };
    rg_delivery_state state = RG_DELIVERY_PENDING;
    double wait = -1, due = 0;
    char *body = d->body ? rg_strdup(d->body) : NULL;

    if (!d->body) {
        rg_job *j = rg_queue_get(w->options.queue, d->job);
        if (j) {
            body = w->options.body(w->options.user, d, j);
        } else {
            state = RG_DELIVERY_FAILED;
            a.error = rg_strdup("the job was forgotten before this could be sent");
        }
        rg_job_free(j);
    }
    if (body) {
        if (!send_once(w, d, body, &a, &state, &wait))
            goto done;
    } else if (!a.error) {
        a.error = rg_strdup("no memory for its JSON");
    }
    const int n_tries = d->n_tries + 1;
    if (state == RG_DELIVERY_PENDING && n_tries >= w->options.max_tries)
        state = RG_DELIVERY_FAILED;
    if (state == RG_DELIVERY_PENDING) {
        const double own = backoff(w, n_tries);
        due = now_wall() + (wait > max_wait ? max_wait : wait > own ? wait : own);
    }
    /* what is not written down would be sent again at once: wait for the disk, as jobs do */
    while (rg_queue_delivery_tried(w->options.queue, d, &a, body, state, due) < 0 && !atomic_load(&w->is_stopping))
        nanosleep(&(struct timespec){ 1, 0 }, NULL);
    atomic_fetch_add(state == RG_DELIVERY_DELIVERED ? &w->n_delivered : state == RG_DELIVERY_FAILED ? &w->n_failed : &w->n_retried, 1);
    if (w->options.on_tried)
        w->options.on_tried(w->options.user, d, &a, state, due);
done:
    rg_free(a.error);
    rg_free(body);
}

static void *sender_main(void *arg)
{
    sending *s = arg;
    rg_webhooks *w = s->w;

    send_delivery(w, s->d);
    pthread_mutex_lock(&w->lock);
    rg_delivery_free(s->d);             /* under the lock: the planner looks at it */
    s->is_used = false;
    w->n_sending--;
    w->is_woken = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Hand d to a thread; it is taken over then. */
static bool start_sending(rg_webhooks *w, const char *host, rg_delivery *d)
{
    sending *s = NULL;
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < MAX_SENDING && !s; i++) {
        if (!w->slots[i].is_used)
            s = &w->slots[i];
    }
    if (s) {
        *s = (sending){ .w = w, .is_used = true, .d = d };
        snprintf(s->host, sizeof s->host, "%s", host);
        w->n_sending++;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &attributes, sender_main, s) != 0) {
            s->is_used = false;
            w->n_sending--;
            s = NULL;
        }
        pthread_attr_destroy(&attributes);
    }
    pthread_mutex_unlock(&w->lock);
    return s != NULL;
}

/* What is being sent, as it was before the queue was asked: a delivery that ends meanwhile is not taken for a new one. */
typedef struct snapshot {
    int n;
    int64_t keys[MAX_SENDING];
    char jobs[MAX_SENDING][80];
    char hosts[MAX_SENDING][300];
} snapshot;

static void take_snapshot(rg_webhooks *w, snapshot *s)
{
    s->n = 0;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < MAX_SENDING; i++) {
        if (w->slots[i].is_used) {
            s->keys[s->n] = w->slots[i].d->key;
            snprintf(s->jobs[s->n], sizeof s->jobs[0], "%s", w->slots[i].d->job);
            snprintf(s->hosts[s->n], sizeof s->hosts[0], "%s", w->slots[i].host);
            s->n++;
        }
    }
    pthread_mutex_unlock(&w->lock);
}

/* To one host: what is due and not being sent, one of each job. Adds to the snapshot. False: there is no thread or memory for more. */
static bool plan_host(rg_webhooks *w, snapshot *s, const char *host, double now)
{
    rg_delivery **list = NULL;
    bool is_good = true;
    int n_here = 0;

    for (int i = 0; i < s->n; i++)
        n_here += !strcmp(s->hosts[i], host);
    if (n_here >= MAX_PER_HOST || s->n >= MAX_SENDING)
        return true;
    int n = rg_queue_deliveries_due(w->options.queue, host, now, 8 * MAX_SENDING, &list);
    for (int i = 0; i < n && n_here < MAX_PER_HOST && s->n < MAX_SENDING && is_good; ) {
        bool is_busy = false;
        for (int k = 0; k < s->n; k++)
            is_busy |= s->keys[k] == list[i]->key || !strcmp(s->jobs[k], list[i]->job);
        if (is_busy) {
            i++;
            continue;
        }
        s->keys[s->n] = list[i]->key;
        snprintf(s->jobs[s->n], sizeof s->jobs[0], "%s", list[i]->job);
        snprintf(s->hosts[s->n], sizeof s->hosts[0], "%s", host);
        if ((is_good = start_sending(w, host, list[i]))) {
            memmove(list + i, list + i + 1, (size_t)(n - i) * sizeof *list);    /* the sender's now; the NULL at the end moves, too */
            n--;
            n_here++;
            s->n++;
        }
    }
    if (n >= 0)
        rg_deliveries_free(list);
    return is_good && n >= 0;
}

/* Look at all that is pending; returns the seconds until the next is due. */
static double plan(rg_webhooks *w, int turn)
{
    rg_delivery_host *hosts = NULL;
    double next = 3600;
    snapshot *s = rg_malloc(sizeof *s);
    int n = RG_ERR_NOMEM;

    if (s) {
        take_snapshot(w, s);
        n = rg_queue_delivery_hosts(w->options.queue, &hosts);
    }
    const double now = now_wall();

    if (n < 0)
        next = 1;                       /* no memory, or the disk: look again soon */
    for (int i = 0; i < n; i++) {
        const rg_delivery_host *h = &hosts[(i + turn) % n];     /* not always the same first when there are more than slots */
        if (h->due > now) {
            next = h->due - now < next ? h->due - now : next;
            continue;
        }
        if (!plan_host(w, s, h->host, now))
            next = 1;
    }
    rg_free(hosts);
    rg_free(s);
    return next;
}

static void *planner_main(void *arg)
{
    rg_webhooks *w = arg;
    double next = 0;

    pthread_mutex_lock(&w->lock);
    for (int turn = 0; !atomic_load(&w->is_stopping); turn++) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        next += 0.01;                   /* changes that come one after the other are looked at together */
        until.tv_sec += (time_t)next;
        until.tv_nsec += (long)((next - (double)(time_t)next) * 1e9);
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        while (!w->is_woken && !atomic_load(&w->is_stopping) && pthread_cond_timedwait(&w->changed, &w->lock, &until) == 0)
            ;
        w->is_woken = false;
        pthread_mutex_unlock(&w->lock);
        if (!atomic_load(&w->is_stopping))
            next = plan(w, turn);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void on_delivery(void *user)
{
    rg_webhooks *w = user;

    pthread_mutex_lock(&w->lock);
    w->is_woken = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

rg_webhooks *rg_webhooks_start(const rg_webhook_options *o)
{
    rg_webhooks *w = rg_calloc(1, sizeof *w);
    pthread_condattr_t monotonic;

    if (!w)
        return NULL;
    w->options = *o;
    w->options.retry_seconds = o->retry_seconds > 0 ? o->retry_seconds : 5;
    w->options.max_tries = o->max_tries > 0 ? o->max_tries : DEFAULT_TRIES;
    w->options.timeout_seconds = o->timeout_seconds > 0 ? o->timeout_seconds : 20;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rg_queue_on_delivery(o->queue, on_delivery, w);
    if (pthread_create(&w->planner, NULL, planner_main, w) != 0) {
        rg_queue_on_delivery(o->queue, NULL, NULL);
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        rg_free(w);
        return NULL;
    }
    return w;
}

void rg_webhooks_stop(rg_webhooks *w)
{
    if (!w)
        return;
    rg_queue_on_delivery(w->options.queue, NULL, NULL);
    atomic_store(&w->is_stopping, true);
    on_delivery(w);
    pthread_join(w->planner, NULL);
    pthread_mutex_lock(&w->lock);
    while (w->n_sending)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    rg_free(w);
}

void rg_webhooks_count(rg_webhooks *w, rg_webhook_totals *out)
{
    *out = (rg_webhook_totals){ atomic_load(&w->n_delivered), atomic_load(&w->n_retried), atomic_load(&w->n_failed) };
}
