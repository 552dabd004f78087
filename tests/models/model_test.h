/* What the model tests share: a network's weights out of a fixture, and distances as the accuracy contract measures them. */
#ifndef RG_TESTS_MODELS_MODEL_TEST_H
#define RG_TESTS_MODELS_MODEL_TEST_H

#include "engine/weights/weights.h"
#include "tests/test.h"

/* The weights under prefix in a file, to compute in c's dtype; one hold, or NULL. */
static inline rg_weights *model_weights_quiet(rg_ctx *c, const char *path, const char *prefix)
{
    const rg_weight_options options = { .compute_dtype = c->compute_dtype, .storage_dtype = RG_N_DTYPES };
    rg_safetensors *file = NULL;
    rg_weights *w = NULL;

    if (rg_safetensors_open(c, path, &file) == 0)
        rg_weights_new(c, file, prefix, &options, &w);
    rg_safetensors_close(file);
    return w;
}

/* The same, and a failed test if there are none. */
static inline rg_weights *model_weights(rg_ctx *c, const char *path, const char *prefix)
{
    rg_weights *w = model_weights_quiet(c, path, prefix);

    CHECK_OK(c);
    return w;
}

/*
 * Run make(c), which gives an object or fails, with its 1st, 2nd, ... allocation failing, until it succeeds: each failure must be
 * RG_ERR_NOMEM and leave nothing behind (the sanitizers watch). Returns the object.
 */
static inline void *model_make_failing(rg_ctx *c, void *(*make)(rg_ctx *c))
{
    void *object = NULL;

    for (long n = 0; n < 100000 && !object; n += n < 100 ? 1 : 13) {
        rg_ctx_trim(c);
        atomic_store(&rg_alloc_fail_after, n);
        object = make(c);
        atomic_store(&rg_alloc_fail_after, -1);
        if (!object)
            CHECK_ERROR(c, RG_ERR_NOMEM);
        rg_ctx_reset(c);
    }
    CHECK(object != NULL);
    return object;
}

/* Largest difference relative to the largest reference value; infinite for NaN. Tensors on any device. */
static inline double model_distance(rg_ctx *c, const rg_tensor *got, const rg_tensor *wanted)
{
    const rg_device cpu = { RG_CPU, 0 };
    const int s = rg_scope_begin(c);
    const rg_tensor *a = rg_to_device(c, got, cpu), *b = rg_to_device(c, wanted, cpu);
    double worst = 0.0, largest = 0.0;

    if (!a || !b || !rg_same_shape(a, b))
        worst = INFINITY;
    else
        for (int64_t i = 0; i < rg_numel(b); i++) {
            const double d = fabs(rg_get(a, i) - rg_get(b, i)), v = fabs(rg_get(b, i));
            worst = d <= worst ? worst : isnan(d) ? INFINITY : d;
            largest = v > largest ? v : largest;
        }
    rg_scope_end(c, s, NULL);
    return largest > 0.0 ? worst / largest : worst;
}

/*
 * In bf16 and f16 a result may stray from ComfyUI's float32 one by 1.5 times what ComfyUI's own run in that dtype does; the fixture
 * knows how much that is as CASE.bf16 and CASE.f16.
 */
static inline void model_check_low(rg_ctx *c, test_fixture *f, const char *name, const rg_tensor *got, const rg_tensor *wanted)
{
    char key[96];

    snprintf(key, sizeof key, "%s.%s", name, c->compute_dtype == RG_F16 ? "f16" : "bf16");
    const char *text = test_meta(f, key);
    CHECK(text != NULL);
    const double theirs = text ? atof(text) : 0.0, ours = model_distance(c, got, wanted);
    fprintf(stderr, "  %-24s %.5f, ComfyUI's own %.5f\n", key, ours, theirs);
    if (!(ours <= 1.5 * theirs))
        test_fail(__FILE__, __LINE__, "%s: %g from float32, ComfyUI's own run is %g", key, ours, theirs);
}

#endif
