/* The order of execution. See worklist.h. */
#include "graph/worklist.h"

#include <string.h>

int worklist_init(worklist *w, const rg_prompt *p)
{
    *w = (worklist){ .prompt = p };
    w->nodes = rg_calloc((size_t)p->n_nodes + 1, sizeof(*w->nodes));
    w->order = rg_calloc((size_t)p->n_nodes + 1, sizeof(*w->order));
    w->ready = rg_calloc((size_t)p->n_nodes + 1, sizeof(*w->ready));
    return w->nodes && w->order && w->ready ? 0 : RG_ERR_NOMEM;
}

void worklist_release(worklist *w)
{
    for (int i = 0; w->nodes && i < w->prompt->n_nodes; i++) {
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
    int i = w->n_ready++;

    for (; i > 0 && w->nodes[w->ready[i - 1]].place > w->nodes[node].place; i--)
        w->ready[i] = w->ready[i - 1];
    w->ready[i] = node;
}

typedef struct link { int from, to; } link;

/* The source of a declared input's link, -1 if it is none. Inputs that the class does not know make no dependency. */
static int source_of(const rg_prompt *p, int node, const char *name, struct json_object *value)
{
    int source, slot;

    return graph_input(p->nodes[node].type, name) && graph_link(p, value, &source, &slot) ? source : -1;
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

        if (n->is_pending || n->is_done || !p->nodes[at].inputs)
            continue;
        n->is_pending = true;
        n->place = w->n_order;
        w->order[w->n_order++] = at;
        w->n_pending++;
        json_object_object_foreach(p->nodes[at].inputs, name, value) {
            const int source = source_of(p, at, name, value);

            if (ret || source < 0)
                continue;
            if (!contains(n->needs, n->n_needs, source)) {
                ret = append(&n->needs, &n->n_needs, &n->needs_capacity, source);
                w->nodes[source].n_users += !ret;
            }
            if (ret || has(user, source))
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
    for (size_t i = 0; !ret && i < n_links; i++) {
        work_node *from = &w->nodes[links[i].from];

        if (!from->is_pending || contains(from->blocks, from->n_blocks, links[i].to))
            continue;
        ret = append(&from->blocks, &from->n_blocks, &from->blocks_capacity, links[i].to);
        w->nodes[links[i].to].n_waits_for += !ret;
    }
    for (int i = n_before; !ret && i < w->n_order; i++)
        if (w->nodes[w->order[i]].n_waits_for == 0)
            add_ready(w, w->order[i]);
    rg_free(stack);
    rg_free(links);
    return ret;
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
 * Among the ready ones, in the order they came in: an output; else one that an output waits for; else one that such a one waits
 * for; else the first. A person sees pictures sooner, and they are let go of sooner.
 */
int worklist_pick(const worklist *w)
{
    int best = -1, best_rank = 4;

    for (int i = 0; i < w->n_ready; i++) {
        const int node = w->ready[i];
        int rank = 3;

        if (is_output(w, node))
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
    int kept = 0;

    n->is_pending = false;
    n->is_done = true;
    w->n_pending--;
    for (int i = 0; i < w->n_ready; i++)
        if (w->ready[i] != node)
            w->ready[kept++] = w->ready[i];
    w->n_ready = kept;
    for (int i = 0; i < n->n_blocks; i++)
        if (--w->nodes[n->blocks[i]].n_waits_for == 0)
            add_ready(w, n->blocks[i]);
    n->n_blocks = 0;
}
