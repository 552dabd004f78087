/* Types, values and the node table. The functions that a running node calls (rg_exec_*) are in graph/node_api.c. */
#include "nodes/node.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define X(id, text) const rg_type rg_type_##id = { text };
RG_TYPE_LIST(X)
#undef X
const rg_type rg_type_list = { "LIST" };
const rg_type rg_type_blocker = { "BLOCKER" };
const rg_type rg_type_link = { "LINK" };

/* ---- values ---------------------------------------------------------------------------------------------------- */

static bool is_object(const rg_value *v)
{
    return v->type && v->type != &rg_type_int && v->type != &rg_type_float && v->type != &rg_type_boolean;
}

rg_value rg_value_ref(const rg_value *v)
{
    if (is_object(v))
        rg_ref(v->object);
    return *v;
}

void rg_value_unref(rg_value *v)
{
    if (is_object(v))
        rg_unref(v->object);
    *v = (rg_value){ 0 };
}

rg_value rg_value_int(int64_t i)
{
    return (rg_value){ .type = &rg_type_int, .i = i };
}

rg_value rg_value_float(double f)
{
    return (rg_value){ .type = &rg_type_float, .f = f };
}

rg_value rg_value_boolean(bool b)
{
    return (rg_value){ .type = &rg_type_boolean, .b = b };
}

rg_value rg_value_object(const rg_type *type, void *object)
{
    return object ? (rg_value){ .type = type, .object = object } : (rg_value){ 0 };
}

static void string_free(void *self)
{
    rg_free(self);
}

rg_string *rg_string_new(const char *text)
{
    const size_t n = strlen(text);
    rg_string *s = rg_malloc(sizeof(*s) + n + 1);

    if (!s)
        return NULL;
    rg_object_init(s, string_free);
    s->n_bytes = n;
    memcpy(s->text, text, n + 1);
    return s;
}

rg_value rg_value_blocked(const char *message)
{
    const size_t n = message ? strlen(message) : 0;
    rg_blocker *b = rg_malloc(sizeof(*b) + n + 1);

    if (!b)
        return (rg_value){ 0 };
    rg_object_init(b, string_free);
    memcpy(b->message, message ? message : "", n + 1);
    return rg_value_object(&rg_type_blocker, b);
}

rg_value rg_value_link(const char *node_id, int slot)
{
    const size_t n = strlen(node_id);
    rg_link *l = rg_malloc(sizeof(*l) + n + 1);

    if (!l)
        return (rg_value){ 0 };
    rg_object_init(l, string_free);
    l->slot = slot;
    memcpy(l->node_id, node_id, n + 1);
    return rg_value_object(&rg_type_link, l);
}

static void list_free(void *self)
{
    rg_list *l = self;

    for (int i = 0; i < l->n_items; i++)
        rg_value_unref(&l->items[i]);
    rg_free(l);
}

rg_list *rg_list_new(int n_items)
{
    rg_list *l = rg_calloc(1, sizeof(*l) + (size_t)n_items * sizeof(l->items[0]));

    if (!l)
        return NULL;
    rg_object_init(l, list_free);
    l->n_items = n_items;
    return l;
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

#define X(name) extern const rg_node rg_node_##name;
#include "nodes/node_list.h"
#undef X

static const rg_node *const built_in[] = {
#define X(name) &rg_node_##name,
#include "nodes/node_list.h"
#undef X
};

enum { N_BUILT_IN = sizeof(built_in) / sizeof(built_in[0]) };

/* The built-in list until something is registered, then a copy that grows. */
static const rg_node *const *table = built_in;
static const rg_node **grown;
static int n_table = N_BUILT_IN;

const rg_node *const *rg_node_table(int *n_nodes)
{
    *n_nodes = n_table;
    return table;
}

/* Classes by name: an open hash table of places in the list, 0: free. A prompt asks for each of its nodes, several times. */
enum { N_PLACES = 4096 };               /* for the first N_PLACES / 2 classes; the rest is looked through */
static uint16_t places[N_PLACES];
static pthread_once_t places_once = PTHREAD_ONCE_INIT;

static unsigned place_of(const char *class_type)
{
    uint32_t h = 2166136261u;

    for (; *class_type; class_type++)
        h = (h ^ (unsigned char)*class_type) * 16777619u;
    return h % N_PLACES;
}

static void index_class(int i)
{
    unsigned at = place_of(table[i]->class_type);

    if (i >= N_PLACES / 2)
        return;
    while (places[at])
        at = (at + 1) % N_PLACES;
    places[at] = (uint16_t)(i + 1);
}

static void index_built_in(void)
{
    for (int i = 0; i < N_BUILT_IN; i++)
        index_class(i);
}

const rg_node *rg_node_find(const char *class_type)
{
    pthread_once(&places_once, index_built_in);
    for (unsigned at = place_of(class_type); places[at]; at = (at + 1) % N_PLACES)
        if (!strcmp(table[places[at] - 1]->class_type, class_type))
            return table[places[at] - 1];
    for (int i = N_PLACES / 2; i < n_table; i++)
        if (!strcmp(table[i]->class_type, class_type))
            return table[i];
    return NULL;
}

int rg_node_register(const rg_node *node)
{
    const rg_node **bigger;

    if (rg_node_find(node->class_type))
        return RG_ERR_INVALID;
    bigger = rg_realloc(grown, (size_t)(n_table + 1) * sizeof(*bigger));
    if (!bigger)
        return RG_ERR_NOMEM;
    if (!grown)
        memcpy(bigger, built_in, sizeof(built_in));
    bigger[n_table++] = node;
    table = grown = bigger;
    index_class(n_table - 1);
    return 0;
}

/* ---- what a descriptor says ------------------------------------------------------------------------------------- */

size_t rg_input_field_size(const rg_node *node, const rg_input *in)
{
    if (node->is_input_list)
        return sizeof(const rg_list *);
    switch (in->kind) {
    case RG_INPUT_INT:
    case RG_INPUT_COMBO:   return sizeof(int64_t);
    case RG_INPUT_SEED:    return sizeof(uint64_t);
    case RG_INPUT_FLOAT:   return sizeof(double);
    case RG_INPUT_BOOLEAN: return sizeof(bool);
    default:               return sizeof(void *);
    }
}

const char *rg_input_type_name(const rg_input *in)
{
    if (in->type_names)
        return in->type_names;
    switch (in->kind) {
    case RG_INPUT_INT:
    case RG_INPUT_SEED:    return rg_type_int.name;
    case RG_INPUT_FLOAT:   return rg_type_float.name;
    case RG_INPUT_STRING:  return rg_type_string.name;
    case RG_INPUT_BOOLEAN: return rg_type_boolean.name;
    case RG_INPUT_COMBO:
    case RG_INPUT_FILE:    return rg_type_combo.name;
    default:               return in->type ? in->type->name : rg_type_any.name;
    }
}

const char *rg_output_type_name(const rg_output *out)
{
    return out->type_names ? out->type_names : out->type->name;
}
