/*
 * Convolutions on channels-last pictures.
 *   bf16, f16  cuDNN's graph of convolution and bias, NHWC tensor-core engines; what it refuses goes the other way
 *   float32    windows unfolded into rows, times the weight [O, KH KW C], bias in the product's epilogue: true float32 (engines of
 *              cuDNN may take TF32). At most 128 MiB of windows at a time. A 1 x 1 convolution is the product alone.
 * FLOP 2 B OH OW O KH KW C. The weight is turned to [O, KH, KW, C] on each call: its bytes, beside a picture's.
 */
#include "engine/cuda/dnn.h"

#include <string.h>

enum { X = 1, W, BIAS, Y, N_UIDS, VIRTUAL = 100 };
enum { MAX_WINDOW_BYTES = 128 << 20 };

typedef struct conv_key {
    rg_dtype dtype;
    int has_bias, stride, padding;
    int64_t x_shape[4], w_shape[4], y_shape[4];
} conv_key;

typedef struct conv_plan {
    struct conv_plan *next;
    conv_key key;
    dnn_plan plan;
} conv_plan;

void rg_cuda_conv2d_release(rg_cuda_state *s)
{
    while (s->conv_plans) {
        conv_plan *p = s->conv_plans;
        s->conv_plans = p->next;
        dnn_plan_release(&p->plan);
        rg_free(p);
    }
}

static cudnnBackendDescriptor_t picture(dnn_builder *b, int64_t uid, cudnnDataType_t dtype, const int64_t *shape)
{
    const int64_t stride[4] = { shape[1] * shape[2] * shape[3], 1, shape[3] * shape[1], shape[1] };

    return dnn_tensor(b, uid, dtype, shape, stride, false);
}

static void build(dnn_builder *b, const conv_key *k)
{
    const cudnnDataType_t dtype = dnn_data_type(k->dtype), compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t n_dims = 2, stride[2] = { k->stride, k->stride }, padding[2] = { k->padding, k->padding }, dilation[2] = { 1, 1 };
    const float one = 1.0f, zero = 0.0f;
    cudnnBackendDescriptor_t x = picture(b, X, dtype, k->x_shape), w = picture(b, W, dtype, k->w_shape), y = picture(b, Y, dtype, k->y_shape);
    cudnnBackendDescriptor_t product = k->has_bias ? picture(b, 0, CUDNN_DATA_FLOAT, k->y_shape) : y;
    cudnnBackendDescriptor_t desc = dnn_make(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR), op;

    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n_dims);
    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, padding);
    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, padding);
    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    dnn_set(b, desc, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    dnn_finish(b, desc);
    op = dnn_make(b, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, product);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, desc);
    dnn_set(b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    dnn_set(b, op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    dnn_add_op(b, op);
    if (k->has_bias) {
        const int64_t shape[4] = { 1, k->w_shape[0], 1, 1 };
        dnn_pointwise(b, CUDNN_POINTWISE_ADD, product, picture(b, BIAS, dtype, shape), NULL, y, 0);
    }
}

static conv_plan *find_plan(rg_ctx *c, const conv_key *key)
{
    rg_cuda_state *s = rg_cuda_state_of(c);
    dnn_builder b = { .next_uid = VIRTUAL };
    conv_plan *p;

    for (p = s->conv_plans; p; p = p->next) {
        if (!memcmp(&p->key, key, sizeof *key))
            return p;
    }
    if (!(p = rg_calloc(1, sizeof *p))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a convolution plan");
        return NULL;
    }
    memcpy(&p->key, key, sizeof *key);
    build(&b, key);
    p->plan = dnn_plan_make(&b, s, true);
    p->next = s->conv_plans;
    s->conv_plans = p;
    return p;
}

/* By cuDNN: x channels-last, weight [O, KH, KW, C] rows, bias of x's dtype. False, nothing latched, where it has no plan. */
static bool by_cudnn(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const void *rows, const void *bias, int stride, int padding)
{
    int64_t uids[N_UIDS], n = 0;
    void *data[N_UIDS];
    conv_key key;

    if (((uintptr_t)x->data | (uintptr_t)out->data | (uintptr_t)rows | (uintptr_t)bias) & 15)
        return false;
    memset(&key, 0, sizeof key);        /* compared as bytes */
    key.dtype = x->dtype;
    key.has_bias = bias != NULL;
    key.stride = stride;
    key.padding = padding;
    memcpy(key.x_shape, x->shape, sizeof key.x_shape);
    memcpy(key.w_shape, weight->shape, sizeof key.w_shape);
    memcpy(key.y_shape, out->shape, sizeof key.y_shape);
    const conv_plan *p = find_plan(c, &key);
    if (!p || !p->plan.plan)
        return false;
#define GIVE(uid_, pointer) (uids[n] = (uid_), data[n++] = (void *)(pointer))
    GIVE(X, x->data);
    GIVE(W, rows);
    GIVE(Y, out->data);
    if (bias)
        GIVE(BIAS, bias);
#undef GIVE
    const cudnnStatus_t status = dnn_run(rg_cuda_state_of(c), &p->plan, n, uids, data);
    if (status != CUDNN_STATUS_SUCCESS)
        rg_fail(c, RG_ERR_DEVICE, "cuDNN convolution: %s", cudnnGetErrorString(status));
    return true;
}

/* As products of unfolded windows and the weight. */
static void by_products(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const void *rows, const void *bias,
                        const rg_tensor *bias_tensor, int stride, int padding)
{
    const int64_t O = out->shape[1], OH = out->shape[2], OW = out->shape[3], n_pixels = out->shape[0] * OH * OW;
    const int64_t KH = weight->shape[2], KW = weight->shape[3], K = x->shape[1] * KH * KW, size = (int64_t)rg_dtype_size(x->dtype);
    const bool is_plain = KH == 1 && KW == 1 && stride == 1 && padding == 0;
    int64_t step = is_plain ? n_pixels : MAX_WINDOW_BYTES / (K * size);
    bool is_fused = true;               /* the bias is added by the product */

    step = step < 1 ? 1 : step > n_pixels ? n_pixels : step;
    void *windows = is_plain ? NULL : rg_cuda_scratch(c, (size_t)(step * K * size));
    for (int64_t first = 0; first < n_pixels && !c->error; first += step) {
        const int64_t n = n_pixels - first < step ? n_pixels - first : step;
        char *to = (char *)out->data + first * O * size;
        const void *from = is_plain ? x->data : windows;
        rg_cuda_product p;
        memset(&p, 0, sizeof p);
        p.dtype = p.d_dtype = x->dtype;
        p.M = n, p.N = O, p.K = K, p.n_batches = 1;
        p.a_pitch = p.b_pitch = K;
        p.d_pitch = O;
        p.b_is_turned = true;
        p.epilogue = bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
        if (!is_plain)
            rg_cuda_unfold(c, windows, x, (int)KH, (int)KW, stride, padding, OH, OW, first, n);
        if (!is_fused)
            p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
        if (!c->error && !rg_cuda_product_run(c, &p, to, from, rows, is_fused ? bias : NULL, NULL)) {
            is_fused = false;           /* no such epilogue: start over without, the bias in a pass of its own */
            first = -step;
        }
    }
    if (!is_fused && bias && !c->error) {
        rg_tensor *pixels = rg_permute4(c, out, 0, 2, 3, 1);
        if (pixels)
            rg_cuda_finish(c, pixels, pixels, bias_tensor, -1);
    }
}

void rg_cuda_conv2d(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding)
{
    if (rg_numel(out) == 0)
        return;
    if (x->dtype != RG_F32 && x->dtype != RG_F16 && x->dtype != RG_BF16) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "conv2d on the GPU computes in F32, F16 or BF16, not %s", rg_dtype_name(x->dtype));
        return;
    }
    const int s = rg_scope_begin(c);
    const rg_tensor *last = x;
    if (!rg_is_channels_last(x)) {
        rg_tensor *copy = rg_tensor_new_channels_last(c, x->dtype, x->shape[0], x->shape[1], x->shape[2], x->shape[3]);
        if (copy)
            rg_cuda_copy(c, copy, x);
        last = copy;
    }
    const rg_tensor *turned = rg_permute4(c, w->weight, 0, 2, 3, 1);
    const void *rows = turned ? rg_cuda_rows(c, turned, x->dtype) : NULL;
    const void *bias = w->bias ? rg_cuda_rows(c, w->bias, x->dtype) : NULL;
    if (!c->error && (x->dtype == RG_F32 || !by_cudnn(c, out, last, w->weight, rows, bias, stride, padding)) && !c->error)
        by_products(c, out, last, w->weight, rows, bias, w->bias, stride, padding);
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "conv2d");
}
