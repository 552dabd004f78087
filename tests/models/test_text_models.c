/* CLIP and T5 text networks against ComfyUI's own in float32 (tools/reference/text_models.py). */
#include "engine/models/clip_text.h"
#include "engine/models/t5.h"
#include "tests/test.h"

/*
 * What a forward may differ by, relative to its largest value: float32 with other summation orders in some ten matrix products.
 * The project's contract is 1e-4.
 */
#define CLOSE 1e-5

static rg_weights *open_weights(rg_ctx *c, const char *path, rg_dtype storage)
{
    const rg_weight_options options = { .compute_dtype = RG_F32, .storage_dtype = storage };
    rg_safetensors *f = NULL;
    rg_weights *w = NULL;

    if (rg_safetensors_open(c, path, &f) == 0)
        rg_weights_new(c, f, "", &options, &w);
    rg_safetensors_close(f);
    return w;
}

static rg_clip_text *load_clip_as(rg_ctx *c, const char *path, rg_dtype storage)
{
    rg_weights *w = open_weights(c, path, storage);
    rg_clip_text *m = NULL;

    if (w)
        rg_clip_text_load(c, w, &m);
    rg_unref(w);
    return m;
}

static rg_clip_text *load_clip(rg_ctx *c, const char *path)
{
    return load_clip_as(c, path, RG_N_DTYPES);
}

static rg_t5 *load_t5(rg_ctx *c, const char *path)
{
    rg_weights *w = open_weights(c, path, RG_N_DTYPES);
    rg_t5 *m = NULL;

    if (w)
        rg_t5_load(c, w, &m);
    rg_unref(w);
    return m;
}

/* Every step-th token of x [B, N, D]. */
static rg_tensor *every(rg_ctx *c, const rg_tensor *x, int64_t step)
{
    rg_tensor *out = NULL;

    for (int64_t i = 0; x && i < rg_dim(x, 1); i += step) {
        rg_tensor *row = rg_slice(c, x, 1, i, i + 1);
        out = out ? rg_concat(c, out, row, 1) : row;
    }
    return out;
}

static int64_t counts[8];

static const int64_t *counts_of(test_fixture *f, rg_ctx *c, const char *name)
{
    const rg_tensor *t = rg_to_device(c, test_get(f, c, name), (rg_device){ RG_CPU, 0 });

    for (int64_t i = 0; t && i < rg_numel(t) && i < 8; i++)
        counts[i] = (int64_t)rg_get(t, i);
    return counts;
}

TEST(clip_toy_matches_comfyui)
{
    test_fixture *f = test_open("models/clip_toy.safetensors");

    FOR_EACH_DEVICE(c) {
        rg_clip_text *m = load_clip(c, test_path("models/clip_toy.safetensors"));
        rg_clip_text_out out = { 0 };
        CHECK_OK(c);
        if (!m)
            return;
        const int64_t *n = counts_of(f, c, "reference.n_tokens");
        rg_tensor *x = rg_clip_text_embed(c, m, test_get(f, c, "reference.ids"));

        CHECK_INT(rg_clip_text_config_of(m)->end_token, 39);
        CHECK_INT(rg_clip_text_config_of(m)->n_layers, 2);
        CHECK(rg_clip_text_config_of(m)->has_projection);
        rg_clip_text_forward(c, m, x, NULL, n, 0, true, &out);
        CHECK_CLOSE(c, out.last, test_get(f, c, "reference.last"), CLOSE);
        CHECK_CLOSE(c, out.hidden, test_get(f, c, "reference.hidden_0_norm"), CLOSE);
        CHECK_CLOSE(c, out.pooled, test_get(f, c, "reference.pooled"), CLOSE);
        CHECK_CLOSE(c, out.projected, test_get(f, c, "reference.projected"), CLOSE);
        rg_clip_text_forward(c, m, x, NULL, n, -1, false, &out);
        CHECK_CLOSE(c, out.hidden, test_get(f, c, "reference.hidden_-1_raw"), CLOSE);
        rg_clip_text_forward(c, m, x, test_get(f, c, "reference.mask"), n, RG_CLIP_LAST, true, &out);
        CHECK(out.hidden == NULL);
        CHECK_CLOSE(c, out.last, test_get(f, c, "reference.masked_last"), CLOSE);
        CHECK_CLOSE(c, out.pooled, test_get(f, c, "reference.masked_pooled"), CLOSE);
        rg_unref(m);
    }
}

/* Every parameter rounded to fp8, computed in float32: what UNETLoader's weight_dtype means, here on a text model. */
TEST(fp8_storage_matches_comfyui)
{
    test_fixture *f = test_open("models/clip_toy.safetensors");

    FOR_EACH_DEVICE(c) {
        for (int k = 0; k < 2; k++) {
            rg_clip_text *m = load_clip_as(c, test_path("models/clip_toy.safetensors"), k ? RG_F8_E5M2 : RG_F8_E4M3);
            rg_clip_text_out out = { 0 };
            CHECK_OK(c);
            if (!m)
                return;
            rg_clip_text_forward(c, m, rg_clip_text_embed(c, m, test_get(f, c, "reference.ids")), NULL, counts_of(f, c, "reference.n_tokens"),
                                 RG_CLIP_LAST, true, &out);
            CHECK_CLOSE(c, out.last, test_get(f, c, k ? "reference.e5m2_last" : "reference.e4m3_last"), CLOSE);
            rg_unref(m);
        }
    }
}

/*
 * A context that computes in bf16 or f16 changes nothing here, as in ComfyUI: activations are float32. Two runs give the same bytes.
 * The distances beside ours are what rounding the weights alone costs ComfyUI.
 */
TEST(text_models_compute_in_float32_always)
{
    test_fixture *f = test_open("models/clip_toy.safetensors");
    rg_ctx *plain = test_ctx();
    rg_clip_text *m = load_clip(plain, test_path("models/clip_toy.safetensors"));
    const int64_t *n = counts_of(f, plain, "reference.n_tokens");
    rg_clip_text_out wanted = { 0 };

    CHECK_OK(plain);
    if (!m)
        return;
    rg_clip_text_forward(plain, m, rg_clip_text_embed(plain, m, test_get(f, plain, "reference.ids")), NULL, n, -1, true, &wanted);
    for (int k = 0; k < 3; k++) {
        const rg_dtype dtype = (rg_dtype[]){ RG_F32, RG_BF16, RG_F16 }[k];
        rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, dtype, NULL);
        rg_clip_text_out out = { 0 };
        double worst = 0.0, largest = 0.0;
        const rg_tensor *reference = test_get(f, c, "reference.last");

        rg_clip_text_forward(c, m, rg_clip_text_embed(c, m, test_get(f, c, "reference.ids")), NULL, n, -1, true, &out);
        CHECK_CLOSE(c, out.last, wanted.last, 0.0);
        CHECK_CLOSE(c, out.hidden, wanted.hidden, 0.0);
        CHECK_CLOSE(c, out.projected, wanted.projected, 0.0);
        for (int64_t i = 0; i < rg_numel(reference); i++) {
            worst = fmax(worst, fabs(rg_get(out.last, i) - rg_get(reference, i)));
            largest = fmax(largest, fabs(rg_get(reference, i)));
        }
        if (k) {
            const double comfy = atof(test_meta(f, k == 1 ? "bf16_distance" : "f16_distance"));
            printf("(%s: ours %.2g, ComfyUI's %.2g) ", rg_dtype_name(dtype), worst / largest, comfy);
            CHECK(worst / largest <= 1.5 * comfy);
        }
        rg_ctx_free(c);
    }
    rg_unref(m);
    rg_ctx_free(plain);
}

TEST(t5_toy_matches_comfyui)
{
    test_fixture *f = test_open("models/t5_toy.safetensors");

    FOR_EACH_DEVICE(c) {
        rg_t5 *m = load_t5(c, test_path("models/t5_toy.safetensors"));
        CHECK_OK(c);
        if (!m)
            return;
        rg_tensor *x = rg_t5_embed(c, m, test_get(f, c, "reference.ids"));

        CHECK_INT(rg_t5_config_of(m)->n_heads, 3);
        CHECK_INT(rg_t5_config_of(m)->inner, 72);
        CHECK_CLOSE(c, every(c, rg_t5_forward(c, m, x, NULL, RG_T5_LAST), 4), test_get(f, c, "reference.last"), CLOSE);
        CHECK_CLOSE(c, every(c, rg_t5_forward(c, m, x, NULL, -2), 4), test_get(f, c, "reference.hidden_-2"), CLOSE);
        CHECK_CLOSE(c, every(c, rg_t5_forward(c, m, x, test_get(f, c, "reference.mask"), RG_T5_LAST), 4),
                    test_get(f, c, "reference.masked"), CLOSE);
        rg_unref(m);
    }
}

TEST(t5_buckets_match_pytorch)
{
    test_fixture *f = test_open("models/t5_toy.safetensors");
    rg_ctx *c = test_ctx();
    const rg_tensor *buckets = test_get(f, c, "reference.buckets");

    for (int d = -700; d <= 700; d++)
        if (rg_t5_bucket(d, 32, 128) != (int64_t)rg_get(buckets, d + 700))
            test_fail(__FILE__, __LINE__, "distance %d: bucket %lld, wanted %g", d, (long long)rg_t5_bucket(d, 32, 128), rg_get(buckets, d + 700));
    rg_ctx_free(c);
}

TEST(scaled_fp8_matches_comfyui)
{
    test_fixture *f = test_open("models/t5_scaled_fp8.safetensors");

    FOR_EACH_DEVICE(c) {
        rg_t5 *m = load_t5(c, test_path("models/t5_scaled_fp8.safetensors"));
        CHECK_OK(c);
        if (!m)
            return;
        CHECK_CLOSE(c, rg_t5_forward(c, m, rg_t5_embed(c, m, test_get(f, c, "reference.ids")), NULL, RG_T5_LAST),
                    test_get(f, c, "reference.last"), CLOSE);
        rg_unref(m);
    }
}

TEST(demo_clip_matches_comfyui)
{
    test_fixture *f = test_open("models/clip_demo.safetensors");

    FOR_EACH_DEVICE(c) {
        rg_clip_text *m = load_clip(c, test_demo_path("text_encoders/clip_l-demo.safetensors"));
        rg_clip_text_out out = { 0 };
        CHECK_OK(c);
        if (!m)
            return;
        rg_clip_text_forward(c, m, rg_clip_text_embed(c, m, test_get(f, c, "ids")), NULL, counts_of(f, c, "n_tokens"), -2, true, &out);
        CHECK_CLOSE(c, every(c, out.last, 7), test_get(f, c, "last"), CLOSE);
        CHECK_CLOSE(c, every(c, out.hidden, 7), test_get(f, c, "hidden"), CLOSE);
        CHECK_CLOSE(c, out.pooled, test_get(f, c, "pooled"), CLOSE);
        rg_unref(m);
    }
}

TEST(demo_t5_matches_comfyui)
{
    test_fixture *f = test_open("models/t5_demo.safetensors");

    FOR_EACH_DEVICE(c) {
        rg_t5 *m = load_t5(c, test_demo_path("text_encoders/t5-demo.safetensors"));
        CHECK_OK(c);
        if (!m)
            return;
        CHECK_CLOSE(c, every(c, rg_t5_forward(c, m, rg_t5_embed(c, m, test_get(f, c, "ids")), NULL, RG_T5_LAST), 8),
                    test_get(f, c, "last"), CLOSE);
        rg_unref(m);
    }
}
