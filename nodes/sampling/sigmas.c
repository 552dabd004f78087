/* SplitSigmas and FlipSigmas: cut or turn round a schedule. Source: ComfyUI comfy_extras/nodes_custom_sampler.py. */
#include "engine/diffusion/tensors.h"
#include "nodes/give.h"

struct args {
    const rg_tensor *sigmas;
    int64_t step;                       /* SplitSigmas' */
};

static const rg_input split_inputs[] = {
    RG_LINK("sigmas", sigmas, RG_SIGMAS),
    RG_INT ("step",   step,   0, 0, 10000),
    RG_END
};

static const rg_input flip_inputs[] = {
    RG_LINK("sigmas", sigmas, RG_SIGMAS),
    RG_END
};

/* Sigmas first..end - 1, as a new tensor, in the other direction if is_flipped; the range is cut to what is there. */
static rg_tensor *part(rg_ctx *c, const rg_tensor *sigmas, int64_t first, int64_t end, bool is_flipped)
{
    if (sigmas->n_dims != 1 || sigmas->dtype != RG_F32 || sigmas->device.type != RG_CPU) {
        rg_fail(c, RG_ERR_SHAPE, "sigmas are one row of float32 numbers in host memory");
        return NULL;
    }
    const int64_t n_all = rg_numel(sigmas);
    end = end < n_all ? end : n_all;
    const int64_t n = first < end ? end - first : 0;
    rg_tensor *t = rg_host_tensor(c, RG_F32, 1, &n);

    for (int64_t i = 0; t && i < n; i++)
        ((float *)t->data)[i] = (float)rg_get(sigmas, is_flipped ? end - 1 - i : first + i);
    return t;
}

static int execute_split(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const int ret = rg_give_tensor(x, &out[0], RG_SIGMAS, part(x->ctx, a->sigmas, 0, a->step + 1, false));

    return ret < 0 ? ret : rg_give_tensor(x, &out[1], RG_SIGMAS, part(x->ctx, a->sigmas, a->step, INT64_MAX, false));
}

static int execute_flip(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    rg_tensor *t = part(x->ctx, a->sigmas, 0, INT64_MAX, true);

    if (t && rg_numel(t) > 0 && rg_get(t, 0) == 0)
        rg_set(t, 0, 0.0001);           /* a run cannot start at sigma 0 */
    return rg_give_tensor(x, &out[0], RG_SIGMAS, t);
}

const rg_node rg_node_split_sigmas = {
    .class_type    = "SplitSigmas",
    .display_name  = "SplitSigmas",
    .category      = "sampling/custom_sampling/sigmas",
    .description   = "Cut a schedule in two at a step; both parts keep the sigma there.",
    .inputs        = split_inputs,
    .outputs       = { { "high_sigmas", RG_SIGMAS }, { "low_sigmas", RG_SIGMAS } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_split,
};

const rg_node rg_node_flip_sigmas = {
    .class_type    = "FlipSigmas",
    .display_name  = "FlipSigmas",
    .category      = "sampling/custom_sampling/sigmas",
    .description   = "Turn a schedule round, to add noise step by step.",
    .inputs        = flip_inputs,
    .outputs       = { { "SIGMAS", RG_SIGMAS } },
    .args_size     = sizeof(struct args),
    .python_module = "comfy_extras.nodes_custom_sampler",
    .execute       = execute_flip,
};
