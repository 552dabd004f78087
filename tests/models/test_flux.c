/* The Flux transformer against ComfyUI's, on toys in the real key layout and on the demo model. Made by tools/reference/flux.py. */
#include "engine/models/flux.h"

#include <omp.h>

#include "tests/models/model_test.h"

static const char *const toy_path = "models/flux_toy.safetensors";

static rg_denoiser *load(rg_ctx *c, const char *path, const char *prefix)
{
    rg_weights *w = model_weights(c, path, prefix);
    rg_denoiser *m = NULL;

    if (w)
        rg_flux_load(c, w, &m);
    rg_unref(w);
    return m;
}

static rg_tensor *get(rg_ctx *c, test_fixture *f, const char *name, const char *what)
{
    char key[96];

    snprintf(key, sizeof key, "%s.%s", name, what);
    return test_has(f, key) ? rg_to(c, test_get(f, c, key), RG_F32) : NULL;
}

static rg_tensor *run_case(rg_ctx *c, test_fixture *f, const rg_denoiser *m, const char *name)
{
    const rg_denoiser_inputs in = { .context = get(c, f, name, "context"), .pooled = get(c, f, name, "y"),
                                    .guidance = get(c, f, name, "guidance") };

    return m->forward(c, m, get(c, f, name, "x"), get(c, f, name, "t"), &in);
}

static rg_tensor *run_demo(rg_ctx *c, test_fixture *f, const rg_denoiser *m, const char *name)
{
    const rg_denoiser_inputs in = { .context = rg_to(c, test_get(f, c, "context"), RG_F32),
                                    .pooled = rg_to(c, test_get(f, c, "y"), RG_F32), .guidance = test_get(f, c, "guidance") };

    return m->forward(c, m, rg_to(c, test_get(f, c, "x"), RG_F32), get(c, f, name, "t"), &in);
}

static const struct { const char *name, *prefix; } cases[] = {
    { "dev_odd", "dev." }, { "dev_bare", "dev." }, { "schnell_even", "schnell." }, { "schnell_odd", "schnell." },
};
enum { N_CASES = sizeof cases / sizeof *cases };

TEST(flux_toys_match_comfyui)
{
    test_fixture *f = test_open(toy_path);
    FOR_EACH_DEVICE(c) {
        for (int i = 0; i < N_CASES; i++) {
            rg_denoiser *m = load(c, test_path(toy_path), cases[i].prefix);
            CHECK(m != NULL);
            if (m)      /* float32: only the order of sums differs */
                CHECK_CLOSE(c, run_case(c, f, m, cases[i].name), get(c, f, cases[i].name, "out"), 1e-5);
            rg_unref(m);
        }
    }
    test_close(f);
}

TEST(flux_toys_in_bf16_and_f16)
{
    static const rg_dtype dtypes[] = { RG_BF16, RG_F16 };
    test_fixture *f = test_open(toy_path);
    FOR_EACH_DEVICE(c) {
        for (int i = 0; i < 2 * N_CASES; i++) {
            c->compute_dtype = dtypes[i % 2];
            rg_denoiser *m = load(c, test_path(toy_path), cases[i / 2].prefix);
            CHECK(m != NULL);
            if (m) {
                rg_tensor *out = run_case(c, f, m, cases[i / 2].name);
                CHECK_OK(c);
                model_check_low(c, f, cases[i / 2].name, out, get(c, f, cases[i / 2].name, "out"));
            }
            rg_unref(m);
        }
    }
    test_close(f);
}

/* fp8 weights, float32 arithmetic: UNETLoader's weight_dtype on a bf16 file, and one of ComfyUI's scaled fp8 files. */
TEST(flux_fp8_matches_comfyui)
{
    static const struct { const char *key, *prefix; rg_dtype storage; } kinds[] = {
        { "e4m3", "dev.", RG_F8_E4M3 }, { "e5m2", "dev.", RG_F8_E5M2 }, { "scaled", "file.", RG_N_DTYPES },
    };
    test_fixture *toy = test_open(toy_path), *f = test_open("models/flux_fp8.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; i < 3; i++) {
            const rg_weight_options options = { .compute_dtype = c->compute_dtype, .storage_dtype = kinds[i].storage };
            rg_safetensors *file = NULL;
            rg_weights *w = NULL;
            rg_denoiser *m = NULL;

            if (rg_safetensors_open(c, test_path(i < 2 ? toy_path : "models/flux_fp8.safetensors"), &file) == 0 &&
                rg_weights_new(c, file, kinds[i].prefix, &options, &w) == 0)
                rg_flux_load(c, w, &m);
            rg_safetensors_close(file);
            rg_unref(w);
            CHECK(m != NULL);
            if (m)
                CHECK_CLOSE(c, run_case(c, toy, m, "dev_odd"), get(c, f, kinds[i].key, "out"), 1e-5);
            rg_unref(m);
        }
    }
    test_close(f);
    test_close(toy);
}

TEST(flux_demo_matches_comfyui)
{
    test_fixture *f = test_open("models/flux_demo.safetensors");
    FOR_EACH_DEVICE(c) {
        rg_denoiser *m = load(c, test_demo_path("diffusion_models/flux-demo.safetensors"), "");
        CHECK(m != NULL);
        if (m) {
            CHECK(m->uses_guidance && m->latent_format == &rg_latent_format_flux);
            CHECK_CLOSE(c, run_demo(c, f, m, "demo_0"), get(c, f, "demo_0", "out"), 1e-5);
            CHECK_CLOSE(c, run_demo(c, f, m, "demo_1"), get(c, f, "demo_1", "out"), 1e-5);
        }
        rg_unref(m);
    }
    test_close(f);
}

TEST(flux_demo_in_bf16_and_f16)
{
    static const rg_dtype dtypes[] = { RG_BF16, RG_F16 };
    static const char *const names[] = { "demo_0", "demo_1" };
    test_fixture *f = test_open("models/flux_demo.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; i < 4; i++) {
            c->compute_dtype = dtypes[i % 2];
            rg_denoiser *m = load(c, test_demo_path("diffusion_models/flux-demo.safetensors"), "");
            CHECK(m != NULL);
            if (m) {
                rg_tensor *out = run_demo(c, f, m, names[i / 2]);
                CHECK_OK(c);
                model_check_low(c, f, names[i / 2], out, get(c, f, names[i / 2], "out"));
            }
            rg_unref(m);
        }
    }
    test_close(f);
}

static bool same_bits(const rg_tensor *a, const rg_tensor *b)
{
    return a && b && rg_same_shape(a, b) && memcmp(a->data, b->data, rg_nbytes(a)) == 0;
}

/* The rotary table is kept between calls: other sizes in between must not leave a stale one. Threads must not change a bit. */
TEST(flux_repeats_itself)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_denoiser *m = load(c, test_path(toy_path), "dev.");

    if (m) {
        rg_tensor *a = run_case(c, f, m, "dev_odd"), *b = run_case(c, f, m, "dev_bare");
        CHECK(same_bits(a, run_case(c, f, m, "dev_odd")));
        CHECK(same_bits(b, run_case(c, f, m, "dev_bare")));
        const int n_threads = omp_get_max_threads();
        omp_set_num_threads(1);
        CHECK(same_bits(a, run_case(c, f, m, "dev_odd")));
        omp_set_num_threads(n_threads);
    }
    CHECK_OK(c);
    rg_unref(m);
    rg_ctx_free(c);
    test_close(f);
}

TEST(flux_reads_its_sizes_off_the_file)
{
    rg_ctx *c = test_ctx();
    rg_flux_config k = { 0 };
    rg_weights *w;

    if (!test_path(toy_path) || !(w = model_weights(c, test_path(toy_path), "schnell.")))
        SKIP("no toy model");
    CHECK_INT(rg_flux_detect(c, w, &k), 0);
    CHECK_INT(k.hidden, 32);
    CHECK_INT(k.n_heads, 1);
    CHECK_INT(k.mlp_hidden, 64);
    CHECK_INT(k.in_channels, 4);
    CHECK_INT(k.out_channels, 4);
    CHECK_INT(k.context_dim, 40);
    CHECK_INT(k.vector_dim, 16);
    CHECK_INT(k.depth, 2);
    CHECK_INT(k.depth_single, 1);
    CHECK_INT(k.axes_dim[0], 4);
    CHECK_INT(k.axes_dim[1], 14);
    CHECK_INT(k.axes_dim[2], 14);
    CHECK(!k.has_guidance);
    rg_unref(w);
    rg_flux_axes(128, k.axes_dim);
    CHECK_INT(k.axes_dim[0], 16);
    CHECK_INT(k.axes_dim[1], 56);
    CHECK_INT(k.axes_dim[2], 56);
    rg_ctx_free(c);
}

TEST(flux_refuses_what_does_not_fit)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_denoiser *m = load(c, test_path(toy_path), "no_such_prefix.");

    CHECK(!m && c->error);
    rg_ctx_reset(c);
    m = load(c, test_path(toy_path), "dev.");
    if (m) {
        rg_denoiser_inputs in = { .context = get(c, f, "dev_bare", "context") };
        const rg_tensor *x = get(c, f, "dev_bare", "x"), *t = get(c, f, "dev_bare", "t");

        CHECK(!m->forward(c, m, rg_slice(c, x, 1, 0, 8), t, &in));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        CHECK(strstr(c->message, "[1, 8, 8, 6]") && strstr(c->message, "16"));
        rg_ctx_reset(c);
        in.context = rg_slice(c, in.context, 2, 0, 20);
        CHECK(!m->forward(c, m, x, t, &in));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        rg_ctx_reset(c);
        in.context = NULL;
        CHECK(!m->forward(c, m, x, t, &in));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        rg_ctx_reset(c);
        in = (rg_denoiser_inputs){ .context = get(c, f, "dev_bare", "context"), .pooled = get(c, f, "dev_odd", "y") };
        CHECK(!m->forward(c, m, x, t, &in));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        rg_ctx_reset(c);
        CHECK(!m->forward(c, m, NULL, t, &in));             /* no operand, no result */
        CHECK_OK(c);
    }
    rg_unref(m);
    rg_ctx_free(c);
    test_close(f);
}

TEST(flux_stops_when_asked)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_denoiser *m = load(c, test_path(toy_path), "dev.");
    atomic_bool stop = true;

    if (m) {
        c->cancel = &stop;
        CHECK(!run_case(c, f, m, "dev_odd"));
        CHECK_ERROR(c, RG_ERR_CANCELLED);
        rg_ctx_reset(c);
        atomic_store(&stop, false);
        CHECK_CLOSE(c, run_case(c, f, m, "dev_odd"), get(c, f, "dev_odd", "out"), 1e-5);
    }
    rg_unref(m);
    rg_ctx_free(c);
    test_close(f);
}

/* Every allocation fails once: an error, nothing lost (the sanitizers watch), and the next run is right. */
TEST(flux_survives_failing_allocations)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_denoiser *m = load(c, test_path(toy_path), "dev.");
    const rg_denoiser_inputs in = { .context = get(c, f, "dev_bare", "context") };
    const rg_tensor *x = get(c, f, "dev_bare", "x"), *t = get(c, f, "dev_bare", "t");
    rg_tensor *out = NULL;

    for (long n = 0; m && n < 10000 && !out; n += n < 200 ? 1 : 17) {       /* all of the first block, a sample of the rest */
        rg_ctx_trim(c);
        atomic_store(&rg_alloc_fail_after, n);
        out = m->forward(c, m, x, t, &in);
        atomic_store(&rg_alloc_fail_after, -1);
        if (!out) {
            CHECK_ERROR(c, RG_ERR_NOMEM);
            rg_ctx_reset(c);
        }
    }
    CHECK_CLOSE(c, out, get(c, f, "dev_bare", "out"), 1e-5);
    rg_unref(m);
    rg_ctx_free(c);
    test_close(f);
}

static void *make_toy(rg_ctx *c)
{
    rg_weights *w = model_weights_quiet(c, test_path(toy_path), "schnell.");
    rg_denoiser *m = NULL;

    if (w)
        rg_flux_load(c, w, &m);
    rg_unref(w);
    return m;
}

TEST(flux_loading_survives_failing_allocations)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_denoiser *m = model_make_failing(c, make_toy);

    if (m)
        CHECK_CLOSE(c, run_case(c, f, m, "schnell_even"), get(c, f, "schnell_even", "out"), 1e-5);
    rg_unref(m);
    rg_ctx_free(c);
    test_close(f);
}

static const rg_flux_config small = {
    .hidden = 64, .n_heads = 2, .mlp_hidden = 256, .in_channels = 16, .out_channels = 16, .context_dim = 48, .vector_dim = 32,
    .depth = 1, .depth_single = 1, .axes_dim = { 4, 14, 14 }, .theta = 10000.0, .has_guidance = true,
};

/* Peak memory of a forward pass beyond the weights. */
static size_t activation_peak(rg_ctx *c, int depth)
{
    rg_flux_config k = small;
    rg_denoiser *m = NULL;
    size_t peak = 0;

    k.depth = k.depth_single = depth;
    const int s = rg_scope_begin(c);
    if (rg_flux_synthetic(c, &k, 7, RG_F32, &m) == 0) {
        const rg_tensor *x = rg_tensor_full(c, RG_F32, 4, (const int64_t[]){ 1, 16, 16, 16 }, 0.5);
        const rg_tensor *t = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, 0.5);
        const rg_denoiser_inputs in = { .context = rg_tensor_full(c, RG_F32, 3, (const int64_t[]){ 1, 8, 48 }, 0.1) };
        const size_t before = rg_ctx_bytes(c);
        rg_ctx_reset_peak(c);
        CHECK(m->forward(c, m, x, t, &in) != NULL);
        peak = rg_ctx_peak_bytes(c) - before;
    }
    CHECK_OK(c);
    rg_unref(m);
    rg_scope_end(c, s, NULL);
    return peak;
}

TEST(flux_memory_does_not_grow_with_depth)
{
    rg_ctx *c = test_ctx();
    const size_t one = activation_peak(c, 1), six = activation_peak(c, 6), state = 72 * 64 * 4;

    CHECK(one > 0 && six <= one + state / 4);
    CHECK(one < 24 * state);            /* a few activations (q, k, v; attention and MLP: 5) and the scratch of the rows */
    rg_ctx_free(c);
}

/* f16 overflows in the picture's stream here: by the single blocks all numbers are finite again, as in ComfyUI (nan_to_num). */
TEST(flux_f16_overflow_does_not_spread)
{
    rg_ctx *c = test_ctx();
    rg_denoiser *m = NULL;
    const rg_tensor *x = rg_tensor_full(c, RG_F32, 4, (const int64_t[]){ 1, 16, 4, 4 }, 65000.0);
    const rg_tensor *t = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, 0.5);
    const rg_denoiser_inputs in = { .context = rg_tensor_full(c, RG_F32, 3, (const int64_t[]){ 1, 8, 48 }, 0.1) };

    c->compute_dtype = RG_F16;
    if (rg_flux_synthetic(c, &small, 3, RG_F16, &m) == 0) {
        const rg_tensor *out = m->forward(c, m, x, t, &in);
        bool is_finite = out != NULL;
        for (int64_t i = 0; out && i < rg_numel(out); i++)
            is_finite = is_finite && isfinite(rg_get(out, i));
        CHECK(is_finite);
    }
    CHECK_OK(c);
    rg_unref(m);
    rg_ctx_free(c);
}

static void *make_synthetic(rg_ctx *c)
{
    rg_denoiser *m = NULL;
    const int s = rg_scope_begin(c);

    rg_flux_synthetic(c, &small, 1, RG_BF16, &m);
    rg_scope_end(c, s, NULL);
    return m;
}

TEST(flux_synthetic_survives_failing_allocations)
{
    rg_ctx *c = test_ctx();

    rg_unref(model_make_failing(c, make_synthetic));
    rg_ctx_free(c);
}

TEST(flux_synthetic_models_are_reproducible)
{
    rg_ctx *c = test_ctx();
    rg_denoiser *m[3] = { NULL };
    rg_tensor *out[3] = { NULL };
    const rg_tensor *x = rg_tensor_full(c, RG_F32, 4, (const int64_t[]){ 1, 16, 4, 4 }, 0.5);
    const rg_tensor *t = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, 0.5);
    const rg_denoiser_inputs in = { .context = rg_tensor_full(c, RG_F32, 3, (const int64_t[]){ 1, 8, 48 }, 0.1) };

    for (int i = 0; i < 3; i++)
        if (rg_flux_synthetic(c, &small, i / 2, RG_BF16, &m[i]) == 0)
            out[i] = m[i]->forward(c, m[i], x, t, &in);
    CHECK_OK(c);
    CHECK(same_bits(out[0], out[1]) && out[2] && !same_bits(out[0], out[2]));
    if (out[0])                         /* values of a sane size: not dying out, not exploding */
        CHECK(fabs(rg_get(out[0], 5)) > 1e-4 && fabs(rg_get(out[0], 5)) < 100.0);
    for (int i = 0; i < 3; i++)
        rg_unref(m[i]);
    rg_ctx_free(c);
}
