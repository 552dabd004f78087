/* What is the same behind any queue: names of states, letting go of records. */
#include "server/queue.h"

#include "engine/core/ctx.h"

const char *rg_job_state_name(rg_job_state s)
{
    static const char *const names[] = { "queued", "running", "done", "failed", "cancelled" };

    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

void rg_job_free(rg_job *j)
{
    if (!j)
        return;
    rg_free(j->id);
    rg_free(j->request);
    rg_free(j->client_id);
    rg_free(j->endpoint);
    rg_free(j->idempotency_key);
    rg_free(j->webhook);
    rg_free(j->result);
    rg_free(j->error);
    rg_free(j->node);
    rg_free(j);
}

void rg_jobs_free(rg_job **jobs)
{
    if (!jobs)
        return;
    for (rg_job **j = jobs; *j; j++)
        rg_job_free(*j);
    rg_free(jobs);
}
