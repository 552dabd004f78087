/*
 * `rylagraph bench model`: one whole network, from the page cache to a result, with real or random weights. `rylagraph bench load`: how
 * fast a file's bytes reach the device. Both by the code that makes pictures.
 */
#ifndef RG_MODELS_BENCH_MODEL_H
#define RG_MODELS_BENCH_MODEL_H

#include <stdio.h>

#include "engine/core/ctx.h"

typedef struct rg_bench_model_options {
    const char *model;                  /* a name of rg_synthetic_models: what it is, and what is made when path is NULL */
    const char *path;                   /* a file, or NULL: random weights */
    rg_dtype weight_dtype;              /* of random weights; RG_N_DTYPES: c's compute dtype */
    int scale;                          /* 1: real size, 8: an eighth (synthetic.h) */
    int64_t size;                       /* Flux, vae: the picture's side in pixels, 0: 1024 */
    int64_t n_tokens;                   /* text: 0 means 256 for t5xxl, 77 for clip_l, 512 for Flux */
    int n_runs;                         /* after one that warms up; the median counts; 0 means 5 */
    FILE *table, *json;                 /* for people; one object; either may be NULL */
} rg_bench_model_options;

int rg_bench_model(rg_ctx *c, const rg_bench_model_options *o);

/*
 * Every tensor of a file to c's device (on the CPU: read once through the map), n_runs times, the best and the first told apart; is_cold asks
 * the system to forget the file before each.
 */
int rg_bench_load(rg_ctx *c, const char *path, int n_runs, bool is_cold, FILE *table, FILE *json);

#endif
