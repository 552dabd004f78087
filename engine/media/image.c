/* Between 8-bit pictures and the float32 tensors that IMAGE and MASK values are. */
#include "engine/media/image.h"

#include <string.h>

#include "engine/ops/backend.h"

/* Bytes of a tensor that live outside any context's pool. */
struct pixels {
    rg_object base;
    float values[];
};

static void pixels_free(void *self)
{
    rg_free(self);
}

rg_tensor *rg_image_new(rg_ctx *c, int n_dims, const int64_t *shape)
{
    int64_t n = 1;
    struct pixels *p;
    rg_tensor *t;

    if (c->error)
        return NULL;
    for (int i = 0; i < n_dims; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(n, shape[i], &n)) {
            rg_fail(c, RG_ERR_SHAPE, "no picture can have this shape");
            return NULL;
        }
    }
    if (n > (int64_t)(SIZE_MAX / 2 / sizeof(float)) || !(p = rg_malloc(sizeof *p + (size_t)n * sizeof(float)))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory: %.1f MiB wanted for a picture", (double)n * sizeof(float) / 1048576.0);
        return NULL;
    }
    rg_object_init(p, pixels_free);
    t = rg_tensor_wrap(p->values, RG_F32, n_dims, shape, false, p);
    rg_unref(p);                        /* the tensor holds it, or nobody does */
    if (!t) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a tensor header");
        return NULL;
    }
    return rg_tensor_adopt(c, t);
}

const rg_tensor *rg_image_host(rg_ctx *c, const rg_tensor *t)
{
    rg_tensor *row_major;

    if (t && t->device.type != RG_CPU)
        t = rg_to_device(c, t, (rg_device){ RG_CPU, 0 });
    if (!t || c->error)
        return NULL;
    if (t->dtype == RG_F32 && rg_is_contiguous(t))
        return t;
    if (!(row_major = rg_image_new(c, t->n_dims, t->shape)))
        return NULL;
    rg_backend_cpu()->copy(c, row_major, t);    /* whatever device c computes on: both are in main memory */
    return c->error ? NULL : row_major;
}

rg_tensor *rg_image_inverted(rg_ctx *c, const rg_tensor *t)
{
    const rg_tensor *from = rg_image_host(c, t);
    rg_tensor *to = from ? rg_image_new(c, from->n_dims, from->shape) : NULL;

    for (int64_t i = 0; to && i < rg_numel(to); i++)
        ((float *)to->data)[i] = 1.0f - ((const float *)from->data)[i];
    return to;
}

rg_tensor *rg_image_joined(rg_ctx *c, const rg_tensor *a, const rg_tensor *b)
{
    const rg_tensor *first = rg_image_host(c, a), *second = rg_image_host(c, b);
    char one[96], two[96];
    rg_tensor *to;

    if (!first || !second)
        return NULL;
    if (first->n_dims != 4 || second->n_dims != 4 || memcmp(first->shape + 1, second->shape + 1, 3 * sizeof *first->shape)) {
        rg_fail(c, RG_ERR_SHAPE, "pictures of shape %s and %s cannot be one batch", rg_shape_text(first, one, sizeof one), rg_shape_text(second, two, sizeof two));
        return NULL;
    }
    to = rg_image_new(c, 4, (const int64_t[]){ first->shape[0] + second->shape[0], first->shape[1], first->shape[2], first->shape[3] });
    if (!to)
        return NULL;
    memcpy(to->data, first->data, rg_nbytes(first));
    memcpy((char *)to->data + rg_nbytes(first), second->data, rg_nbytes(second));
    return to;
}

int rg_image_check(rg_ctx *c, const rg_tensor *image, const char *what)
{
    char text[128];

    if (c->error)
        return c->error;
    if (image->n_dims != 4 || rg_dim(image, 3) < 1)
        return rg_fail(c, RG_ERR_SHAPE, "%s has shape %s, wanted [batch, height, width, channels]", what, rg_shape_text(image, text, sizeof text));
    return 0;
}

rg_tensor *rg_image_from_u8(rg_ctx *c, const uint8_t *values, int n_dims, const int64_t *shape)
{
    rg_tensor *t = rg_image_new(c, n_dims, shape);
    float unit[256], *out;
    int64_t n;

    if (!t)
        return NULL;
    n = rg_numel(t);
    out = t->data;
    for (int i = 0; i < 256; i++)
        unit[i] = (float)i / 255.0f;
    for (int64_t i = 0; i < n; i++)
        out[i] = unit[values[i]];
    return t;
}

/* Clipped and cut off; a NaN is black. */
static uint8_t level(float x)
{
    const float v = 255.0f * x, low = v > 0.0f ? v : 0.0f;

    return (uint8_t)(int)(low < 255.0f ? low : 255.0f);
}

void rg_image_to_u8(const rg_tensor *image, int64_t frame, uint8_t *out)
{
    const int64_t H = rg_dim(image, 1), W = rg_dim(image, 2), C = rg_dim(image, 3);
    const float *first = (const float *)image->data + frame * image->stride[0];

    if (rg_is_contiguous(image)) {      /* one loop that compilers vectorise */
        for (int64_t i = 0; i < H * W * C; i++)
            out[i] = level(first[i]);
        return;
    }
    for (int64_t y = 0; y < H; y++) {
        for (int64_t x = 0; x < W; x++) {
            const float *p = first + y * image->stride[1] + x * image->stride[2];
            for (int64_t i = 0; i < C; i++)
                *out++ = level(p[i * image->stride[3]]);
        }
    }
}
