/*
 * What a program that wants pictures talks to: named endpoints made from templates (POST /flux-dev), POST /workflow, the /jobs API,
 * and what operators ask: /health, /metrics. Described for clients in docs/api.md.
 */
#ifndef RG_SERVER_SERVICE_H
#define RG_SERVER_SERVICE_H

#include "server/analytics.h"
#include "server/executor.h"
#include "server/http.h"
#include "server/webhook.h"

typedef struct rg_service rg_service;

typedef struct rg_service_options {
    rg_env *env;
    const char *const *workflow_dirs;   /* NULL-terminated; each holds NAME.json templates */
    const char *gpu;                    /* X-GPU-Type and the price's key; NULL: "CPU" */
    bool has_price;                     /* false: by the table of cost.h */
    double usd_per_second;
    double timeout_seconds;             /* of synchronous calls, where the template has none of its own; 0: 120 */
    void (*report)(void *user, const char *line);       /* a template file that came, changed, went or is no good; from any thread */
    void *report_user;
    rg_analytics_options analytics;     /* host and key, or it stays off; the rest is filled in */
    rg_webhook_options webhook;         /* secret, allows_private, retry_seconds; the rest is filled in */
} rg_service_options;

/*
 * Reads the templates and checks them against the node table; one that is broken is left out, with a line in text per file.
 * From rg_service_start() on the folders are watched: a file that comes, changes or goes needs no restart, and one that is broken
 * leaves its last good version in service. What o points to must outlive it. NULL if no memory.
 */
rg_service *rg_service_new(const rg_service_options *o, char *text, size_t text_size);
void rg_service_free(rg_service *s);

void rg_service_on_job(void *user, const rg_job_event *e);      /* call it from the executor's listener */

/* Add the routes: before the executor starts, whose first events may be of jobs that waited on disk. */
void rg_service_start(rg_service *s, rg_server *server, rg_queue *q);
void rg_service_set_executor(rg_service *s, rg_executor *x);    /* before the server runs, when it has all its routes */

/*
 * The end is near: calls are refused with 503, /health says "stopping" with 503, what runs goes on. From any
 * thread.
 */
void rg_service_drain(rg_service *s);

/* Answers everybody who still waits (503) and ends their streams; before the executor stops. While the server still runs (then after
 * rg_service_drain()) the answers reach them; a second call does nothing. */
void rg_service_stop(rg_service *s);

#endif
