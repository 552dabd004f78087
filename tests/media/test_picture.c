/* Pictures against Pillow 11.3 through ComfyUI's LoadImage (tests/fixtures/media/decode.safetensors), and what we write. */
#include <json-c/json.h>

#include "engine/core/sha256.h"
#include "engine/media/codec.h"
#include "engine/media/image.h"
#include "tests/test.h"

static const rg_tensor *part(test_fixture *f, rg_ctx *c, const char *name, const char *what)
{
    char key[128];

    snprintf(key, sizeof key, "%s.%s", name, what);
    return test_has(f, key) ? test_get(f, c, key) : NULL;
}

/* Number of bytes that differ, or -1 when one is missing. */
static long long n_different(const uint8_t *got, const rg_tensor *wanted)
{
    long long n = 0;

    if (!got || !wanted)
        return -1;
    for (int64_t i = 0; i < rg_numel(wanted); i++)
        n += got[i] != ((const uint8_t *)wanted->data)[i];
    return n;
}

static void compare(test_fixture *f, rg_ctx *c, const char *name, const rg_picture *p)
{
    const rg_tensor *image = part(f, c, name, "image"), *alpha = part(f, c, name, "alpha"), *rgba = part(f, c, name, "rgba");

    if (p->n_frames != image->shape[0] || p->height != image->shape[1] || p->width != image->shape[2]) {
        test_fail(__FILE__, __LINE__, "%s: %d frames of %lld x %lld, wanted %lld of %lld x %lld", name, p->n_frames, (long long)p->width,
                  (long long)p->height, (long long)image->shape[0], (long long)image->shape[2], (long long)image->shape[1]);
        return;
    }
    if (n_different(p->rgb, image))
        test_fail(__FILE__, __LINE__, "%s: %lld of %lld values differ", name, n_different(p->rgb, image), (long long)rg_numel(image));
    if (alpha && n_different(p->alpha, alpha))
        test_fail(__FILE__, __LINE__, "%s: %lld of %lld values of alpha differ", name, n_different(p->alpha, alpha), (long long)rg_numel(alpha));
    if (!alpha && p->alpha && !p->is_alpha_key)
        test_fail(__FILE__, __LINE__, "%s: alpha where there is none", name);
    if (rgba) {                         /* a colour key: LoadImageMask sees alpha where LoadImage sees none */
        CHECK(p->is_alpha_key && p->alpha);
        for (int64_t i = 0; p->alpha && i < rg_numel(rgba) / 4; i++)
            CHECK_INT(p->alpha[i], ((const uint8_t *)rgba->data)[4 * i + 3]);
    } else if (p->is_alpha_key) {
        for (int64_t i = 0; i < p->width * p->height; i++)
            CHECK_INT(p->alpha[i], 255);
    }
}

/*
 * Every file, byte for byte. Where ComfyUI fails we do too, except for three that we load as far as they go: Pillow stumbles
 * over its own second attempt at a truncated interlaced file, and gives up animations whose last frames are missing.
 */
TEST(decodes_as_pillow)
{
    static const char *const lenient[] = { "png_truncated_interlaced", "png_apng_too_few", "png_apng_truncated" };
    test_fixture *f = test_open("media/decode.safetensors");
    struct json_object *names = f ? json_tokener_parse(test_meta(f, "files")) : NULL;
    rg_ctx *c = test_ctx();
    int n_compared = 0;

    for (size_t i = 0; names && i < json_object_array_length(names); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        const rg_tensor *file = part(f, c, name, "file");
        bool is_lenient = false;
        rg_picture *p = NULL;
        const int ret = rg_picture_decode(c, file->data, rg_nbytes(file), &p);

        for (size_t k = 0; k < sizeof lenient / sizeof *lenient; k++)
            is_lenient |= !strcmp(name, lenient[k]);
        if (part(f, c, name, "image")) {
            if (ret < 0)
                test_fail(__FILE__, __LINE__, "%s: %s", name, c->message);
            else
                compare(f, c, name, p);
            n_compared++;
        } else if (is_lenient ? ret < 0 : ret != RG_ERR_FORMAT) {
            test_fail(__FILE__, __LINE__, "%s: %d, %s", name, ret, c->message);
        }
        rg_picture_free(p);
        rg_ctx_reset(c);
    }
    CHECK(!names || n_compared >= 120);
    json_object_put(names);
    rg_ctx_free(c);
    test_close(f);
}

/* ---- files that must be refused ---------------------------------------------------------------------------------------- */

static const uint8_t huge_png[] = {     /* 100,000 x 100,000 pixels */
    0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 8, 2, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 2, 'I', 'D', 'A', 'T', 0x78, 0x9c, 0, 0, 0, 0,
};

static void check_refused(rg_ctx *c, const void *bytes, size_t n, int code, const char *words)
{
    rg_picture *p = NULL;

    CHECK_INT(rg_picture_decode(c, bytes, n, &p), code);
    CHECK(p == NULL);
    if (!strstr(c->message, words))
        test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", c->message, words);
    rg_ctx_reset(c);
}

TEST(refuses_what_is_no_picture)
{
    rg_ctx *c = test_ctx();
    uint8_t bytes[sizeof huge_png];

    check_refused(c, "", 0, RG_ERR_FORMAT, "0 bytes");
    check_refused(c, "hello, world", 12, RG_ERR_FORMAT, "not a picture");
    check_refused(c, "GIF89a\1\0\1\0", 10, RG_ERR_FORMAT, "GIF pictures are not supported: PNG, JPEG and WebP are");
    check_refused(c, "BM\0\0\0\0\0\0\0\0", 10, RG_ERR_FORMAT, "BMP");
    check_refused(c, "II*\0\x08\0\0\0", 8, RG_ERR_FORMAT, "TIFF");
    check_refused(c, "MM\0*\0\0\0\x08", 8, RG_ERR_FORMAT, "TIFF");
    for (size_t n = 1; n < 33; n++)
        check_refused(c, huge_png, n, RG_ERR_FORMAT, n < 8 ? "not a picture" : "PNG");
    check_refused(c, huge_png, sizeof huge_png, RG_ERR_INVALID, "100000 x 100000");
    memcpy(bytes, huge_png, sizeof bytes);
    bytes[25] = 5;                      /* no such colour type */
    memset(bytes + 16, 0, 8);
    bytes[19] = bytes[23] = 4;
    check_refused(c, bytes, sizeof bytes, RG_ERR_FORMAT, "colour type 5");
    bytes[25] = 2;
    check_refused(c, bytes, sizeof bytes, RG_ERR_FORMAT, "no row");
    bytes[19] = 0;
    check_refused(c, bytes, sizeof bytes, RG_ERR_FORMAT, "0 x 4");
    rg_ctx_free(c);
}

/* Nothing is allocated for a picture that is too large: not even with memory at hand. */
TEST(refuses_before_it_allocates)
{
    rg_ctx *c = test_ctx();

    atomic_store(&rg_alloc_fail_after, 0);
    check_refused(c, huge_png, sizeof huge_png, RG_ERR_INVALID, "100000 x 100000");
    CHECK_INT(atomic_load(&rg_alloc_fail_after), 0);
    atomic_store(&rg_alloc_fail_after, -1);
    rg_ctx_free(c);
}

/* ---- round trips ----------------------------------------------------------------------------------------------------------- */

enum { W = 53, H = 31 };

static void draw(uint8_t *pixels, int channels)
{
    uint32_t noise = 1;

    for (int i = 0; i < W * H; i++) {
        for (int k = 0; k < channels; k++) {
            noise = noise * 1664525 + 1013904223;
            *pixels++ = (uint8_t)(i % W * (3 + k) + i / W * 2 + (noise >> 29));
        }
    }
}

/* Decode what was encoded; the caller frees. */
static rg_picture *again(rg_ctx *c, const uint8_t *bytes, size_t n)
{
    rg_picture *p = NULL;

    rg_picture_decode(c, bytes, n, &p);
    CHECK_OK(c);
    if (p) {
        CHECK_INT(p->width, W);
        CHECK_INT(p->height, H);
        CHECK_INT(p->n_frames, 1);
    }
    return p;
}

TEST(png_keeps_pixels_and_text)
{
    static const rg_picture_text texts[] = {
        { "prompt", "{\"3\": {\"inputs\": {\"seed\": 7}}}" }, { "workflow", "caf\xc3\xa9" }, { "note", "\xe6\x97\xa5\xe6\x9c\xac" },
    };
    rg_ctx *c = test_ctx();
    uint8_t pixels[W * H * 4];

    for (int channels = 1; channels <= 4; channels++) {
        for (int level = 0; level <= 9; level += 3) {
            uint8_t *bytes = NULL, *twice = NULL;
            size_t n = 0, n_twice = 0;
            rg_picture *p;

            draw(pixels, channels);
            CHECK_INT(rg_png_encode(c, pixels, W, H, channels, level, texts, 3, &bytes, &n), 0);
            CHECK_INT(rg_png_encode(c, pixels, W, H, channels, level, texts, 3, &twice, &n_twice), 0);
            CHECK(n == n_twice && !memcmp(bytes, twice, n));
            p = again(c, bytes, n);
            for (int i = 0; p && i < W * H; i++) {
                for (int k = 0; k < 3; k++)
                    CHECK_INT(p->rgb[3 * i + k], pixels[i * channels + (channels < 3 ? 0 : k)]);
                if (channels == 2 || channels == 4)
                    CHECK_INT(p->alpha[i], pixels[channels * (i + 1) - 1]);
            }
            /* chunks right after IHDR, in order: tEXt in Latin-1 where it can, else iTXt in UTF-8 */
            CHECK(!memcmp(bytes + 33, "\0\0\0\x25tEXtprompt\0{\"3\": {\"inputs\"", 30));
            CHECK(!memcmp(bytes + 33 + 12 + 37, "\0\0\0\x0dtEXtworkflow\0caf\xe9", 21));
            CHECK(!memcmp(bytes + 33 + 12 + 37 + 12 + 13, "\0\0\0\x0fiTXtnote\0\0\0\0\0\xe6\x97\xa5\xe6\x9c\xac", 23));
            rg_picture_free(p);
            rg_free(bytes);
            rg_free(twice);
        }
    }
    rg_ctx_free(c);
}

TEST(jpeg_and_webp_come_close)
{
    rg_ctx *c = test_ctx();
    uint8_t pixels[W * H * 4], smooth[W * H * 3], *bytes;
    double error;
    rg_picture *p;
    size_t n;

    for (int i = 0; i < W * H; i++) {
        for (int k = 0; k < 3; k++)
            smooth[3 * i + k] = (uint8_t)(i % W * 2 + i / W * (k + 1));
    }
    for (int format = 0; format < 2; format++) {
        bytes = NULL;
        if (format == 0)
            CHECK_INT(rg_jpeg_encode(c, smooth, W, H, 95, NULL, 0, &bytes, &n), 0);
        else
            CHECK_INT(rg_webp_encode(c, smooth, W, H, 3, 95, false, NULL, 0, &bytes, &n), 0);
        p = again(c, bytes, n);
        error = 0.0;
        for (int i = 0; p && i < W * H * 3; i++)
            error += fabs((double)p->rgb[i] - smooth[i]);
        CHECK(error / (W * H * 3) < 2.5);   /* a gradient at quality 95: small rounding in Y'CbCr and chroma at half size */
        rg_picture_free(p);
        rg_free(bytes);
    }
    for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1) {
        bytes = NULL;
        draw(pixels, channels);
        for (int i = 3; channels == 4 && i < W * H * 4; i += 4)
            pixels[i] |= 1;             /* colours under alpha 0 may change */
        CHECK_INT(rg_webp_encode(c, pixels, W, H, channels, 75, true, NULL, 0, &bytes, &n), 0);
        p = again(c, bytes, n);
        for (int i = 0; p && i < W * H; i++) {
            for (int k = 0; k < 3; k++)
                CHECK_INT(p->rgb[3 * i + k], pixels[i * channels + (channels == 1 ? 0 : k)]);
            if (channels == 4)
                CHECK_INT(p->alpha[i], pixels[4 * i + 3]);
        }
        rg_picture_free(p);
        rg_free(bytes);
    }
    rg_ctx_free(c);
}

/* The same tables, sampling and transform as Pillow's writer: the file decodes to the same pixels. */
TEST(jpeg_is_written_as_pillow_does)
{
    static const int qualities[] = { 10, 75, 95, 100 };
    test_fixture *f = test_open("media/write.safetensors");
    rg_ctx *c = test_ctx();
    const rg_tensor *in = test_get(f, c, "in");

    for (size_t i = 0; i < sizeof qualities / sizeof *qualities; i++) {
        rg_picture *p = NULL;
        uint8_t *bytes = NULL;
        char key[32];
        size_t n = 0;

        snprintf(key, sizeof key, "jpeg%d", qualities[i]);
        CHECK_INT(rg_jpeg_encode(c, in->data, in->shape[1], in->shape[0], qualities[i], NULL, 0, &bytes, &n), 0);
        CHECK_INT(rg_picture_decode(c, bytes, n, &p), 0);
        CHECK_INT(p ? n_different(p->rgb, test_get(f, c, key)) : -1, 0);
        rg_picture_free(p);
        rg_free(bytes);
    }
    rg_ctx_free(c);
    test_close(f);
}

TEST(jpeg_carries_the_workflow)
{
    static const rg_picture_text texts[] = { { "prompt", "{\"a\": 1}" } };
    rg_picture_text large = { "workflow", NULL };
    rg_ctx *c = test_ctx();
    uint8_t pixels[W * H * 3], *bytes = NULL, *exif;
    char *text = calloc(1, 65536);
    size_t n = 0;

    draw(pixels, 3);
    CHECK_INT(rg_jpeg_encode(c, pixels, W, H, 90, texts, 1, &bytes, &n), 0);
    exif = memmem(bytes, n, "Exif\0\0MM\0*", 10);
    CHECK(exif && exif[-4] == 0xFF && exif[-3] == 0xE1 && !memcmp(exif + 32, "prompt:{\"a\": 1}", 16));
    rg_picture_free(again(c, bytes, n));
    rg_free(bytes);
    bytes = NULL;
    memset(text, ' ', 65535);
    large.text = text;
    CHECK_INT(rg_jpeg_encode(c, pixels, W, H, 90, &large, 1, &bytes, &n), RG_ERR_INVALID);
    CHECK(bytes == NULL);
    free(text);
    rg_ctx_free(c);
}

/* The EXIF block of a WebP file, as a reader of TIFF sees it: ComfyUI's web client looks for these tags. */
TEST(webp_carries_the_workflow)
{
    static const rg_picture_text texts[] = { { "prompt", "{\"a\": 1}" }, { "workflow", "{}" }, { "x", "1" } };
    static const uint8_t wanted[] =
        "MM\0*\0\0\0\x08\0\x03"
        "\x01\x0e\0\x02\0\0\0\x04x:1\0"
        "\x01\x0f\0\x02\0\0\0\x0c\0\0\0\x32"
        "\x01\x10\0\x02\0\0\0\x10\0\0\0\x3e"
        "\0\0\0\0" "workflow:{}\0" "prompt:{\"a\": 1}";
    rg_ctx *c = test_ctx();
    uint8_t pixels[W * H * 3], *bytes = NULL, *exif;
    size_t n;
    rg_picture *p;

    draw(pixels, 3);
    CHECK_INT(rg_webp_encode(c, pixels, W, H, 3, 100, true, texts, 3, &bytes, &n), 0);
    p = again(c, bytes, n);
    CHECK(p && !memcmp(p->rgb, pixels, sizeof pixels));
    exif = memmem(bytes, n, "EXIF", 4);
    CHECK(exif && exif[4] == sizeof wanted && !memcmp(exif + 8, wanted, sizeof wanted));
    rg_picture_free(p);
    rg_free(bytes);
    rg_ctx_free(c);
}

TEST(encoders_refuse_nonsense)
{
    static const rg_picture_text unnamed = { "", "text" }, foreign = { "\xe6\x97\xa5", "text" }, twice[] = { { "prompt", "" }, { "prompt", "" } };
    rg_ctx *c = test_ctx();
    uint8_t pixel[4] = { 0 }, *bytes = NULL;
    size_t n;

    CHECK_INT(rg_png_encode(c, pixel, 1, 1, 5, 4, NULL, 0, &bytes, &n), RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK_INT(rg_png_encode(c, pixel, 0, 1, 3, 4, NULL, 0, &bytes, &n), RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK_INT(rg_png_encode(c, pixel, 1, 1, 3, 4, &unnamed, 1, &bytes, &n), RG_ERR_INVALID);
    rg_ctx_reset(c);
    CHECK_INT(rg_png_encode(c, pixel, 1, 1, 3, 4, &foreign, 1, &bytes, &n), RG_ERR_INVALID);
    rg_ctx_reset(c);
    CHECK_INT(rg_jpeg_encode(c, pixel, 70000, 1, 90, NULL, 0, &bytes, &n), RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK_INT(rg_webp_encode(c, pixel, 20000, 1, 3, 90, false, NULL, 0, &bytes, &n), RG_ERR_SHAPE);
    rg_ctx_reset(c);
    CHECK_INT(rg_webp_encode(c, pixel, 1, 1, 3, 90, false, twice, 2, &bytes, &n), RG_ERR_INVALID);
    CHECK(bytes == NULL);
    rg_ctx_free(c);
}

/* ---- failing allocations ------------------------------------------------------------------------------------------------------ */

/* Allocation 1, 2, 3, ... fails: RG_ERR_NOMEM or a broken file each time, nothing lost (the sanitizers watch), success at last. */
TEST(decoding_survives_failing_allocations)
{
    static const char *const names[] = { "png_palette4_interlaced", "png_apng_dispose2_blend1", "png_exif6", "png_exif_raw_profile",
                                         "jpeg_cmyk", "jpeg_exif6", "webp_lossy_alpha", "webp_animated_alpha", "webp_exif6" };
    test_fixture *f = test_open("media/decode.safetensors");
    rg_ctx *c = test_ctx();

    for (size_t i = 0; f && i < sizeof names / sizeof *names; i++) {
        const rg_tensor *file = part(f, c, names[i], "file");
        int ret = -1, attempt = 0;

        for (; ret < 0 && attempt < 200; attempt++) {
            rg_picture *p = NULL;

            atomic_store(&rg_alloc_fail_after, attempt);
            ret = rg_picture_decode(c, file->data, rg_nbytes(file), &p);
            atomic_store(&rg_alloc_fail_after, -1);
            CHECK((ret == 0) == (p != NULL) && ret == c->error);
            CHECK(ret == 0 || ret == RG_ERR_NOMEM || ret == RG_ERR_FORMAT);
            rg_picture_free(p);
            rg_ctx_reset(c);
        }
        CHECK(ret == 0 && attempt > 1);
    }
    rg_ctx_free(c);
    test_close(f);
}

TEST(encoding_survives_failing_allocations)
{
    static const rg_picture_text texts[] = { { "prompt", "{}" }, { "workflow", "{\"nodes\": []}" } };
    rg_ctx *c = test_ctx();
    uint8_t pixels[W * H * 3];

    draw(pixels, 3);
    for (int format = 0; format < 3; format++) {
        int ret = -1, attempt = 0;

        for (; ret < 0 && attempt < 200; attempt++) {
            uint8_t *bytes = NULL;
            size_t n = 0;

            atomic_store(&rg_alloc_fail_after, attempt);
            ret = format == 0 ? rg_png_encode(c, pixels, W, H, 3, 4, texts, 2, &bytes, &n)
                : format == 1 ? rg_jpeg_encode(c, pixels, W, H, 90, texts, 2, &bytes, &n)
                              : rg_webp_encode(c, pixels, W, H, 3, 90, false, texts, 2, &bytes, &n);
            atomic_store(&rg_alloc_fail_after, -1);
            CHECK((ret == 0) == (bytes != NULL) && ret == c->error);
            CHECK(ret == 0 || ret == RG_ERR_NOMEM);
            rg_free(bytes);
            rg_ctx_reset(c);
        }
        CHECK(ret == 0 && attempt > 1);
    }
    rg_ctx_free(c);
}

/* ---- tensors --------------------------------------------------------------------------------------------------------------------- */

TEST(eight_bits_and_floats)
{
    const int64_t shape[] = { 1, 16, 16, 1 };
    rg_ctx *c = test_ctx();
    uint8_t values[256], back[256];
    rg_tensor *t, *odd;

    for (int i = 0; i < 256; i++)
        values[i] = (uint8_t)i;
    t = rg_image_from_u8(c, values, 4, shape);
    CHECK_OK(c);
    for (int i = 0; i < 256; i++)
        CHECK(((float *)t->data)[i] == (float)i / 255.0f);
    rg_image_to_u8(t, 0, back);
    /* 255 * (i / 255) in float32 falls just below i for a few i, and truncation shows it: numpy does the same */
    for (int i = 0; i < 256; i++)
        CHECK_INT(back[i], (int)(255.0f * ((float)i / 255.0f)));

    odd = rg_image_new(c, 4, (const int64_t[]){ 1, 1, 2, 4 });
    memcpy(odd->data, (const float[]){ -1.0f, 0.5f, 2.0f, NAN, INFINITY, -INFINITY, 1.0f, 0.999999f }, 8 * sizeof(float));
    rg_image_to_u8(odd, 0, back);
    CHECK(!memcmp(back, (const uint8_t[]){ 0, 127, 255, 0, 255, 0, 255, 254 }, 8));
    rg_image_to_u8(rg_permute4(c, odd, 0, 3, 2, 1), 0, back);       /* any strides */
    CHECK(!memcmp(back, (const uint8_t[]){ 0, 255, 127, 0, 255, 255, 0, 254 }, 8));
    rg_ctx_free(c);
}

/* Digests of FIPS 180-4's examples, and of lengths around the padding's edge (from Python's hashlib). */
TEST(sha256_known_digests)
{
    static const struct { int n; const char *hex; } long_ones[] = {
        { 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318" },
        { 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a" },
        { 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" },
        { 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    };
    char *a = malloc(1000000), hex[65];

    rg_sha256_hex("", 0, hex);
    CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    rg_sha256_hex("abc", 3, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(a, 'a', 1000000);
    for (size_t i = 0; i < sizeof long_ones / sizeof *long_ones; i++) {
        rg_sha256_hex(a, (size_t)long_ones[i].n, hex);
        CHECK_STR(hex, long_ones[i].hex);
    }
    CHECK_INT(rg_sha256_file("/no/such/file", hex), RG_ERR_IO);
    CHECK_INT(rg_sha256_file("/", hex), RG_ERR_IO);
    free(a);
}
