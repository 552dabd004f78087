/* The progress registry of a run: every node touched so far, with how far it is. Source: ComfyUI comfy_execution/progress.py. */
#include "graph/run.h"

/* The node's entry, made at its first touch; NULL without memory (then nothing is shown). */
static rg_node_progress *entry_of(graph_run *run, int node)
{
    const rg_prompt *p = run->prompt;
    const prompt_node *n = &p->nodes[node];

    if (run->progress_of[node] >= 0)
        return &run->progress[run->progress_of[node]];
    if (run->n_progress == run->progress_capacity) {
        const int capacity = run->progress_capacity ? 2 * run->progress_capacity : 32;
        rg_node_progress *more = rg_realloc(run->progress, (size_t)capacity * sizeof(*more));

        if (!more)
            return NULL;
        run->progress = more;
        run->progress_capacity = capacity;
    }
    run->progress_of[node] = run->n_progress;
    run->progress[run->n_progress] = (rg_node_progress){
        .node_id = n->id, .display_id = n->is_ephemeral ? p->nodes[n->display].id : n->id, .real_id = p->nodes[graph_real(p, node)].id,
        .parent_id = n->is_ephemeral ? p->nodes[n->parent].id : NULL, .max = 1.0, .is_counted = true,     /* of a cached one: 1 of 1 */
    };
    return &run->progress[run->n_progress++];
}

static void send_state(graph_run *run, int node)
{
    rg_event e = graph_node_event(run, RG_EVENT_PROGRESS_STATE, node);

    e.progress = run->progress;
    e.n_progress = run->n_progress;
    e.progress_at = run->progress_of[node];
    graph_send(run, e);
}

void graph_progress_start(graph_run *run, int node)
{
    rg_node_progress *n = entry_of(run, node);

    if (!n)
        return;
    n->value = 0.0;
    n->max = 1.0;
    n->is_counted = n->is_finished = false;
    send_state(run, node);
}

/* The node has reached `step` of `total`; what else there is to say is in e. */
static void go_on(graph_run *run, int node, int64_t step, int64_t total, rg_event e)
{
    rg_node_progress *n = entry_of(run, node);

    e.step = step < total ? step : total;
    e.total = total;
    if (n) {
        n->value = (double)e.step;
        n->max = (double)total;
        n->is_counted = true;
        send_state(run, node);
        e.progress = n;
        e.n_progress = 1;
    }
    graph_send(run, e);
}

void graph_progress_step(graph_run *run, int node, int64_t step, int64_t total, const rg_tensor *preview)
{
    rg_event e = graph_node_event(run, RG_EVENT_PROGRESS, node);

    e.preview = preview;
    go_on(run, node, step, total, e);
}

void graph_progress_image(graph_run *run, int node, int64_t step, int64_t total, const rg_tensor *images, int64_t frame)
{
    rg_event e = graph_node_event(run, RG_EVENT_PROGRESS, node);

    e.images = images;
    e.frame = frame;
    go_on(run, node, step, total, e);
}

void graph_progress_finish(graph_run *run, int node)
{
    rg_node_progress *n = entry_of(run, node);

    if (!n)
        return;
    n->value = n->max;
    n->is_finished = true;
    send_state(run, node);
}
