/*
 * `rylagraph bench ops`: how near the ops come to what the device can do. The ceiling is one large matrix product made by the
 * vendor's library alone (oneDNN with its weights packed as it likes, cuBLASLt on a GPU); under it stand single ops and one double and
 * one single block of Flux.1 dev at 1024 x 1024, by the same code that makes pictures, on random weights.
 */
#ifndef RG_OPS_BENCH_H
#define RG_OPS_BENCH_H

#include <stdio.h>

#include "engine/core/ctx.h"

typedef struct rg_bench_options {
    FILE *table;                        /* a table for people, or NULL */
    FILE *json;                         /* one object: device, dtype, threads, rows of name, seconds, gflops, ...; or NULL */
    int n_runs;                         /* of each row after a first one that warms up; the best counts; 0 means 3 */
    int64_t size;                       /* of the picture's side in pixels, 0 means 1024: fewer tokens for a quick look */
    bool has_blocks;                    /* the Flux blocks too (2 GB of weights in bf16) */
} rg_bench_options;

/*
 * Run on c's device in c->compute_dtype. Returns 0, or c's error. GFLOP count a multiplication and an addition as two; the share
 * of the ceiling is by time on the clock. Processor time stands beside it, because other programs disturb it less.
 */
int rg_bench_ops(rg_ctx *c, const rg_bench_options *o);

#endif
