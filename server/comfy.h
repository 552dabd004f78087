/*
 * ComfyUI's wire API on top of http.h, queue.h and executor.h: every route with ComfyUI's shapes, and its WebSocket events.
 * Where it differs on purpose: docs/comfyui-differences.md.
 */
#ifndef RG_SERVER_COMFY_H
#define RG_SERVER_COMFY_H

#include "server/executor.h"
#include "server/http.h"

typedef struct rg_comfy rg_comfy;

typedef enum rg_preview_method { RG_PREVIEW_NONE, RG_PREVIEW_LATENT2RGB } rg_preview_method;

typedef struct rg_comfy_options {
    rg_env *env;
    const rg_device *device;            /* what jobs run on, for /system_stats */
    const struct rg_pool *pool;         /* where they take that device's memory from */
    const char *user_dir;               /* settings and userdata */
    size_t max_upload_bytes;
    bool is_max_upload_float;           /* --max-upload-size was given: Python shows it as a float */
    bool is_multi_user;
    rg_preview_method preview_method;
    int preview_size;
    const char *front_end_root;         /* NULL: the built-in page */
    const char *templates_root, *docs_root;     /* files under /templates and /docs; NULL: none */
    bool are_packs_off;                 /* --disable-all-custom-nodes */
    const char *const *packs_on;        /* --whitelist-custom-nodes, NULL-terminated; NULL: none */
    int argc;
    char **argv;                        /* shown in /system_stats */
} rg_comfy_options;

rg_comfy *rg_comfy_new(const rg_comfy_options *o);      /* what is pointed to must outlive it; NULL if no memory */
void rg_comfy_free(rg_comfy *f);

/* The server's callbacks (user is the rg_comfy) and the executor's listener. */
void rg_comfy_on_open(void *user, rg_socket *s);
void rg_comfy_on_text(void *user, rg_socket *s, const char *text, size_t n_bytes);
void rg_comfy_on_close(void *user, rg_socket *s);
void rg_comfy_on_job(void *user, const rg_job_event *e);

/* Add the routes; before the executor starts (its listener needs server and queue) and before the server runs. */
void rg_comfy_start(rg_comfy *f, rg_server *s, rg_queue *q);
void rg_comfy_set_executor(rg_comfy *f, rg_executor *x);        /* before the server runs */

#endif
