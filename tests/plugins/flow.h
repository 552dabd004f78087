/* Loops as recursion: the end of a loop, when its condition holds, makes the whole body anew with itself at its end. And lists, logic. */
#ifndef RG_TESTS_PLUGINS_FLOW_H
#define RG_TESTS_PLUGINS_FLOW_H

#include "tests/plugins/pack.h"

enum { N_SOCKETS = 5 };

static const rg_type type_flow = { "FLOW_CONTROL" };

/* A constant of any kind, or nothing, as an output. */
static rg_value copy_of(const rg_value *v)
{
    return v ? rg_value_ref(v) : (rg_value){ 0 };
}

static rg_value flow_value(void)
{
    return rg_value_object(&type_flow, rg_string_new("stub"));
}

/* ---- while ---------------------------------------------------------------------------------------------------------------- */

struct while_args { const rg_value *flow, *values[N_SOCKETS]; bool condition; };

#define VALUE_ROW(i, ...) LINK_ROW("initial_value" #i, while_args, values[i], RG_ANY, .is_optional = true, __VA_ARGS__)
static const rg_input inputs_while_open[] = {
    BOOL_ROW("condition", while_args, condition, true), VALUE_ROW(0), VALUE_ROW(1), VALUE_ROW(2), VALUE_ROW(3), VALUE_ROW(4), RG_END
};

static int execute_while_open(rg_exec *x, const void *in, rg_value *out)
{
    const struct while_args *a = in;

    out[0] = flow_value();
    for (int i = 0; i < N_SOCKETS; i++)
        out[1 + i] = copy_of(a->values[i]);
    return 0;
}
PACK_NODE(while_open, "TestWhileLoopOpen", OUT({ "FLOW_CONTROL", &type_flow }, { "value0", RG_ANY }, { "value1", RG_ANY }, { "value2", RG_ANY },
          { "value3", RG_ANY }, { "value4", RG_ANY }), .args_size = sizeof(struct while_args));

static const rg_input inputs_while_close[] = {
    LINK_ROW("flow_control", while_args, flow, &type_flow, .is_raw_link = true),
    { .name = "condition", .kind = RG_INPUT_BOOLEAN, FIELD(while_args, condition), .is_force_input = true },
    VALUE_ROW(0), VALUE_ROW(1), VALUE_ROW(2), VALUE_ROW(3), VALUE_ROW(4), RG_END
};

/* A growing list of node ids that are borrowed or our own. */
enum { MAX_BODY = 256 };
typedef struct ids { char *id[MAX_BODY]; bool is_inside[MAX_BODY]; int n; } ids;

static int find_id(const ids *l, const char *id)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->id[i], id))
            return i;
    return -1;
}

static int add_id(ids *l, const char *id)
{
    int at = find_id(l, id);

    if (at < 0 && l->n < MAX_BODY && (l->id[l->n] = rg_strdup(id)))
        at = l->n++;
    return at;
}

/* Everything upstream of a node, sources appended as they are met. */
static void add_upstream(rg_exec *x, ids *l)
{
    for (int at = 0; at < l->n; at++) {
        const char *name;
        rg_value v;

        for (int i = 0; rg_exec_input_of(x, l->id[at], i, &name, &v); i++) {
            if (v.type == &rg_type_link)
                add_id(l, ((const rg_link *)v.object)->node_id);
            rg_value_unref(&v);
        }
    }
}

/* Of those, the ones that the open node leads to; again and again until nothing changes. */
static void mark_inside(rg_exec *x, ids *l, const char *open)
{
    bool has_changed = true;

    for (int i = 0; i < l->n; i++)
        l->is_inside[i] = i == 0 || !strcmp(l->id[i], open);
    while (has_changed) {
        has_changed = false;
        for (int at = 0; at < l->n; at++) {
            const char *name;
            rg_value v;

            for (int i = 0; !l->is_inside[at] && rg_exec_input_of(x, l->id[at], i, &name, &v); i++) {
                const int source = v.type == &rg_type_link ? find_id(l, ((const rg_link *)v.object)->node_id) : -1;

                if (source > 0 && l->is_inside[source])
                    l->is_inside[at] = has_changed = true;
                rg_value_unref(&v);
            }
        }
    }
}

static int execute_while_close(rg_exec *x, const void *in, rg_value *out)
{
    const struct while_args *a = in;
    const rg_link *open = a->flow && a->flow->type == &rg_type_link ? a->flow->object : NULL;
    static const char again[] = "Recurse";
    int nodes[MAX_BODY];
    ids l = { 0 };

    if (!open)
        return rg_fail(x->ctx, RG_ERR_INVALID, "flow_control is no link");
    if (!a->condition) {
        for (int i = 0; i < N_SOCKETS; i++)
            out[i] = copy_of(a->values[i]);
        return 0;
    }
    add_id(&l, x->node_id);
    add_upstream(x, &l);
    mark_inside(x, &l, open->node_id);
    for (int i = 0; i < l.n; i++) {
        if (!l.is_inside[i])
            continue;
        nodes[i] = rg_expand_node(x, rg_exec_class_of(x, l.id[i]), i == 0 ? again : l.id[i]);
        rg_expand_display(x, nodes[i], l.id[i]);
    }
    for (int i = 0; i < l.n; i++) {
        const char *name;
        rg_value v;

        for (int j = 0; l.is_inside[i] && rg_exec_input_of(x, l.id[i], j, &name, &v); j++) {
            const rg_link *link = v.type == &rg_type_link ? v.object : NULL;
            const int source = link ? find_id(&l, link->node_id) : -1;

            if (source >= 0 && l.is_inside[source])
                rg_expand_link(x, nodes[i], name, nodes[source], link->slot);
            else
                rg_expand_value(x, nodes[i], name, &v);
            rg_value_unref(&v);
        }
    }
    for (int i = 0; i < N_SOCKETS; i++) {
        const int at = find_id(&l, open->node_id);
        char name[24];

        snprintf(name, sizeof(name), "initial_value%d", i);
        if (at >= 0)
            rg_expand_value(x, nodes[at], name, a->values[i]);
        out[i] = rg_expand_output(x, nodes[0], i);
    }
    for (int i = 0; i < l.n; i++)
        rg_free(l.id[i]);
    return 0;
}
PACK_NODE(while_close, "TestWhileLoopClose", OUT({ "value0", RG_ANY }, { "value1", RG_ANY }, { "value2", RG_ANY }, { "value3", RG_ANY },
          { "value4", RG_ANY }), .args_size = sizeof(struct while_args), .wants_dynprompt = true, .wants_unique_id = true);

/* ---- for --------------------------------------------------------------------------------------------------------------------- */

struct for_args { const rg_value *flow, *values[N_SOCKETS]; int64_t remaining; };
#define FOR_ROW(i, ...) LINK_ROW("initial_value" #i, for_args, values[i], RG_ANY, .is_optional = true, __VA_ARGS__)
static const rg_input inputs_for_open[] = {
    INT_ROW("remaining", for_args, remaining, 1, 0, 100000, .step_int = 1), FOR_ROW(1), FOR_ROW(2), FOR_ROW(3), FOR_ROW(4),
    FOR_ROW(0, .is_hidden = true), RG_END
};

static void set_values(rg_exec *x, int node, const struct for_args *a)
{
    for (int i = 1; i < N_SOCKETS; i++) {
        char name[24];

        snprintf(name, sizeof(name), "initial_value%d", i);
        rg_expand_value(x, node, name, a->values[i]);
    }
}

static int execute_for_open(rg_exec *x, const void *in, rg_value *out)
{
    const struct for_args *a = in;
    const int64_t remaining = a->values[0] && a->values[0]->type == &rg_type_int ? a->values[0]->i : a->remaining;
    const int open = rg_expand_node(x, "TestWhileLoopOpen", NULL);

    set_int(x, open, "condition", remaining);
    set_int(x, open, "initial_value0", remaining);
    set_values(x, open, a);
    out[0] = flow_value();
    out[1] = rg_value_int(remaining);
    for (int i = 1; i < N_SOCKETS; i++)
        out[1 + i] = copy_of(a->values[i]);
    return 0;
}
PACK_NODE(for_open, "TestForLoopOpen", OUT({ "flow_control", &type_flow }, { "remaining", &rg_type_int }, { "value1", RG_ANY }, { "value2", RG_ANY },
          { "value3", RG_ANY }, { "value4", RG_ANY }), .args_size = sizeof(struct for_args));

#define RAW_ROW(i) FOR_ROW(i, .is_raw_link = true)
static const rg_input inputs_for_close[] = {
    LINK_ROW("flow_control", for_args, flow, &type_flow, .is_raw_link = true), RAW_ROW(1), RAW_ROW(2), RAW_ROW(3), RAW_ROW(4), RG_END
};

static int execute_for_close(rg_exec *x, const void *in, rg_value *out)
{
    const struct for_args *a = in;
    const rg_link *open = a->flow && a->flow->type == &rg_type_link ? a->flow->object : NULL;
    int less, condition, close;
    rg_value remaining;

    if (!open)
        return rg_fail(x->ctx, RG_ERR_INVALID, "flow_control is no link");
    remaining = rg_value_link(open->node_id, 1);
    if (!remaining.type)
        return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a link");
    less = rg_expand_node(x, "TestIntMathOperation", NULL);
    set_text(x, less, "operation", "subtract");
    rg_expand_value(x, less, "a", &remaining);
    set_int(x, less, "b", 1);
    rg_value_unref(&remaining);
    condition = rg_expand_node(x, "TestToBoolNode", NULL);
    rg_expand_link(x, condition, "value", less, 0);
    close = rg_expand_node(x, "TestWhileLoopClose", NULL);
    rg_expand_value(x, close, "flow_control", a->flow);
    rg_expand_link(x, close, "condition", condition, 0);
    rg_expand_link(x, close, "initial_value0", less, 0);
    set_values(x, close, a);
    for (int i = 1; i < N_SOCKETS; i++)
        out[i - 1] = rg_expand_output(x, close, i);
    return 0;
}
PACK_NODE(for_close, "TestForLoopClose", OUT({ "value1", RG_ANY }, { "value2", RG_ANY }, { "value3", RG_ANY }, { "value4", RG_ANY }),
          .args_size = sizeof(struct for_args));

/* ---- blocking, lists, logic ------------------------------------------------------------------------------------------------------ */

struct blocker_args { const rg_value *input; bool block, verbose; };
static const rg_input inputs_blocker[] = {
    LINK_ROW("input", blocker_args, input, RG_ANY), { .name = "block", .kind = RG_INPUT_BOOLEAN, FIELD(blocker_args, block) },
    BOOL_ROW("verbose", blocker_args, verbose, false), RG_END
};

static int execute_blocker(rg_exec *x, const void *in, rg_value *out)
{
    const struct blocker_args *a = in;

    out[0] = a->block ? rg_value_blocked(a->verbose ? "Blocked Execution" : NULL) : copy_of(a->input);
    return 0;
}
PACK_NODE(blocker, "TestExecutionBlocker", OUT({ "output", RG_ANY }), .args_size = sizeof(struct blocker_args));

struct list_args { const rg_value *values[9]; };
#define ITEM_ROW(i, ...) LINK_ROW("value" #i, list_args, values[i - 1], RG_ANY, __VA_ARGS__)
static const rg_input inputs_make_list[] = {
    ITEM_ROW(1), ITEM_ROW(2, .is_optional = true), ITEM_ROW(3, .is_optional = true), ITEM_ROW(4, .is_optional = true), ITEM_ROW(5, .is_optional = true),
    ITEM_ROW(6, .is_optional = true), ITEM_ROW(7, .is_optional = true), ITEM_ROW(8, .is_optional = true), ITEM_ROW(9, .is_optional = true), RG_END
};

static int execute_make_list(rg_exec *x, const void *in, rg_value *out)
{
    const struct list_args *a = in;
    rg_list *l;
    int n = 0;

    for (int i = 0; i < 9; i++)
        n += a->values[i] != NULL;
    if (!(l = rg_list_new(n)))
        return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a list");
    n = 0;
    for (int i = 0; i < 9; i++)
        if (a->values[i])
            l->items[n++] = rg_value_ref(a->values[i]);
    out[0] = rg_value_object(RG_LIST, l);
    return 0;
}
PACK_NODE(make_list, "TestMakeListNode", OUT({ NULL, RG_ANY, .is_list = true }), .args_size = sizeof(struct list_args));

struct math_args { int64_t a, b, operation; };
static const char *const comparisons[] = { "==", "!=", "<", ">", "<=", ">=", NULL };
static const char *const operations[] = { "add", "subtract", "multiply", "divide", "modulo", "power", NULL };
#define WHOLE_ROW(name_, field_) INT_ROW(name_, math_args, field_, 0, -INT64_MAX, INT64_MAX, .step_int = 1)
static const rg_input inputs_conditions[] = { WHOLE_ROW("a", a), WHOLE_ROW("b", b), COMBO_ROW("operation", math_args, operation, comparisons), RG_END };
static const rg_input inputs_math[] = { WHOLE_ROW("a", a), WHOLE_ROW("b", b), COMBO_ROW("operation", math_args, operation, operations), RG_END };

static int execute_conditions(rg_exec *x, const void *in, rg_value *out)
{
    const struct math_args *v = in;
    const bool results[] = { v->a == v->b, v->a != v->b, v->a < v->b, v->a > v->b, v->a <= v->b, v->a >= v->b };

    out[0] = rg_value_boolean(results[v->operation]);
    return 0;
}
PACK_NODE(conditions, "TestIntConditions", OUT({ NULL, &rg_type_boolean }), .args_size = sizeof(struct math_args));

static int execute_math(rg_exec *x, const void *in, rg_value *out)
{
    const struct math_args *v = in;
    const int64_t q = v->b && !(v->a == INT64_MIN && v->b == -1) ? v->a / v->b : 0, r = v->a - q * v->b;
    const bool is_below = r && (r < 0) != (v->b < 0);       /* Python rounds down */
    int64_t power = 1;

    if ((v->operation == 3 || v->operation == 4) && !v->b)
        return rg_fail(x->ctx, RG_ERR_INVALID, "integer division or modulo by zero");
    for (int64_t i = 0; v->operation == 5 && i < v->b && i < 64; i++)
        power = (int64_t)((uint64_t)power * (uint64_t)v->a);
    const int64_t results[] = { v->a + v->b, v->a - v->b, (int64_t)((uint64_t)v->a * (uint64_t)v->b), q - is_below, r + (is_below ? v->b : 0), power };
    out[0] = rg_value_int(results[v->operation]);
    return 0;
}
PACK_NODE(math, "TestIntMathOperation", OUT({ NULL, &rg_type_int }), .args_size = sizeof(struct math_args));

struct bool_args { const rg_value *value; bool invert; };
static const rg_input inputs_to_bool[] = {
    LINK_ROW("value", bool_args, value, RG_ANY), BOOL_ROW("invert", bool_args, invert, false, .is_optional = true), RG_END
};

static int execute_to_bool(rg_exec *x, const void *in, rg_value *out)
{
    const struct bool_args *a = in;
    const rg_value *v = a->value;
    bool b = v && v->type;

    if (b && v->type == &rg_type_int)
        b = v->i != 0;
    else if (b && v->type == &rg_type_float)
        b = v->f != 0.0;
    else if (b && v->type == &rg_type_boolean)
        b = v->b;
    else if (b && v->type == &rg_type_string)
        b = ((const rg_string *)v->object)->n_bytes > 0;
    else if (b && (v->type == RG_IMAGE || v->type == RG_MASK)) {
        double least, most;

        range_of(v->object, &least, &most);
        b = least != 0.0 || most != 0.0;
    }
    out[0] = rg_value_boolean(b != a->invert);
    return 0;
}
PACK_NODE(to_bool, "TestToBoolNode", OUT({ NULL, &rg_type_boolean }), .args_size = sizeof(struct bool_args));

#endif
