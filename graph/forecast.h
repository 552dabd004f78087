/* What a run will need, told from the workflow and the headers of its model files before anything is loaded. An estimate. */
#ifndef RG_GRAPH_FORECAST_H
#define RG_GRAPH_FORECAST_H

#include "graph/prompt.h"

typedef struct rg_forecast {
    int n_files;                        /* model files that the workflow names and that are there */
    size_t weight_bytes;                /* of the files, which are mapped */
    size_t copy_bytes;                  /* of weights that are converted to another dtype and held besides */
    int64_t width, height, batch;       /* the largest empty latent, in pixels; 0: known only when it runs */
    size_t activation_bytes;            /* the larger of the next two, in c's compute dtype; 0 without a size */
    size_t denoise_bytes, decode_bytes;
    size_t total_bytes;                 /* weights, copies, activations */
} rg_forecast;

/* Of the valid outputs of a validated prompt. Files that cannot be read count nothing. RG_ERR_NOMEM. */
int rg_prompt_forecast(rg_ctx *c, rg_env *env, const rg_prompt *p, rg_forecast *out);

#endif
