/*
 * ImageScale, ImageScaleBy, ImageScaleToTotalPixels, FluxKontextImageScale: four ways to say how large.
 * Source: ComfyUI nodes.py, comfy_extras/nodes_post_processing.py, comfy_extras/nodes_flux.py; resizing in engine/media/resize.c.
 * Sizes are rounded to the nearest integer, halves to the even one, in double, as Python does it.
 */
#include <math.h>

#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *image;
    int64_t method, width, height, crop;
    double scale_by, megapixels;
};

static const char *const methods[] = UPSCALE_METHODS;
static const char *const crops[] = { "disabled", "center", NULL };

static int upscale(rg_exec *x, const struct args *a, int64_t width, int64_t height, rg_value *out)
{
    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_image_upscale(x->ctx, a->image, width, height, (rg_resize_method)a->method, a->crop));
}

/* ---- ImageScale ---------------------------------------------------------------------------------------------------- */

static const rg_input scale_inputs[] = {
    RG_LINK ("image",          image,  RG_IMAGE),
    RG_COMBO("upscale_method", method, methods),
    RG_INT  ("width",          width,  512, 0, MAX_RESOLUTION, .step_int = 1),
    RG_INT  ("height",         height, 512, 0, MAX_RESOLUTION, .step_int = 1),
    RG_COMBO("crop",           crop,   crops),
    RG_END
};

/* A side of 0 follows from the other one; two of them leave the picture alone. */
static int scale(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    int64_t width = a->width, height = a->height;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    if (width == 0 && height == 0)
        return rg_give_tensor(x, &out[0], RG_IMAGE, a->image);
    if (width == 0)
        width = (int64_t)fmax(1.0, rint((double)(rg_dim(a->image, 2) * height) / (double)rg_dim(a->image, 1)));
    else if (height == 0)
        height = (int64_t)fmax(1.0, rint((double)(rg_dim(a->image, 1) * width) / (double)rg_dim(a->image, 2)));
    return upscale(x, a, width, height, out);
}

const rg_node rg_node_image_scale = {
    .class_type    = "ImageScale",
    .display_name  = "Upscale Image",
    .category      = "image/upscaling",
    .description   = "Resize pictures to a width and height; a side of 0 keeps the proportions.",
    .inputs        = scale_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = scale,
};

/* ---- ImageScaleBy -------------------------------------------------------------------------------------------------- */

static const rg_input scale_by_inputs[] = {
    RG_LINK ("image",          image,    RG_IMAGE),
    RG_COMBO("upscale_method", method,   methods),
    RG_FLOAT("scale_by",       scale_by, 1.0, 0.01, 8.0, .step = 0.01),
    RG_END
};

static int scale_by(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    return upscale(x, a, (int64_t)rint((double)rg_dim(a->image, 2) * a->scale_by), (int64_t)rint((double)rg_dim(a->image, 1) * a->scale_by), out);
}

const rg_node rg_node_image_scale_by = {
    .class_type    = "ImageScaleBy",
    .display_name  = "Upscale Image By",
    .category      = "image/upscaling",
    .description   = "Resize pictures by a factor.",
    .inputs        = scale_by_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = scale_by,
};

/* ---- ImageScaleToTotalPixels ------------------------------------------------------------------------------------------ */

static const rg_input total_inputs[] = {
    RG_LINK ("image",          image,      RG_IMAGE),
    RG_COMBO("upscale_method", method,     methods, .is_v3_combo = true),
    RG_FLOAT("megapixels",     megapixels, 1.0, 0.01, 16.0, .step = 0.01),
    RG_END
};

/* A megapixel is 1024 * 1024 here. */
static int scale_to_total(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    double by;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    by = sqrt(trunc(a->megapixels * 1024.0 * 1024.0) / (double)(rg_dim(a->image, 2) * rg_dim(a->image, 1)));
    return upscale(x, a, (int64_t)rint((double)rg_dim(a->image, 2) * by), (int64_t)rint((double)rg_dim(a->image, 1) * by), out);
}

const rg_node rg_node_image_scale_to_total_pixels = {
    .class_type    = "ImageScaleToTotalPixels",
    .category      = "image/upscaling",
    .description   = "Resize pictures to a number of pixels, keeping their proportions.",
    .inputs        = total_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_post_processing",
    .execute       = scale_to_total,
};

/* ---- FluxKontextImageScale -------------------------------------------------------------------------------------------- */

static const rg_input kontext_inputs[] = {
    RG_LINK("image", image, RG_IMAGE),
    RG_END
};

/* The sizes that Flux Kontext was trained on; the one closest in proportion is taken, the narrower of two equally close ones. */
static const int64_t kontext_sizes[][2] = {
    { 672, 1568 }, { 688, 1504 }, { 720, 1456 }, { 752, 1392 }, { 800, 1328 }, { 832, 1248 }, { 880, 1184 }, { 944, 1104 }, { 1024, 1024 },
    { 1104, 944 }, { 1184, 880 }, { 1248, 832 }, { 1328, 800 }, { 1392, 752 }, { 1456, 720 }, { 1504, 688 }, { 1568, 672 },
};

static int kontext_scale(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    double aspect, best = INFINITY;
    size_t pick = 0;

    if (rg_image_check(x->ctx, a->image, "image") < 0)
        return x->ctx->error;
    aspect = (double)rg_dim(a->image, 2) / (double)rg_dim(a->image, 1);
    for (size_t i = 0; i < sizeof kontext_sizes / sizeof *kontext_sizes; i++) {
        const double far = fabs(aspect - (double)kontext_sizes[i][0] / (double)kontext_sizes[i][1]);

        if (far < best) {
            best = far;
            pick = i;
        }
    }
    return rg_give_tensor(x, &out[0], RG_IMAGE, rg_image_upscale(x->ctx, a->image, kontext_sizes[pick][0], kontext_sizes[pick][1], RG_RESIZE_LANCZOS, true));
}

const rg_node rg_node_flux_kontext_image_scale = {
    .class_type    = "FluxKontextImageScale",
    .category      = "advanced/conditioning/flux",
    .description   = "Crop and resize pictures to the closest size that Flux Kontext knows.",
    .inputs        = kontext_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_flux",
    .execute       = kontext_scale,
};
