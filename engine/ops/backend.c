/* The rows of the reference device: every op's plain C definition, and memory from the CPU. */
#include "engine/cpu/cpu.h"
#include "engine/ops/define.h"

static const rg_backend reference = {
    .name = "reference",
    .writes_strided = true,
    .copy = rg_def_copy,
    .binary = rg_def_binary,
    .affine = rg_def_affine,
    .div_scalar = rg_def_div_scalar,
    .add_scaled = rg_def_add_scaled,
    .clamp = rg_def_clamp,
    .unary = rg_def_unary,
    .gated_unary = rg_def_gated_unary,
    .pad2d = rg_def_pad2d,
    .embedding = rg_def_embedding,
    .sum = rg_def_sum,
    .softmax = rg_def_softmax,
    .linear = rg_def_linear,
    .matmul = rg_def_matmul,
    .attention = rg_def_attention,
    .conv2d = rg_def_conv2d,
    .layer_norm = rg_def_layer_norm,
    .rms_norm = rg_def_rms_norm,
    .group_norm = rg_def_group_norm,
    .modulated_norm = rg_def_modulated_norm,
    .gated_add = rg_def_gated_add,
    .norm_rope = rg_def_norm_rope,
    .rope_table = rg_def_rope_table,
    .timestep_embedding = rg_def_timestep_embedding,
    .interpolate = rg_def_interpolate,
    .alloc = rg_cpu_alloc,
    .free = rg_cpu_free,
    .synchronize = rg_cpu_synchronize,
    .ctx_release = rg_cpu_ctx_release,
};

const rg_backend *rg_backend_reference(void)
{
    return &reference;
}

/* Every op's row, in the order of rg_backend. A row missing here is found by tests/ops/test_backend.c. */
#define RG_ROW_LIST(X)                                                                                  \
    X(copy) X(binary) X(affine) X(div_scalar) X(add_scaled) X(clamp) X(unary) X(gated_unary) X(pad2d)   \
    X(embedding) X(sum) X(softmax) X(linear) X(matmul) X(attention) X(conv2d) X(layer_norm) X(rms_norm) \
    X(group_norm) X(modulated_norm) X(gated_add) X(norm_rope) X(rope_table) X(timestep_embedding)       \
    X(interpolate)

const char *rg_backend_missing_row(const rg_backend *b)
{
#define X(row) if (!b->row) return #row;
    RG_ROW_LIST(X)
#undef X
    return NULL;
}
