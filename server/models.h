/*
 * Model files over HTTP: ComfyUI's lists (/models, /experiment/models, /view_metadata), and beside them details of a file, uploads
 * that can be resumed, and deletion. Described for clients in docs/model-files.md.
 */
#ifndef RG_SERVER_MODELS_H
#define RG_SERVER_MODELS_H

#include "server/executor.h"
#include "server/http.h"

typedef struct rg_models rg_models;

typedef struct rg_models_options {
    rg_env *env;
    const char *kept_dir;               /* a models directory that is never changed (the program's own); NULL: none */
    bool has_quota;
    uint64_t quota_bytes;               /* of all files in the model folders together, unfinished uploads as large as promised */
    uint64_t max_file_bytes;            /* of one upload; 0: no limit */
    double keep_seconds;                /* an unfinished upload nobody continues is removed after; 0: a day */
} rg_models_options;

rg_models *rg_models_new(const rg_models_options *o);   /* what is pointed to must outlive it; NULL if no memory */
void rg_models_start(rg_models *m, rg_server *s);       /* adds the routes; before the server runs */
void rg_models_set_executor(rg_models *m, rg_executor *x);      /* whose caches of changed files are dropped; before the server runs */

/* Uploads end, what has arrived stays for later: after rg_server_end_workers(), before the executor stops. */
void rg_models_stop(rg_models *m);
void rg_models_free(rg_models *m);

#endif
