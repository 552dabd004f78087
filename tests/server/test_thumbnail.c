/* Small pictures: sizes by arithmetic, colours as the mean of what each pixel covers. */
#include "engine/media/picture.h"
#include "server/thumbnail.h"
#include "tests/test.h"

/* A PNG of w x h, pixel i given by paint(). */
static uint8_t *make_png(rg_ctx *c, int64_t w, int64_t h, int channels, void (*paint)(int64_t x, int64_t y, uint8_t *p), size_t *n)
{
    uint8_t *pixels = rg_malloc((size_t)(w * h * channels)), *bytes = NULL;

    for (int64_t i = 0; i < w * h; i++)
        paint(i % w, i / w, pixels + i * channels);
    CHECK_INT(rg_png_encode(c, pixels, w, h, channels, 1, NULL, 0, &bytes, n), 0);
    rg_free(pixels);
    return bytes;
}

static void quarters(int64_t x, int64_t y, uint8_t *p)     /* four flat squares of 64; black and white stripes in the last: their mean is grey */
{
    p[0] = x < 64 ? 200 : 40;
    p[1] = y < 64 ? 180 : 60;
    p[2] = 90;
    if (x >= 64 && y >= 64)
        p[0] = p[1] = p[2] = x % 2 ? 255 : 0;
}

static void clear_half(int64_t x, int64_t y, uint8_t *p)
{
    (void)y;
    p[0] = p[1] = p[2] = 128;
    p[3] = x < 50 ? 255 : 0;
}

static void grey(int64_t x, int64_t y, uint8_t *p)
{
    (void)x, (void)y;
    p[0] = p[1] = p[2] = 77;
}

static rg_picture *shrink(rg_ctx *c, const uint8_t *png, size_t n, int width, const char *wanted)
{
    uint8_t *small = NULL;
    size_t n_small = 0;
    const char *type = NULL;
    rg_picture *p = NULL;

    CHECK_INT(rg_thumbnail(png, n, width, &small, &n_small, &type), 0);
    CHECK(type && !strcmp(type, wanted));
    CHECK_INT(rg_picture_decode(c, small, n_small, &p), 0);
    rg_free(small);
    return p;
}

TEST(each_pixel_is_the_mean_of_those_it_covers)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    size_t n;
    uint8_t *png = make_png(c, 128, 128, 3, quarters, &n);
    rg_picture *p = shrink(c, png, n, 32, "image/jpeg");
    static const int at[4][5] = { { 8, 8, 200, 180, 90 }, { 24, 8, 40, 180, 90 }, { 8, 24, 200, 60, 90 }, { 24, 24, 128, 128, 128 } };

    CHECK_INT(p->width, 32);
    CHECK_INT(p->height, 32);
    for (int i = 0; i < 4; i++) {
        for (int ch = 0; ch < 3; ch++) {
            const int v = p->rgb[3 * (32 * at[i][1] + at[i][0]) + ch];
            if (abs(v - at[i][2 + ch]) > 3)     /* JPEG's share, quality 85, flat areas */
                test_fail(__FILE__, __LINE__, "square %d, channel %d is %d, wanted %d", i, ch, v, at[i][2 + ch]);
        }
    }
    rg_picture_free(p);
    rg_free(png);
    rg_ctx_free(c);
}

TEST(transparency_stays)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    size_t n;
    uint8_t *png = make_png(c, 100, 60, 4, clear_half, &n);
    rg_picture *p = shrink(c, png, n, 50, "image/webp");

    CHECK_INT(p->width, 50);
    CHECK_INT(p->height, 30);
    CHECK(p->alpha && p->alpha[10 * 50 + 5] > 250 && p->alpha[10 * 50 + 45] < 5);
    rg_picture_free(p);
    rg_free(png);
    rg_ctx_free(c);
}

TEST(sizes)
{
    static const int64_t sizes[][5] = {         /* of the picture, wanted width, of the small one */
        { 1024, 1024, 320, 320, 320 }, { 1000, 500, 320, 320, 160 }, { 500, 1000, 320, 160, 320 }, { 64, 48, 320, 64, 48 },
        { 3000, 1, 100, 100, 1 }, { 1, 3000, 100, 1, 100 }, { 7, 5, 3, 3, 2 }, { 33, 33, 1, 1, 1 }, { 320, 200, 320, 320, 200 },
    };
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n;
        uint8_t *png = make_png(c, sizes[i][0], sizes[i][1], 3, grey, &n);
        rg_picture *p = shrink(c, png, n, (int)sizes[i][2], "image/jpeg");
        CHECK_INT(p->width, sizes[i][3]);
        CHECK_INT(p->height, sizes[i][4]);
        CHECK(abs(p->rgb[0] - 77) <= 2);
        rg_picture_free(p);
        rg_free(png);
    }
    rg_ctx_free(c);
}

TEST(what_is_no_picture_is_refused)
{
    uint8_t *small = NULL;
    size_t n_small;
    const char *type;

    CHECK_INT(rg_thumbnail("no picture", 10, 64, &small, &n_small, &type), RG_ERR_FORMAT);
    CHECK_INT(rg_thumbnail("", 0, 64, &small, &n_small, &type), RG_ERR_FORMAT);
    CHECK(!small);
}
