/* What the files of the testing pack share: rows of descriptors, pictures made by plain loops, values as arguments. */
#ifndef RG_TESTS_PLUGINS_PACK_H
#define RG_TESTS_PLUGINS_PACK_H

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nodes/give.h"
#include "nodes/node.h"

#define PACK_NODE(name_, class_, ...)                                                                                        \
    static const rg_node node_##name_ = { .class_type = class_, .display_name = class_, .category = "testing",              \
        .description = "A node for tests.", .python_module = "testing_pack", .inputs = inputs_##name_, .execute = execute_##name_, __VA_ARGS__ }
#define OUT(...) .outputs = { __VA_ARGS__ }
#define ANY_OUT { NULL, RG_ANY }
#define FIELD(struct_, field_) .offset = offsetof(struct struct_, field_)
#define LINK_ROW(name_, struct_, field_, type_, ...) { .name = name_, .kind = RG_INPUT_LINK, FIELD(struct_, field_), .type = type_, __VA_ARGS__ }
#define INT_ROW(name_, struct_, field_, default_, min_, max_, ...)                                                         \
    { .name = name_, .kind = RG_INPUT_INT, FIELD(struct_, field_), .has_default = true, .default_int = default_, .min_int = min_, .max_int = max_, __VA_ARGS__ }
#define FLOAT_ROW(name_, struct_, field_, default_, min_, max_, ...)                                                       \
    { .name = name_, .kind = RG_INPUT_FLOAT, FIELD(struct_, field_), .has_default = true, .default_float = default_, .min = min_, .max = max_, __VA_ARGS__ }
#define BOOL_ROW(name_, struct_, field_, default_, ...)                                                                    \
    { .name = name_, .kind = RG_INPUT_BOOLEAN, FIELD(struct_, field_), .has_default = true, .default_int = default_, __VA_ARGS__ }
#define COMBO_ROW(name_, struct_, field_, options_, ...)                                                                   \
    { .name = name_, .kind = RG_INPUT_COMBO, FIELD(struct_, field_), .options = options_, __VA_ARGS__ }

static inline int64_t pixels(const rg_tensor *t)
{
    return rg_numel(t);
}

/* A row-major CPU tensor to fill. */
static inline rg_tensor *new_like(rg_exec *x, const rg_tensor *t)
{
    return rg_tensor_new(x->ctx, RG_F32, t->n_dims, t->shape);
}

static inline int give_constant(rg_exec *x, rg_value *out, const rg_type *type, int n_dims, const int64_t *shape, double value)
{
    return rg_give_tensor(x, out, type, rg_tensor_full(x->ctx, RG_F32, n_dims, shape, value));
}

/* A 512 x 512 picture of one value. */
static inline int give_square(rg_exec *x, rg_value *out, double value)
{
    return give_constant(x, out, RG_IMAGE, 4, (const int64_t[]){ 1, 512, 512, 3 }, value);
}

/* t times a number, in float32. */
static inline int give_scaled(rg_exec *x, rg_value *out, const rg_tensor *t, double by)
{
    rg_tensor *r = new_like(x, t);
    const float f = (float)by;

    for (int64_t i = 0; r && i < pixels(t); i++)
        ((float *)r->data)[i] = (float)rg_get(t, i) * f;
    return rg_give_tensor(x, out, RG_IMAGE, r);
}

static inline void range_of(const rg_tensor *t, double *least, double *most)
{
    *least = INFINITY;
    *most = -INFINITY;
    for (int64_t i = 0; i < pixels(t); i++) {
        const double v = rg_get(t, i);

        *least = v < *least ? v : *least;
        *most = v > *most ? v : *most;
    }
}

static inline double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sleep while reporting milliseconds about every 10 of them, or until the run stops. */
static inline int sleep_for(rg_exec *x, double seconds, bool is_shown)
{
    const double start = seconds_now();

    for (;;) {
        const double left = start + seconds - seconds_now();
        const int ret = is_shown ? rg_report(x->ctx, (int64_t)((seconds - (left > 0 ? left : 0)) * 1000), (int64_t)(seconds * 1000), NULL) : rg_check(x->ctx);

        if (ret < 0 || left <= 0)
            return ret;
        const double nap = left < 0.01 ? left : 0.01;
        nanosleep(&(struct timespec){ .tv_nsec = (long)(nap * 1e9) }, NULL);
    }
}

/* Constants for new nodes of an expansion. */
static inline void set_int(rg_exec *x, int node, const char *input, int64_t v)
{
    rg_expand_value(x, node, input, &(rg_value){ .type = &rg_type_int, .i = v });
}

static inline void set_float(rg_exec *x, int node, const char *input, double v)
{
    rg_expand_value(x, node, input, &(rg_value){ .type = &rg_type_float, .f = v });
}

static inline void set_text(rg_exec *x, int node, const char *input, const char *text)
{
    rg_value v = rg_value_object(&rg_type_string, rg_string_new(text));

    if (!v.type)
        rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a text");
    rg_expand_value(x, node, input, &v);
    rg_value_unref(&v);
}

static inline void set_object(rg_exec *x, int node, const char *input, const rg_type *type, const void *object)
{
    rg_value v = rg_value_object(type, rg_ref(object));

    rg_expand_value(x, node, input, &v);
    rg_value_unref(&v);
}

#endif
