/* LatentFromBatch and RepeatLatentBatch: a run of latents out of a batch, a batch several times over. Source: ComfyUI nodes.py. */
#include "engine/diffusion/latent.h"
#include "nodes/give.h"

struct args {
    const rg_latent *samples;
    int64_t batch_index, length;        /* LatentFromBatch's */
    int64_t amount;                     /* RepeatLatentBatch's */
};

static const rg_input from_inputs[] = {
    RG_LINK("samples",     samples,     RG_LATENT),
    RG_INT ("batch_index", batch_index, 0, 0, 63),
    RG_INT ("length",      length,      1, 1, 64),
    RG_END
};

static const rg_input repeat_inputs[] = {
    RG_LINK("samples", samples, RG_LATENT),
    RG_INT ("amount",  amount,  1, 1, 64),
    RG_END
};

static int execute_from(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_LATENT, rg_latent_from_batch(x->ctx, a->samples, a->batch_index, a->length));
}

static int execute_repeat(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return rg_give(x, &out[0], RG_LATENT, rg_latent_repeat(x->ctx, a->samples, a->amount));
}

const rg_node rg_node_latent_from_batch = {
    .class_type    = "LatentFromBatch",
    .display_name  = "Latent From Batch",
    .category      = "latent/batch",
    .description   = "Some latents out of a batch; each keeps the noise it has in the whole batch.",
    .inputs        = from_inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_from,
};

const rg_node rg_node_repeat_latent_batch = {
    .class_type    = "RepeatLatentBatch",
    .display_name  = "Repeat Latent Batch",
    .category      = "latent/batch",
    .description   = "A batch several times over.",
    .inputs        = repeat_inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_repeat,
};
