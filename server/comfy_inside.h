/* What the files behind comfy.h share. */
#ifndef RG_SERVER_COMFY_INSIDE_H
#define RG_SERVER_COMFY_INSIDE_H

#include <pthread.h>

#include "graph/json_text.h"
#include "graph/object_info.h"
#include "server/comfy.h"
#include "server/http_parse.h"

/* What clients know of the nodes of the run at hand. */
typedef struct comfy_progress {
    pthread_mutex_t lock;
    char *client;                       /* the run's; NULL: everybody */
    rg_text id;                         /* the prompt's, as JSON */
    rg_text *entries;                   /* per node touched so far: its part of the message */
    int n, capacity;
    size_t n_bytes;                     /* of all entries */
    double allowance, grown_at;
    bool is_stale;                      /* what was sent last is not the latest */
    bool is_armed, is_off;
} comfy_progress;

struct rg_comfy {
    rg_comfy_options options;
    rg_server *server;
    rg_queue *queue;
    rg_executor *executor;
    rg_ctx *ctx;                        /* the loop thread's, for messages of parsers */
    atomic_int n_sockets;

    pthread_mutex_t lock;               /* what the loop thread wants to know of the run */
    char *running_client, *running_node;

    double status_allowance, status_at;

    comfy_progress progress;
};

/* progress_state.c: a run begins, a node has started, gone on or finished, the run is about to end. */
int comfy_progress_init(comfy_progress *p);
void comfy_progress_release(comfy_progress *p);
void comfy_progress_begin(rg_comfy *f, const rg_job *job);
void comfy_progress_step(rg_comfy *f, const rg_event *e);
void comfy_progress_end(rg_comfy *f);
char *comfy_make_progress(void *comfy);                 /* for rg_server_news_from() */

/* events.c */
void comfy_send_status(rg_comfy *f, const char *client);     /* client: who sent the job that it is about; NULL: nobody */
char *comfy_make_status(void *comfy);  /* for rg_server_news_from() */
char *comfy_status_text(rg_comfy *f, const char *sid);  /* rg_free() it */
char *comfy_features_text(const rg_comfy *f);

/* Each adds its routes. */
void comfy_add_prompt_routes(rg_comfy *f);              /* prompt.c: /prompt, /queue, /history, /interrupt, /free */
void comfy_add_info_routes(rg_comfy *f);                /* info.c: /object_info, /system_stats, ... */
void comfy_add_pack_routes(rg_comfy *f);                /* packs.c: /i18n, /workflow_templates, the web client's folders */
void comfy_add_view_routes(rg_comfy *f);                /* view.c */
void comfy_add_upload_routes(rg_comfy *f);              /* upload.c */
void comfy_add_user_routes(rg_comfy *f);                /* users.c */
void comfy_add_log_routes(rg_comfy *f);                 /* log_routes.c: /internal/logs */
void comfy_end_logs(void);

/* ComfyUI's keys of model folders, in its order, NULL at the end (info.c). */
extern const char *const comfy_folder_keys[];
bool comfy_is_folder_key(const char *key);

/* Helpers over json-c (comfy.c). */
struct json_object *comfy_get(struct json_object *o, const char *key);  /* NULL when o is no object or has it not */
const char *comfy_get_string(struct json_object *o, const char *key);   /* NULL when it is no string */
bool comfy_get_bool(struct json_object *o, const char *key);            /* Python's truth of it */

/* base/sub, cleaned; NULL when that is outside of base (rg_free() it). sub may be NULL or "". */
char *comfy_path_inside(const char *base, const char *sub, const char *name);
/* A file of a client could not be written, for the reason in code (an errno): 403, 507 or 500, with the name it gave and the reason. */
void comfy_refuse_file(rg_request *r, const char *name, int code);
/* "output", "input", "temp" -> folder, else NULL. */
const char *comfy_folder(const rg_comfy *f, const char *type);

#endif
