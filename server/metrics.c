/*
 * GET /metrics, in Prometheus' text format: what the queue, the executor, the log, webhooks and analytics count, and what is counted here by
 * endpoint and by model. Names of endpoints and models are few; should somebody make thousands, those after the first are "other".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "graph/json_text.h"
#include "server/log.h"
#include "server/service_inside.h"

enum { MAX_ROWS = 100, N_BUCKETS = 13 };

static const double buckets[N_BUCKETS] = { 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600 };

typedef struct histogram {
    int64_t counts[N_BUCKETS + 1];      /* not cumulative; the last: above all */
    double sum;
} histogram;

typedef struct row {
    char *name;
    int64_t n[3];                       /* done, failed, cancelled */
    double load, compute;
    histogram seconds;                  /* from accepted to done */
} row;

typedef struct rows {
    row list[MAX_ROWS];
    int n;
} rows;

struct service_metrics {
    double begun;                       /* of the process, seconds since 1970; 0: not known */
    double start_seconds;               /* from there until the routes were there */

    pthread_mutex_t lock;               /* all below */
    rows endpoints, models;
    histogram wait;
    int64_t n_cold;                     /* jobs that had to load a model */
    double cold_seconds, last_cold_seconds;
    double first_done;                  /* seconds from the start of the process to the first job done; 0: none yet */
};

/* ---- counting --------------------------------------------------------------------------------------------------------------- */

static double now_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* When this process began, seconds since 1970, as the kernel counts it (in hundredths); 0 when it does not say. */
static double process_begun(void)
{
    char text[1024];
    struct timespec boot;
    FILE *f = fopen("/proc/self/stat", "re");
    const char *at = f && fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;      /* the name before it may hold anything */
    unsigned long long ticks = 0;

    if (f)
        fclose(f);
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, " %llu", &ticks) != 1 || clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
        return 0;
    return now_wall() - ((double)boot.tv_sec + 1e-9 * (double)boot.tv_nsec) + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void histogram_add(histogram *h, double seconds)
{
    int i = 0;

    while (i < N_BUCKETS && seconds > buckets[i])
        i++;
    h->counts[i]++;
    h->sum += seconds;
}

/* The row of a name, a new one if there is none yet. NULL: no memory. */
static row *find_row(rows *r, const char *name)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < r->n; i++) {
            if (!strcmp(r->list[i].name, name))
                return &r->list[i];
        }
        if (r->n < MAX_ROWS - 1 || (pass == 1 && r->n < MAX_ROWS)) {
            char *copy = rg_strdup(name);
            if (copy)
                r->list[r->n++] = (row){ .name = copy };
            return copy ? &r->list[r->n - 1] : NULL;
        }
        name = "other";
    }
    return NULL;
}

/* The first diffusion model of the graph; NULL: it has none. */
static const char *model_of(rg_prompt *p)
{
    static const char *const inputs[] = { "unet_name", "ckpt_name" };
    struct json_object *v;

    for (int i = 0; p && i < rg_prompt_n_nodes(p); i++) {
        const rg_node *type;
        const char *id = rg_prompt_node(p, i, &type);
        if (!type || !type->category || !strstr(type->category, "loaders"))
            continue;
        for (int k = 0; k < 2; k++) {
            if (json_object_object_get_ex(rg_prompt_json(p), id, &v) && json_object_object_get_ex(v, "inputs", &v) &&
                json_object_object_get_ex(v, inputs[k], &v) && json_object_is_type(v, json_type_string))
                return json_object_get_string(v);
        }
    }
    return NULL;
}

void metrics_on_job(rg_service *s, const rg_job_event *e)
{
    service_metrics *m = s->metrics;

    if (!m)
        return;
    if (e->kind == RG_JOB_EVENT_ENDED && e->state >= RG_JOB_DONE) {
        const rg_job_seconds *t = &e->seconds;
        const char *model = model_of(e->prompt);
        const bool has_run = e->job->started > 0;

        pthread_mutex_lock(&m->lock);
        row *both[] = { find_row(&m->endpoints, e->job->endpoint ? e->job->endpoint : "workflow"), model ? find_row(&m->models, model) : NULL };
        for (int i = 0; i < 2; i++) {
            if (!both[i])
                continue;
            both[i]->n[e->state - RG_JOB_DONE]++;
            both[i]->load += t->load;
            both[i]->compute += t->compute;
            if (e->state == RG_JOB_DONE)
                histogram_add(&both[i]->seconds, t->wait + t->load + t->compute);
        }
        if (has_run)
            histogram_add(&m->wait, t->wait);
        if (has_run && t->load > 0) {
            m->n_cold++;
            m->cold_seconds += t->load;
            m->last_cold_seconds = t->load;
        }
        if (e->state == RG_JOB_DONE && m->first_done == 0 && m->begun > 0)
            m->first_done = now_wall() - m->begun;
        pthread_mutex_unlock(&m->lock);
    }
}

/* ---- showing ---------------------------------------------------------------------------------------------------------------- */

static void metric(rg_text *t, const char *name, const char *type, const char *help)
{
    rg_text_format(t, "# HELP rylagraph_%s %s\n# TYPE rylagraph_%s %s\n", name, help, name, type);
}

static void one(rg_text *t, const char *name, const char *type, const char *help, double value)
{
    metric(t, name, type, help);
    rg_text_format(t, "rylagraph_%s %.15g\n", name, value);
}

/* A label's value: backslash, quote and line end are escaped. */
static void add_label(rg_text *t, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            rg_text_add(t, "\\");
        if (*value == '\n')
            rg_text_add(t, "\\n");
        else
            rg_text_add_bytes(t, value, 1);
    }
}

static void labelled(rg_text *t, const char *name, const char *label, const char *value, const char *more, double number)
{
    rg_text_format(t, "rylagraph_%s{%s=\"", name, label);
    add_label(t, value);
    rg_text_format(t, "\"%s} %.15g\n", more, number);
}

static void show_histogram(rg_text *t, const char *name, const char *label, const char *value, const histogram *h)
{
    int64_t n = 0;

    for (int i = 0; i <= N_BUCKETS; i++) {
        char bound[24] = "+Inf";
        if (i < N_BUCKETS)
            snprintf(bound, sizeof bound, "%g", buckets[i]);
        n += h->counts[i];
        rg_text_format(t, "rylagraph_%s_bucket{", name);
        if (label) {
            rg_text_format(t, "%s=\"", label);
            add_label(t, value);
            rg_text_add(t, "\",");
        }
        rg_text_format(t, "le=\"%s\"} %lld\n", bound, (long long)n);
    }
    for (int i = 0; i < 2; i++) {
        rg_text_format(t, "rylagraph_%s_%s", name, i ? "count" : "sum");
        if (label) {
            rg_text_format(t, "{%s=\"", label);
            add_label(t, value);
            rg_text_add(t, "\"}");
        }
        if (i)
            rg_text_format(t, " %lld\n", (long long)n);
        else
            rg_text_format(t, " %.6f\n", h->sum);
    }
}

static void show_jobs(rg_text *t, rg_service *s)
{
    static const char *const states[] = { "done", "failed", "cancelled" };
    service_metrics *m = s->metrics;
    rg_queue_counts n;
    char more[40];

    rg_queue_count(s->queue, &n);
    metric(t, "jobs", "gauge", "Jobs that wait or run now.");
    rg_text_format(t, "rylagraph_jobs{state=\"queued\"} %lld\nrylagraph_jobs{state=\"running\"} %lld\n", (long long)n.queued, (long long)n.running);
    one(t, "jobs_accepted_total", "counter", "Jobs accepted since the start.", (double)n.accepted);
    metric(t, "jobs_ended_total", "counter", "Jobs ended since the start, by state.");
    rg_text_format(t, "rylagraph_jobs_ended_total{state=\"done\"} %lld\nrylagraph_jobs_ended_total{state=\"failed\"} %lld\n"
                   "rylagraph_jobs_ended_total{state=\"cancelled\"} %lld\n", (long long)n.done, (long long)n.failed, (long long)n.cancelled);
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    metric(t, "endpoint_jobs_total", "counter", "Jobs ended, by endpoint (workflow: graphs that came whole) and state.");
    for (int i = 0; i < m->endpoints.n; i++) {
        for (int k = 0; k < 3; k++) {
            snprintf(more, sizeof more, ",state=\"%s\"", states[k]);
            labelled(t, "endpoint_jobs_total", "endpoint", m->endpoints.list[i].name, more, (double)m->endpoints.list[i].n[k]);
        }
    }
    metric(t, "job_seconds", "histogram", "Seconds from accepted to done, by endpoint.");
    for (int i = 0; i < m->endpoints.n; i++)
        show_histogram(t, "job_seconds", "endpoint", m->endpoints.list[i].name, &m->endpoints.list[i].seconds);
    metric(t, "queue_wait_seconds", "histogram", "Seconds that jobs waited before they ran.");
    show_histogram(t, "queue_wait_seconds", NULL, NULL, &m->wait);
    metric(t, "model_jobs_total", "counter", "Jobs ended, by the diffusion model of the graph and state.");
    for (int i = 0; i < m->models.n; i++) {
        for (int k = 0; k < 3; k++) {
            snprintf(more, sizeof more, ",state=\"%s\"", states[k]);
            labelled(t, "model_jobs_total", "model", m->models.list[i].name, more, (double)m->models.list[i].n[k]);
        }
    }
    metric(t, "model_seconds_total", "counter", "Seconds loading and computing, by the diffusion model of the graph.");
    for (int i = 0; i < m->models.n; i++) {
        labelled(t, "model_seconds_total", "model", m->models.list[i].name, ",part=\"load\"", m->models.list[i].load);
        labelled(t, "model_seconds_total", "model", m->models.list[i].name, ",part=\"compute\"", m->models.list[i].compute);
    }
    one(t, "cold_jobs_total", "counter", "Jobs that had to load a model.", (double)m->n_cold);
    one(t, "cold_load_seconds_total", "counter", "Seconds that they loaded.", m->cold_seconds);
    one(t, "cold_load_last_seconds", "gauge", "Seconds that the last of them loaded.", m->last_cold_seconds);
    one(t, "start_seconds", "gauge", "Seconds from the start of the process to its routes being there.", m->start_seconds);
    one(t, "first_job_seconds", "gauge", "Seconds from the start of the process to the end of its first job; 0: none yet.", m->first_done);
    pthread_mutex_unlock(&m->lock);
}

static void show_nodes(rg_text *t, rg_service *s)
{
    rg_executor_totals totals = { 0 };

    rg_executor_get_totals(s->executor, &totals);
    metric(t, "seconds_total", "counter", "Seconds of jobs: waiting in the queue, loading models, computing.");
    rg_text_format(t, "rylagraph_seconds_total{part=\"wait\"} %.6f\nrylagraph_seconds_total{part=\"load\"} %.6f\n"
                   "rylagraph_seconds_total{part=\"compute\"} %.6f\n", totals.wait_seconds, totals.load_seconds, totals.compute_seconds);
    metric(t, "nodes_total", "counter", "Nodes that ran, and nodes whose result was in the cache.");
    rg_text_format(t, "rylagraph_nodes_total{cached=\"false\"} %lld\nrylagraph_nodes_total{cached=\"true\"} %lld\n",
                   (long long)totals.n_nodes_run, (long long)totals.n_nodes_cached);
    metric(t, "node_seconds_total", "counter", "Seconds in nodes, by class.");
    for (int i = 0; i < totals.n_classes; i++)
        labelled(t, "node_seconds_total", "class", totals.classes[i].class_type, "", totals.classes[i].seconds);
    metric(t, "node_runs_total", "counter", "Runs of nodes, by class.");
    for (int i = 0; i < totals.n_classes; i++)
        labelled(t, "node_runs_total", "class", totals.classes[i].class_type, "", (double)totals.classes[i].n_runs);
    rg_free(totals.classes);
}

static void show_process(rg_text *t, rg_service *s)
{
    struct rusage usage;
    unsigned long long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%llu %llu", &pages, &resident) == 2)
        one(t, "resident_bytes", "gauge", "Memory of the process, with the mapped parts of model files.", (double)resident * (double)sysconf(_SC_PAGESIZE));
    if (f)
        fclose(f);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        one(t, "peak_resident_bytes", "gauge", "Most memory the process has had.", (double)usage.ru_maxrss * 1024);
        one(t, "cpu_seconds_total", "counter", "Processor seconds of the process.", (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec +
            (double)usage.ru_stime.tv_sec + 1e-6 * (double)usage.ru_stime.tv_usec);
    }
    one(t, "available_bytes", "gauge", "Memory that could still be taken, as the system or the container's limit says.", (double)rg_available_bytes());
    one(t, "uptime_seconds", "gauge", "Seconds since the start.", now_wall() - s->started);
}

static void show_outside(rg_text *t, rg_service *s)
{
    rg_webhook_totals w = { 0 };
    rg_analytics_totals a;
    rg_log_totals l;

    if (s->webhooks)
        rg_webhooks_count(s->webhooks, &w);
    metric(t, "webhook_tries_total", "counter", "Requests to webhooks: delivered, to be tried again, given up.");
    rg_text_format(t, "rylagraph_webhook_tries_total{result=\"delivered\"} %lld\nrylagraph_webhook_tries_total{result=\"again\"} %lld\n"
                   "rylagraph_webhook_tries_total{result=\"failed\"} %lld\n", (long long)w.n_delivered, (long long)w.n_retried, (long long)w.n_failed);
    rg_analytics_count(s->analytics, &a);
    metric(t, "analytics_events_total", "counter", "Analytics events: taken by the host, dropped.");
    rg_text_format(t, "rylagraph_analytics_events_total{result=\"sent\"} %lld\nrylagraph_analytics_events_total{result=\"dropped\"} %lld\n",
                   (long long)a.n_sent, (long long)a.n_dropped);
    rg_log_count(&l);
    metric(t, "log_lines_total", "counter", "Lines of the log, by level.");
    rg_text_format(t, "rylagraph_log_lines_total{level=\"info\"} %lld\nrylagraph_log_lines_total{level=\"warning\"} %lld\n"
                   "rylagraph_log_lines_total{level=\"error\"} %lld\n", (long long)l.n_lines[RG_LOG_INFO], (long long)l.n_lines[RG_LOG_WARNING],
                   (long long)l.n_lines[RG_LOG_ERROR]);
    one(t, "log_dropped_total", "counter", "Lines that were not written because nobody read the log.", (double)l.n_dropped);
}

static void get_metrics(rg_request *r, void *user)
{
    rg_service *s = user;
    rg_text t = { 0 };

    pthread_mutex_lock(&s->lock);
    const double cost = s->cost;
    pthread_mutex_unlock(&s->lock);
    show_jobs(&t, s);
    show_nodes(&t, s);
    metric(&t, "cost_usd_total", "counter", "Device seconds of ended jobs times the price of the device.");
    labelled(&t, "cost_usd_total", "gpu", s->gpu, "", cost);
    metric(&t, "price_usd_per_second", "gauge", "What a device second costs.");
    labelled(&t, "price_usd_per_second", "gpu", s->gpu, "", s->price);
    show_process(&t, s);
    show_outside(&t, s);
    if (t.is_failed)
        rg_respond_error(r, 500);
    else
        rg_respond(r, 200, "text/plain; version=0.0.4; charset=utf-8", t.data, t.n_bytes);
    rg_text_release(&t);
}

void metrics_start(rg_service *s)
{
    service_metrics *m = s->metrics = rg_calloc(1, sizeof *s->metrics);

    rg_server_route(s->server, "GET", "/metrics", RG_ROUTE_METRICS | RG_ROUTE_NO_TWIN, get_metrics, s);
    if (!m)                             /* the rest is shown without it */
        return;
    pthread_mutex_init(&m->lock, NULL);
    m->begun = process_begun();
    m->start_seconds = m->begun > 0 ? now_wall() - m->begun : 0;
}

void metrics_free(rg_service *s)
{
    service_metrics *m = s->metrics;

    if (!m)
        return;
    for (int i = 0; i < m->endpoints.n; i++)
        rg_free(m->endpoints.list[i].name);
    for (int i = 0; i < m->models.n; i++)
        rg_free(m->models.list[i].name);
    pthread_mutex_destroy(&m->lock);
    rg_free(m);
    s->metrics = NULL;
}
