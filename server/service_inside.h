/*
 * Shared by templates.c (which endpoints there are), endpoints.c (calls and synchronous answers), jobs.c (/jobs, /health),
 * metrics.c, webhook_routes.c and analytics_events.c.
 */
#ifndef RG_SERVER_SERVICE_INSIDE_H
#define RG_SERVER_SERVICE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "graph/template.h"
#include "server/http_parse.h"
#include "server/service.h"

/* One version of a template file: never changed, shared by those who use it, endpoint_release() by each. */
typedef struct endpoint {
    atomic_int n_holders;
    char *name, *route;
    char *text;                         /* the file: parsed anew for each call, which then owns its graph */
    size_t n_text;
    double timeout;                     /* seconds; 0: it has none of its own */
    char *missing;                      /* classes that this program does not have, ", " between; NULL: none */
} endpoint;

typedef struct service_metrics service_metrics;         /* metrics.c */
typedef struct template_file template_file;             /* templates.c */

typedef enum answer_format { ANSWER_JPEG, ANSWER_PNG, ANSWER_WEBP } answer_format;

/* What a call made of its request: to be pushed, and how to answer. Release with call_release(). */
typedef struct call {
    struct json_object *request;        /* as the queue stores it */
    const char *endpoint;               /* borrowed; NULL for a plain workflow */
    double timeout;
    char *ignored;                      /* fields nobody knows, ", " between; NULL: none */
    char *webhook;                      /* of the job, as rg_job_new has it; NULL: none */
    unsigned webhook_events;
    struct json_object *analytics;      /* what its events say; NULL: none */
    int status;                         /* of a refusal, else 0 */
    char field[80], text[1200];
} call;

/* A client that waits for its picture. */
typedef struct waiter {
    struct waiter *next;
    rg_request *r;
    char id[80];
    double deadline;                    /* monotonic */
    char *ignored;
    bool is_gone;                       /* its client is */
    bool is_detached;                   /* the job was made to run by itself: it goes on without those who wait for it */
    rg_job *job;                        /* once it has ended */
} waiter;

/* Events of one job, for GET /jobs/{id}/events; kept a while after it ended. */
typedef struct job_log {
    struct job_log *next;               /* newest first */
    char id[80];
    long long epoch;                    /* of this process: ids of another's events mean nothing here */
    char **events;                      /* whole SSE events; event i has id EPOCH-(first + i) */
    int n_events, capacity, first;
    bool is_ended, is_end_stored;       /* its "end" is not among the events: made from the store when it is wanted */
    rg_request *streams[16];
    int n_streams;
} job_log;

enum { MAX_LOGS = 256, MAX_LOG_EVENTS = 2000, MAX_DEEP_CHECKS = 2, KEEP_ALIVE_SECONDS = 15 };

struct rg_service {
    rg_service_options options;
    const char *gpu;
    double price;                       /* USD per second */
    rg_server *server;
    rg_queue *queue;
    rg_executor *executor;
    double started;                     /* wall */
    atomic_bool is_draining;
    service_metrics *metrics;           /* NULL: no memory */
    rg_analytics *analytics;            /* NULL: off */
    bool is_model_error;                /* the executor's thread: why the job at hand failed */
    rg_webhooks *webhooks;              /* NULL: could not be started */

    pthread_mutex_t templates_lock;     /* of files; the loop thread takes it, so nobody holds it for long */
    template_file *files;
    int n_files;
    pthread_t watcher;                  /* the only thread that changes files, once it runs */
    bool has_watcher;
    int watcher_fd;                     /* an eventfd that ends it */
    char *first_notes;                  /* where notes go before the watcher runs; then NULL: to options.report */
    size_t first_notes_size;

    pthread_mutex_t lock;               /* all below */
    pthread_cond_t changed;
    pthread_t answerer;
    bool has_answerer, is_stopping;
    waiter *waiting, *ended;
    job_log *logs;
    int n_logs;
    int n_deep;                         /* deep health checks at work, each on a thread of its own */
    double mean_seconds;                /* of recent jobs, load and compute; 0: none yet */
    double running_since;               /* monotonic; 0: nothing runs */
    double cost;                        /* of all jobs since the start */
};

double service_now(void);               /* monotonic */

/* {"error", "details", "type", "detail", "path", "field"}: both generations of clients find their key. */
void service_refuse(rg_request *r, int status, const char *field, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Read a call of an endpoint, or of /workflow (e NULL) from its JSON body. On a refusal c->status is set. */
void call_read(rg_service *s, endpoint *e, rg_request *r, struct json_object *body, call *c);
void call_release(call *c);

/* Answer with the state of a job just accepted: 202, Location and the job. */
void service_accepted(rg_service *s, rg_request *r, const char *id, const call *c, int status);

/* Push it; on failure the request is answered and the code returned. RG_ERR_EXISTS gives the older job's id and no answer. */
int service_push(rg_service *s, rg_request *r, const call *c, const char *own_id, char *id, size_t id_size);

/* Load and compute seconds of an ended job's result. */
double service_seconds(const rg_job *j, double *load, double *compute, double *wait);

/* X-Cost-USD and the others; of a job that has not ended those that are known. ignored: fields nobody knows, NULL: none. */
void service_headers(rg_service *s, rg_request *r, const rg_job *j, const char *ignored);
void service_free_headers(rg_service *s, rg_request *r, const char *ignored);   /* of what was refused before any work */

/* The n-th file of a job, in its format or as it was saved: bytes to rg_free() and content type. RG_ERR_NOT_FOUND. */
int service_output(const rg_job *j, int n, const char *format, uint8_t **bytes, size_t *n_bytes, const char **content_type, char *text,
                   size_t text_size);
int service_n_outputs(const rg_job *j);

/* A regular file of at most so many bytes, with a NUL behind it; rg_free() it. NULL: it is none, too large, or no memory. */
char *service_read_file(const char *path, size_t most, size_t *n_bytes);

/* ---- templates.c ---------------------------------------------------------------------------------------------------- */

void templates_read(rg_service *s);     /* the folders as they are now; s->server NULL: built-in routes are not known yet */
void templates_start(rg_service *s);    /* watch them */
void templates_stop(rg_service *s);
void templates_free(rg_service *s);

/* An endpoint by its name or route, by the path and host of a request; endpoint_release() it. NULL: there is none. */
endpoint *service_endpoint(rg_service *s, const char *name);
endpoint *service_endpoint_at(rg_service *s, const char *path, const char *host);
bool service_has_route(void *service, const char *path, const char *host);      /* a rg_has_route */
void endpoint_release(endpoint *e);

endpoint **service_endpoints(rg_service *s);            /* all, NULL-terminated; service_endpoints_free() them; NULL: no memory */
void service_endpoints_free(endpoint **list);
struct json_object *service_template_problems(rg_service *s);   /* [{"file", "problem", "route": what its last good version serves}] */

/* Classes of the graph that the node table lacks, each once, ", " between; rg_free() it. NULL: none. */
char *service_missing_classes(struct json_object *graph);

/* A job as clients see it. */
struct json_object *service_job_json(rg_service *s, const rg_job *j);
rg_job *service_named_job(rg_service *s, rg_request *r);        /* that the path names; NULL after answering 404 */

/* ---- webhook_routes.c ----------------------------------------------------------------------------------------------- */

/* The webhook of a call: `value` of its body, else the request's headers. On a refusal c->status is set. */
void call_webhook(rg_service *s, rg_request *r, struct json_object *value, call *c);
void webhooks_start(rg_service *s);     /* its routes and threads */

/* ---- analytics_events.c; nothing happens while it is off ------------------------------------------------------------- */

void analytics_start(rg_service *s);
void call_analytics(rg_service *s, call *c, rg_template *t, bool has_seed);     /* before random values are filled in */
void analytics_pushed(rg_service *s, const call *c);
void analytics_on_job(rg_service *s, const rg_job_event *e);
void analytics_timed_out(rg_service *s, const rg_job *j);

/* ---- metrics.c ------------------------------------------------------------------------------------------------------- */

void metrics_start(rg_service *s);      /* its route */
void metrics_on_job(rg_service *s, const rg_job_event *e);
void metrics_free(rg_service *s);

/* ---- jobs.c ----------------------------------------------------------------------------------------------------------- */

void jobs_start(rg_service *s);         /* its routes */
void workflow_check_start(rg_service *s);
void workflow_convert_start(rg_service *s);
void openapi_start(rg_service *s);

/*
 * A body that holds a workflow: JSON in any form, also wrapped ({"workflow": ...}, {"prompt": ...}), a template, a picture that carries
 * one, or a form with such a file. *json is the caller's. Errors as rg_workflow_read().
 */
int service_read_workflow(rg_ctx *c, rg_request *r, struct json_object **json);
void jobs_on_job(rg_service *s, const rg_job_event *e);
void jobs_keep_alive(rg_service *s);
void jobs_stop(rg_service *s);

#endif
