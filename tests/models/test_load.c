/* From files to MODEL, CLIP and VAE values: sharing, all-in-one checkpoints, shards, and the wrong file for every loader. */
#include <stdarg.h>
#include <unistd.h>

#include "engine/models/load.h"
#include "engine/text/encoders.h"
#include "engine/weights/store.h"
#include "tests/test.h"

static char dir[] = "/tmp/rg_test_XXXXXX";

static void clean(void)
{
    char command[64];

    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", dir);
}

static char *path_of(const char *name)
{
    static char paths[8][256];
    static int next;
    static bool has_dir;
    char *path = paths[next++ % 8];

    if (!has_dir) {
        has_dir = mkdtemp(dir) != NULL;
        atexit(clean);
    }
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static rg_store *new_store(void)
{
    return rg_store_new((const char *const[]){ test_demo_path("") }, 1);
}

#define FLUX test_demo_path("diffusion_models/flux-demo.safetensors")
#define CLIP test_demo_path("text_encoders/clip_l-demo.safetensors")
#define T5   test_demo_path("text_encoders/t5-demo.safetensors")
#define VAE  test_demo_path("vae/ae-demo.safetensors")

/* Copy the tensors of a file into a list, their names behind a prefix. */
typedef struct list {
    rg_named_tensor tensors[4000];
    char names[4000][160];
    int n;
} list;

static void append(rg_ctx *c, list *l, const char *path, const char *prefix)
{
    rg_safetensors *f = NULL;

    CHECK_INT(rg_safetensors_open(c, path, &f), 0);
    for (int i = 0; f && i < rg_safetensors_count(f); i++) {
        snprintf(l->names[l->n], sizeof l->names[0], "%s%s", prefix, rg_safetensors_at(f, i)->name);
        l->tensors[l->n] = (rg_named_tensor){ l->names[l->n], rg_safetensors_get(c, f, rg_safetensors_at(f, i)->name) };
        l->n++;
    }
    rg_safetensors_close(f);
}

/* One denoising step on fixed numbers: the same weights give the same bytes. */
static rg_tensor *denoise(rg_ctx *c, const rg_model *m)
{
    const int64_t latent[] = { 1, 16, 8, 8 }, context[] = { 1, 12, 128 }, pooled[] = { 1, 128 };
    rg_tensor *x = rg_tensor_full(c, RG_F32, 4, latent, 0.25), *t = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, 0.7);
    const rg_denoiser_inputs in = {
        .context = rg_tensor_full(c, RG_F32, 3, context, 0.1), .pooled = rg_tensor_full(c, RG_F32, 2, pooled, -0.2),
        .guidance = rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 1 }, 3.5),
    };
    return m->denoiser->forward(c, m->denoiser, x, t, &in);
}

TEST(two_loaders_share_one_model)
{
    rg_ctx *c = test_ctx();
    rg_store *s = new_store();
    rg_model *a = NULL, *b = NULL, *d = NULL;

    CHECK_INT(rg_load_diffusion_model(c, s, FLUX, RG_WEIGHT_DEFAULT, &a), 0);
    CHECK_INT(rg_load_diffusion_model(c, s, FLUX, RG_WEIGHT_DEFAULT, &b), 0);
    CHECK_OK(c);
    CHECK(a != b && a->denoiser == b->denoiser);
    CHECK_STR(a->denoiser->family, "flux");
    CHECK_INT(rg_load_diffusion_model(c, s, FLUX, RG_WEIGHT_FP8_E4M3FN, &d), 0);
    CHECK_OK(c);
    CHECK(d->denoiser != a->denoiser);
    rg_tensor *fine = denoise(c, a), *coarse = denoise(c, d);
    CHECK_OK(c);
    double worst = 0;
    for (int64_t i = 0; i < rg_numel(fine); i++)
        worst = fmax(worst, fabs(rg_get(fine, i) - rg_get(coarse, i)));
    CHECK(worst > 1e-4 && worst < 1.0);     /* fp8 shows, and is no other model */
    rg_unref(a);
    rg_unref(b);
    rg_unref(d);
    rg_store_free(s);
    rg_ctx_free(c);
}

TEST(text_encoders_are_found_in_any_order)
{
    rg_ctx *c = test_ctx();
    rg_store *s = new_store();
    rg_clip *a = NULL, *b = NULL, *l = NULL;

    CHECK_INT(rg_load_clip(c, s, (const char *const[]){ CLIP, T5 }, 2, "flux", &a), 0);
    CHECK_INT(rg_load_clip(c, s, (const char *const[]){ T5, CLIP }, 2, "flux", &b), 0);
    CHECK_OK(c);
    CHECK_INT(a->encoders->type, RG_CLIP_FLUX);
    CHECK(a->encoders->clip_l && a->encoders->clip_l == b->encoders->clip_l);
    CHECK(a->encoders->t5xxl && a->encoders->t5xxl == b->encoders->t5xxl);
    CHECK_INT(rg_load_clip(c, s, (const char *const[]){ CLIP }, 1, "stable_diffusion", &l), 0);
    CHECK_OK(c);
    CHECK_INT(l->encoders->type, RG_CLIP_SD1);
    CHECK(l->encoders->clip_l == a->encoders->clip_l && !l->encoders->t5xxl);
    rg_unref(a);
    rg_unref(b);
    rg_unref(l);
    rg_store_free(s);
    rg_ctx_free(c);
}

TEST(an_all_in_one_checkpoint_is_its_parts)
{
    rg_ctx *c = test_ctx();
    rg_store *s = new_store();
    static list l;
    char *path = path_of("all.safetensors");
    rg_model *m = NULL, *m2 = NULL, *m3 = NULL;
    rg_clip *t = NULL, *t2 = NULL;
    rg_vae *v = NULL, *v2 = NULL;
    rg_clip_text_out pooled, pooled2;

    append(c, &l, FLUX, "model.diffusion_model.");
    append(c, &l, CLIP, "text_encoders.clip_l.transformer.");
    append(c, &l, T5, "text_encoders.t5xxl.transformer.");
    append(c, &l, VAE, "vae.");
    CHECK_INT(rg_safetensors_save(c, path, l.tensors, l.n, NULL, 0), 0);
    CHECK_INT(rg_load_checkpoint(c, s, path, &m, &t, &v), 0);
    CHECK_INT(rg_load_diffusion_model(c, s, FLUX, RG_WEIGHT_DEFAULT, &m2), 0);
    CHECK_INT(rg_load_clip(c, s, (const char *const[]){ CLIP, T5 }, 2, "flux", &t2), 0);
    CHECK_INT(rg_load_vae(c, s, VAE, &v2), 0);
    CHECK_OK(c);
    if (!m || !t || !v || c->error)
        return;

    const rg_tensor *ids = rg_to(c, rg_tensor_full(c, RG_F32, 2, (const int64_t[]){ 1, 77 }, 5), RG_I32);
    const rg_tensor *z = rg_tensor_full(c, RG_F32, 4, (const int64_t[]){ 1, 16, 4, 4 }, 0.3);
    CHECK_CLOSE(c, denoise(c, m), denoise(c, m2), 0.0);
    CHECK_CLOSE(c, rg_t5_forward(c, t->encoders->t5xxl, rg_t5_embed(c, t->encoders->t5xxl, ids), NULL, RG_T5_LAST),
                rg_t5_forward(c, t2->encoders->t5xxl, rg_t5_embed(c, t2->encoders->t5xxl, ids), NULL, RG_T5_LAST), 0.0);
    const rg_clip_text *l1 = t->encoders->clip_l, *l2 = t2->encoders->clip_l;
    const int64_t n_tokens = 9;
    rg_clip_text_forward(c, l1, rg_clip_text_embed(c, l1, ids), NULL, &n_tokens, RG_CLIP_LAST, true, &pooled);
    rg_clip_text_forward(c, l2, rg_clip_text_embed(c, l2, ids), NULL, &n_tokens, RG_CLIP_LAST, true, &pooled2);
    CHECK_CLOSE(c, pooled.pooled, pooled2.pooled, 0.0);
    CHECK_CLOSE(c, rg_vae_decode(c, v, z), rg_vae_decode(c, v2, z), 0.0);

    /* every loader finds its part in such a file, and shares it */
    CHECK_INT(rg_load_diffusion_model(c, s, path, RG_WEIGHT_DEFAULT, &m3), 0);
    CHECK(m3 && m3->denoiser == m->denoiser);
    rg_unref(m);
    rg_unref(m2);
    rg_unref(m3);
    rg_unref(t);
    rg_unref(t2);
    rg_unref(v);
    rg_unref(v2);
    rg_store_free(s);
    rg_ctx_free(c);
}

TEST(a_checkpoint_may_lack_text_encoders_and_vae)
{
    rg_ctx *c = test_ctx();
    rg_store *s = new_store();
    rg_model *m = NULL;
    rg_clip *t = (rg_clip *)1;
    rg_vae *v = (rg_vae *)1;

    CHECK_INT(rg_load_checkpoint(c, s, FLUX, &m, &t, &v), 0);
    CHECK_OK(c);
    CHECK(m && !t && !v);
    rg_unref(m);
    rg_store_free(s);
    rg_ctx_free(c);
}

TEST(shards_load_as_one)
{
    rg_ctx *c = test_ctx();
    rg_store *s = new_store();
    static list l;
    rg_model *m = NULL, *m2 = NULL;
    char *index = path_of("model.safetensors.index.json");
    FILE *f;

    append(c, &l, FLUX, "");
    const int half = l.n / 2;
    CHECK_INT(rg_safetensors_save(c, path_of("model-00001-of-00002.safetensors"), l.tensors, half, NULL, 0), 0);
    CHECK_INT(rg_safetensors_save(c, path_of("model-00002-of-00002.safetensors"), l.tensors + half, l.n - half, NULL, 0), 0);
    if (!(f = fopen(index, "w")))
        return;
    fprintf(f, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (int i = 0; i < l.n; i++)
        fprintf(f, "%s\"%s\": \"model-0000%d-of-00002.safetensors\"", i ? ", " : "", l.names[i], i < half ? 1 : 2);
    fprintf(f, "}}");
    fclose(f);
    CHECK_INT(rg_load_diffusion_model(c, s, index, RG_WEIGHT_DEFAULT, &m), 0);
    CHECK_INT(rg_load_diffusion_model(c, s, FLUX, RG_WEIGHT_DEFAULT, &m2), 0);
    CHECK_OK(c);
    if (m && m2)
        CHECK_CLOSE(c, denoise(c, m), denoise(c, m2), 0.0);
    rg_unref(m);
    rg_unref(m2);
    rg_store_free(s);
    rg_ctx_free(c);
}

/* ---- real sizes, in a file of holes --------------------------------------------------------------------------------- */

typedef struct header {
    char *text;
    size_t n, max;
    int64_t offset;
} header;

static void put(header *h, int64_t rows, int64_t columns, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void put(header *h, int64_t rows, int64_t columns, const char *format, ...)
{
    const int64_t bytes = 2 * rows * (columns ? columns : 1);
    char name[128], shape[64];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    snprintf(shape, sizeof shape, columns ? "%lld,%lld" : "%lld", (long long)rows, (long long)columns);
    h->n += (size_t)snprintf(h->text + h->n, h->max - h->n, "%c\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%lld,%lld]}",
                             h->n ? ',' : '{', name, shape, (long long)h->offset, (long long)(h->offset + bytes));
    h->offset += bytes;
}

static void put_linear(header *h, int64_t n_out, int64_t n_in, const char *stem, const char *name)
{
    put(h, n_out, n_in, "%s%s.weight", stem, name);
    put(h, n_out, 0, "%s%s.bias", stem, name);
}

/* All tensors of Flux.1 dev, 23.8 GB of zeros that take no disk: false when the file system cannot do that. */
static bool write_flux_dev(const char *path)
{
    const int64_t D = 3072;
    header h = { .text = malloc(1 << 20), .max = 1 << 20 };
    char stem[64];

    put_linear(&h, D, 64, "", "img_in");
    put_linear(&h, D, 4096, "", "txt_in");
    for (int i = 0; i < 3; i++) {
        snprintf(stem, sizeof stem, "%s_in.", ((const char *[]){ "time", "guidance", "vector" })[i]);
        put_linear(&h, D, i == 2 ? 768 : 256, stem, "in_layer");
        put_linear(&h, D, D, stem, "out_layer");
    }
    for (int i = 0; i < 38; i++) {
        snprintf(stem, sizeof stem, "double_blocks.%d.%s_", i / 2, i % 2 ? "txt" : "img");
        put_linear(&h, 6 * D, D, stem, "mod.lin");
        put_linear(&h, 3 * D, D, stem, "attn.qkv");
        put_linear(&h, D, D, stem, "attn.proj");
        put_linear(&h, 4 * D, D, stem, "mlp.0");
        put_linear(&h, D, 4 * D, stem, "mlp.2");
        put(&h, 128, 0, "%sattn.norm.query_norm.scale", stem);
        put(&h, 128, 0, "%sattn.norm.key_norm.scale", stem);
    }
    for (int i = 0; i < 38; i++) {
        snprintf(stem, sizeof stem, "single_blocks.%d.", i);
        put_linear(&h, 7 * D, D, stem, "linear1");
        put_linear(&h, D, 5 * D, stem, "linear2");
        put_linear(&h, 3 * D, D, stem, "modulation.lin");
        put(&h, 128, 0, "%snorm.query_norm.scale", stem);
        put(&h, 128, 0, "%snorm.key_norm.scale", stem);
    }
    put_linear(&h, 2 * D, D, "final_layer.adaLN_modulation.", "1");
    put_linear(&h, 64, D, "final_layer.", "linear");
    h.text[h.n++] = '}';
    while (h.n % 8)
        h.text[h.n++] = ' ';

    FILE *f = fopen(path, "wb");
    const uint64_t length = h.n;        /* little-endian machines only, as the program */
    const bool is_good = f && fwrite(&length, 8, 1, f) == 1 && fwrite(h.text, 1, h.n, f) == h.n && fflush(f) == 0 &&
                         ftruncate(fileno(f), (off_t)(8 + h.n) + h.offset) == 0;
    if (f)
        fclose(f);
    free(h.text);
    return is_good;
}

/* A model of the compute dtype is mapped: nothing is copied, nothing even read, however large it is. */
TEST(flux_dev_of_real_size_is_not_copied)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_BF16, NULL);
    rg_store *s = new_store();
    char *path = path_of("flux1-dev.safetensors");
    rg_model *m = NULL;

    if (!write_flux_dev(path)) {
        rg_store_free(s);
        rg_ctx_free(c);
        SKIP("no file of 24 GB with holes can be made in /tmp");
    }
    CHECK_INT(rg_load_diffusion_model(c, s, path, RG_WEIGHT_DEFAULT, &m), 0);
    CHECK_OK(c);
    if (m) {
        CHECK(m->denoiser->uses_guidance);
        CHECK_INT(m->denoiser->weight_bytes, 23802816640);
        CHECK_INT(rg_ctx_bytes(c), 0);
    }
    rg_unref(m);
    rg_store_free(s);
    rg_ctx_free(c);
    unlink(path);
}

TEST(the_wrong_file_is_refused_in_words)
{
    rg_ctx *c = test_ctx();
    rg_store *s = new_store();
    rg_model *m = NULL;
    rg_clip *t = NULL;
    rg_vae *v = NULL;
    char *other = path_of("other.safetensors"), *sdxl = path_of("sdxl.safetensors");
    rg_tensor *x = rg_tensor_zeros(c, RG_F32, 2, (const int64_t[]){ 8, 2048 });
    const rg_named_tensor some[] = { { "a.b", x } };
    const rg_named_tensor unet[] = { { "input_blocks.0.0.weight", x }, { "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", x } };

    CHECK_INT(rg_safetensors_save(c, other, some, 1, NULL, 0), 0);
    CHECK_INT(rg_safetensors_save(c, sdxl, unet, 2, NULL, 0), 0);
#define REFUSED(call, code, words) do {                                                                                \
        CHECK_INT((call), (code));                                                                                     \
        if (!strstr(c->message, words))                                                                                \
            test_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", c->message, words);                                  \
        rg_ctx_reset(c);                                                                                               \
    } while (0)
    REFUSED(rg_load_diffusion_model(c, s, VAE, RG_WEIGHT_DEFAULT, &m), RG_ERR_FORMAT,
            "ae-demo.safetensors: wanted a diffusion model, the file holds: Flux or SD3 autoencoder");
    REFUSED(rg_load_diffusion_model(c, s, T5, RG_WEIGHT_DEFAULT, &m), RG_ERR_FORMAT,
            "wanted a diffusion model, the file holds: T5 encoder");
    REFUSED(rg_load_diffusion_model(c, s, other, RG_WEIGHT_DEFAULT, &m), RG_ERR_FORMAT,
            "nothing this program knows: 1 tensors, the first is a.b");
    REFUSED(rg_load_diffusion_model(c, s, sdxl, RG_WEIGHT_DEFAULT, &m), RG_ERR_UNSUPPORTED,
            "SDXL UNet, which this program cannot run yet");
    REFUSED(rg_load_diffusion_model(c, s, path_of("none"), RG_WEIGHT_DEFAULT, &m), RG_ERR_NOT_FOUND, "none");
    REFUSED(rg_load_clip(c, s, (const char *const[]){ FLUX }, 1, "stable_diffusion", &t), RG_ERR_FORMAT,
            "wanted a text encoder, the file holds: Flux.1 dev");
    REFUSED(rg_load_clip(c, s, (const char *const[]){ CLIP, CLIP }, 2, "flux", &t), RG_ERR_INVALID, "and so does another one");
    REFUSED(rg_load_clip(c, s, (const char *const[]){ CLIP, T5 }, 2, "sd3", &t), RG_ERR_UNSUPPORTED, "type sd3");
    REFUSED(rg_load_vae(c, s, CLIP, &v), RG_ERR_FORMAT, "wanted a VAE, the file holds: CLIP-L text encoder");
    REFUSED(rg_load_checkpoint(c, s, VAE, &m, &t, &v), RG_ERR_FORMAT, "wanted a checkpoint");
    CHECK(!m && !t && !v);
    rg_store_free(s);
    rg_ctx_free(c);
}

/* Leave out, or bend, one tensor at a time: the error names it. */
TEST(broken_models_name_the_tensor)
{
    static const struct { const char *path, *tensor; } cases[] = {
        { "diffusion_models/flux-demo.safetensors", "double_blocks.1.txt_attn.proj.weight" },
        { "text_encoders/clip_l-demo.safetensors", "text_model.encoder.layers.1.mlp.fc2.bias" },
        { "text_encoders/t5-demo.safetensors", "encoder.block.2.layer.0.SelfAttention.v.weight" },
        { "vae/ae-demo.safetensors", "decoder.up.1.block.0.conv2.weight" },
    };

    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            rg_ctx *c = test_ctx();
            rg_store *s = new_store();
            static list l;
            char *path = path_of("broken.safetensors");
            rg_model *m = NULL;
            rg_clip *t = NULL;
            rg_vae *v = NULL;
            const char *paths[] = { path };

            l.n = 0;
            append(c, &l, test_demo_path(cases[i].path), "");
            for (int j = 0; j < l.n; j++)
                if (!strcmp(l.names[j], cases[i].tensor)) {
                    if (k)
                        l.tensors[j].tensor = rg_new1(c, RG_F32, 7);
                    else
                        snprintf(l.names[j], sizeof l.names[0], "gone");
                }
            CHECK_INT(rg_safetensors_save(c, path, l.tensors, l.n, NULL, 0), 0);
            CHECK_OK(c);
            const int ret = i == 0 ? rg_load_diffusion_model(c, s, path, RG_WEIGHT_DEFAULT, &m)
                          : i == 3 ? rg_load_vae(c, s, path, &v) : rg_load_clip(c, s, paths, 1, "stable_diffusion", &t);
            CHECK_INT(ret, k ? RG_ERR_SHAPE : RG_ERR_NOT_FOUND);
            if (!strstr(c->message, cases[i].tensor) || !strstr(c->message, k ? "is [7], wanted [" : "is missing"))
                test_fail(__FILE__, __LINE__, "\"%s\" does not say what is wrong with %s", c->message, cases[i].tensor);
            rg_store_free(s);
            rg_ctx_free(c);
        }
}
