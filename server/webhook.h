/*
 * Webhooks: a job may carry a URL that is told of its states, signed as Standard Webhooks (standardwebhooks.com) says. The queue
 * writes down what is to be told (deliveries.h); this sends it, tries again, and keeps the log. docs/webhooks.md is for receivers.
 */
#ifndef RG_SERVER_WEBHOOK_H
#define RG_SERVER_WEBHOOK_H

#include <json-c/json.h>

#include "server/deliveries.h"

/* ---- what a request says ------------------------------------------------------------------------------------------------- */

/* What a webhook calls a job's state: "queued", "running", "completed", "failed", "cancelled". */
const char *rg_webhook_event_name(rg_job_state s);

/*
 * Read {"url", "secret", "events"} or a URL alone, into what rg_job_new wants: *webhook to rg_free(), *events a mask.
 *   field    gets the name of what is wrong ("webhook.url"), text why
 *   returns  0, RG_ERR_INVALID, RG_ERR_NOMEM
 */
int rg_webhook_read(struct json_object *v, bool allows_private, char **webhook, unsigned *events, const char **field, char *text, size_t text_size);

/* ---- signing --------------------------------------------------------------------------------------------------------------- */

/*
 * "v1,BASE64" of HMAC-SHA256 over "id.timestamp.body".
 *   secret   "whsec_BASE64" (the bytes it stands for are the key), or any other text (its bytes are the key)
 *   returns  false: no memory, or not base64 behind whsec_
 */
bool rg_webhook_sign(const char *secret, const char *id, int64_t timestamp, const char *body, char signature[64]);

/* NULL, or what is wrong with a secret: a key is 16 to 128 bytes long. */
const char *rg_webhook_secret_problem(const char *secret);

/* ---- sending --------------------------------------------------------------------------------------------------------------- */

typedef struct rg_webhooks rg_webhooks;

typedef struct rg_webhook_options {
    rg_queue *queue;
    const char *secret;                 /* for jobs without one of their own; NULL: those are not signed */
    bool allows_private;                /* also to loopback, private and link-local addresses */
    double retry_seconds;               /* before the second try; each further one waits four times as long; 0: 5 */
    int max_tries;                      /* 0: 8, over about eight hours */
    double timeout_seconds;             /* of one try; 0: 20 */
    /* The JSON of a delivery, to rg_free(); NULL: no memory. From several threads. */
    char *(*body)(void *user, const rg_delivery *d, const rg_job *j);
    /* A try has ended (state and due are what comes next). From several threads; NULL: nobody wants to know. */
    void (*on_tried)(void *user, const rg_delivery *d, const rg_delivery_attempt *a, rg_delivery_state state, double due);
    void *user;
} rg_webhook_options;

/*
 * Starts a thread that waits for deliveries, those of an earlier process first. Up to 16 are sent at once, 4 to one host, one of
 * one job. What o points to must outlive it. NULL: no memory or no thread.
 */
rg_webhooks *rg_webhooks_start(const rg_webhook_options *o);
void rg_webhooks_stop(rg_webhooks *w);  /* breaks off what is being sent: it stays pending */

typedef struct rg_webhook_totals {
    int64_t n_delivered, n_retried, n_failed;           /* tries since the start, by what became of them; failed: given up */
} rg_webhook_totals;
void rg_webhooks_count(rg_webhooks *w, rg_webhook_totals *out);

#endif
