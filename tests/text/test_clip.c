/* Whole encodings with the demo encoders in float32, against ComfyUI's SDClipModel and FluxTokenizer set-up. */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/models/load.h"
#include "engine/text/encoders.h"
#include "tests/text/text_test.h"

static const char *model_dirs(int i)
{
    return i ? test_path("text/models") : test_demo_path("");
}

static rg_store *open_store(void)
{
    const char *dirs[] = { model_dirs(0), model_dirs(1) };
    return rg_store_new(dirs, 2);
}

/* CLIP-L alone, T5 alone or both, as CLIPLoader and DualCLIPLoader with type flux. */
static rg_clip *open_clip(rg_ctx *c, rg_store *store, bool has_l, bool has_t5)
{
    const char *paths[2] = { test_demo_path("text_encoders/clip_l-demo.safetensors"), test_demo_path("text_encoders/t5-demo.safetensors") };
    rg_clip *clip = NULL;

    CHECK_INT(rg_load_clip(c, store, has_l ? paths : paths + 1, has_l + has_t5, has_l && !has_t5 ? "stable_diffusion" : "flux", &clip), 0);
    CHECK_OK(c);
    return clip;
}

/* The rows that the fixture keeps: the first 12, every 23rd, the last two. */
static rg_tensor *kept_rows(rg_ctx *c, const rg_tensor *x, int64_t n_kept)
{
    const int64_t n = rg_dim(x, 1);
    rg_tensor *out = NULL;

    for (int64_t i = 0; i < n; i++)
        if (i < 12 || (i - 12) % 23 == 0 || i >= n - 2) {
            rg_tensor *row = rg_slice(c, x, 1, i, i + 1);
            out = out ? rg_concat(c, out, row, 1) : row;
        }
    CHECK_INT(out ? rg_dim(out, 1) : 0, n_kept);
    return out;
}

static void check_rows(rg_ctx *c, test_fixture *f, const char *prefix, const char *name, const rg_tensor *got, int64_t n)
{
    char key[64];

    snprintf(key, sizeof key, "%s%s", prefix, name);
    const rg_tensor *wanted = test_get(f, c, key);
    CHECK(got != NULL);
    if (!got)
        return;
    CHECK_INT(rg_dim(got, 1), n);
    /* float32 against float32 through a few blocks: sums in another order make 7e-6 at most, weights stretch it; half the contract */
    CHECK_CLOSE(c, kept_rows(c, got, rg_dim(wanted, 1)), wanted, 5e-5);
}

static const char *prompt_at(test_fixture *f, rg_ctx *c, int i)
{
    static char text[4096];
    const int32_t *ends = ints(f, c, "ends", "");
    const int begin = i ? ends[i - 1] : 0;

    snprintf(text, sizeof text, "%.*s", ends[i] - begin, (const char *)test_get_host(f, c, "text")->data + begin);
    return text;
}

static void check_encoding(rg_ctx *c, test_fixture *f, rg_store *store, int i, int layer)
{
    char prefix[32], key[64];
    const char *prompt = prompt_at(f, c, i);
    const rg_clip_texts texts = { prompt, prompt };

    snprintf(prefix, sizeof prefix, layer ? "layer.%d." : "%d.", layer ? i - 2 : i);
    const int32_t *lengths = ints(f, c, prefix, "lengths");
    for (int kind = 0; kind < 3; kind++) {              /* flux; CLIP-L alone; T5 alone */
        rg_clip *base = open_clip(c, store, kind != 2, kind != 1), *clip = base;
        rg_cond *cond = NULL;
        if (!base)
            return;
        if (layer)
            clip = rg_clip_with_layer(base, layer);
        CHECK_INT(rg_clip_encode(c, clip, &texts, &cond), 0);
        CHECK_OK(c);
        if (cond) {
            const rg_cond_entry *e = &cond->entries[0];
            CHECK_INT(cond->n_entries, 1);
            snprintf(key, sizeof key, "%spooled", prefix);
            if (kind != 2)
                CHECK_CLOSE(c, e->pooled, test_get(f, c, key), 1e-4);
            else
                CHECK(!e->pooled);
            if (kind == 0)
                check_rows(c, f, prefix, "t5", e->cross, lengths[0]);
            if (kind == 1)
                check_rows(c, f, prefix, "clip", e->cross, lengths[1]);
            CHECK((kind == 2) == (e->attention_mask != NULL));
            snprintf(key, sizeof key, "%smask", prefix);
            if (kind == 2 && test_has(f, key)) {
                check_rows(c, f, prefix, "t5_masked", e->cross, lengths[0]);
                CHECK_CLOSE(c, e->attention_mask, rg_to(c, test_get(f, c, key), RG_F32), 0);
            }
        }
        rg_unref(cond);
        if (clip != base)
            rg_unref(clip);
        rg_unref(base);
    }
}

TEST(encodings_equal_comfyui)
{
    test_fixture *f = test_open("text/encode.safetensors");

    FOR_EACH_DEVICE(c) {
        rg_store *store = open_store();
        for (int i = 0; i < 8; i++)
            check_encoding(c, f, store, i, 0);
        for (int i = 2; i < 4; i++)
            check_encoding(c, f, store, i, -2);
        rg_store_free(store);
    }
    test_close(f);
}

/* Two texts: each encoder reads its own (CLIPTextEncodeFlux). */
TEST(each_encoder_has_its_text)
{
    test_fixture *f = test_open("text/encode.safetensors");
    rg_ctx *c = test_ctx();
    rg_store *store = open_store();
    rg_clip *clip = open_clip(c, store, true, true);
    char l[4096], t5[4096];
    rg_cond *cond = NULL;

    snprintf(l, sizeof l, "%s", prompt_at(f, c, 2));
    snprintf(t5, sizeof t5, "%s", prompt_at(f, c, 3));
    const rg_clip_texts texts = { l, t5 };
    CHECK_INT(rg_clip_encode(c, clip, &texts, &cond), 0);
    if (cond) {
        CHECK_CLOSE(c, cond->entries[0].pooled, test_get(f, c, "2.pooled"), 1e-4);
        check_rows(c, f, "3.", "t5", cond->entries[0].cross, ints(f, c, "3.", "lengths")[0]);
    }
    rg_unref(cond);
    rg_unref(clip);
    rg_store_free(store);
    rg_ctx_free(c);
    test_close(f);
}

/* A layer that the encoder does not have means its last (CLIPSetLastLayer on a smaller encoder). */
TEST(missing_layer_is_the_last)
{
    test_fixture *f = test_open("text/encode.safetensors");
    rg_ctx *c = test_ctx();
    rg_store *store = open_store();
    rg_clip *base = open_clip(c, store, true, true), *clip = rg_clip_with_layer(base, -24);
    const char *prompt = prompt_at(f, c, 0);
    const rg_clip_texts texts = { prompt, prompt };
    rg_cond *cond = NULL;

    CHECK_INT(rg_clip_encode(c, clip, &texts, &cond), 0);
    if (cond)
        check_rows(c, f, "0.", "t5", cond->entries[0].cross, ints(f, c, "0.", "lengths")[0]);
    rg_unref(cond);
    rg_unref(clip);
    rg_unref(base);
    rg_store_free(store);
    rg_ctx_free(c);
    test_close(f);
}

/* Without tokenizer files: where they were looked for, and what is wanted. */
TEST(missing_tokenizers_are_named)
{
    char folder[] = "/tmp/rg-text-XXXXXX";
    rg_ctx *c = test_ctx();
    rg_cond *cond = NULL;
    const rg_clip_texts texts = { "a", "a" };

    CHECK(mkdtemp(folder) != NULL);
    const char *dirs[] = { folder };
    rg_store *store = rg_store_new(dirs, 1);
    rg_clip *clip = open_clip(c, store, true, true);
    CHECK_INT(rg_clip_encode(c, clip, &texts, &cond), RG_ERR_NOT_FOUND);
    CHECK(strstr(c->message, folder) && strstr(c->message, "tokenizers") && strstr(c->message, "spiece.model") && strstr(c->message, "166"));
    rg_ctx_reset(c);
    rg_unref(clip);
    clip = open_clip(c, store, true, false);
    CHECK_INT(rg_clip_encode(c, clip, &texts, &cond), RG_ERR_NOT_FOUND);
    CHECK(strstr(c->message, folder) && strstr(c->message, "merges.txt") && strstr(c->message, "702"));
    rg_unref(clip);
    rg_store_free(store);
    rg_ctx_free(c);
    rmdir(folder);
}

/* The n-th allocation fails, for n = 0, 1, 2, ...: an error each time, nothing lost, and in the end it works. */
TEST(failing_allocations)
{
    rg_ctx *c = test_ctx();
    rg_store *store = open_store();
    rg_clip *clip = open_clip(c, store, true, true);
    const rg_clip_texts texts = { "a (red:1.2) embedding:two house", "a (red:1.2) embedding:two house" };
    bool is_done = false;
    int n = 0;

    for (; clip && !is_done && n < 5000; n += n < 40 ? 1 : 17) {
        rg_cond *cond = NULL;
        atomic_store(&rg_alloc_fail_after, n);
        const int ret = rg_clip_encode(c, clip, &texts, &cond);
        is_done = atomic_exchange(&rg_alloc_fail_after, -1) >= 0;
        CHECK(is_done ? ret == 0 : (ret == 0 || ret == RG_ERR_NOMEM || ret == RG_ERR_FORMAT));
        CHECK((ret == 0) == (cond != NULL));
        rg_unref(cond);
        rg_ctx_reset(c);
    }
    CHECK(is_done && n > 20);
    rg_unref(clip);
    rg_store_free(store);
    rg_ctx_free(c);
}
