/*
 * The test nodes that tools/reference/graph.py gives ComfyUI, and some for what only this program can tell: tensors that are
 * counted while they live, a slow node, a node with state.
 */
#ifndef RG_TESTS_TEST_NODES_H
#define RG_TESTS_TEST_NODES_H

#include "nodes/node.h"
#include "nodes/utils/float_text.h"

static struct json_object *test_calls;          /* what TestAdd was called with, when set */
static atomic_bool *test_cancel;                /* set by TestSlow at its step */
static int test_steps_done;
static int test_tensors_n, test_tensors_most;   /* alive now, and the most there were */

#define NODE(name_, struct_, outputs_, ...)                                                                                     \
    static const rg_node node_##name_ = { .class_type = "Test" #name_, .category = "test", .description = "A node for tests.", \
        .inputs = inputs_##name_, .args_size = sizeof(struct struct_), .outputs = outputs_, .execute = execute_##name_, __VA_ARGS__ }
#define OUT(...) { __VA_ARGS__ }
#define FIELD(struct_, field) .offset = offsetof(struct struct_, field)
#define NUMBER(name_, struct_, field, ...) { .name = name_, .kind = RG_INPUT_INT, FIELD(struct_, field), .is_force_input = true, __VA_ARGS__ }

/* ---- TestNumber, TestOnce -------------------------------------------------------------------------------------------- */

struct number_args { int64_t value; };

static const rg_input inputs_Number[] = {
    { .name = "value", .kind = RG_INPUT_INT, FIELD(number_args, value), .has_default = true, .min_int = -1000, .max_int = 1000 }, RG_END
};

static int execute_Number(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_int(((const struct number_args *)in)->value);
    return 0;
}
NODE(Number, number_args, OUT({ NULL, &rg_type_int }));

#define inputs_Once inputs_Number
#define execute_Once execute_Number
NODE(Once, number_args, OUT({ NULL, &rg_type_int }), .is_not_idempotent = true);

static const rg_input inputs_Unique[] = {
    { .name = "value", .kind = RG_INPUT_INT, FIELD(number_args, value), .has_default = true }, RG_END
};
#define execute_Unique execute_Number
NODE(Unique, number_args, OUT({ NULL, &rg_type_int }), .wants_unique_id = true);

/* ---- TestAdd ----------------------------------------------------------------------------------------------------------- */

struct add_args { int64_t a, b, c; };

static const rg_input inputs_Add[] = {
    NUMBER("a", add_args, a), NUMBER("b", add_args, b), NUMBER("c", add_args, c, .is_optional = true), RG_END
};

static int execute_Add(rg_exec *x, const void *in, rg_value *out)
{
    const struct add_args *v = in;

    if (test_calls) {
        struct json_object *call = json_object_new_array();

        json_object_array_add(call, json_object_new_int64(v->a));
        json_object_array_add(call, json_object_new_int64(v->b));
        json_object_array_add(call, json_object_new_int64(v->c));
        json_object_array_add(test_calls, call);
    }
    out[0] = rg_value_int(v->a + v->b + v->c);
    return 0;
}
NODE(Add, add_args, OUT({ NULL, &rg_type_int }));

/* ---- TestList, TestSum --------------------------------------------------------------------------------------------------- */

struct list_args { int64_t n; };

static const rg_input inputs_List[] = {
    { .name = "n", .kind = RG_INPUT_INT, FIELD(list_args, n), .has_default = true, .default_int = 3, .max_int = 10 }, RG_END
};

static int execute_List(rg_exec *x, const void *in, rg_value *out)
{
    const int n = (int)((const struct list_args *)in)->n;
    rg_list *l = rg_list_new(n);

    if (!l)
        return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a list");
    for (int i = 0; i < n; i++)
        l->items[i] = rg_value_int(i + 1);
    out[0] = rg_value_object(RG_LIST, l);
    return 0;
}
NODE(List, list_args, OUT({ NULL, &rg_type_int, .is_list = true }));

struct sum_args { const rg_list *values, *times; };

static const rg_input inputs_Sum[] = {
    NUMBER("values", sum_args, values), { .name = "times", .kind = RG_INPUT_INT, FIELD(sum_args, times), .has_default = true, .default_int = 1 }, RG_END
};

static int execute_Sum(rg_exec *x, const void *in, rg_value *out)
{
    const struct sum_args *a = in;
    int64_t sum = 0;

    for (int i = 0; i < a->values->n_items; i++)
        sum += a->values->items[i].i;
    out[0] = rg_value_int(sum * a->times->items[0].i);
    out[1] = rg_value_int(a->values->n_items);
    return 0;
}
NODE(Sum, sum_args, OUT({ NULL, &rg_type_int }, { NULL, &rg_type_int }), .is_input_list = true);

/* ---- TestShow, TestPass, TestSave, TestFail -------------------------------------------------------------------------------- */

static const rg_input inputs_Show[] = { NUMBER("value", number_args, value), RG_END };

static int execute_Show(rg_exec *x, const void *in, rg_value *out)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)((const struct number_args *)in)->value);
    return rg_exec_ui_text(x, "text", text);
}
NODE(Show, number_args, OUT({ NULL, NULL }), .is_output = true);

#define inputs_Pass inputs_Show
static int execute_Pass(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_int(((const struct number_args *)in)->value);
    return execute_Show(x, in, NULL);
}
NODE(Pass, number_args, OUT({ NULL, &rg_type_int }), .is_output = true);

struct save_args { int64_t value; const char *prefix; };

static const rg_input inputs_Save[] = {
    NUMBER("value", save_args, value), { .name = "filename_prefix", .kind = RG_INPUT_STRING, FIELD(save_args, prefix) }, RG_END
};
#define execute_Save execute_Show
NODE(Save, save_args, OUT({ NULL, NULL }), .is_output = true, .wants_prompt = true);

struct fail_args { int64_t value, when; };

static const rg_input inputs_Fail[] = {
    NUMBER("value", fail_args, value), { .name = "when", .kind = RG_INPUT_INT, FIELD(fail_args, when), .has_default = true }, RG_END
};

static int execute_Fail(rg_exec *x, const void *in, rg_value *out)
{
    const struct fail_args *a = in;

    if (a->value == a->when)
        return rg_fail(x->ctx, RG_ERR_INVALID, "no %lld here", (long long)a->value);
    out[0] = rg_value_int(a->value);
    return 0;
}
NODE(Fail, fail_args, OUT({ NULL, &rg_type_int }));

/* ---- TestChanged, TestCounter: fingerprints and state ------------------------------------------------------------------------ */

struct changed_args { int64_t value; const char *mark; };

static const rg_input inputs_Changed[] = {
    { .name = "value", .kind = RG_INPUT_INT, FIELD(changed_args, value), .has_default = true, .is_optional = true },
    { .name = "mark", .kind = RG_INPUT_STRING, FIELD(changed_args, mark), .default_string = "" }, RG_END
};

static int execute_Changed(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_int(((const struct changed_args *)in)->value);
    return 0;
}

static int fingerprint(rg_env *env, const void *in, char out[65])
{
    strcpy(out, "x");
    return !strcmp(((const struct changed_args *)in)->mark, "never");
}
NODE(Changed, changed_args, OUT({ NULL, &rg_type_int }), .fingerprint = fingerprint);

#define inputs_Counter inputs_Changed
static int execute_Counter(rg_exec *x, const void *in, rg_value *out)
{
    int *count = *x->state;

    if (!count && !(*x->state = count = rg_calloc(1, sizeof(*count))))
        return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a counter");
    out[0] = rg_value_int(++*count);
    return 0;
}
NODE(Counter, changed_args, OUT({ NULL, &rg_type_int }), .fingerprint = fingerprint);

/* ---- TestSlow: progress and interrupts ------------------------------------------------------------------------------------------ */

struct slow_args { int64_t steps, stop_at; };

static const rg_input inputs_Slow[] = {
    { .name = "steps", .kind = RG_INPUT_INT, FIELD(slow_args, steps), .has_default = true },
    { .name = "stop_at", .kind = RG_INPUT_INT, FIELD(slow_args, stop_at), .has_default = true }, RG_END
};

static int execute_Slow(rg_exec *x, const void *in, rg_value *out)
{
    const struct slow_args *a = in;

    test_steps_done = 0;
    for (int64_t i = 1; i <= a->steps; i++) {
        test_steps_done++;
        if (i == a->stop_at && test_cancel)
            *test_cancel = true;
        if (rg_report(x->ctx, i, a->steps, NULL) < 0)
            return x->ctx->error;
    }
    out[0] = rg_value_int(a->steps);
    return 0;
}
NODE(Slow, slow_args, OUT({ NULL, &rg_type_int }));

/* ---- TestTensor, TestTensorAdd, TestTensorShow: counted while they live ----------------------------------------------------------- */

typedef struct counted {
    rg_object base;
    float number;
} counted;

static void counted_free(void *self)
{
    test_tensors_n--;
    free(self);
}

/* A one-element IMAGE onto memory that is counted. */
static int new_counted(rg_exec *x, float number, rg_value *out)
{
    counted *owner = calloc(1, sizeof(*owner));

    rg_object_init(owner, counted_free);
    owner->number = number;
    if (++test_tensors_n > test_tensors_most)
        test_tensors_most = test_tensors_n;
    *out = rg_value_object(RG_IMAGE, rg_tensor_wrap(&owner->number, RG_F32, 1, (const int64_t[]){ 1 }, false, owner));
    rg_unref(owner);
    return out->type ? 0 : rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a tensor");
}

static inline int test_tensors_alive(void)
{
    return test_tensors_n;
}

#define inputs_Tensor inputs_Number
static int execute_Tensor(rg_exec *x, const void *in, rg_value *out)
{
    return new_counted(x, (float)((const struct number_args *)in)->value, out);
}
NODE(Tensor, number_args, OUT({ NULL, RG_IMAGE }));

struct tensor_args { const rg_tensor *image; };

static const rg_input inputs_TensorAdd[] = {
    { .name = "image", .kind = RG_INPUT_LINK, FIELD(tensor_args, image), .type = RG_IMAGE }, RG_END
};

static int execute_TensorAdd(rg_exec *x, const void *in, rg_value *out)
{
    return new_counted(x, (float)rg_get(((const struct tensor_args *)in)->image, 0) + 1.0f, out);
}
NODE(TensorAdd, tensor_args, OUT({ NULL, RG_IMAGE }));

#define inputs_TensorShow inputs_TensorAdd
static int execute_TensorShow(rg_exec *x, const void *in, rg_value *out)
{
    char text[RG_FLOAT_TEXT_SIZE];

    return rg_exec_ui_text(x, "text", rg_float_text(rg_get(((const struct tensor_args *)in)->image, 0), text));
}
NODE(TensorShow, tensor_args, OUT({ NULL, NULL }), .is_output = true);

static inline void register_test_nodes(void)
{
    static const rg_node *const all[] = { &node_Number, &node_Once, &node_Unique, &node_Add, &node_List, &node_Sum, &node_Show, &node_Pass, &node_Save,
                                          &node_Fail, &node_Changed, &node_Counter, &node_Slow, &node_Tensor, &node_TensorAdd, &node_TensorShow };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        rg_node_register(all[i]);       /* by the second test they are there: then this changes nothing */
}

#endif
