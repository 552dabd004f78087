/*
 * GrowMask: every step takes the largest (or, shrinking, the smallest) value among the neighbours, four of them with tapered
 * corners and eight without. Source: ComfyUI comfy_extras/nodes_mask.py, where scipy's grey_dilation does the steps; beyond the
 * edge it mirrors, so what lies outside never decides.
 */
#include <string.h>

#include "nodes/mask/mask_node.h"

struct args {
    const rg_tensor *mask;
    int64_t expand;
    bool has_tapered_corners;
};

static const rg_input inputs[] = {
    RG_LINK   ("mask",            mask,                RG_MASK),
    RG_INT    ("expand",          expand,              0, -MAX_RESOLUTION, MAX_RESOLUTION, .step_int = 1),
    RG_BOOLEAN("tapered_corners", has_tapered_corners, true),
    RG_END
};

static float pick(float a, float b, bool is_largest)
{
    return (a < b) == is_largest ? b : a;
}

/* One step on one mask. `rows` has room for a row; beyond an edge stands the pixel at the edge, which never decides. */
static void step(float *to, const float *from, float *rows, int64_t H, int64_t W, bool is_largest, bool has_corners)
{
    for (int64_t y = 0; y < H; y++, to += W) {
        const float *mid = from + y * W, *up = y ? mid - W : mid, *down = y < H - 1 ? mid + W : mid;
        const float *across = has_corners ? rows : mid;

        for (int64_t i = 0; i < W; i++)
            rows[i] = pick(pick(up[i], down[i], is_largest), mid[i], is_largest);
        for (int64_t i = 0; i < W; i++) {
            const float beside = pick(across[i ? i - 1 : 0], across[i < W - 1 ? i + 1 : i], is_largest);
            to[i] = pick(rows[i], beside, is_largest);
        }
    }
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const bool is_largest = a->expand > 0;
    const int64_t n_steps = is_largest ? a->expand : -a->expand;
    const rg_tensor *mask = mask_batch(x->ctx, a->mask, "mask");
    rg_tensor *result, *spare;
    float *from, *to, *rows;
    int64_t H, W;

    if (!mask || !(mask = rg_image_host(x->ctx, mask)) || n_steps == 0)
        return rg_give_tensor(x, &out[0], RG_MASK, mask);
    H = rg_dim(mask, 1);
    W = rg_dim(mask, 2);
    result = rg_image_new(x->ctx, 3, mask->shape);
    spare = rg_image_new(x->ctx, 1, (const int64_t[]){ H * W * 2 + W });
    if (!result || !spare)
        return x->ctx->error;
    rows = (float *)spare->data + 2 * H * W;
    for (int64_t b = 0; b < rg_dim(mask, 0); b++) {
        from = spare->data;
        to = from + H * W;
        memcpy(from, (const float *)mask->data + b * H * W, (size_t)(H * W) * sizeof *from);
        for (int64_t i = 0; i < n_steps; i++) {
            float *last = from;

            step(to, from, rows, H, W, is_largest, !a->has_tapered_corners);
            from = to;
            to = last;
            if (!memcmp(from, to, (size_t)(H * W) * sizeof *from))
                break;                  /* grown over everything: further steps change nothing */
            if (rg_check(x->ctx) < 0)
                return x->ctx->error;
        }
        memcpy((float *)result->data + b * H * W, from, (size_t)(H * W) * sizeof *from);
    }
    return rg_give_tensor(x, &out[0], RG_MASK, result);
}

const rg_node rg_node_grow_mask = {
    .class_type    = "GrowMask",
    .display_name  = "GrowMask",
    .category      = "mask",
    .description   = "Grow a mask by some pixels, or shrink it.",
    .inputs        = inputs,
    .outputs       = { { "MASK", RG_MASK } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_mask",
    .execute       = execute,
};
