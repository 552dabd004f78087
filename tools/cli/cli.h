/*
 * The command line's parts. Each subcommand is one file with one entry point that gets argv after the subcommand's name and
 * returns the exit code: 0 done, 1 execution failed, 2 the workflow or the command line is wrong, 130 interrupted.
 */
#ifndef RG_CLI_H
#define RG_CLI_H

#include "engine/core/ctx.h"
#include "graph/env.h"

enum { RG_EXIT_DONE = 0, RG_EXIT_FAILED = 1, RG_EXIT_WRONG = 2, RG_EXIT_INTERRUPTED = 130 };

int rg_cli_run(int argc, char **argv);
int rg_cli_check(int argc, char **argv);
int rg_cli_nodes(int argc, char **argv);
int rg_cli_models(int argc, char **argv);
int rg_cli_bench(int argc, char **argv);
int rg_cli_serve(int argc, char **argv);

/* ---- options that subcommands share (options.c) ---------------------------------------------------------------- */

enum { RG_CLI_MAX = 64 };

typedef struct rg_cli_pair {
    const char *name, *value;
} rg_cli_pair;

typedef struct rg_cli_options {
    const char *targets[RG_CLI_MAX];    /* words that are no options */
    int n_targets;
    const char *models[RG_CLI_MAX];     /* --models DIR, in order */
    int n_models;
    const char *packs[RG_CLI_MAX];      /* --nodes FILE.so, in order */
    int n_packs;
    rg_cli_pair sets[RG_CLI_MAX];       /* --set NODE.INPUT=VALUE: name is "NODE.INPUT" */
    int n_sets;
    rg_cli_pair params[RG_CLI_MAX];     /* --PARAM VALUE: a template's own parameters, where the subcommand takes them */
    int n_params;
    const char *input, *output;         /* "input", "output" by default */
    const char *device, *dtype;         /* "auto" by default */
    const char *budget;                 /* --vram-budget, or NULL */
    const char *trace;                  /* a file for chrome://tracing (engine/ops/profile.h), or NULL */
    int threads;                        /* 0: all cores */
    bool json, markdown, quiet, help, disable_metadata;
} rg_cli_options;

/*
 * Parse argv, load the node packs that it names. Unknown --NAME VALUE goes to params when takes_params, else is an error. Messages go to stderr.
 *   returns  0, or RG_EXIT_WRONG
 */
int rg_cli_parse(int argc, char **argv, bool takes_params, rg_cli_options *out);

/* Folder that holds workflows/ and models/demo, found from where the program lies; "" when there is none. */
const char *rg_cli_data_dir(void);

/* Environment from options: --models in order (default: ./models if there), models/demo last. NULL with a message on stderr. */
rg_env *rg_cli_env(const rg_cli_options *o);

/* Context from --device and --dtype. NULL with a message on stderr. */
rg_ctx *rg_cli_ctx(const rg_cli_options *o);

/* A file's bytes, NUL-terminated; rg_free() them. NULL with a message on stderr. */
char *rg_cli_read(const char *path, size_t *n_bytes);

/*
 * What a target word names: a file, or a template in workflows/ by name. Path in *path (rg_free()).
 *   returns  0, or RG_EXIT_WRONG with a message naming where it looked and the nearest template name
 */
int rg_cli_find(const char *target, char **path);

/* "rylagraph: " and a message to stderr, then a newline. */
void rg_cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
