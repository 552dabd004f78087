/*
 * Attention by cuDNN's fused engine, through its graph API, which is C: the graph below is the pattern its runtime recognises
 * as one kernel (scores never leave the chip).
 *
 *     S = q k^T  ->  * scale  [-> + bias] [-> causal: -inf where column > row]  ->  softmax over columns  ->  P v
 *     softmax:  max over columns, subtract, exp, sum over columns, divide;  max + log(sum), which nobody reads, beside it
 *
 * Easy to get wrong: without the log and the addition cuDNN 9.19 does not recognise the pattern and refuses it ("Dropout set of ops
 * not configured correctly"). tests/cuda/check_plans.c asks the library itself, which needs no GPU for that.
 * Plans are kept per shape, strides and options. bf16 and f16, head sizes up to 512 that are multiples of 8; what cuDNN refuses goes to
 * flash.cu.
 * Source: cuDNN 9 developer guide, graph API, fused flash attention pattern; NVIDIA/cudnn-frontend, node/softmax.h.
 */
#include "engine/cuda/dnn.h"

#include <math.h>
#include <string.h>

enum { Q = 1, K, V, O, SCALE, BIAS, MINUS_INF, N_UIDS, VIRTUAL = 100 };   /* names of the graph's tensors */

typedef struct attention_key {
    rg_dtype dtype, bias_dtype;
    bool has_bias, is_causal;
    int64_t q_shape[4], q_stride[4], k_shape[4], k_stride[4], v_shape[4], v_stride[4], bias_stride[4], o_stride[2];  /* out's batch and token */
} attention_key;

typedef struct attention_plan {
    struct attention_plan *next;
    attention_key key;
    dnn_plan plan;
} attention_plan;

void rg_cuda_attention_release(rg_cuda_state *s)
{
    while (s->attention_plans) {
        attention_plan *p = s->attention_plans;
        s->attention_plans = p->next;
        dnn_plan_release(&p->plan);
        rg_free(p);
    }
}

/* A virtual float32 (or boolean, or int32) tensor [B, H, N, M], row-major. */
static cudnnBackendDescriptor_t on_chip(dnn_builder *b, cudnnDataType_t dtype, int64_t B, int64_t H, int64_t N, int64_t M)
{
    return dnn_tensor(b, 0, dtype, (const int64_t[]){ B, H, N, M }, (const int64_t[]){ H * N * M, N * M, M, 1 }, false);
}

static void matmul(dnn_builder *b, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t out)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t desc = dnn_make(b, CUDNN_BACKEND_MATMUL_DESCRIPTOR), op;

    dnn_set(b, desc, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    dnn_finish(b, desc);
    op = dnn_make(b, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, x);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, y);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, out);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, desc);
    dnn_add_op(b, op);
}

static void reduce(dnn_builder *b, cudnnReduceTensorOp_t kind, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t out)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t desc = dnn_make(b, CUDNN_BACKEND_REDUCTION_DESCRIPTOR), op;

    dnn_set(b, desc, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &kind);
    dnn_set(b, desc, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    dnn_finish(b, desc);
    op = dnn_make(b, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, desc);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, out);
    dnn_add_op(b, op);
}

/* The operations of the pattern, in order. */
static void build_operations(dnn_builder *b, const attention_key *k)
{
    const int64_t B = k->q_shape[0], H = k->q_shape[1], N = k->q_shape[2], D = k->q_shape[3], M = k->k_shape[2], Dv = k->v_shape[3];
    const int64_t ones[4] = { 1, 1, 1, 1 };
    const cudnnDataType_t dtype = dnn_data_type(k->dtype);
    /* k^T by its strides: no copy */
    const int64_t kt_shape[4] = { k->k_shape[0], k->k_shape[1], D, M }, kt_stride[4] = { k->k_stride[0], k->k_stride[1], k->k_stride[3], k->k_stride[2] };
    const int64_t o_shape[4] = { B, H, N, Dv }, o_stride[4] = { k->o_stride[0], Dv, k->o_stride[1], 1 };
    cudnnBackendDescriptor_t q = dnn_tensor(b, Q, dtype, k->q_shape, k->q_stride, false), kt = dnn_tensor(b, K, dtype, kt_shape, kt_stride, false);
    cudnnBackendDescriptor_t v = dnn_tensor(b, V, dtype, k->v_shape, k->v_stride, false), o = dnn_tensor(b, O, dtype, o_shape, o_stride, false);
    cudnnBackendDescriptor_t scores = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M), next;

    matmul(b, q, kt, scores);
    next = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
    dnn_pointwise(b, CUDNN_POINTWISE_MUL, scores, dnn_tensor(b, SCALE, CUDNN_DATA_FLOAT, ones, ones, true), NULL, next, 0);
    scores = next;
    if (k->has_bias) {
        const int64_t bias_shape[4] = { k->bias_stride[0] ? B : 1, k->bias_stride[1] ? H : 1, N, M };
        next = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
        dnn_pointwise(b, CUDNN_POINTWISE_ADD, scores, dnn_tensor(b, BIAS, dnn_data_type(k->bias_dtype), bias_shape, k->bias_stride, false), NULL, next, 0);
        scores = next;
    }
    if (k->is_causal) {
        cudnnBackendDescriptor_t row = on_chip(b, CUDNN_DATA_INT32, B, H, N, M), column = on_chip(b, CUDNN_DATA_INT32, B, H, N, M);
        cudnnBackendDescriptor_t is_seen = on_chip(b, CUDNN_DATA_BOOLEAN, B, H, N, M);
        next = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
        dnn_pointwise(b, CUDNN_POINTWISE_GEN_INDEX, scores, NULL, NULL, row, 2);
        dnn_pointwise(b, CUDNN_POINTWISE_GEN_INDEX, scores, NULL, NULL, column, 3);
        dnn_pointwise(b, CUDNN_POINTWISE_CMP_GE, row, column, NULL, is_seen, 0);
        dnn_pointwise(b, CUDNN_POINTWISE_BINARY_SELECT, scores, dnn_tensor(b, MINUS_INF, CUDNN_DATA_FLOAT, ones, ones, true), is_seen, next, 0);
        scores = next;
    }
    cudnnBackendDescriptor_t largest = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, 1), centred = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
    cudnnBackendDescriptor_t weights = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M), sum = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, 1);
    cudnnBackendDescriptor_t log_sum = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, 1), statistics = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, 1);
    cudnnBackendDescriptor_t p = on_chip(b, dtype, B, H, N, M);
    reduce(b, CUDNN_REDUCE_TENSOR_MAX, scores, largest);
    dnn_pointwise(b, CUDNN_POINTWISE_SUB, scores, largest, NULL, centred, 0);
    dnn_pointwise(b, CUDNN_POINTWISE_EXP, centred, NULL, NULL, weights, 0);
    reduce(b, CUDNN_REDUCE_TENSOR_ADD, weights, sum);
    dnn_pointwise(b, CUDNN_POINTWISE_LOG, sum, NULL, NULL, log_sum, 0);
    dnn_pointwise(b, CUDNN_POINTWISE_ADD, largest, log_sum, NULL, statistics, 0);
    dnn_pointwise(b, CUDNN_POINTWISE_DIV, weights, sum, NULL, p, 0);
    matmul(b, p, v, o);
}

static dnn_plan make_plan(rg_cuda_state *s, const attention_key *key)
{
    dnn_builder b = { .next_uid = VIRTUAL };

    build_operations(&b, key);
    return dnn_plan_make(&b, s, false);
}

static attention_plan *find_plan(rg_ctx *c, const attention_key *key)
{
    rg_cuda_state *s = rg_cuda_state_of(c);
    attention_plan *p;

    for (p = s->attention_plans; p; p = p->next) {
        if (!memcmp(&p->key, key, sizeof *key))
            return p;
    }
    if (!(p = rg_calloc(1, sizeof *p))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for an attention plan");
        return NULL;
    }
    memcpy(&p->key, key, sizeof *key);
    p->plan = make_plan(s, key);        /* a refusal is kept too: the heuristics are not asked twice */
    p->next = s->attention_plans;
    s->attention_plans = p;
    return p;
}

/* What the fused engine reads: heads in steps of 16 bytes from addresses of 16 bytes, dims along a head together. */
static bool is_readable(const rg_tensor *t)
{
    bool is_ok = t->stride[3] == 1 && ((uintptr_t)t->data & 15) == 0;

    for (int d = 0; d < 3; d++)
        is_ok = is_ok && (t->shape[d] == 1 || (t->stride[d] % 8 == 0 && t->stride[d] > 0));
    return is_ok;
}

static const rg_tensor *aligned(rg_ctx *c, const rg_tensor *t)
{
    return is_readable(t) ? t : rg_clone(c, t);
}

/* Operands that no copy makes fit go to flash.cu: head sizes, the place of the result, a bias that repeats along a row. */
static bool fits(const rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias)
{
    const int64_t D = q->shape[3], Dv = v->shape[3];

    if (D % 8 || Dv % 8 || D > 512 || Dv > 512 || q->shape[1] != k->shape[1])
        return false;
    if (((uintptr_t)out->data & 15) != 0 || out->stride[1] % 8 || (out->shape[0] > 1 && out->stride[0] % 8))
        return false;
    return !bias || (((uintptr_t)bias->data & 15) == 0 && bias->stride[3] == 1 && bias->stride[2] > 0);
}

void rg_cuda_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                       const rg_attention_args *args)
{
    attention_key key;
    float scale = args->scale, minus_inf = -INFINITY;

    if (rg_numel(out) == 0)
        return;
    if ((q->dtype != RG_BF16 && q->dtype != RG_F16) || !fits(out, q, k, v, bias)) {
        rg_cuda_flash(c, out, q, k, v, bias, args);
        return;
    }
    const int s = rg_scope_begin(c);
    q = aligned(c, q);
    k = aligned(c, k);
    v = aligned(c, v);
    if (q && k && v) {
        memset(&key, 0, sizeof key);    /* compared as bytes */
        key.dtype = q->dtype;
        key.is_causal = args->is_causal;
        for (int d = 0; d < 4; d++) {
            key.q_shape[d] = q->shape[d];
            key.q_stride[d] = q->stride[d];
            key.k_shape[d] = k->shape[d];
            key.k_stride[d] = k->stride[d];
            key.v_shape[d] = v->shape[d];
            key.v_stride[d] = v->stride[d];
        }
        if (bias) {
            key.has_bias = true;
            key.bias_dtype = bias->dtype;
            memcpy(key.bias_stride, bias->stride, sizeof key.bias_stride);
        }
        key.o_stride[0] = out->stride[0];
        key.o_stride[1] = out->stride[1];
        attention_plan *p = find_plan(c, &key);
        if (p && !p->plan.plan) {
            rg_cuda_flash(c, out, q, k, v, bias, args);
        } else if (p) {
            int64_t uids[N_UIDS];
            void *data[N_UIDS];
            int64_t n = 0;
#define GIVE(uid_, pointer) (uids[n] = (uid_), data[n++] = (void *)(pointer))
            GIVE(Q, q->data);
            GIVE(K, k->data);
            GIVE(V, v->data);
            GIVE(O, out->data);
            GIVE(SCALE, &scale);
            if (bias)
                GIVE(BIAS, bias->data);
            if (args->is_causal)
                GIVE(MINUS_INF, &minus_inf);
#undef GIVE
            const cudnnStatus_t status = dnn_run(rg_cuda_state_of(c), &p->plan, n, uids, data);
            if (status != CUDNN_STATUS_SUCCESS)
                rg_fail(c, RG_ERR_DEVICE, "cuDNN attention: %s", cudnnGetErrorString(status));
        }
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "attention");
}
