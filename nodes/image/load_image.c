/* LoadImage, LoadImageMask: a picture file as IMAGE and MASK. Source: ComfyUI nodes.py; decoding as Pillow's, engine/media/picture.c. */
#include <stdio.h>
#include <string.h>

#include "engine/core/sha256.h"
#include "engine/media/picture.h"
#include "nodes/image/image_node.h"

struct args {
    const char *image;
    int64_t channel;                    /* LoadImageMask alone; indexes channel_names */
};

enum { ALPHA, RED, GREEN, BLUE };
static const char *const channel_names[] = { "alpha", "red", "green", "blue", NULL };

static const rg_input inputs[] = {
    RG_FILE("image", image, "input:image", .is_unlisted_allowed = true, .has_image_upload = true),
    RG_END
};

static const rg_input mask_inputs[] = {
    RG_FILE ("image",   image,   "input:any", .is_unlisted_allowed = true, .has_image_upload = true),
    RG_COMBO("channel", channel, channel_names),
    RG_END
};

/* Both check the file themselves: names outside the list, in subfolders or with " [output]" behind them, are fine. */
static const char *const validated_inputs[] = { "image", NULL };

static int validate(rg_env *env, const void *in, char *text, size_t text_size)
{
    const struct args *a = in;
    char why[64], *path = NULL;

    if (!a->image)                      /* linked: known only when it runs */
        return 0;
    if (rg_env_input_path(env, a->image, &path, why, sizeof why) < 0) {
        snprintf(text, text_size, "Invalid image file: %s", a->image);
        return RG_ERR_INVALID;
    }
    rg_free(path);
    return 0;
}

/* A file that changes under its name runs again. */
static int fingerprint(rg_env *env, const void *in, char out[65])
{
    const struct args *a = in;
    char why[64], *path = NULL;
    int ret;

    if (!a->image || rg_env_input_path(env, a->image, &path, why, sizeof why) < 0)
        return RG_ERR_NOT_FOUND;
    ret = rg_sha256_file(path, out);
    rg_free(path);
    return ret;
}

static int load(rg_exec *x, const char *name, rg_picture **p)
{
    char *path = NULL;

    if (rg_exec_input_path(x, name, &path) == 0)
        rg_picture_load(x->ctx, path, p);
    rg_free(path);
    return x->ctx->error;
}

/* Opaque is 0 in a MASK. */
static rg_tensor *mask_of_alpha(rg_ctx *c, const uint8_t *alpha, int64_t B, int64_t H, int64_t W)
{
    return rg_image_inverted(c, rg_image_from_u8(c, alpha, 3, (const int64_t[]){ B, H, W }));
}

/* Every third byte. */
static rg_tensor *mask_of_colour(rg_ctx *c, const uint8_t *colour, int64_t H, int64_t W)
{
    rg_tensor *mask = rg_image_new(c, 3, (const int64_t[]){ 1, H, W });
    float *v = mask ? mask->data : NULL;

    for (int64_t i = 0; mask && i < H * W; i++)
        v[i] = (float)colour[3 * i] / 255.0f;
    return mask;
}

static rg_tensor *no_mask(rg_ctx *c, int64_t B, int64_t H, int64_t W)
{
    rg_tensor *mask = rg_image_new(c, 3, (const int64_t[]){ B, H, W });

    if (mask)
        memset(mask->data, 0, rg_nbytes(mask));
    return mask;
}

static int load_image(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *image, *mask;
    rg_picture *p = NULL;

    if (load(x, a->image, &p) < 0)
        return x->ctx->error;
    image = rg_image_from_u8(x->ctx, p->rgb, 4, (const int64_t[]){ p->n_frames, p->height, p->width, 3 });
    if (p->alpha && !p->is_alpha_key)
        mask = mask_of_alpha(x->ctx, p->alpha, p->n_frames, p->height, p->width);
    else
        mask = no_mask(x->ctx, p->n_frames, 64, 64);    /* the size that ComfyUI gives to "no mask" */
    rg_picture_free(p);
    rg_give_tensor(x, &out[0], RG_IMAGE, image);
    return rg_give_tensor(x, &out[1], RG_MASK, mask);
}

/* The first frame's alpha, inverted, or one of its colours. */
static int load_mask(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *mask;
    rg_picture *p = NULL;

    if (load(x, a->image, &p) < 0)
        return x->ctx->error;
    if (a->channel != ALPHA) {
        mask = mask_of_colour(x->ctx, p->rgb + (a->channel - RED), p->height, p->width);
    } else if (p->alpha) {
        mask = mask_of_alpha(x->ctx, p->alpha, 1, p->height, p->width);
    } else {
        mask = no_mask(x->ctx, 1, p->height, p->width);
    }
    rg_picture_free(p);
    return rg_give_tensor(x, &out[0], RG_MASK, mask);
}

const rg_node rg_node_load_image = {
    .class_type       = "LoadImage",
    .display_name     = "Load Image",
    .category         = "image",
    .description      = "Read a picture from the input folder: its colours, and a mask of what is transparent in it.",
    .inputs           = inputs,
    .outputs          = { { "IMAGE", RG_IMAGE }, { "MASK", RG_MASK } },
    .args_size        = sizeof(struct args),
    .python_module    = "nodes",
    .execute          = load_image,
    .validate         = validate,
    .validated_inputs = validated_inputs,
    .fingerprint      = fingerprint,
};

const rg_node rg_node_load_image_mask = {
    .class_type       = "LoadImageMask",
    .display_name     = "Load Image (as Mask)",
    .category         = "mask",
    .description      = "Read one channel of a picture from the input folder as a mask.",
    .inputs           = mask_inputs,
    .outputs          = { { "MASK", RG_MASK } },
    .args_size        = sizeof(struct args),
    .python_module    = "nodes",
    .execute          = load_mask,
    .validate         = validate,
    .validated_inputs = validated_inputs,
    .fingerprint      = fingerprint,
};
