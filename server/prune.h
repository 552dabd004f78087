/*
 * What a server that runs for months would fill its disk with: jobs that have ended, the pictures that endpoint jobs saved, and the
 * pictures that came with requests. With a limit given, a thread here looks once a minute and lets the oldest go.
 */
#ifndef RG_SERVER_PRUNE_H
#define RG_SERVER_PRUNE_H

#include "server/executor.h"

typedef struct rg_prune rg_prune;

typedef struct rg_prune_options {
    rg_queue *queue;
    rg_env *env;
    rg_executor *executor;              /* told when saved files are gone, so that no cached result names them; may be NULL */
    int keep_jobs;                      /* ended ones; 0: any number */
    double keep_seconds;                /* since a job's end, and since an uploaded picture was last used; 0: for ever */
    double interval_seconds;            /* 0: 60 */
} rg_prune_options;

/*
 * Files of endpoint jobs (RG_JOB_ENDPOINT) go with their job, unless a job that stays names them too; what ComfyUI's POST /prompt
 * saved is its user's and stays. Uploads are the files upload-DIGEST.EXT of the input folder. NULL if no memory or no thread.
 */
rg_prune *rg_prune_start(const rg_prune_options *o);
void rg_prune_stop(rg_prune *p);        /* before the queue closes; NULL is fine */

#endif
