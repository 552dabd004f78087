/* Call a node by its descriptor alone, as the executor does: inputs by name, defaults from the table. */
#ifndef RG_TESTS_DIFFUSION_NODE_CALL_H
#define RG_TESTS_DIFFUSION_NODE_CALL_H

#include "nodes/node.h"
#include "tests/test.h"

typedef struct node_call {
    const rg_node *node;
    _Alignas(16) unsigned char args[512];
    rg_value out[RG_MAX_OUTPUTS];
} node_call;

static const rg_input *node_input(const node_call *call, const char *name)
{
    for (const rg_input *in = call->node->inputs; in->kind != RG_INPUT_END; in++) {
        if (!strcmp(in->name, name))
            return in;
    }
    fprintf(stderr, "%s has no input %s\n", call->node->class_type, name);
    abort();
}

static void *node_field(node_call *call, const char *name)
{
    return call->args + node_input(call, name)->offset;
}

static node_call node_begin(const char *class_type)
{
    node_call call = { .node = rg_node_find(class_type) };

    if (!call.node || call.node->args_size > sizeof call.args) {
        fprintf(stderr, "no node %s\n", class_type);
        abort();
    }
    for (const rg_input *in = call.node->inputs; in->kind != RG_INPUT_END; in++) {
        void *field = call.args + in->offset;
        if (in->kind == RG_INPUT_INT || in->kind == RG_INPUT_SEED || in->kind == RG_INPUT_COMBO)
            *(int64_t *)field = in->default_int;
        else if (in->kind == RG_INPUT_FLOAT)
            *(double *)field = in->default_float;
        else if (in->kind == RG_INPUT_BOOLEAN)
            *(bool *)field = in->default_int;
    }
    return call;
}

static inline void node_link(node_call *call, const char *name, const void *object) { *(const void **)node_field(call, name) = object; }
static inline void node_int(node_call *call, const char *name, int64_t v) { *(int64_t *)node_field(call, name) = v; }
static inline void node_float(node_call *call, const char *name, double v) { *(double *)node_field(call, name) = v; }
static inline void node_boolean(node_call *call, const char *name, bool v) { *(bool *)node_field(call, name) = v; }

static inline void node_combo(node_call *call, const char *name, const char *v)
{
    const char *const *options = node_input(call, name)->options;

    for (int i = 0; options[i]; i++) {
        if (!strcmp(options[i], v)) {
            *(int64_t *)node_field(call, name) = i;
            return;
        }
    }
    test_fail(__FILE__, __LINE__, "%s: %s is none of the options of %s", call->node->class_type, v, name);
}

/* Run it; the first output's object, or NULL. Outputs live until node_end(). */
static void *node_run(node_call *call, rg_ctx *c)
{
    rg_exec x = { .ctx = c, .node_id = "1" };
    const int ret = call->node->execute(&x, call->args, call->out);

    if (ret < 0 && !c->error)
        test_fail(__FILE__, __LINE__, "%s returns %d without a message", call->node->class_type, ret);
    for (int i = 0; ret == 0 && call->node->outputs[i].type; i++) {
        if (call->out[i].type != call->node->outputs[i].type)
            test_fail(__FILE__, __LINE__, "%s: output %d has another type", call->node->class_type, i);
    }
    return ret == 0 ? call->out[0].object : NULL;
}

static void node_end(node_call *call)
{
    for (int i = 0; i < RG_MAX_OUTPUTS; i++)
        rg_value_unref(&call->out[i]);
}

#endif
