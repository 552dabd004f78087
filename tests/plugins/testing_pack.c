/*
 * The nodes that ComfyUI's execution tests need (its tests/execution/testing_nodes), as a node pack in C: what they do is theirs, how
 * is ours. Pictures and masks, validators, conditions, sleeping nodes here; loops in flow.h.
 */
#include "tests/plugins/pack.h"
#include "tests/plugins/flow.h"

/* ---- stubs --------------------------------------------------------------------------------------------------------------- */

struct stub_args { double value; int64_t content, height, width, batch_size; };

#define SIZE_ROWS                                                                                              \
    INT_ROW("height", stub_args, height, 512, 1, 1 << 30, .step_int = 1),                                      \
    INT_ROW("width", stub_args, width, 512, 1, (int64_t)1 << 36, .step_int = 1),                               \
    INT_ROW("batch_size", stub_args, batch_size, 1, 1, 1 << 30, .step_int = 1)

static const char *const contents[] = { "WHITE", "BLACK", "NOISE", NULL };
static const rg_input inputs_stub_image[] = { COMBO_ROW("content", stub_args, content, contents), SIZE_ROWS, RG_END };

static int execute_stub_image(rg_exec *x, const void *in, rg_value *out)
{
    static atomic_uint seed = 1;
    const struct stub_args *a = in;
    const int64_t shape[] = { a->batch_size, a->height, a->width, 3 };
    unsigned state = atomic_fetch_add(&seed, 1) * 2654435761u + 1;
    rg_tensor *t;

    if (a->content < 2)
        return give_constant(x, out, RG_IMAGE, 4, shape, a->content == 0);
    if (!(t = rg_tensor_new(x->ctx, RG_F32, 4, shape)))
        return x->ctx->error;
    for (int64_t i = 0; i < pixels(t); i++) {   /* any noise will do: xorshift */
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((float *)t->data)[i] = (float)(state >> 8) / (1 << 24);
    }
    return rg_give_tensor(x, out, RG_IMAGE, t);
}
PACK_NODE(stub_image, "StubImage", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct stub_args));

static const rg_input inputs_stub_constant[] = { FLOAT_ROW("value", stub_args, value, 0.5, 0, 1, .step = 0.01), SIZE_ROWS, RG_END };

static int execute_stub_constant(rg_exec *x, const void *in, rg_value *out)
{
    const struct stub_args *a = in;

    return give_constant(x, out, RG_IMAGE, 4, (const int64_t[]){ a->batch_size, a->height, a->width, 3 }, a->value);
}
PACK_NODE(stub_constant, "StubConstantImage", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct stub_args));

#define inputs_stub_mask inputs_stub_constant
static int execute_stub_mask(rg_exec *x, const void *in, rg_value *out)
{
    const struct stub_args *a = in;

    return give_constant(x, out, RG_MASK, 3, (const int64_t[]){ a->batch_size, a->height, a->width }, a->value);
}
PACK_NODE(stub_mask, "StubMask", OUT({ NULL, RG_MASK }), .args_size = sizeof(struct stub_args));

struct int_args { int64_t value; };
static const rg_input inputs_stub_int[] = { INT_ROW("value", int_args, value, 0, -0xffffffffll, 0xffffffffll, .step_int = 1), RG_END };

static int execute_stub_int(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_int(((const struct int_args *)in)->value);
    return 0;
}
PACK_NODE(stub_int, "StubInt", OUT({ NULL, &rg_type_int }), .args_size = sizeof(struct int_args));

struct float_args { double value; };
static const rg_input inputs_stub_float[] = { FLOAT_ROW("value", float_args, value, 0, -1.0e38, 1.0e38, .step = 0.01), RG_END };

static int execute_stub_float(rg_exec *x, const void *in, rg_value *out)
{
    out[0] = rg_value_float(((const struct float_args *)in)->value);
    return 0;
}
PACK_NODE(stub_float, "StubFloat", OUT({ NULL, &rg_type_float }), .args_size = sizeof(struct float_args));

/* ---- pictures --------------------------------------------------------------------------------------------------------------- */

struct mix_args { const rg_tensor *image1, *image2, *mask; };
static const rg_input inputs_mix[] = {
    LINK_ROW("image1", mix_args, image1, RG_IMAGE, .is_lazy = true), LINK_ROW("image2", mix_args, image2, RG_IMAGE, .is_lazy = true),
    LINK_ROW("mask", mix_args, mask, RG_MASK), RG_END
};

static int lazy_mix(rg_exec *x, const void *in)
{
    const struct mix_args *a = in;
    double least, most;

    range_of(a->mask, &least, &most);
    if (!a->image1 && (least != 1.0 || most != 1.0))
        rg_exec_need(x, "image1");
    if (!a->image2 && (least != 0.0 || most != 0.0))
        rg_exec_need(x, "image2");
    return x->ctx->error;
}

static int execute_mix(rg_exec *x, const void *in, rg_value *out)
{
    const struct mix_args *a = in;
    double least, most;
    char one[64], two[64];
    rg_tensor *r;

    range_of(a->mask, &least, &most);
    if (least == 0.0 && most == 0.0 && a->image1)
        return rg_give_tensor(x, out, RG_IMAGE, a->image1);
    if (least == 1.0 && most == 1.0 && a->image2)
        return rg_give_tensor(x, out, RG_IMAGE, a->image2);
    if (!a->image1 || !a->image2)
        return rg_fail(x->ctx, RG_ERR_INVALID, "a picture to mix is missing");
    if (!rg_same_shape(a->image1, a->image2) || pixels(a->mask) * 3 != pixels(a->image1))
        return rg_fail(x->ctx, RG_ERR_SHAPE, "the pictures are %s and %s, and so they cannot be mixed", rg_shape_text(a->image1, one, sizeof(one)),
                       rg_shape_text(a->image2, two, sizeof(two)));
    if (!(r = new_like(x, a->image1)))
        return x->ctx->error;
    for (int64_t i = 0; i < pixels(r); i++) {
        const float m = (float)rg_get(a->mask, i / 3), p = (float)rg_get(a->image1, i), q = (float)rg_get(a->image2, i);

        ((float *)r->data)[i] = p * (1.0f - m) + q * m;
    }
    return rg_give_tensor(x, out, RG_IMAGE, r);
}
PACK_NODE(mix, "TestLazyMixImages", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct mix_args), .check_lazy = lazy_mix);

struct image_args { const rg_tensor *image; double value; };
static const rg_input inputs_average[] = { LINK_ROW("input1", image_args, image, RG_IMAGE), RG_END };

/* input1 and all of input2, input3, ... that there are, without a gap. */
static int execute_average(rg_exec *x, const void *in, rg_value *out)
{
    const rg_tensor *first = ((const struct image_args *)in)->image;
    rg_tensor *sum = new_like(x, first);
    int n = 1;
    bool is_found = true;

    for (int64_t i = 0; sum && i < pixels(first); i++)
        ((float *)sum->data)[i] = (float)rg_get(first, i);
    while (sum && is_found) {
        char name[24];

        is_found = false;
        snprintf(name, sizeof(name), "input%d", n + 1);
        for (int i = 0; i < x->n_more; i++) {
            const rg_tensor *t = x->more[i].value.object;

            if (strcmp(x->more[i].name, name))
                continue;
            if (x->more[i].value.type != RG_IMAGE || !rg_same_shape(t, first))
                return rg_fail(x->ctx, RG_ERR_SHAPE, "%s is no picture of the size of input1", name);
            for (int64_t j = 0; j < pixels(first); j++)
                ((float *)sum->data)[j] += (float)rg_get(t, j);
            is_found = true;
            n++;
        }
    }
    for (int64_t i = 0; sum && i < pixels(first); i++)
        ((float *)sum->data)[i] /= (float)n;
    return rg_give_tensor(x, out, RG_IMAGE, sum);
}
PACK_NODE(average, "TestVariadicAverage", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct image_args), .takes_any_input = true);

struct changed_args { const rg_tensor *image; const rg_value *should_change; };
static const rg_input inputs_changed[] = {
    LINK_ROW("image", changed_args, image, RG_IMAGE), LINK_ROW("should_change", changed_args, should_change, NULL, .type_names = "BOOL", .is_optional = true), RG_END
};

static int execute_changed(rg_exec *x, const void *in, rg_value *out)
{
    return rg_give_tensor(x, out, RG_IMAGE, ((const struct changed_args *)in)->image);
}

static int changed_fingerprint(rg_env *env, const void *in, char out[65])
{
    const rg_value *v = ((const struct changed_args *)in)->should_change;

    strcpy(out, "0");
    return v && ((v->type == &rg_type_boolean && v->b) || (v->type == &rg_type_int && v->i));
}
PACK_NODE(changed, "TestCustomIsChanged", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct changed_args), .fingerprint = changed_fingerprint);

static const rg_input inputs_scaled[] = {
    LINK_ROW("image", image_args, image, RG_IMAGE), FLOAT_ROW("value", image_args, value, 1.0, 0, 10), RG_END
};

static int execute_scaled(rg_exec *x, const void *in, rg_value *out)
{
    const struct image_args *a = in;

    return give_scaled(x, out, a->image, a->value);
}

static int value_fingerprint(rg_env *env, const void *in, char out[65])
{
    snprintf(out, 65, "%.17g", ((const struct image_args *)in)->value);
    return 0;
}
#define inputs_with_constants inputs_scaled
#define execute_with_constants execute_scaled
PACK_NODE(with_constants, "TestIsChangedWithConstants", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct image_args), .fingerprint = value_fingerprint);

#define inputs_socket inputs_scaled
#define execute_socket execute_scaled
PACK_NODE(socket, "TestOutputNodeWithSocketOutput", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct image_args), .is_output = true);

/* ---- validators ------------------------------------------------------------------------------------------------------------ */

struct product_args { const rg_value *input1, *input2; };
#define EITHER(name_, field_) LINK_ROW(name_, product_args, field_, NULL, .type_names = "IMAGE,FLOAT")
static const rg_input inputs_validation1[] = { EITHER("input1", input1), EITHER("input2", input2), RG_END };

static int execute_validation1(rg_exec *x, const void *in, rg_value *out)
{
    const struct product_args *a = in;
    const rg_value *p = a->input1, *q = a->input2;

    if (!p || !q)
        return rg_fail(x->ctx, RG_ERR_INVALID, "a factor is missing");
    if (p->type == &rg_type_float && q->type == &rg_type_float)
        return give_square(x, out, (double)((float)p->f * (float)q->f));
    if (p->type == RG_IMAGE && q->type == &rg_type_float)
        return give_scaled(x, out, p->object, q->f);
    if (q->type == RG_IMAGE && p->type == &rg_type_float)
        return give_scaled(x, out, q->object, p->f);
    if (p->type != RG_IMAGE || q->type != RG_IMAGE || !rg_same_shape(p->object, q->object))
        return rg_fail(x->ctx, RG_ERR_INVALID, "%s and %s cannot be multiplied", p->type->name, q->type->name);
    rg_tensor *r = new_like(x, p->object);
    for (int64_t i = 0; r && i < pixels(r); i++)
        ((float *)r->data)[i] = (float)rg_get(p->object, i) * (float)rg_get(q->object, i);
    return rg_give_tensor(x, out, RG_IMAGE, r);
}

static int check_product(const struct product_args *a, char *text, size_t text_size)
{
    const rg_value *values[] = { a->input1, a->input2 };

    for (int i = 0; i < 2; i++) {
        if (!values[i] || !values[i]->type || values[i]->type == RG_IMAGE || values[i]->type == &rg_type_float)
            continue;
        snprintf(text, text_size, "Invalid type of input%d: %s", i + 1, values[i]->type->name);
        return RG_ERR_INVALID;
    }
    return 0;
}

static int validate1(rg_env *env, const void *in, char *text, size_t text_size)
{
    return check_product(in, text, text_size);
}

static const char *const both[] = { "input1", "input2", NULL }, *const both_and_types[] = { "input_types", "input1", "input2", NULL };
static const char *const types_only[] = { "input_types", NULL };

PACK_NODE(validation1, "TestCustomValidation1", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct product_args), .validate = validate1,
          .validated_inputs = both);

static int check_types(const char *const *types, char *text, size_t text_size)
{
    for (int i = 0; i < 2; i++) {
        if (!types[i] || !strcmp(types[i], "IMAGE") || !strcmp(types[i], "FLOAT") || !strcmp(types[i], "*"))
            continue;
        snprintf(text, text_size, "Invalid type of input%d: %s (expected IMAGE,FLOAT)", i + 1, types[i]);
        return RG_ERR_INVALID;
    }
    return 0;
}

static int validate2(rg_env *env, const void *in, const char *const *types, char *text, size_t text_size)
{
    const int ret = check_product(in, text, text_size);

    return ret < 0 ? ret : check_types(types, text, text_size);
}

static int validate3(rg_env *env, const void *in, const char *const *types, char *text, size_t text_size)
{
    return check_types(types, text, text_size);
}

#define inputs_validation2 inputs_validation1
#define inputs_validation3 inputs_validation1
#define execute_validation2 execute_validation1
#define execute_validation3 execute_validation1
PACK_NODE(validation2, "TestCustomValidation2", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct product_args), .validate_types = validate2,
          .validated_inputs = both_and_types);
PACK_NODE(validation3, "TestCustomValidation3", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct product_args), .validate_types = validate3,
          .validated_inputs = types_only);

struct factor_args { double input1, input2; };
static const rg_input inputs_validation4[] = {
    { .name = "input1", .kind = RG_INPUT_FLOAT, FIELD(factor_args, input1) }, { .name = "input2", .kind = RG_INPUT_FLOAT, FIELD(factor_args, input2) }, RG_END
};
static const rg_input inputs_validation5[] = {
    { .name = "input1", .kind = RG_INPUT_FLOAT, FIELD(factor_args, input1), .max = 1.0 },
    { .name = "input2", .kind = RG_INPUT_FLOAT, FIELD(factor_args, input2), .max = 1.0 }, RG_END
};

static int execute_validation4(rg_exec *x, const void *in, rg_value *out)
{
    const struct factor_args *a = in;

    return give_square(x, out, (double)((float)a->input1 * (float)a->input2));
}
#define execute_validation5 execute_validation4

static int validate4(rg_env *env, const void *in, char *text, size_t text_size)
{
    return 0;                           /* constants are floats by now */
}

static int validate5(rg_env *env, const void *in, char *text, size_t text_size)
{
    if (((const struct factor_args *)in)->input2 != 7.0)
        return 0;
    snprintf(text, text_size, "7 is not welcome");
    return RG_ERR_INVALID;
}
PACK_NODE(validation4, "TestCustomValidation4", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct factor_args), .validate = validate4,
          .validated_inputs = both);
PACK_NODE(validation5, "TestCustomValidation5", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct factor_args), .validate = validate5,
          .validated_inputs = both);

struct limit_args { double value, limit; };

static int validate_limit(rg_env *env, const void *in, char *text, size_t text_size)
{
    const struct limit_args *a = in;

    nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
    if (a->value <= a->limit)
        return 0;
    snprintf(text, text_size, "Value %g exceeds threshold %g", a->value, a->limit);
    return RG_ERR_INVALID;
}

static const rg_input inputs_async_validation[] = {
    { .name = "value", .kind = RG_INPUT_FLOAT, FIELD(limit_args, value), .has_default = true, .default_float = 5.0 },
    { .name = "threshold", .kind = RG_INPUT_FLOAT, FIELD(limit_args, limit), .has_default = true, .default_float = 10.0 }, RG_END
};
static const rg_input inputs_async_refusal[] = {
    { .name = "value", .kind = RG_INPUT_FLOAT, FIELD(limit_args, value), .has_default = true, .default_float = 5.0 },
    { .name = "max_value", .kind = RG_INPUT_FLOAT, FIELD(limit_args, limit), .has_default = true, .default_float = 10.0 }, RG_END
};
static const char *const threshold_names[] = { "value", "threshold", NULL }, *const max_names[] = { "value", "max_value", NULL };

static int execute_async_validation(rg_exec *x, const void *in, rg_value *out)
{
    return give_square(x, out, ((const struct limit_args *)in)->value / 10.0);
}

static int execute_async_refusal(rg_exec *x, const void *in, rg_value *out)
{
    const struct limit_args *a = in;

    return give_square(x, out, a->value / a->limit);
}
PACK_NODE(async_validation, "TestAsyncValidation", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct limit_args), .validate = validate_limit,
          .validated_inputs = threshold_names);
PACK_NODE(async_refusal, "TestAsyncValidationError", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct limit_args), .validate = validate_limit,
          .validated_inputs = max_names);

/* ---- expansions --------------------------------------------------------------------------------------------------------------- */

static int new_mask(rg_exec *x, double value)
{
    const int mask = rg_expand_node(x, "StubMask", NULL);

    set_float(x, mask, "value", value);
    set_int(x, mask, "height", 512);
    set_int(x, mask, "width", 512);
    set_int(x, mask, "batch_size", 1);
    return mask;
}

static int new_image(rg_exec *x, const char *content)
{
    const int image = rg_expand_node(x, "StubImage", NULL);

    set_text(x, image, "content", content);
    set_int(x, image, "height", 512);
    set_int(x, image, "width", 512);
    set_int(x, image, "batch_size", 1);
    return image;
}

struct pair_args { const rg_tensor *input1, *input2; };
static const rg_input inputs_cycle[] = { LINK_ROW("input1", pair_args, input1, RG_IMAGE), LINK_ROW("input2", pair_args, input2, RG_IMAGE), RG_END };

static int execute_cycle(rg_exec *x, const void *in, rg_value *out)
{
    const struct pair_args *a = in;
    const int mask = new_mask(x, 0.5), one = rg_expand_node(x, "TestLazyMixImages", NULL), two = rg_expand_node(x, "TestLazyMixImages", NULL);

    set_object(x, one, "image1", RG_IMAGE, a->input1);
    rg_expand_link(x, one, "mask", mask, 0);
    rg_expand_link(x, two, "image1", one, 0);
    set_object(x, two, "image2", RG_IMAGE, a->input2);
    rg_expand_link(x, two, "mask", mask, 0);
    rg_expand_link(x, one, "image2", two, 0);
    out[0] = rg_expand_output(x, two, 0);
    return 0;
}
PACK_NODE(cycle, "TestDynamicDependencyCycle", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct pair_args));

static const rg_input inputs_mixed[] = { { .name = "input1", .kind = RG_INPUT_FLOAT, FIELD(float_args, value) }, RG_END };

static int execute_mixed(rg_exec *x, const void *in, rg_value *out)
{
    const double v = ((const struct float_args *)in)->value;
    int mix, mask, black, white;

    give_square(x, &out[1], 1.0);
    if (v <= 0.2)
        return give_square(x, &out[0], v <= 0.1 ? 0.1 : 0.2);
    mask = new_mask(x, 0.3);
    black = new_image(x, "BLACK");
    white = new_image(x, "WHITE");
    mix = rg_expand_node(x, "TestLazyMixImages", NULL);
    rg_expand_link(x, mix, "image1", black, 0);
    rg_expand_link(x, mix, "image2", white, 0);
    rg_expand_link(x, mix, "mask", mask, 0);
    out[0] = rg_expand_output(x, mix, 0);
    return 0;
}
PACK_NODE(mixed, "TestMixedExpansionReturns", OUT({ NULL, RG_IMAGE }, { NULL, RG_IMAGE }), .args_size = sizeof(struct float_args));

/* ---- sleeping --------------------------------------------------------------------------------------------------------------- */

struct sleep_args { const rg_value *value; double seconds, other; const char *text; };

static int give_value(rg_value *out, const rg_value *v)
{
    *out = v ? rg_value_ref(v) : (rg_value){ 0 };
    return 0;
}

static const rg_input inputs_sleep[] = {
    LINK_ROW("value", sleep_args, value, RG_ANY), FLOAT_ROW("seconds", sleep_args, seconds, 1.0, 0, 9999, .step = 0.01), RG_END
};

static int execute_sleep(rg_exec *x, const void *in, rg_value *out)
{
    const struct sleep_args *a = in;
    const int ret = sleep_for(x, a->seconds, true);

    return ret < 0 ? ret : give_value(out, a->value);
}
PACK_NODE(sleep, "TestSleep", OUT(ANY_OUT), .args_size = sizeof(struct sleep_args), .is_async = true, .wants_unique_id = true);

struct three_args { const rg_tensor *images[3]; double sleeps[3]; };
#define THREE_ROW(n) LINK_ROW("image" #n, three_args, images[n - 1], RG_IMAGE)
#define SLEEP_ROW(n) FLOAT_ROW("sleep" #n, three_args, sleeps[n - 1], 0.5, 0, 10, .step = 0.01)
static const rg_input inputs_parallel[] = { THREE_ROW(1), THREE_ROW(2), THREE_ROW(3), SLEEP_ROW(1), SLEEP_ROW(2), SLEEP_ROW(3), RG_END };

static int execute_parallel(rg_exec *x, const void *in, rg_value *out)
{
    const struct three_args *a = in;
    int blend, sleeps[3];

    for (int i = 0; i < 3; i++) {
        sleeps[i] = rg_expand_node(x, "TestSleep", NULL);
        set_object(x, sleeps[i], "value", RG_IMAGE, a->images[i]);
        set_float(x, sleeps[i], "seconds", a->sleeps[i]);
    }
    blend = rg_expand_node(x, "TestVariadicAverage", NULL);
    rg_expand_link(x, blend, "input1", sleeps[0], 0);
    rg_expand_link(x, blend, "input2", sleeps[1], 0);
    rg_expand_link(x, blend, "input3", sleeps[2], 0);
    out[0] = rg_expand_output(x, blend, 0);
    return 0;
}
PACK_NODE(parallel, "TestParallelSleep", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct three_args), .is_output = true, .wants_unique_id = true);

struct many_args { const rg_tensor *image1, *image2; int64_t n; double seconds; };
static const rg_input inputs_many[] = {
    LINK_ROW("image1", many_args, image1, RG_IMAGE), LINK_ROW("image2", many_args, image2, RG_IMAGE), INT_ROW("num_async_nodes", many_args, n, 3, 1, 10),
    FLOAT_ROW("sleep_duration", many_args, seconds, 0.2, 0.1, 1.0), RG_END
};

static int execute_many(rg_exec *x, const void *in, rg_value *out)
{
    const struct many_args *a = in;
    int last = -1, blend = a->n > 1 ? rg_expand_node(x, "TestVariadicAverage", "average") : -1;

    for (int i = 0; i < a->n; i++) {
        char name[24];

        last = rg_expand_node(x, "TestSleep", NULL);
        set_object(x, last, "value", RG_IMAGE, i % 2 ? a->image2 : a->image1);
        set_float(x, last, "seconds", a->seconds);
        snprintf(name, sizeof(name), "input%d", i + 1);
        if (blend >= 0)
            rg_expand_link(x, blend, name, last, 0);
    }
    out[0] = rg_expand_output(x, blend >= 0 ? blend : last, 0);
    return 0;
}
PACK_NODE(many, "TestDynamicAsyncGeneration", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct many_args));

static const rg_input inputs_async_error[] = {
    LINK_ROW("value", sleep_args, value, RG_ANY), FLOAT_ROW("error_after", sleep_args, seconds, 0.1, 0, 10), RG_END
};

static int execute_async_error(rg_exec *x, const void *in, rg_value *out)
{
    const int ret = sleep_for(x, ((const struct sleep_args *)in)->seconds, false);

    return ret < 0 ? ret : rg_fail(x->ctx, RG_ERR_DEVICE, "Intentional async execution error for testing");
}
PACK_NODE(async_error, "TestAsyncError", OUT(ANY_OUT), .args_size = sizeof(struct sleep_args), .is_async = true);

static const rg_input inputs_async_timeout[] = {
    LINK_ROW("value", sleep_args, value, RG_ANY), FLOAT_ROW("timeout", sleep_args, seconds, 1.0, 0.1, 10),
    FLOAT_ROW("operation_time", sleep_args, other, 2.0, 0.1, 10), RG_END
};

static int execute_async_timeout(rg_exec *x, const void *in, rg_value *out)
{
    const struct sleep_args *a = in;
    const int ret = sleep_for(x, a->other < a->seconds ? a->other : a->seconds, false);

    if (ret < 0)
        return ret;
    if (a->other > a->seconds)
        return rg_fail(x->ctx, RG_ERR_DEVICE, "Operation timed out after %g seconds", a->seconds);
    return give_value(out, a->value);
}
PACK_NODE(async_timeout, "TestAsyncTimeout", OUT(ANY_OUT), .args_size = sizeof(struct sleep_args), .is_async = true);

static const rg_input inputs_sync_error[] = { LINK_ROW("value", sleep_args, value, RG_ANY), RG_END };

static int execute_sync_error(rg_exec *x, const void *in, rg_value *out)
{
    return rg_fail(x->ctx, RG_ERR_DEVICE, "Intentional sync execution error for testing");
}
PACK_NODE(sync_error, "TestSyncError", OUT(ANY_OUT), .args_size = sizeof(struct sleep_args));

static const rg_input inputs_resource[] = {
    LINK_ROW("value", sleep_args, value, RG_ANY),
    { .name = "resource_id", .kind = RG_INPUT_STRING, FIELD(sleep_args, text), .default_string = "resource_0" },
    FLOAT_ROW("duration", sleep_args, seconds, 0.1, 0, 1), RG_END
};

static int execute_resource(rg_exec *x, const void *in, rg_value *out)
{
    static struct { char name[64]; atomic_bool is_used; } used[16];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    const struct sleep_args *a = in;
    int at = 0, ret;

    pthread_mutex_lock(&lock);
    while (at < 15 && used[at].name[0] && strncmp(used[at].name, a->text, sizeof(used[at].name) - 1))
        at++;
    snprintf(used[at].name, sizeof(used[at].name), "%s", a->text);
    const bool was_used = atomic_exchange(&used[at].is_used, true);
    pthread_mutex_unlock(&lock);
    if (was_used)
        return rg_fail(x->ctx, RG_ERR_DEVICE, "Resource %s is already in use", a->text);
    ret = sleep_for(x, a->seconds, false);
    atomic_store(&used[at].is_used, false);
    return ret < 0 ? ret : give_value(out, a->value);
}
PACK_NODE(resource, "TestAsyncResourceUser", OUT(ANY_OUT), .args_size = sizeof(struct sleep_args), .is_async = true);

struct choice_args { const rg_value *input1, *input2; bool condition; };
static const rg_input inputs_async_lazy[] = {
    LINK_ROW("input1", choice_args, input1, RG_ANY, .is_lazy = true), LINK_ROW("input2", choice_args, input2, RG_ANY, .is_lazy = true),
    BOOL_ROW("condition", choice_args, condition, true), RG_END
};

static int lazy_choice(rg_exec *x, const void *in)
{
    const struct choice_args *a = in;

    nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
    if (a->condition && !a->input1)
        return rg_exec_need(x, "input1");
    return !a->condition && !a->input2 ? rg_exec_need(x, "input2") : 0;
}

static int execute_async_lazy(rg_exec *x, const void *in, rg_value *out)
{
    return give_square(x, out, 1.0);
}
PACK_NODE(async_lazy, "TestAsyncLazyCheck", OUT({ NULL, RG_IMAGE }), .args_size = sizeof(struct choice_args), .check_lazy = lazy_choice);

/* ---- the pack ------------------------------------------------------------------------------------------------------------------- */

static const rg_node *const pack[] = {
    &node_stub_image, &node_stub_constant, &node_stub_mask, &node_stub_int, &node_stub_float, &node_mix, &node_average, &node_changed,
    &node_with_constants, &node_socket, &node_validation1, &node_validation2, &node_validation3, &node_validation4, &node_validation5,
    &node_async_validation, &node_async_refusal, &node_cycle, &node_mixed, &node_sleep, &node_parallel, &node_many, &node_async_error,
    &node_async_timeout, &node_sync_error, &node_resource, &node_async_lazy, &node_while_open, &node_while_close, &node_for_open, &node_for_close,
    &node_blocker, &node_make_list, &node_conditions, &node_math, &node_to_bool,
};

const rg_node *const *rg_node_pack(int abi, int *n_nodes);
const rg_node *const *rg_node_pack(int abi, int *n_nodes)
{
    *n_nodes = sizeof(pack) / sizeof(pack[0]);
    return abi == RG_NODE_ABI ? pack : NULL;
}
