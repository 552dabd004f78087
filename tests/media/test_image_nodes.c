/*
 * The nodes on pictures and masks, run as prompts: against ComfyUI's own (tests/fixtures/media/nodes.safetensors), and what
 * loading and saving do with files. TestTensor and TestMask bring tensors into a prompt, TestKeep takes values out of it.
 */
#include <json-c/json.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/media/image.h"
#include "engine/media/picture.h"
#include "engine/ops/backend.h"
#include "graph/execute.h"
#include "tests/test.h"

/* ---- nodes of the test ------------------------------------------------------------------------------------------------ */

static test_fixture *fixture;           /* where TestTensor and TestMask take tensors from */
static rg_value kept[8];                /* what TestKeep saw, by its slot */

struct args {
    const char *key;
    const rg_value *value;
    int64_t slot;
};

static const rg_input source_inputs[] = {
    RG_STRING("key", key),
    RG_END
};

static const rg_input keep_inputs[] = {
    RG_LINK("value", value, RG_ANY),
    RG_INT ("slot",  slot,  0, 0, 7),
    RG_END
};

static int bring(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *t = test_get(fixture, x->ctx, a->key);

    out[0] = rg_value_object(t->n_dims == 4 ? RG_IMAGE : RG_MASK, rg_ref(t));
    return 0;
}

static int keep(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    kept[a->slot] = rg_value_ref(a->value);
    return 0;
}

static const rg_node test_tensor = {
    .class_type = "TestTensor", .category = "test", .inputs = source_inputs, .outputs = { { "IMAGE", RG_IMAGE } },
    .args_size = sizeof(struct args), .execute = bring,
};
static const rg_node test_mask = {
    .class_type = "TestMask", .category = "test", .inputs = source_inputs, .outputs = { { "MASK", RG_MASK } },
    .args_size = sizeof(struct args), .execute = bring,
};
static const rg_node test_keep = {
    .class_type = "TestKeep", .category = "test", .inputs = keep_inputs, .args_size = sizeof(struct args), .is_output = true, .execute = keep,
};

/* ---- running prompts ----------------------------------------------------------------------------------------------------- */

static char folder[64];                 /* of this run: in/, out/, temp/ */

struct bench {
    rg_ctx *c;
    rg_env *env;
    rg_cache *cache;
    char ui[4096];                      /* the last node's ui, as JSON */
    int n_executed;
};

static const char *in_folder(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static struct bench bench_open(void)
{
    struct bench b = { .c = test_ctx() };
    char in[256], out[256];

    rg_node_register(&test_tensor);     /* again in later tests: refused, and harmless */
    rg_node_register(&test_mask);
    rg_node_register(&test_keep);
    snprintf(folder, sizeof folder, "/tmp/rg_test_image_XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(in, sizeof in, "%s/in", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    mkdir(in, 0777);
    b.env = rg_env_new(NULL, 0, in, out);
    b.env->has_metadata = true;
    b.cache = rg_cache_new();
    return b;
}

static void let_go(void)
{
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        rg_value_unref(&kept[i]);
}

static void bench_close(struct bench *b)
{
    char command[128];

    let_go();
    rg_cache_free(b->cache);
    rg_env_free(b->env);
    rg_ctx_free(b->c);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK_INT(system(command), 0);
}

static void listen(void *user, const rg_event *e)
{
    struct bench *b = user;

    if (e->kind == RG_EVENT_EXECUTED && !e->is_cached)
        b->n_executed++;
    if (e->kind == RG_EVENT_EXECUTED && e->ui)
        snprintf(b->ui, sizeof b->ui, "%s", json_object_to_json_string_ext(e->ui, JSON_C_TO_STRING_PLAIN));
}

/* Run a prompt; its code, with the validator's answer or the message in text when not NULL. */
static int run(struct bench *b, const char *prompt, char *text, size_t text_size)
{
    static const char *const keys[] = { "workflow" }, *const texts[] = { "{\"nodes\": []}" };
    const rg_run r = { .ctx = b->c, .env = b->env, .cache = b->cache, .listener = listen, .listener_user = b,
                       .extra_keys = keys, .extra_texts = texts, .n_extra = 1 };
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    int ret;

    let_go();
    b->ui[0] = 0;
    b->n_executed = 0;
    rg_ctx_reset(b->c);
    if ((ret = rg_prompt_parse(b->c, prompt, strlen(prompt), &p)) == 0 && (ret = rg_prompt_validate(b->env, p, &answer)) < 0) {
        if (text)
            snprintf(text, text_size, "%s", json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    } else if (ret == 0) {
        ret = rg_execute(&r, p);
        if (text)
            snprintf(text, text_size, "%s", b->c->message);
    }
    json_object_put(answer);
    rg_prompt_free(p);
    return ret;
}

/* ---- against ComfyUI's nodes ----------------------------------------------------------------------------------------------- */

static struct json_object *node_json(const char *class_type, struct json_object *inputs)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "class_type", json_object_new_string(class_type));
    json_object_object_add(o, "inputs", inputs);
    return o;
}

static struct json_object *link_json(const char *id, int slot)
{
    struct json_object *o = json_object_new_array();

    json_object_array_add(o, json_object_new_string(id));
    json_object_array_add(o, json_object_new_int(slot));
    return o;
}

/* The node under test between sources for its "$NAME" inputs and a TestKeep for each output. */
static struct json_object *prompt_of(rg_ctx *c, struct json_object *test)
{
    struct json_object *prompt = json_object_new_object(), *inputs = json_object_new_object();
    const size_t n_outputs = json_object_array_length(json_object_object_get(test, "outputs"));

    json_object_object_foreach(json_object_object_get(test, "inputs"), name, value) {
        const char *text = json_object_get_string(value);

        if (json_object_is_type(value, json_type_string) && text[0] == '$') {
            struct json_object *source = json_object_new_object();

            json_object_object_add(source, "key", json_object_new_string(text + 1));
            json_object_object_add(prompt, text, node_json(test_get(fixture, c, text + 1)->n_dims == 4 ? "TestTensor" : "TestMask", source));
            json_object_object_add(inputs, name, link_json(text, 0));
        } else {
            json_object_object_add(inputs, name, json_object_get(value));
        }
    }
    json_object_object_add(prompt, "node", node_json(json_object_get_string(json_object_object_get(test, "class_type")), inputs));
    for (size_t i = 0; i < n_outputs; i++) {
        struct json_object *o = json_object_new_object();
        char id[32];

        snprintf(id, sizeof id, "keep %zu", i);
        json_object_object_add(o, "value", link_json("node", (int)i));
        json_object_object_add(o, "slot", json_object_new_int((int)i));
        json_object_object_add(prompt, id, node_json("TestKeep", o));
    }
    return prompt;
}

/*
 * Largest difference allowed: none where values are only moved, or computed by the same float32 operations; 1e-6 where torch
 * interpolates in float32; sharpening sums up to 121 products of which some are 50 times the result, in another order.
 */
static double tolerance_of(const char *class_type)
{
    if (!strcmp(class_type, "ImageSharpen"))
        return 2e-5;
    if (strstr(class_type, "Scale") || !strcmp(class_type, "ImageBatch") || !strcmp(class_type, "ImageCompositeMasked") || !strcmp(class_type, "ImageBlend"))
        return 1e-6;
    return 0.0;
}

static void check_output(rg_ctx *c, struct json_object *test, size_t number, size_t slot)
{
    struct json_object *wanted = json_object_array_get_idx(json_object_object_get(test, "outputs"), slot);
    const int64_t every = json_object_get_int64(json_object_object_get(test, "every"));
    const char *class_type = json_object_get_string(json_object_object_get(test, "class_type"));
    const rg_tensor *got, *t;
    double worst = 0.0;
    char key[64];

    if (!json_object_is_type(wanted, json_type_array)) {
        CHECK(kept[slot].type == &rg_type_int);
        CHECK_INT(kept[slot].i, json_object_get_int64(wanted));
        return;
    }
    got = kept[slot].object;
    CHECK_INT(got->n_dims, json_object_array_length(wanted));
    for (int i = 0; i < got->n_dims; i++)
        CHECK_INT(got->shape[i], json_object_get_int64(json_object_array_get_idx(wanted, (size_t)i)));
    snprintf(key, sizeof key, "%zu.%zu", number, slot);
    t = test_get(fixture, c, key);
    got = rg_image_host(c, got);
    for (int64_t i = 0; got && i < rg_numel(t); i++) {  /* t has every every-th row and column of got */
        const int64_t n = got->n_dims == 4 ? got->shape[3] : 1, x = i / n % t->shape[2], y = i / n / t->shape[2] % t->shape[1], b = i / n / t->shape[2] / t->shape[1];

        worst = fmax(worst, fabs(rg_get(got, ((b * got->shape[1] + y * every) * got->shape[2] + x * every) * n + i % n) - rg_get(t, i)));
    }
    if (!got || !(worst <= tolerance_of(class_type)))
        test_fail(__FILE__, __LINE__, "case %zu %s: off by %g", number, json_object_to_json_string(test), worst);
}

TEST(image_nodes_do_as_comfyui)
{
    struct bench b = bench_open();
    struct json_object *tests;
    size_t n = 0;

    fixture = test_open("media/nodes.safetensors");
    tests = json_tokener_parse(test_meta(fixture, "cases"));
    for (; n < json_object_array_length(tests); n++) {
        struct json_object *test = json_object_array_get_idx(tests, n), *prompt = prompt_of(b.c, test);
        const size_t n_outputs = json_object_array_length(json_object_object_get(test, "outputs"));
        char text[1024];

        if (run(&b, json_object_to_json_string(prompt), text, sizeof text) < 0) {
            test_fail(__FILE__, __LINE__, "case %zu %s: %s", n, json_object_to_json_string(test), text);
        } else {
            for (size_t i = 0; i < n_outputs; i++)
                check_output(b.c, test, n, i);
        }
        json_object_put(prompt);
    }
    CHECK(n >= 80);
    json_object_put(tests);
    bench_close(&b);
    test_close(fixture);
}

/* ---- shapes that do not fit ---------------------------------------------------------------------------------------------------- */

static void check_fails(struct bench *b, const char *prompt, int code, const char *words)
{
    char text[4096] = "";

    CHECK_INT(run(b, prompt, text, sizeof text), code);
    if (!strstr(text, words))
        test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", text, words);
}

#define SOURCES "\"3\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 8, \"height\": 8, \"batch_size\": 2, \"color\": 0}}, "          \
                "\"m\": {\"class_type\": \"SolidMask\", \"inputs\": {\"value\": 1.0, \"width\": 8, \"height\": 8}}, "                          \
                "\"k\": {\"class_type\": \"TestKeep\", \"inputs\": {\"value\": [\"n\", 0], \"slot\": 0}}, "

TEST(image_nodes_name_what_does_not_fit)
{
    struct bench b = bench_open();

    check_fails(&b, "{" SOURCES "\"n\": {\"class_type\": \"ImageToMask\", \"inputs\": {\"image\": [\"3\", 0], \"channel\": \"alpha\"}}}",
                RG_ERR_SHAPE, "3 channels and no alpha");
    check_fails(&b, "{" SOURCES "\"n\": {\"class_type\": \"ImageSharpen\", \"inputs\": {\"image\": [\"3\", 0], \"sharpen_radius\": 8, \"sigma\": 1.0, \"alpha\": 1.0}}}",
                RG_ERR_SHAPE, "8 x 8 is too small");
    check_fails(&b, "{" SOURCES "\"n\": {\"class_type\": \"ImageScaleBy\", \"inputs\": {\"image\": [\"3\", 0], \"upscale_method\": \"area\", \"scale_by\": 0.01}}}",
                RG_ERR_SHAPE, "resized to 0 x 0");
    bench_close(&b);
}

/* ---- loading ------------------------------------------------------------------------------------------------------------------------- */

static void write_input(const char *name, const void *bytes, size_t n)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/in/%s", folder, name);
    f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n);
    if (f)
        fclose(f);
}

static void write_fixture(rg_ctx *c, const char *name)
{
    char key[96];
    const rg_tensor *t;

    snprintf(key, sizeof key, "%s.file", name);
    t = test_get(fixture, c, key);
    write_input(name, t->data, rg_nbytes(t));
}

/* IMAGE is u8 / 255 in float32, MASK 1 - alpha / 255 or 64 x 64 zeros per frame. */
TEST(load_image_gives_floats_and_a_mask)
{
    static const char *const names[] = { "png_rgba8", "png_rgb8_key", "png_palette4_trns_one", "png_apng_dispose2_blend1", "png_apng_rgb", "jpeg_exif6", "webp_lossy_alpha" };
    struct bench b = bench_open();

    fixture = test_open("media/decode.safetensors");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const rg_tensor *image, *mask, *u8, *alpha = NULL;
        char prompt[512], key[96];

        write_fixture(b.c, names[i]);
        snprintf(prompt, sizeof prompt, "{\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"%s\"}},"
                 "\"2\": {\"class_type\": \"TestKeep\", \"inputs\": {\"value\": [\"1\", 0], \"slot\": 0}},"
                 "\"3\": {\"class_type\": \"TestKeep\", \"inputs\": {\"value\": [\"1\", 1], \"slot\": 1}}}", names[i]);
        CHECK_INT(run(&b, prompt, NULL, 0), 0);
        CHECK_OK(b.c);
        image = kept[0].object;
        mask = kept[1].object;
        snprintf(key, sizeof key, "%s.image", names[i]);
        u8 = test_get(fixture, b.c, key);
        snprintf(key, sizeof key, "%s.alpha", names[i]);
        if (test_has(fixture, key))
            alpha = test_get(fixture, b.c, key);
        if (!image || !mask || !rg_same_shape(image, u8)) {
            test_fail(__FILE__, __LINE__, "%s: no picture of the wanted shape", names[i]);
            continue;
        }
        for (int64_t k = 0; k < rg_numel(u8); k++)
            CHECK((float)rg_get(image, k) == (float)((uint8_t *)u8->data)[k] / 255.0f);
        CHECK(mask->n_dims == 3 && mask->shape[0] == image->shape[0] && mask->shape[1] == (alpha ? image->shape[1] : 64));
        for (int64_t k = 0; k < rg_numel(mask); k++)
            CHECK((float)rg_get(mask, k) == (alpha ? 1.0f - (float)((uint8_t *)alpha->data)[k] / 255.0f : 0.0f));
    }
    test_close(fixture);
    bench_close(&b);
}

TEST(load_image_mask_picks_a_band)
{
    static const char *const names[] = { "png_rgba8", "png_grey16_key", "jpeg_grey", "png_rgb8_key" };
    static const char *const channels[] = { "red", "green", "blue", "alpha" };
    struct bench b = bench_open();

    fixture = test_open("media/decode.safetensors");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_fixture(b.c, names[i]);
        for (int k = 0; k < 4; k++) {
            const rg_tensor *mask, *image, *alpha = NULL, *rgba = NULL;
            char prompt[512], key[96];

            snprintf(prompt, sizeof prompt, "{\"1\": {\"class_type\": \"LoadImageMask\", \"inputs\": {\"image\": \"%s\", \"channel\": \"%s\"}},"
                     "\"2\": {\"class_type\": \"TestKeep\", \"inputs\": {\"value\": [\"1\", 0], \"slot\": 0}}}", names[i], channels[k]);
            CHECK_INT(run(&b, prompt, NULL, 0), 0);
            mask = kept[0].object;
            snprintf(key, sizeof key, "%s.image", names[i]);
            image = test_get(fixture, b.c, key);
            snprintf(key, sizeof key, "%s.alpha", names[i]);
            if (test_has(fixture, key))
                alpha = test_get(fixture, b.c, key);
            snprintf(key, sizeof key, "%s.rgba", names[i]);
            if (test_has(fixture, key))
                rgba = test_get(fixture, b.c, key);
            if (!mask || mask->n_dims != 3 || mask->shape[1] != image->shape[1] || mask->shape[2] != image->shape[2]) {
                test_fail(__FILE__, __LINE__, "%s: no mask of the wanted shape", names[i]);
                continue;
            }
            for (int64_t p = 0; p < rg_numel(mask); p++) {
                const int band = rgba ? ((uint8_t *)rgba->data)[4 * p + k] : k < 3 ? ((uint8_t *)image->data)[3 * p + k] : alpha ? ((uint8_t *)alpha->data)[p] : 255;
                CHECK((float)rg_get(mask, p) == (k == 3 ? 1.0f - (float)band / 255.0f : (float)band / 255.0f));
            }
        }
    }
    test_close(fixture);
    bench_close(&b);
}

#define LOAD(name) "{\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"" name "\"}}," \
                   "\"2\": {\"class_type\": \"TestKeep\", \"inputs\": {\"value\": [\"1\", 0], \"slot\": 0}}}"

TEST(load_image_refuses_what_it_must)
{
    struct bench b = bench_open();

    check_fails(&b, LOAD("none.png"), RG_ERR_INVALID, "Invalid image file: none.png");
    check_fails(&b, LOAD("none.png"), RG_ERR_INVALID, "custom_validation_failed");
    check_fails(&b, LOAD("../in/a.png"), RG_ERR_INVALID, "Invalid image file: ../in/a.png");
    check_fails(&b, LOAD("/etc/passwd"), RG_ERR_INVALID, "Invalid image file: /etc/passwd");
    write_input("empty.png", "", 0);
    check_fails(&b, LOAD("empty.png"), RG_ERR_FORMAT, "empty.png: the picture file is empty");
    write_input("words.jpg", "just words", 10);
    check_fails(&b, LOAD("words.jpg"), RG_ERR_FORMAT, "words.jpg: not a picture");
    write_input("old.gif", "GIF89a....", 10);
    check_fails(&b, LOAD("old.gif"), RG_ERR_FORMAT, "GIF pictures are not supported");
    bench_close(&b);
}

/* A file changed under the same name is read again; an unchanged one is not. */
TEST(load_image_notices_a_changed_file)
{
    struct bench b = bench_open();
    char sub[128];

    fixture = test_open("media/decode.safetensors");
    write_fixture(b.c, "png_rgba8");
    CHECK_INT(run(&b, LOAD("png_rgba8"), NULL, 0), 0);
    CHECK_INT(b.n_executed, 2);
    CHECK_INT(run(&b, LOAD("png_rgba8"), NULL, 0), 0);
    CHECK_INT(b.n_executed, 0);
    snprintf(sub, sizeof sub, "%s/in/png_rgba8", folder);
    remove(sub);
    const rg_tensor *other = test_get(fixture, b.c, "png_rgb8.file");
    write_input("png_rgba8", other->data, rg_nbytes(other));
    CHECK_INT(run(&b, LOAD("png_rgba8"), NULL, 0), 0);
    CHECK_INT(b.n_executed, 2);
    /* a name with its folder behind it, and one in a subfolder */
    snprintf(sub, sizeof sub, "%s/in/sub", folder);
    mkdir(sub, 0777);
    write_input("sub/b.png", other->data, rg_nbytes(other));
    CHECK_INT(run(&b, LOAD("sub/b.png [input]"), NULL, 0), 0);
    CHECK_INT(run(&b, LOAD("sub/b.png"), NULL, 0), 0);
    test_close(fixture);
    bench_close(&b);
}

/* ---- saving --------------------------------------------------------------------------------------------------------------------------- */

static rg_picture *read_output(rg_ctx *c, const char *name)
{
    rg_picture *p = NULL;

    rg_picture_load(c, in_folder(name), &p);
    CHECK_OK(c);
    rg_ctx_reset(c);
    return p;
}

#define SAVE(color, prefix) \
    "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 6, \"height\": 4, \"batch_size\": 2, \"color\": " color "}}," \
    "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"" prefix "\"}}}"

TEST(save_image_names_counts_and_reports)
{
    struct bench b = bench_open();
    rg_picture *p;
    uint8_t *bytes;
    size_t n;

    CHECK_INT(run(&b, SAVE("1193046", "sub/x"), NULL, 0), 0);
    CHECK_STR(b.ui, "{\"images\":[{\"filename\":\"x_00001_.png\",\"subfolder\":\"sub\",\"type\":\"output\"},"
                    "{\"filename\":\"x_00002_.png\",\"subfolder\":\"sub\",\"type\":\"output\"}]}");
    p = read_output(b.c, "out/sub/x_00002_.png");
    CHECK(p && p->width == 6 && p->height == 4 && p->rgb[0] == 0x12 && p->rgb[1] == 0x34 && p->rgb[2] == 0x56 && !p->alpha);
    rg_picture_free(p);

    /* the workflow inside, right behind the header: the prompt, then what came along */
    bytes = test_read_file(in_folder("out/sub/x_00001_.png"), &n);
    CHECK(bytes && !memcmp(bytes + 37, "tEXtprompt\0{\"1\": {\"class_type\": \"EmptyImage\", ", 46));
    CHECK(bytes && memmem(bytes, n, "tEXtworkflow\0{\"nodes\": []}", 26));
    free(bytes);

    /* the counter goes on; nothing is overwritten */
    CHECK_INT(run(&b, SAVE("255", "sub/x"), NULL, 0), 0);
    CHECK(strstr(b.ui, "x_00003_.png") && strstr(b.ui, "x_00004_.png"));
    CHECK_INT(run(&b, SAVE("255", "n%batch_num%of%batch_num%"), NULL, 0), 0);
    CHECK(strstr(b.ui, "n0of0_00001_.png") && strstr(b.ui, "n1of1_00002_.png"));
    CHECK_INT(run(&b, SAVE("255", "%width%x%height%"), NULL, 0), 0);
    CHECK(strstr(b.ui, "6x4_00001_.png"));
    check_fails(&b, SAVE("255", "../x"), RG_ERR_INVALID, "outside the output folder");
    bench_close(&b);
}

TEST(save_image_without_metadata)
{
    struct bench b = bench_open();
    uint8_t *bytes;
    size_t n;

    b.env->has_metadata = false;
    CHECK_INT(run(&b, SAVE("0", "x"), NULL, 0), 0);
    bytes = test_read_file(in_folder("out/x_00001_.png"), &n);
    CHECK(bytes && !memmem(bytes, n, "tEXt", 4));
    free(bytes);
    bench_close(&b);
}

/* 0.5 is 127: values are cut off. A value that rounds up elsewhere proves it. */
TEST(save_image_truncates)
{
    struct bench b = bench_open();
    rg_picture *p;

    CHECK_INT(run(&b, "{\"1\": {\"class_type\": \"SolidMask\", \"inputs\": {\"value\": 0.5, \"width\": 3, \"height\": 2}},"
                      "\"2\": {\"class_type\": \"MaskToImage\", \"inputs\": {\"mask\": [\"1\", 0]}},"
                      "\"3\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"2\", 0], \"filename_prefix\": \"half\"}}}", NULL, 0), 0);
    p = read_output(b.c, "out/half_00001_.png");
    for (int i = 0; p && i < 18; i++)
        CHECK_INT(p->rgb[i], 127);
    rg_picture_free(p);
    bench_close(&b);
}

/* Where no file can be written the run fails, says where, and leaves nothing. */
TEST(save_image_to_a_place_that_cannot_be)
{
    struct bench b = bench_open();
    FILE *f;
    char path[128];

    snprintf(path, sizeof path, "%s/out", folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/out/wall", folder);
    CHECK((f = fopen(path, "w")) != NULL);
    fclose(f);
    check_fails(&b, SAVE("0", "wall/x"), RG_ERR_IO, "wall");
    bench_close(&b);
}

#define PREVIEW(color) \
    "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 6, \"height\": 4, \"batch_size\": 1, \"color\": " color "}}," \
    "\"2\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"1\", 0]}}}"

TEST(preview_image_keeps_its_suffix)
{
    struct bench b = bench_open();
    char first[64] = "", second[64] = "", path[256];
    rg_picture *p;

    CHECK_INT(run(&b, PREVIEW("1"), NULL, 0), 0);
    CHECK_INT(sscanf(b.ui, "{\"images\":[{\"filename\":\"ComfyUI_temp_%5[a-z]_00001_.png\",\"subfolder\":\"\",\"type\":\"temp\"}]}", first), 1);
    CHECK_INT(strlen(first), 5);
    CHECK(!strchr(first, 'w'));
    snprintf(path, sizeof path, "temp/ComfyUI_temp_%s_00001_.png", first);
    p = read_output(b.c, path);
    CHECK(p && p->rgb[2] == 1);
    rg_picture_free(p);
    CHECK_INT(run(&b, PREVIEW("2"), NULL, 0), 0);   /* the same node again: same letters, next number */
    CHECK_INT(sscanf(b.ui, "{\"images\":[{\"filename\":\"ComfyUI_temp_%5[a-z]_00002_.png\"", second), 1);
    CHECK_STR(second, first);
    bench_close(&b);
}

/* Allocation 1, 2, 3, ... fails while a chain of nodes runs: an error, or none where it can do without; nothing lost (the sanitizers watch); at last success. */
TEST(image_nodes_survive_failing_allocations)
{
    static const char prompt[] =
        "{\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"png_rgba8\"}},"
        "\"2\": {\"class_type\": \"ImageScale\", \"inputs\": {\"image\": [\"1\", 0], \"upscale_method\": \"lanczos\", \"width\": 9, \"height\": 12, \"crop\": \"center\"}},"
        "\"3\": {\"class_type\": \"ImagePadForOutpaint\", \"inputs\": {\"image\": [\"2\", 0], \"left\": 8, \"top\": 0, \"right\": 0, \"bottom\": 8, \"feathering\": 2}},"
        "\"4\": {\"class_type\": \"GrowMask\", \"inputs\": {\"mask\": [\"1\", 1], \"expand\": 2, \"tapered_corners\": false}},"
        "\"5\": {\"class_type\": \"ImageCompositeMasked\", \"inputs\": {\"destination\": [\"3\", 0], \"source\": [\"1\", 0], \"x\": 2, \"y\": 1, \"resize_source\": true, \"mask\": [\"4\", 0]}},"
        "\"6\": {\"class_type\": \"ImageBlend\", \"inputs\": {\"image1\": [\"5\", 0], \"image2\": [\"1\", 0], \"blend_factor\": 0.5, \"blend_mode\": \"overlay\"}},"
        "\"7\": {\"class_type\": \"ImageSharpen\", \"inputs\": {\"image\": [\"6\", 0], \"sharpen_radius\": 1, \"sigma\": 1.0, \"alpha\": 1.0}},"
        "\"8\": {\"class_type\": \"ImageRotate\", \"inputs\": {\"image\": [\"7\", 0], \"rotation\": \"90 degrees\"}},"
        "\"9\": {\"class_type\": \"PreviewImage\", \"inputs\": {\"images\": [\"8\", 0]}}}";
    struct bench b = bench_open();
    const rg_run r = { .ctx = b.c, .env = b.env };
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    int ret = -1, attempt = 0, n_done = 0;
    bool has_failed = true;

    fixture = test_open("media/decode.safetensors");
    write_fixture(b.c, "png_rgba8");
    CHECK_INT(rg_prompt_parse(b.c, prompt, strlen(prompt), &p), 0);
    CHECK_INT(rg_prompt_validate(b.env, p, &answer), 0);
    for (; p && has_failed && attempt < 3000; attempt++) {
        atomic_store(&rg_alloc_fail_after, attempt);
        ret = rg_execute(&r, p);
        has_failed = atomic_load(&rg_alloc_fail_after) < 0;     /* else the run needed fewer: the end */
        atomic_store(&rg_alloc_fail_after, -1);
        if (ret < 0 && ret != RG_ERR_NOMEM && ret != RG_ERR_FORMAT && !strstr(b.c->message, "Cannot allocate memory"))
            test_fail(__FILE__, __LINE__, "allocation %d: code %d, %s", attempt, ret, b.c->message);
        CHECK(ret == b.c->error);
        n_done += has_failed && ret == 0;
    }
    printf("%d allocations, %d not needed ", attempt, n_done);
    CHECK(ret == 0 && attempt > 50);
    json_object_put(answer);
    rg_prompt_free(p);
    test_close(fixture);
    bench_close(&b);
}

/* A context that cannot compute: its device is a GPU without a single op. Nodes on pictures do not ask it to. */
TEST(image_nodes_need_no_device)
{
    static const char *const prompts[] = {
        "\"ImageScale\", \"inputs\": {\"image\": [\"1\", 0], \"upscale_method\": \"bicubic\", \"width\": 9, \"height\": 12, \"crop\": \"center\"}",
        "\"ImageScaleBy\", \"inputs\": {\"image\": [\"1\", 0], \"upscale_method\": \"lanczos\", \"scale_by\": 1.5}",
        "\"ImageInvert\", \"inputs\": {\"image\": [\"1\", 0]}",
        "\"ImageBatch\", \"inputs\": {\"image1\": [\"1\", 0], \"image2\": [\"3\", 0]}",
        "\"ImageFromBatch\", \"inputs\": {\"image\": [\"1\", 0], \"batch_index\": 0, \"length\": 1}",
        "\"ImageCrop\", \"inputs\": {\"image\": [\"1\", 0], \"width\": 3, \"height\": 3, \"x\": 1, \"y\": 1}",
        "\"ImagePadForOutpaint\", \"inputs\": {\"image\": [\"1\", 0], \"left\": 8, \"top\": 8, \"right\": 8, \"bottom\": 8, \"feathering\": 2}",
        "\"ImageToMask\", \"inputs\": {\"image\": [\"1\", 0], \"channel\": \"red\"}",
        "\"InvertMask\", \"inputs\": {\"mask\": [\"1\", 1]}",
        "\"MaskToImage\", \"inputs\": {\"mask\": [\"1\", 1]}",
        "\"GrowMask\", \"inputs\": {\"mask\": [\"1\", 1], \"expand\": 2, \"tapered_corners\": false}",
        "\"ImageCompositeMasked\", \"inputs\": {\"destination\": [\"1\", 0], \"source\": [\"3\", 0], \"x\": 2, \"y\": 1, \"resize_source\": true, \"mask\": [\"1\", 1]}",
        "\"ImageBlend\", \"inputs\": {\"image1\": [\"1\", 0], \"image2\": [\"3\", 0], \"blend_factor\": 0.5, \"blend_mode\": \"overlay\"}",
        "\"ImageSharpen\", \"inputs\": {\"image\": [\"1\", 0], \"sharpen_radius\": 1, \"sigma\": 1.0, \"alpha\": 1.0}",
        "\"ImageRotate\", \"inputs\": {\"image\": [\"1\", 0], \"rotation\": \"90 degrees\"}",
    };
    static const rg_backend nothing = { .name = "nothing" };
    struct bench b = bench_open();
    const rg_backend *cpu = b.c->ops;

    fixture = test_open("media/decode.safetensors");
    write_fixture(b.c, "png_rgba8");
    write_fixture(b.c, "jpeg_exif6");
    b.c->ops = &nothing;
    b.c->device.type = RG_CUDA;
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        char prompt[1024], text[512] = "";

        snprintf(prompt, sizeof prompt, "{\"1\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"png_rgba8\"}},"
                 "\"3\": {\"class_type\": \"LoadImage\", \"inputs\": {\"image\": \"jpeg_exif6\"}}, \"2\": {\"class_type\": %s},"
                 "\"4\": {\"class_type\": \"TestKeep\", \"inputs\": {\"value\": [\"2\", 0], \"slot\": 0}}}", prompts[i]);
        if (run(&b, prompt, text, sizeof text) < 0)
            test_fail(__FILE__, __LINE__, "%s: %s", prompts[i], text);
        else
            CHECK_INT(((rg_tensor *)kept[0].object)->device.type, RG_CPU);
    }
    CHECK_INT(run(&b, SAVE("0", "x"), NULL, 0), 0);
    b.c->ops = cpu;
    b.c->device.type = RG_CPU;
    test_close(fixture);
    bench_close(&b);
}
