/* The autoencoder against ComfyUI's, on a toy of Stable Diffusion's kind and on the demo model. Made by tools/reference/vae.py. */
#include "engine/models/vae.h"

#include <omp.h>
#include <unistd.h>

#include "tests/models/model_test.h"

static const char *const toy_path = "models/vae_toy.safetensors";

static rg_vae *load(rg_ctx *c, const char *path, const char *prefix)
{
    rg_weights *w = model_weights(c, path, prefix);
    rg_vae *vae = NULL;

    if (w)
        rg_vae_load(c, w, &vae);
    rg_unref(w);
    return vae;
}

/* A picture of the fixture, stored as bytes: [B, H, W, C] in 0..1, divided as a picture loader does. */
static rg_tensor *picture(rg_ctx *c, test_fixture *f, const char *name)
{
    return rg_div_scalar(c, rg_to(c, test_get(f, c, name), RG_F32), 255.0f);
}

static rg_tensor *latent(rg_ctx *c, test_fixture *f, const char *name)
{
    return rg_to(c, test_get(f, c, name), RG_F32);
}

/* What is done with the toy: the sizes are those of tools/reference/vae.py. */
typedef rg_tensor *toy_fn(rg_ctx *c, test_fixture *f, const rg_vae *vae);

#define TOY(name, ...) static rg_tensor *name(rg_ctx *c, test_fixture *f, const rg_vae *v) { return __VA_ARGS__; }
TOY(decode,       rg_vae_decode(c, v, latent(c, f, "decode.z")))
TOY(encode,       rg_vae_encode(c, v, picture(c, f, "encode.pixels")))
TOY(decode_tiled, rg_vae_decode_tiled(c, v, latent(c, f, "decode_tiled.z"), 8, 8, 2))
TOY(decode_wide,  rg_vae_decode_tiled(c, v, latent(c, f, "decode_tiled.z"), 16, 12, 3))
TOY(decode_bare,  rg_vae_decode_tiled(c, v, latent(c, f, "decode_tiled.z"), 8, 8, 0))
TOY(encode_tiled, rg_vae_encode_tiled(c, v, picture(c, f, "encode_tiled.pixels"), 16, 16, 4))
TOY(encode_wide,  rg_vae_encode_tiled(c, v, picture(c, f, "encode_tiled.pixels"), 32, 24, 6))

static const struct { const char *name; toy_fn *fn; } toys[] = {
    { "decode", decode }, { "encode", encode }, { "decode_tiled", decode_tiled }, { "decode_tiled_wide", decode_wide },
    { "decode_tiled_bare", decode_bare }, { "encode_tiled", encode_tiled }, { "encode_tiled_wide", encode_wide },
};
enum { N_TOYS = sizeof toys / sizeof *toys };

static const rg_tensor *result(rg_ctx *c, test_fixture *f, const char *name)
{
    char key[96];

    snprintf(key, sizeof key, "%s.out", name);
    return test_get(f, c, key);
}

TEST(vae_toy_matches_comfyui)
{
    test_fixture *f = test_open(toy_path);
    FOR_EACH_DEVICE(c) {
        rg_vae *vae = load(c, test_path(toy_path), "sd.");
        CHECK(vae != NULL);
        for (int i = 0; vae && i < N_TOYS; i++)     /* float32: only the order of sums differs */
            CHECK_CLOSE(c, toys[i].fn(c, f, vae), result(c, f, toys[i].name), 1e-5);
        rg_unref(vae);
    }
    test_close(f);
}

TEST(vae_toy_in_bf16)
{
    test_fixture *f = test_open(toy_path);
    FOR_EACH_DEVICE(c) {
        c->compute_dtype = RG_BF16;
        rg_vae *vae = load(c, test_path(toy_path), "sd.");
        CHECK(vae != NULL);
        for (int i = 0; vae && i < N_TOYS; i++) {
            rg_tensor *out = toys[i].fn(c, f, vae);
            CHECK_OK(c);
            model_check_low(c, f, toys[i].name, out, result(c, f, toys[i].name));
        }
        rg_unref(vae);
    }
    test_close(f);
}

TEST(vae_demo_matches_comfyui)
{
    test_fixture *f = test_open("models/vae_demo.safetensors");
    FOR_EACH_DEVICE(c) {
        rg_vae *vae = load(c, test_demo_path("vae/ae-demo.safetensors"), "");
        CHECK(vae != NULL);
        if (vae) {
            CHECK_INT(rg_vae_latent_channels(vae), 16);
            CHECK_INT(rg_vae_scale(vae), 8);
            CHECK_CLOSE(c, rg_vae_encode(c, vae, picture(c, f, "pixels")), test_get(f, c, "latent"), 1e-5);
            CHECK_CLOSE(c, rg_vae_decode(c, vae, latent(c, f, "z")), test_get(f, c, "out"), 1e-5);
        }
        rg_unref(vae);
    }
    test_close(f);
}

/* f16 asked for: like ComfyUI, the autoencoder then computes in float32. */
TEST(vae_demo_in_bf16_and_f16)
{
    static const rg_dtype dtypes[] = { RG_BF16, RG_F16 };
    test_fixture *f = test_open("models/vae_demo.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; i < 2; i++) {
            c->compute_dtype = dtypes[i];
            rg_vae *vae = load(c, test_demo_path("vae/ae-demo.safetensors"), "");
            CHECK(vae != NULL);
            if (vae) {
                rg_tensor *z = rg_vae_encode(c, vae, picture(c, f, "pixels")), *out = rg_vae_decode(c, vae, latent(c, f, "z"));
                CHECK_OK(c);
                if (dtypes[i] == RG_F16) {
                    CHECK_CLOSE(c, z, test_get(f, c, "latent"), 1e-5);
                    CHECK_CLOSE(c, out, test_get(f, c, "out"), 1e-5);
                } else {
                    model_check_low(c, f, "encode", z, test_get(f, c, "latent"));
                    model_check_low(c, f, "decode", out, test_get(f, c, "out"));
                }
            }
            rg_unref(vae);
        }
    }
    test_close(f);
}

/* The demo model under diffusers' names (both generations of them), as the reference lists them: the same model. */
TEST(vae_reads_diffusers_layout)
{
    test_fixture *f = test_open("models/vae_demo.safetensors");
    rg_ctx *c = test_ctx();
    const char *names = test_meta(f, "diffusers");
    rg_safetensors *demo = NULL;
    char path[] = "/tmp/rg_vae_XXXXXX";
    const int fd = mkstemp(path);

    CHECK(names != NULL && fd >= 0);
    close(fd);
    rg_safetensors_open(c, test_demo_path("vae/ae-demo.safetensors"), &demo);
    for (int is_old = 0; names && demo && is_old < 2; is_old++) {
        static const char *const renamed[][2] = { { "to_q", "query" }, { "to_k", "key" }, { "to_v", "value" },
                                                  { "to_out.0", "proj_attn" } };
        rg_named_tensor tensors[300];
        char text[300][96];
        int n = 0;

        for (const char *at = names; at && *at && n < 300; n++) {
            char ours[96], theirs[96], *found;
            CHECK_INT(sscanf(at, "%95s %95s", ours, theirs), 2);
            snprintf(text[n], sizeof text[n], "%s", theirs);
            for (int i = 0; is_old && i < 4; i++)
                if ((found = strstr(theirs, renamed[i][0])))
                    snprintf(text[n], sizeof text[n], "%.*s%s%s", (int)(found - theirs), theirs, renamed[i][1],
                             found + strlen(renamed[i][0]));
            rg_tensor *t = rg_safetensors_get(c, demo, ours);
            if (t && strstr(theirs, "attentions") && t->n_dims == 4)
                t = rg_view2(c, t, t->shape[0], t->shape[1]);
            tensors[n] = (rg_named_tensor){ text[n], t };
            at = strchr(at, '\n');
            at = at ? at + 1 : NULL;
        }
        rg_safetensors_save(c, path, tensors, n, NULL, 0);
        rg_vae *vae = load(c, path, "");
        CHECK(vae != NULL);
        if (vae) {
            CHECK_CLOSE(c, rg_vae_encode(c, vae, picture(c, f, "pixels")), test_get(f, c, "latent"), 1e-5);
            CHECK_CLOSE(c, rg_vae_decode(c, vae, latent(c, f, "z")), test_get(f, c, "out"), 1e-5);
        }
        rg_unref(vae);
    }
    unlink(path);
    rg_safetensors_close(demo);
    rg_ctx_free(c);
    test_close(f);
}

static bool same_bits(const rg_tensor *a, const rg_tensor *b)
{
    return a && b && rg_same_shape(a, b) && memcmp(a->data, b->data, rg_nbytes(a)) == 0;
}

/* With too little memory for the whole picture, decode and encode give exactly what tiles of ComfyUI's default sizes give. */
TEST(vae_falls_back_to_tiles)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_vae *vae = load(c, test_path(toy_path), "sd.");

    if (vae) {
        const rg_tensor *z = rg_tensor_full(c, RG_F32, 4, (const int64_t[]){ 1, 4, 170, 16 }, 0.25);
        rg_set((rg_tensor *)z, 1234, 3.0);
        rg_ctx_reset_peak(c);
        const rg_tensor *whole = rg_vae_decode(c, vae, z);
        const size_t peak_whole = rg_ctx_peak_bytes(c);
        rg_ctx_reset_peak(c);
        const rg_tensor *tiled = rg_vae_decode_tiled(c, vae, z, 64, 64, 16);
        const size_t peak_tiled = rg_ctx_peak_bytes(c);

        CHECK(peak_tiled < peak_whole);
        rg_ctx_trim(c);
        rg_ctx_set_limit(c, peak_tiled + (peak_whole - peak_tiled) / 4);
        const rg_tensor *out = rg_vae_decode(c, vae, z);
        CHECK_OK(c);
        CHECK(same_bits(out, tiled) && !same_bits(out, whole));
        rg_ctx_set_limit(c, rg_ctx_bytes(c) + 100000);      /* not even a tile */
        CHECK(!rg_vae_decode(c, vae, z));
        CHECK_ERROR(c, RG_ERR_NOMEM);
        rg_ctx_reset(c);
        rg_ctx_set_limit(c, 0);
    }
    CHECK_OK(c);
    rg_unref(vae);
    rg_ctx_free(c);
    test_close(f);
}

TEST(vae_repeats_itself)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_vae *vae = load(c, test_path(toy_path), "sd.");

    if (vae) {
        const rg_tensor *a = decode_tiled(c, f, vae), *z = encode(c, f, vae);
        const int n_threads = omp_get_max_threads();
        omp_set_num_threads(1);
        CHECK(same_bits(a, decode_tiled(c, f, vae)) && same_bits(z, encode(c, f, vae)));
        omp_set_num_threads(n_threads);
    }
    CHECK_OK(c);
    rg_unref(vae);
    rg_ctx_free(c);
    test_close(f);
}

static int64_t steps_seen, total_seen;

static void count_steps(void *user, int64_t step, int64_t total, const rg_tensor *preview)
{
    steps_seen += step == steps_seen + 1;
    total_seen = total;
}

TEST(vae_tiles_report_and_stop)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_vae *vae = load(c, test_path(toy_path), "sd.");
    atomic_bool stop = true;

    if (vae) {
        c->progress = count_steps;
        CHECK(decode_tiled(c, f, vae) != NULL);
        /* 26 x 15 latents, overlap 2: 16 x 4 tiles 2 by 7, 4 x 16 tiles 12 by 1, 8 x 8 tiles 4 by 3 */
        CHECK_INT(total_seen, 14 + 12 + 12);
        CHECK_INT(steps_seen, total_seen);
        c->cancel = &stop;
        CHECK(!decode_tiled(c, f, vae));
        CHECK_ERROR(c, RG_ERR_CANCELLED);
        rg_ctx_reset(c);
        CHECK(!decode(c, f, vae));
        CHECK_ERROR(c, RG_ERR_CANCELLED);
    }
    rg_unref(vae);
    rg_ctx_free(c);
    test_close(f);
}

TEST(vae_refuses_what_does_not_fit)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_vae *vae = load(c, test_path(toy_path), "no_such_prefix.");

    CHECK(!vae && c->error);
    rg_ctx_reset(c);
    vae = load(c, test_path(toy_path), "sd.");
    if (vae) {
        const rg_tensor *z = latent(c, f, "decode.z"), *p = picture(c, f, "encode.pixels");

        CHECK(!rg_vae_decode(c, vae, rg_slice(c, z, 1, 0, 3)));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        rg_ctx_reset(c);
        CHECK(!rg_vae_encode(c, vae, rg_slice(c, p, 3, 0, 2)));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        rg_ctx_reset(c);
        CHECK(!rg_vae_encode(c, vae, rg_slice(c, p, 1, 0, 1)));
        CHECK_ERROR(c, RG_ERR_SHAPE);
        rg_ctx_reset(c);
        CHECK(!rg_vae_decode_tiled(c, vae, latent(c, f, "decode_tiled.z"), 8, 8, 4));       /* half a tile is all overlap */
        CHECK_ERROR(c, RG_ERR_INVALID);
        rg_ctx_reset(c);
        CHECK(!rg_vae_decode(c, vae, NULL));
        CHECK_OK(c);
    }
    rg_unref(vae);
    rg_ctx_free(c);
    test_close(f);
}

static void *make_toy(rg_ctx *c)
{
    rg_weights *w = model_weights_quiet(c, test_path(toy_path), "sd.");
    rg_vae *vae = NULL;

    if (w)
        rg_vae_load(c, w, &vae);
    rg_unref(w);
    return vae;
}

TEST(vae_loading_survives_failing_allocations)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();

    rg_unref(model_make_failing(c, make_toy));
    rg_ctx_free(c);
    test_close(f);
}

TEST(vae_survives_failing_allocations)
{
    test_fixture *f = test_open(toy_path);
    rg_ctx *c = test_ctx();
    rg_vae *vae = load(c, test_path(toy_path), "sd.");
    const rg_tensor *z = rg_slice(c, latent(c, f, "decode.z"), 0, 0, 1);
    rg_tensor *out = NULL;

    for (long n = 0; vae && n < 10000 && !out; n += 7) {
        rg_ctx_trim(c);
        atomic_store(&rg_alloc_fail_after, n);
        out = rg_vae_decode(c, vae, z);         /* may succeed in tiles, as the failure comes once */
        atomic_store(&rg_alloc_fail_after, -1);
        rg_ctx_reset(c);
    }
    CHECK_CLOSE(c, out, rg_slice(c, result(c, f, "decode"), 0, 0, 1), 1e-5);
    rg_unref(vae);
    rg_ctx_free(c);
    test_close(f);
}
