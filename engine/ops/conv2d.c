/* 2-D convolution. Source: torch.nn.functional.conv2d. */
#include "engine/ops/define.h"

void rg_def_conv2d(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding)
{
    const int64_t B = x->shape[0], C = x->shape[1], H = x->shape[2], W = x->shape[3];
    const int64_t KH = w->weight->shape[2], KW = w->weight->shape[3];
    const int64_t O = out->shape[1], OH = out->shape[2], OW = out->shape[3];
    double *vx = rg_def_load(c, x), *vw = rg_def_load(c, w->weight), *vb = rg_def_load(c, w->bias);

    if (!c->error) {
#pragma omp parallel for collapse(3)
        for (int64_t b = 0; b < B; b++)
            for (int64_t o = 0; o < O; o++)
                for (int64_t y = 0; y < OH; y++)
                    for (int64_t i = 0; i < OW; i++) {
                        double sum = vb ? vb[o] : 0.0;
                        for (int64_t ch = 0; ch < C; ch++)
                            for (int64_t ky = 0; ky < KH; ky++)
                                for (int64_t kx = 0; kx < KW; kx++) {
                                    const int64_t sy = y * stride + ky - padding, sx = i * stride + kx - padding;
                                    if (sy >= 0 && sy < H && sx >= 0 && sx < W)
                                        sum += vx[((b * C + ch) * H + sy) * W + sx] * vw[((o * C + ch) * KH + ky) * KW + kx];
                                }
                        rg_set(out, ((b * O + o) * OH + y) * OW + i, sum);
                    }
    }
    rg_free(vx);
    rg_free(vw);
    rg_free(vb);
}

rg_tensor *rg_conv2d(rg_ctx *c, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding)
{
    if (!RG_READY(c, "conv2d", 2, x, w->weight, w->bias) || !rg_op_float(c, "conv2d", x) || !rg_op_float(c, "conv2d", w->weight))
        return NULL;
    if (x->n_dims != 4 || w->weight->n_dims != 4 || x->shape[1] != w->weight->shape[1])
        return rg_op_mismatch(c, "conv2d", x, w->weight);
    if (!rg_op_vector(c, "conv2d", "bias", w->bias, w->weight->shape[0]))
        return NULL;
    if (stride < 1 || padding < 0) {
        rg_fail(c, RG_ERR_INVALID, "conv2d got stride %d and padding %d", stride, padding);
        return NULL;
    }

    const int64_t room_h = x->shape[2] + 2 * padding - w->weight->shape[2];
    const int64_t room_w = x->shape[3] + 2 * padding - w->weight->shape[3];
    if (room_h < 0 || room_w < 0)
        return rg_op_mismatch(c, "conv2d (picture smaller than kernel)", x, w->weight);

    rg_tensor *out = rg_tensor_new_channels_last(c, x->dtype, x->shape[0], w->weight->shape[0], room_h / stride + 1, room_w / stride + 1);
    if (!out)
        return NULL;
    rg_work(2.0 * (double)rg_numel(out) * (double)(x->shape[1] * w->weight->shape[2] * w->weight->shape[3]));
    RG_RUN(c, conv2d, out, w, x, stride, padding);
    return c->error ? NULL : out;
}
