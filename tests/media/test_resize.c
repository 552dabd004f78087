/* Resizing against ComfyUI's common_upscale (tests/fixtures/media/resize.safetensors: torch's interpolate, Pillow's Lanczos, bislerp). */
#include <json-c/json.h>

#include "engine/media/image.h"
#include "engine/media/resize.h"
#include "tests/test.h"

static const char *const methods[] = { "nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp" };

/*
 * Largest difference allowed. nearest-exact and lanczos pick or compute integers: none. The weighted means of torch round in
 * float32 where ours may not; bislerp goes through acos and sin, whose float32 versions differ in the last bits; its values reach 3.
 */
static const double tolerances[] = { 0.0, 1e-6, 1e-6, 1e-6, 0.0, 5e-6 };

static const char *text(struct json_object *o, const char *key)
{
    return json_object_get_string(json_object_object_get(o, key));
}

static int64_t integer(struct json_object *o, const char *key)
{
    return json_object_get_int64(json_object_object_get(o, key));
}

/* Values of an 8-bit fixture as the float32 they stand for. */
static const rg_tensor *as_float(rg_ctx *c, const rg_tensor *t)
{
    return t->dtype == RG_U8 ? rg_image_from_u8(c, t->data, t->n_dims, t->shape) : t;
}

static void run_cases(bool is_image)
{
    test_fixture *f = test_open("media/resize.safetensors");
    struct json_object *cases = f ? json_tokener_parse(test_meta(f, "cases")) : NULL;
    rg_ctx *c = test_ctx();
    int n_run = 0;

    for (size_t i = 0; cases && i < json_object_array_length(cases); i++) {
        struct json_object *o = json_object_array_get_idx(cases, i);
        const int scope = rg_scope_begin(c);
        const rg_tensor *x = test_get(f, c, text(o, "in")), *wanted;
        const bool is_center = !strcmp(text(o, "crop"), "center");
        rg_resize_method method = 0;
        rg_tensor *got;
        double worst = 0.0;
        char key[64];

        while (strcmp(methods[method], text(o, "method")))
            method++;
        snprintf(key, sizeof key, "%zu.out", i);
        wanted = as_float(c, test_get(f, c, key));
        if (is_image) {                 /* the same picture with its channels last, as nodes have it */
            got = rg_image_upscale(c, rg_contiguous(c, rg_permute4(c, x, 0, 2, 3, 1)), integer(o, "width"), integer(o, "height"), method, is_center);
            if (got && method != RG_RESIZE_BISLERP && !is_center && rg_numel(x) > 3)
                CHECK(rg_is_contiguous(got));           /* and comes back so, without a copy */
            got = rg_permute4(c, got, 0, 3, 1, 2);
        } else {
            got = rg_common_upscale(c, x, integer(o, "width"), integer(o, "height"), method, is_center);
        }
        CHECK_OK(c);
        if (got && rg_same_shape(got, wanted)) {
            for (int64_t k = 0; k < rg_numel(wanted); k++)
                worst = fmax(worst, fabs(rg_get(got, k) - rg_get(wanted, k)));
        } else {
            worst = INFINITY;
        }
        if (!(worst <= tolerances[method]))
            test_fail(__FILE__, __LINE__, "case %zu %s: off by %g, at most %g allowed", i, json_object_to_json_string(o), worst, tolerances[method]);
        n_run++;
        rg_scope_end(c, scope, NULL);
        rg_ctx_reset(c);
    }
    CHECK(!cases || n_run >= 75);
    json_object_put(cases);
    rg_ctx_free(c);
    test_close(f);
}

TEST(resizes_as_comfyui)
{
    run_cases(false);
}

TEST(resizes_images_in_place_of_channels)
{
    run_cases(true);
}

TEST(refuses_impossible_sizes)
{
    rg_ctx *c = test_ctx();
    const rg_tensor *x = rg_tensor_zeros(c, RG_F32, 4, (const int64_t[]){ 1, 3, 1, 1000 });
    const rg_tensor *deep = rg_tensor_zeros(c, RG_F32, 4, (const int64_t[]){ 1, 16, 4, 4 });

    CHECK(!rg_common_upscale(c, x, 0, 5, RG_RESIZE_BILINEAR, false));
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK(!rg_common_upscale(c, x, 1, 1000, RG_RESIZE_BILINEAR, true));     /* 500 pixels cut from both ends of 1000 */
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK(!rg_common_upscale(c, deep, 8, 8, RG_RESIZE_LANCZOS, false));
    CHECK_ERROR(c, RG_ERR_SHAPE);
    rg_ctx_free(c);
}

TEST(lanczos_is_clean_when_allocations_fail)
{
    rg_ctx *c = test_ctx();
    uint8_t in[9 * 7 * 4], wanted[5 * 11 * 4], out[5 * 11 * 4];
    int ret = -1, attempt = 0;

    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 31 + i / 7);
    CHECK_INT(rg_lanczos_u8(c, in, 9, 7, wanted, 5, 11, 4), 0);
    for (; ret < 0 && attempt < 100; attempt++) {
        atomic_store(&rg_alloc_fail_after, attempt);
        ret = rg_lanczos_u8(c, in, 9, 7, out, 5, 11, 4);
        atomic_store(&rg_alloc_fail_after, -1);
        CHECK(ret == 0 || ret == RG_ERR_NOMEM);
        rg_ctx_reset(c);
    }
    CHECK(ret == 0 && attempt > 4 && !memcmp(out, wanted, sizeof out));
    rg_ctx_free(c);
}
