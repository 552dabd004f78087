/* RebatchImages: a list of batches of any sizes becomes one of batches of one size. Source: ComfyUI comfy_extras/nodes_rebatch.py. */
#include <string.h>

#include "engine/ops/ops.h"
#include "nodes/image/image_node.h"

struct args {
    const rg_list *images, *batch_size;
};

static const rg_input inputs[] = {
    { .name = "images", .kind = RG_INPUT_LINK, .offset = offsetof(struct args, images), .type = RG_IMAGE },
    { .name = "batch_size", .kind = RG_INPUT_INT, .offset = offsetof(struct args, batch_size), .has_default = true, .default_int = 1,
      .min_int = 1, .max_int = 4096 },
    RG_END
};

/* Pictures [first, first + n) of all batches in a row, as one batch. Those of one batch must have one size. */
static rg_tensor *take(rg_exec *x, const rg_list *images, int64_t first, int64_t n)
{
    rg_tensor *batch = NULL;
    int64_t at = 0, n_done = 0, shape[RG_MAX_DIMS];

    for (int i = 0; i < images->n_items && n_done < n; i++) {
        const rg_tensor *t = images->items[i].object;
        const int64_t B = rg_dim(t, 0), from = first + n_done - at, here = from < B ? B - from < n - n_done ? B - from : n - n_done : 0;
        const rg_tensor *part;

        at += B;
        if (here <= 0)
            continue;
        part = rg_contiguous(x->ctx, rg_image_host(x->ctx, rg_slice(x->ctx, t, 0, from, from + here)));
        if (!part)
            return NULL;
        if (!batch) {
            memcpy(shape, part->shape, sizeof(shape));
            shape[0] = n;
            if (!(batch = rg_image_new(x->ctx, part->n_dims, shape)))
                return NULL;
        }
        shape[0] = here;
        if (part->n_dims != batch->n_dims || memcmp(shape, part->shape, (size_t)part->n_dims * sizeof(*shape))) {
            rg_fail(x->ctx, RG_ERR_SHAPE, "pictures of different sizes cannot go into one batch");
            return NULL;
        }
        memcpy((char *)batch->data + (size_t)n_done * (rg_nbytes(batch) / (size_t)n), part->data, rg_nbytes(part));
        n_done += here;
    }
    return batch;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const int64_t size = a->batch_size->items[0].i;
    int64_t n = 0;
    rg_list *batches;

    for (int i = 0; i < a->images->n_items; i++) {
        const rg_value *v = &a->images->items[i];

        if (v->type != RG_IMAGE || rg_image_check(x->ctx, v->object, "images") < 0)
            return x->ctx->error ? x->ctx->error : rg_fail(x->ctx, RG_ERR_INVALID, "images wants IMAGE, it got %s", v->type ? v->type->name : "nothing");
        n += rg_dim(v->object, 0);
    }
    if (a->batch_size->items[0].type != &rg_type_int || size < 1)
        return rg_fail(x->ctx, RG_ERR_INVALID, "batch_size has to be 1 or more");
    if (!(batches = rg_list_new((int)((n + size - 1) / size))))
        return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a list");
    for (int i = 0; i < batches->n_items; i++) {
        const int64_t first = i * size;

        if (rg_give_tensor(x, &batches->items[i], RG_IMAGE, take(x, a->images, first, n - first < size ? n - first : size)) < 0) {
            rg_unref(batches);
            return x->ctx->error;
        }
    }
    out[0] = rg_value_object(RG_LIST, batches);
    return 0;
}

const rg_node rg_node_rebatch_images = {
    .class_type    = "RebatchImages",
    .display_name  = "Rebatch Images",
    .category      = "image/batch",
    .description   = "Make batches of one size out of all pictures of a list.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE, .is_list = true } },
    .args_size     = sizeof(struct args),
    .is_input_list = true,
    .is_v3         = true,
    .python_module = "comfy_extras.nodes_rebatch",
    .execute       = execute,
};
