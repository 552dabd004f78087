/*
 * What a person sees while a workflow runs, on stderr: one bar with step rate and time left on a terminal, a plain line per
 * node otherwise. Nothing with --quiet.
 */
#ifndef RG_CLI_PROGRESS_H
#define RG_CLI_PROGRESS_H

#include "graph/execute.h"

typedef struct rg_cli_progress {
    bool is_quiet, is_terminal, has_bar;
    double node_started, first_step_at, last_drawn;
    int64_t first_step;
} rg_cli_progress;

void rg_cli_progress_init(rg_cli_progress *p, bool is_quiet);
void rg_cli_progress_event(rg_cli_progress *p, const rg_event *e);
void rg_cli_progress_end(rg_cli_progress *p);   /* leave the cursor on a fresh line */

double rg_cli_now(void);                        /* seconds, monotonic */

#endif
