/*
 * Events for a PostHog-compatible host: gathered in memory and sent by a thread of their own, as batches by HTTP. Nobody who sends one
 * ever waits; what does not fit (1,000 events) or cannot be sent is dropped and counted. Off unless started. Which events there
 * are is analytics_events.c; docs/observability.md lists them for people.
 */
#ifndef RG_SERVER_ANALYTICS_H
#define RG_SERVER_ANALYTICS_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_analytics rg_analytics;

typedef struct rg_analytics_options {
    const char *host;                   /* "https://eu.i.posthog.com"; batches go to HOST/batch/ */
    const char *key;                    /* the project's key */
    double flush_seconds;               /* how long an event may wait for others; 0: 10 */
    void (*on_start)(void *user, rg_analytics *a);      /* runs on the thread first: for events that take a while to make; NULL: none */
    void *user;
} rg_analytics_options;

/* NULL: no memory or no thread. */
rg_analytics *rg_analytics_start(const rg_analytics_options *o);
void rg_analytics_stop(rg_analytics *a);                /* sends what is left, for up to three seconds */

/* From any thread; takes properties over (NULL: none). a NULL: nothing happens. */
void rg_analytics_send(rg_analytics *a, const char *event, struct json_object *properties);

typedef struct rg_analytics_totals {
    int64_t n_sent, n_dropped;
} rg_analytics_totals;
void rg_analytics_count(rg_analytics *a, rg_analytics_totals *out);

#endif
