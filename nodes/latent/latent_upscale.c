/* LatentUpscale and LatentUpscaleBy: resize a latent. Source: ComfyUI nodes.py. */
#include <math.h>

#include "engine/diffusion/latent.h"
#include "engine/media/resize.h"
#include "engine/ops/ops.h"
#include "nodes/give.h"

static const char *const methods[] = { "nearest-exact", "bilinear", "area", "bicubic", "bislerp", NULL };
static const rg_resize_method method_of[] = { RG_RESIZE_NEAREST_EXACT, RG_RESIZE_BILINEAR, RG_RESIZE_AREA, RG_RESIZE_BICUBIC, RG_RESIZE_BISLERP };
static const char *const crops[] = { "disabled", "center", NULL };

struct args {
    const rg_latent *samples;
    int64_t method, width, height, crop;
    double scale_by;                    /* LatentUpscaleBy's */
};

static const rg_input inputs[] = {
    RG_LINK ("samples",        samples, RG_LATENT),
    RG_COMBO("upscale_method", method,  methods),
    RG_INT  ("width",          width,   512, 0, 16384, .step_int = 8),
    RG_INT  ("height",         height,  512, 0, 16384, .step_int = 8),
    RG_COMBO("crop",           crop,    crops),
    RG_END
};

static const rg_input by_inputs[] = {
    RG_LINK ("samples",        samples,  RG_LATENT),
    RG_COMBO("upscale_method", method,   methods),
    RG_FLOAT("scale_by",       scale_by, 1.5, 0.01, 8.0, .step = 0.01),
    RG_END
};

/* Sizes in latent pixels. */
static int resize(rg_exec *x, const struct args *a, int64_t width, int64_t height, rg_value *out)
{
    rg_ctx *c = x->ctx;
    const rg_tensor *samples = rg_common_upscale(c, rg_to_device(c, a->samples->samples, c->device), width, height,
                                                 method_of[a->method], a->crop != 0);

    return rg_give(x, &out[0], RG_LATENT, samples ? rg_latent_with_samples(a->samples, samples) : NULL);
}

static int64_t at_least_64(double size)
{
    return size < 64 ? 64 : (int64_t)size;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const double H = (double)rg_dim(a->samples->samples, -2), W = (double)rg_dim(a->samples->samples, -1);
    int64_t width = at_least_64((double)a->width), height = at_least_64((double)a->height);

    if (a->width == 0 && a->height == 0)
        return rg_give(x, &out[0], RG_LATENT, rg_ref(a->samples));
    if (a->width == 0)                  /* the other side keeps the shape */
        width = at_least_64(rint(W * (double)height / H));
    else if (a->height == 0)
        height = at_least_64(rint(H * (double)width / W));
    return resize(x, a, width / 8, height / 8, out);
}

static int execute_by(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *samples = a->samples->samples;

    return resize(x, a, (int64_t)rint((double)rg_dim(samples, -1) * a->scale_by), (int64_t)rint((double)rg_dim(samples, -2) * a->scale_by), out);
}

const rg_node rg_node_latent_upscale = {
    .class_type    = "LatentUpscale",
    .display_name  = "Upscale Latent",
    .category      = "latent",
    .description   = "Resize a latent to a picture size; 0 for one side keeps the shape.",
    .inputs        = inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};

const rg_node rg_node_latent_upscale_by = {
    .class_type    = "LatentUpscaleBy",
    .display_name  = "Upscale Latent By",
    .category      = "latent",
    .description   = "Resize a latent by a factor.",
    .inputs        = by_inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_by,
};
