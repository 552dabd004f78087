/*
 * Webhooks of the service: the `webhook` of a call, the JSON that is sent, the log of a job's deliveries and the way to send one
 * again. What a receiver sees is described in docs/webhooks.md; who sends is webhook.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net/http_client.h"
#include "graph/json_text.h"
#include "server/log.h"
#include "server/service_inside.h"

static void add_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

/* ---- of a call --------------------------------------------------------------------------------------------------------------- */

/* What the headers Webhook-Url, Webhook-Secret and Webhook-Events (names with commas between) say, as the body's field has it. */
static struct json_object *from_headers(rg_request *r)
{
    const char *url = rg_request_header(r, "webhook-url"), *secret = rg_request_header(r, "webhook-secret"),
               *events = rg_request_header(r, "webhook-events");

    if (!url)
        return NULL;
    struct json_object *v = json_object_new_object(), *list;
    add_text(v, "url", url);
    if (secret)
        add_text(v, "secret", secret);
    if (events) {
        json_object_object_add(v, "events", list = json_object_new_array());
        for (const char *at = events + strspn(events, ", "); *at; at += strspn(at, ", ")) {
            const size_t n = strcspn(at, ", ");
            json_object_array_add(list, json_object_new_string_len(at, (int)n));
            at += n;
        }
    }
    return v;
}

void call_webhook(rg_service *s, rg_request *r, struct json_object *value, call *c)
{
    struct json_object *v = value ? json_object_get(value) : from_headers(r);
    const char *field = NULL;

    if (v && rg_webhook_read(v, s->options.webhook.allows_private, &c->webhook, &c->webhook_events, &field, c->text, sizeof c->text) < 0) {
        c->status = field ? 400 : 503;
        snprintf(c->field, sizeof c->field, "%s", field ? field : "");
    }
    json_object_put(v);
}

/* ---- what is sent -------------------------------------------------------------------------------------------------------------- */

/* The job as GET /jobs/{id} shows it, in the state that is told of, and which event this is. */
static char *make_body(void *user, const rg_delivery *d, const rg_job *j)
{
    rg_job then = *j;
    char at[40];

    if (d->event < RG_JOB_DONE)
        then.state = d->event;          /* it may be further by now */
    struct json_object *body = json_object_new_object(), *job = service_job_json(user, &then);
    add_text(body, "event", rg_webhook_event_name(d->event));
    add_text(body, "delivery", d->id);
    rg_utc_text(d->created, at);
    add_text(body, "timestamp", at);
    json_object_object_foreach(job, key, value) {
        if (strcmp(key, "position") && strcmp(key, "estimated_seconds"))    /* of the moment, not of the event */
            json_object_object_add(body, key, json_object_get(value));
    }
    char *text = rg_json_dump(body, 0);
    json_object_put(job);
    json_object_put(body);
    return text;
}

static void on_tried(void *user, const rg_delivery *d, const rg_delivery_attempt *a, rg_delivery_state state, double due)
{
    static const char *const messages[] = { "webhook will be tried again", "webhook delivered", "webhook given up" };

    rg_log(state == RG_DELIVERY_DELIVERED ? RG_LOG_INFO : RG_LOG_WARNING, messages[state], RG_LOG_TEXT("job", d->job), RG_LOG_TEXT("delivery", d->id),
           RG_LOG_TEXT("event", rg_webhook_event_name(d->event)), RG_LOG_INT("attempt", a->n), RG_LOG_INT("status", a->status),
           RG_LOG_REAL("seconds", a->seconds), RG_LOG_TEXT("error", a->error));
}

/* ---- the log ------------------------------------------------------------------------------------------------------------------------ */

static struct json_object *delivery_json(const rg_delivery *d, int n)
{
    struct json_object *o = json_object_new_object(), *webhook = json_tokener_parse(d->webhook), *url = NULL, *attempts = json_object_new_array();
    char shown[300] = "";

    json_object_object_add(o, "n", json_object_new_int(n));
    add_text(o, "id", d->id);
    add_text(o, "event", rg_webhook_event_name(d->event));
    add_text(o, "state", rg_delivery_state_name(d->state));
    if (json_object_object_get_ex(webhook, "url", &url))
        rg_http_url_shown(json_object_get_string(url), shown, sizeof shown);
    add_text(o, "url", shown);
    json_object_object_add(o, "created", json_object_new_double(d->created));
    if (d->state == RG_DELIVERY_PENDING)
        json_object_object_add(o, "next_attempt", json_object_new_double(d->due));
    for (int i = 0; i < d->n_attempts; i++) {
        const rg_delivery_attempt *a = &d->attempts[i];
        struct json_object *v = json_object_new_object();
        json_object_object_add(v, "n", json_object_new_int(a->n));
        json_object_object_add(v, "time", json_object_new_double(a->at));
        json_object_object_add(v, "seconds", json_object_new_double(a->seconds));
        json_object_object_add(v, "status", a->status ? json_object_new_int(a->status) : NULL);
        add_text(v, "error", a->error);
        json_object_array_add(attempts, v);
    }
    json_object_object_add(o, "attempts", attempts);
    json_object_put(webhook);
    return o;
}

static void get_deliveries(rg_request *r, void *user)
{
    rg_service *s = user;
    rg_job *j = service_named_job(s, r);
    rg_delivery **list = NULL;

    if (!j)
        return;
    const int n = rg_queue_deliveries(s->queue, j->id, &list);
    if (n < 0) {
        service_refuse(r, 503, NULL, "the log cannot be read");
    } else {
        struct json_object *o = json_object_new_object(), *all = json_object_new_array();
        for (int i = 0; i < n; i++)
            json_object_array_add(all, delivery_json(list[i], i));
        json_object_object_add(o, "deliveries", all);
        rg_respond_json(r, 200, o);
        rg_deliveries_free(list);
    }
    rg_job_free(j);
}

static void retry_delivery(rg_request *r, void *user)
{
    rg_service *s = user;
    const char *text = rg_request_param(r, 1);
    char *end;
    const long i = strtol(text, &end, 10);
    rg_job *j = service_named_job(s, r);
    rg_delivery **list = NULL;

    if (!j)
        return;
    const int n = rg_queue_deliveries(s->queue, j->id, &list);
    if (n < 0) {
        service_refuse(r, 503, NULL, "the log cannot be read");
    } else if (*end || end == text || i < 0 || i >= n) {
        service_refuse(r, 404, NULL, "the job has %d deliveries, numbered from 0; there is no %.40s", n, text);
    } else {
        const int ret = rg_queue_delivery_again(s->queue, list[i]->key);
        if (ret == RG_ERR_NOT_FOUND) {
            service_refuse(r, 404, NULL, "it is not there any more");
        } else if (ret < 0) {
            service_refuse(r, 503, NULL, "it could not be stored");
        } else {
            list[i]->state = RG_DELIVERY_PENDING;
            rg_respond_json(r, 202, delivery_json(list[i], (int)i));
        }
    }
    if (n >= 0)
        rg_deliveries_free(list);
    rg_job_free(j);
}

void webhooks_start(rg_service *s)
{
    rg_webhook_options o = s->options.webhook;

    rg_server_route(s->server, "GET", "/jobs/{id}/deliveries", RG_ROUTE_WORKER | RG_ROUTE_NO_TWIN | RG_ROUTE_ENDPOINT, get_deliveries, s);
    rg_server_route(s->server, "POST", "/jobs/{id}/deliveries/{n}/retry", RG_ROUTE_WORKER | RG_ROUTE_NO_TWIN | RG_ROUTE_ENDPOINT,
                    retry_delivery, s);
    o.queue = s->queue;
    o.body = make_body;
    o.on_tried = on_tried;
    o.user = s;
    s->webhooks = rg_webhooks_start(&o);
}
