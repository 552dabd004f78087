/*
 * What the demo's pictures start from, against the record that ComfyUI's nodes left (tools/reference/workflow.py): the initial
 * noise of each seed, by its SHA-256, and the sigmas of 20 steps, to the last float32 bit.
 */
#include "engine/core/sha256.h"
#include "engine/diffusion/random.h"
#include "engine/diffusion/sampling.h"
#include "tests/cli/program.h"

static struct json_object *open_record(void)
{
    struct json_object *record = json_object_from_file(test_path("workflow/pictures.json"));

    if (!record)
        test_skip("no fixture workflow/pictures.json");
    return record;
}

TEST(noise_of_the_demo_is_pytorchs)
{
    static rg_generator g;
    const int64_t shape[] = { 1, 16, 32, 32 };
    struct json_object *record = open_record(), *pictures = member(record, "pictures");
    char hex[65];

    if (!record)
        return;
    CHECK(json_object_array_length(pictures) == 16);
    for (size_t i = 0; i < json_object_array_length(pictures); i++) {
        struct json_object *picture = json_object_array_get_idx(pictures, i);
        rg_ctx *c = test_ctx();
        rg_generator_seed(&g, json_object_get_uint64(member(picture, "seed")));
        const rg_tensor *noise = rg_randn(c, &g, 4, shape);
        CHECK_OK(c);
        if (noise) {
            rg_sha256_hex(noise->data, (size_t)rg_numel(noise) * sizeof(float), hex);
            CHECK_STR(hex, json_object_get_string(member(picture, "noise_sha256")));
        }
        rg_ctx_free(c);
    }
    json_object_put(record);
}

TEST(sigmas_of_the_demo_are_comfyuis)
{
    struct json_object *record = open_record(), *wanted = member(record, "sigmas");
    int scheduler = 0;
    char hex[65];

    if (!record)
        return;
    rg_ctx *c = test_ctx();
    rg_model_sampling *s = rg_model_sampling_new(RG_SAMPLING_FLUX, RG_PREDICT_FLOW, 1.15, 1000.0);
    while (rg_scheduler_names[scheduler] && strcmp(rg_scheduler_names[scheduler], "simple"))
        scheduler++;
    const rg_tensor *sigmas = rg_schedule(c, s, scheduler, json_object_get_int64(member(record, "steps")), 1.0);
    CHECK_OK(c);
    CHECK_INT(sigmas ? rg_numel(sigmas) : 0, json_object_array_length(wanted));
    for (int64_t i = 0; sigmas && i < rg_numel(sigmas); i++)
        CHECK(rg_get(sigmas, i) == json_object_get_double(json_object_array_get_idx(wanted, (size_t)i)));
    if (sigmas) {
        rg_sha256_hex(sigmas->data, (size_t)rg_numel(sigmas) * sizeof(float), hex);
        CHECK_STR(hex, json_object_get_string(member(record, "sigmas_sha256")));
    }
    rg_unref(s);
    rg_ctx_free(c);
    json_object_put(record);
}
