/* The order of execution. See worklist.h. */
#include "graph/worklist.h"

#include <string.h>

int worklist_init(worklist *w, const rg_prompt *p)
{
    *w = (worklist){ .prompt = p };
    return worklist_grow(w);
}

int worklist_grow(worklist *w)
{
    const int n = w->n_nodes && w->prompt->n_nodes > w->n_nodes ? 2 * w->prompt->n_nodes : w->prompt->n_nodes + 1;
    work_node *nodes;
    int *ready;

    if (w->nodes && w->prompt->n_nodes <= w->n_nodes)
        return 0;
    if (!(nodes = rg_realloc(w->nodes, (size_t)n * sizeof(*nodes))))
        return RG_ERR_NOMEM;
    w->nodes = nodes;
    if (!(ready = rg_realloc(w->ready, (size_t)n * sizeof(*ready))))
        return RG_ERR_NOMEM;
    w->ready = ready;
    memset(&w->nodes[w->n_nodes], 0, (size_t)(n - w->n_nodes) * sizeof(*nodes));
    w->n_nodes = n;
    return 0;
}

void worklist_release(worklist *w)
{
    for (int i = 0; i < w->n_nodes; i++) {
        rg_free(w->nodes[i].blocks);
        rg_free(w->nodes[i].needs);
    }
    rg_free(w->nodes);
    rg_free(w->order);
    rg_free(w->ready);
    *w = (worklist){ 0 };
}

static int append(int **list, int *n, int *capacity, int value)
{
    if (*n == *capacity) {
        const int bigger = *capacity ? 2 * *capacity : 4;
        int *p = rg_realloc(*list, (size_t)bigger * sizeof(*p));

        if (!p)
            return RG_ERR_NOMEM;
        *list = p;
        *capacity = bigger;
    }
    (*list)[(*n)++] = value;
    return 0;
}

static bool contains(const int *list, int n, int value)
{
    for (int i = 0; i < n; i++)
        if (list[i] == value)
            return true;
    return false;
}

/* Put a node among the ready ones, which stay in the order they came in. */
static void add_ready(worklist *w, int node)
{
    int i;

    if (w->nodes[node].is_ready)
        return;
    w->nodes[node].is_ready = true;
    for (i = w->n_ready++; i > 0 && w->nodes[w->ready[i - 1]].place > w->nodes[node].place; i--)
        w->ready[i] = w->ready[i - 1];
    w->ready[i] = node;
}

static void remove_ready(worklist *w, int node)
{
    int kept = 0;

    if (!w->nodes[node].is_ready)
        return;
    w->nodes[node].is_ready = false;
    for (int i = 0; i < w->n_ready; i++)
        if (w->ready[i] != node)
            w->ready[kept++] = w->ready[i];
    w->n_ready = kept;
}

typedef struct link { int from, to; } link;

/* The source of a link that the node's class takes, -1 if it is none. */
static int source_of(const rg_prompt *p, int node, const char *name, struct json_object *value, bool *is_lazy)
{
    const rg_node *type = p->nodes[node].type;
    const rg_input *in = graph_input(type, name);
    int source, slot;

    *is_lazy = in && in->is_lazy;
    return (in || type->takes_any_input) && graph_link(p, value, &source, &slot) ? source : -1;
}

static int add_need(worklist *w, int node, int source)
{
    work_node *n = &w->nodes[node];
    int ret;

    if (contains(n->needs, n->n_needs, source))
        return 0;
    ret = append(&n->needs, &n->n_needs, &n->needs_capacity, source);
    w->nodes[source].n_users += !ret;
    return ret;
}

/* Make one pending node wait for another, once. */
static int add_block(worklist *w, int from, int to)
{
    work_node *n = &w->nodes[from];
    int ret;

    if (!n->is_pending || contains(n->blocks, n->n_blocks, to))
        return 0;
    ret = append(&n->blocks, &n->n_blocks, &n->blocks_capacity, to);
    if (!ret && w->nodes[to].n_waits_for++ == 0)
        remove_ready(w, to);
    return ret;
}

int worklist_add(worklist *w, int node, worklist_has_fn *has, void *user)
{
    const rg_prompt *p = w->prompt;
    int *stack = NULL, n_stack = 0, stack_capacity = 0;
    link *links = NULL;
    size_t n_links = 0, links_capacity = 0;
    const int n_before = w->n_order;
    int ret = append(&stack, &n_stack, &stack_capacity, node);

    while (!ret && n_stack > 0) {
        const int at = stack[--n_stack];
        work_node *n = &w->nodes[at];

        if (n->is_pending || !p->nodes[at].inputs)
            continue;
        if ((ret = append(&w->order, &w->n_order, &w->order_capacity, at)) < 0)
            break;
        n->is_pending = true;
        n->is_done = false;
        n->n_needs = 0;                 /* when it runs again, it takes its sources up again */
        n->place = w->n_order - 1;
        w->n_pending++;
        json_object_object_foreach(p->nodes[at].inputs, name, value) {
            bool is_lazy;
            const int source = source_of(p, at, name, value, &is_lazy);

            if (ret || source < 0 || (ret = add_need(w, at, source)) < 0 || is_lazy || has(user, source))
                continue;
            if (n_links == links_capacity) {
                const size_t bigger = links_capacity ? 2 * links_capacity : 32;
                link *more = rg_realloc(links, bigger * sizeof(*more));

                if (!more) {
                    ret = RG_ERR_NOMEM;
                    continue;
                }
                links = more;
                links_capacity = bigger;
            }
            links[n_links++] = (link){ source, at };
            ret = append(&stack, &n_stack, &stack_capacity, source);
        }
    }
    for (size_t i = 0; !ret && i < n_links; i++)
        ret = add_block(w, links[i].from, links[i].to);
    for (int i = n_before; !ret && i < w->n_order; i++)
        if (w->nodes[w->order[i]].is_pending && w->nodes[w->order[i]].n_waits_for == 0)
            add_ready(w, w->order[i]);
    rg_free(stack);
    rg_free(links);
    return ret;
}

int worklist_wait(worklist *w, int node, int source, worklist_has_fn *has, void *user)
{
    int ret = add_need(w, node, source);

    if (!ret && !has(user, source) && (ret = worklist_add(w, source, has, user)) == 0)
        ret = add_block(w, source, node);
    return ret;
}

void worklist_hold(worklist *w, int node)
{
    w->nodes[node].n_waits_for++;
    remove_ready(w, node);
}

void worklist_release_hold(worklist *w, int node)
{
    if (--w->nodes[node].n_waits_for == 0)
        add_ready(w, node);
}

bool worklist_is_waiting(const worklist *w, int node)
{
    return w->nodes[node].n_waits_for > 0;
}

static bool is_output(const worklist *w, int node)
{
    return w->prompt->nodes[node].type->is_output;
}

static bool blocks_output(const worklist *w, int node)
{
    for (int i = 0; i < w->nodes[node].n_blocks; i++)
        if (is_output(w, w->nodes[node].blocks[i]))
            return true;
    return false;
}

/*
 * Among the ready ones, in the order they came in: an output, or one that only waits on a thread of its own; else one that an output waits for; else one that such a one waits
 * for; else the first. A person sees pictures sooner, and they are let go of sooner.
 */
int worklist_pick(const worklist *w)
{
    int best = -1, best_rank = 4;

    for (int i = 0; i < w->n_ready; i++) {
        const int node = w->ready[i];
        int rank = 3;

        if (is_output(w, node) || w->prompt->nodes[node].type->is_async)
            return node;
        if (blocks_output(w, node))
            rank = 1;
        for (int j = 0; rank == 3 && best_rank > 2 && j < w->nodes[node].n_blocks; j++)
            if (blocks_output(w, w->nodes[node].blocks[j]))
                rank = 2;
        if (rank < best_rank) {
            best = node;
            best_rank = rank;
        }
    }
    return best;
}

void worklist_done(worklist *w, int node)
{
    work_node *n = &w->nodes[node];

    n->is_pending = false;
    n->is_done = true;
    w->n_pending--;
    remove_ready(w, node);
    for (int i = 0; i < n->n_blocks; i++)
        worklist_release_hold(w, n->blocks[i]);
    n->n_blocks = 0;
}
