/*
 * Attention by cuDNN's fused engine, through its graph API, which is C: the graph below is the pattern its runtime recognises
 * as one kernel (scores never leave the chip).
 *
 *     S = q k^T  ->  * scale  [-> + bias] [-> causal: -inf where column > row]  ->  softmax over columns  ->  P v
 *     softmax:  max over columns, subtract, exp, sum over columns, divide
 *
 * Plans are kept per shape, strides and options. bf16 and f16, head sizes up to 256 that are multiples of 8.
 * Source: cuDNN 9 developer guide, graph API, fused flash attention pattern.
 */
#include "engine/cuda/cuda.h"

#include <math.h>
#include <string.h>

enum { Q = 1, K, V, O, SCALE, BIAS, MINUS_INF, N_UIDS, VIRTUAL = 100 };   /* names of the graph's tensors */
enum { MAX_DESCRIPTORS = 64 };

typedef struct attention_key {
    rg_dtype dtype, bias_dtype;
    bool has_bias, is_causal;
    int64_t q_shape[4], q_stride[4], k_shape[4], k_stride[4], v_shape[4], v_stride[4], bias_stride[4];
} attention_key;

typedef struct attention_plan {
    struct attention_plan *next;
    attention_key key;
    cudnnBackendDescriptor_t plan;
    int64_t workspace_bytes;
} attention_plan;

void rg_cuda_attention_release(rg_cuda_state *s)
{
    while (s->attention_plans) {
        attention_plan *p = s->attention_plans;
        s->attention_plans = p->next;
        if (p->plan)
            cudnnBackendDestroyDescriptor(p->plan);
        rg_free(p);
    }
}

/* A graph being built: every descriptor made so far, destroyed together. The first failure sticks. */
typedef struct builder {
    cudnnBackendDescriptor_t all[MAX_DESCRIPTORS], ops[24];
    int n_all, n_ops;
    int64_t next_uid;
    cudnnStatus_t status;
} builder;

static cudnnBackendDescriptor_t make(builder *b, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (b->status == CUDNN_STATUS_SUCCESS && b->n_all == MAX_DESCRIPTORS)
        RG_BUG("an attention graph of more than %d descriptors", MAX_DESCRIPTORS);
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->status = cudnnBackendCreateDescriptor(type, &d);
    if (d)
        b->all[b->n_all++] = d;
    return d;
}

static void set(builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->status = cudnnBackendSetAttribute(d, name, type, n, value);
}

static void set_descriptor(builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
    set(b, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finish(builder *b, cudnnBackendDescriptor_t d)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->status = cudnnBackendFinalize(d);
}

/* A tensor of the graph: real ones have a uid of the list above, virtual ones (uid 0) live on the chip only. */
static cudnnBackendDescriptor_t tensor(builder *b, int64_t uid, cudnnDataType_t dtype, const int64_t *shape, const int64_t *stride, bool is_by_value)
{
    const int64_t alignment = 16;
    const bool is_virtual = uid == 0;
    cudnnBackendDescriptor_t d = make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);

    if (is_virtual)
        uid = b->next_uid++;
    set(b, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(b, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &dtype);
    set(b, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(b, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, shape);
    set(b, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(b, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    if (is_by_value)
        set(b, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &is_by_value);
    finish(b, d);
    return d;
}

/* A virtual float32 (or boolean, or int32) tensor [B, H, N, M], row-major. */
static cudnnBackendDescriptor_t on_chip(builder *b, cudnnDataType_t dtype, int64_t B, int64_t H, int64_t N, int64_t M)
{
    return tensor(b, 0, dtype, (const int64_t[]){ B, H, N, M }, (const int64_t[]){ H * N * M, N * M, M, 1 }, false);
}

static void add_op(builder *b, cudnnBackendDescriptor_t op)
{
    finish(b, op);
    b->ops[b->n_ops++] = op;
}

static void matmul(builder *b, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t out)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t desc = make(b, CUDNN_BACKEND_MATMUL_DESCRIPTOR), op;

    set(b, desc, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    finish(b, desc);
    op = make(b, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, x);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, y);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, out);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, desc);
    add_op(b, op);
}

/* One value at a time: out = mode(x, y), y and t (the condition of a select) may be absent. axis is for GEN_INDEX only. */
static void pointwise(builder *b, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t t,
                      cudnnBackendDescriptor_t out, int64_t axis)
{
    const cudnnDataType_t compute = mode == CUDNN_POINTWISE_CMP_GE ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t desc = make(b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), op;

    set(b, desc, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(b, desc, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    if (mode == CUDNN_POINTWISE_GEN_INDEX)
        set(b, desc, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    finish(b, desc);
    op = make(b, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, desc);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (y)
        set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, y);
    if (t)
        set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
    add_op(b, op);
}

static void reduce(builder *b, cudnnReduceTensorOp_t kind, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t out)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t desc = make(b, CUDNN_BACKEND_REDUCTION_DESCRIPTOR), op;

    set(b, desc, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &kind);
    set(b, desc, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    finish(b, desc);
    op = make(b, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, desc);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_descriptor(b, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, out);
    add_op(b, op);
}

static cudnnDataType_t data_type(rg_dtype t)
{
    return t == RG_BF16 ? CUDNN_DATA_BFLOAT16 : t == RG_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

/* The operations of the pattern, in order. */
static void build_operations(builder *b, const attention_key *k)
{
    const int64_t B = k->q_shape[0], H = k->q_shape[1], N = k->q_shape[2], D = k->q_shape[3], M = k->k_shape[2], Dv = k->v_shape[3];
    const int64_t ones[4] = { 1, 1, 1, 1 };
    const cudnnDataType_t dtype = data_type(k->dtype);
    /* k^T by its strides: no copy */
    const int64_t kt_shape[4] = { k->k_shape[0], k->k_shape[1], D, M }, kt_stride[4] = { k->k_stride[0], k->k_stride[1], k->k_stride[3], k->k_stride[2] };
    const int64_t o_shape[4] = { B, H, N, Dv }, o_stride[4] = { N * H * Dv, Dv, H * Dv, 1 };
    cudnnBackendDescriptor_t q = tensor(b, Q, dtype, k->q_shape, k->q_stride, false), kt = tensor(b, K, dtype, kt_shape, kt_stride, false);
    cudnnBackendDescriptor_t v = tensor(b, V, dtype, k->v_shape, k->v_stride, false), o = tensor(b, O, dtype, o_shape, o_stride, false);
    cudnnBackendDescriptor_t scores = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M), next;

    matmul(b, q, kt, scores);
    next = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
    pointwise(b, CUDNN_POINTWISE_MUL, scores, tensor(b, SCALE, CUDNN_DATA_FLOAT, ones, ones, true), NULL, next, 0);
    scores = next;
    if (k->has_bias) {
        const int64_t bias_shape[4] = { k->bias_stride[0] ? B : 1, k->bias_stride[1] ? H : 1, N, M };
        next = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
        pointwise(b, CUDNN_POINTWISE_ADD, scores, tensor(b, BIAS, data_type(k->bias_dtype), bias_shape, k->bias_stride, false), NULL, next, 0);
        scores = next;
    }
    if (k->is_causal) {
        cudnnBackendDescriptor_t row = on_chip(b, CUDNN_DATA_INT32, B, H, N, M), column = on_chip(b, CUDNN_DATA_INT32, B, H, N, M);
        cudnnBackendDescriptor_t is_seen = on_chip(b, CUDNN_DATA_BOOLEAN, B, H, N, M);
        next = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
        pointwise(b, CUDNN_POINTWISE_GEN_INDEX, scores, NULL, NULL, row, 2);
        pointwise(b, CUDNN_POINTWISE_GEN_INDEX, scores, NULL, NULL, column, 3);
        pointwise(b, CUDNN_POINTWISE_CMP_GE, row, column, NULL, is_seen, 0);
        pointwise(b, CUDNN_POINTWISE_BINARY_SELECT, scores, tensor(b, MINUS_INF, CUDNN_DATA_FLOAT, ones, ones, true), is_seen, next, 0);
        scores = next;
    }
    cudnnBackendDescriptor_t largest = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, 1), centred = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M);
    cudnnBackendDescriptor_t weights = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, M), sum = on_chip(b, CUDNN_DATA_FLOAT, B, H, N, 1);
    cudnnBackendDescriptor_t p = on_chip(b, dtype, B, H, N, M);
    reduce(b, CUDNN_REDUCE_TENSOR_MAX, scores, largest);
    pointwise(b, CUDNN_POINTWISE_SUB, scores, largest, NULL, centred, 0);
    pointwise(b, CUDNN_POINTWISE_EXP, centred, NULL, NULL, weights, 0);
    reduce(b, CUDNN_REDUCE_TENSOR_ADD, weights, sum);
    pointwise(b, CUDNN_POINTWISE_DIV, weights, sum, NULL, p, 0);
    matmul(b, p, v, o);
}

/* Ask the heuristics for engines in their order and take the first that gives a plan within the workspace. */
static int make_plan(rg_cuda_state *s, attention_plan *p)
{
    enum { MAX_ENGINES = 8 };
    builder b = { .next_uid = VIRTUAL };
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    int64_t n_engines = 0;

    build_operations(&b, &p->key);
    cudnnBackendDescriptor_t graph = make(&b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(&b, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, b.n_ops, b.ops);
    set(&b, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &s->dnn);
    finish(&b, graph);
    cudnnBackendDescriptor_t heuristics = make(&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), engines[MAX_ENGINES];
    set_descriptor(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finish(&b, heuristics);
    for (int i = 0; i < MAX_ENGINES; i++)
        engines[i] = make(&b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (b.status == CUDNN_STATUS_SUCCESS)
        b.status = cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MAX_ENGINES, &n_engines, engines);
    for (int64_t i = 0; b.status == CUDNN_STATUS_SUCCESS && !p->plan && i < n_engines; i++) {
        cudnnBackendDescriptor_t plan = NULL;
        int64_t n = 0;
        if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) == CUDNN_STATUS_SUCCESS &&
            cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &s->dnn) == CUDNN_STATUS_SUCCESS &&
            cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engines[i]) ==
                CUDNN_STATUS_SUCCESS &&
            cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS &&
            cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &p->workspace_bytes) ==
                CUDNN_STATUS_SUCCESS &&
            p->workspace_bytes <= RG_CUDA_WORKSPACE) {
            p->plan = plan;
            plan = NULL;
        }
        if (plan)
            cudnnBackendDestroyDescriptor(plan);
    }
    for (int i = b.n_all - 1; i >= 0; i--)
        cudnnBackendDestroyDescriptor(b.all[i]);
    return p->plan ? 0 : RG_ERR_UNSUPPORTED;
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
    if (make_plan(s, p) < 0) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "cuDNN has no fused attention for %s, %lld heads of %lld, %lld x %lld tokens", rg_dtype_name(key->dtype),
                (long long)key->q_shape[1], (long long)key->q_shape[3], (long long)key->q_shape[2], (long long)key->k_shape[2]);
        rg_free(p);
        return NULL;
    }
    p->next = s->attention_plans;
    s->attention_plans = p;
    return p;
}

void rg_cuda_attention(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                       const rg_attention_args *args)
{
    attention_key key;
    float scale = args->scale, minus_inf = -INFINITY;

    if (q->dtype != RG_BF16 && q->dtype != RG_F16) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "attention on the GPU computes in F16 or BF16, not %s", rg_dtype_name(q->dtype));
        return;
    }
    if (rg_numel(out) == 0)
        return;
    const int s = rg_scope_begin(c);
    /* the engine reads along a head: that dim must lie together */
    q = q->stride[3] == 1 ? q : rg_contiguous(c, q);
    k = k->stride[3] == 1 ? k : rg_contiguous(c, k);
    v = v->stride[3] == 1 ? v : rg_contiguous(c, v);
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
        attention_plan *p = find_plan(c, &key);
        if (p) {
            int64_t uids[N_UIDS];
            void *data[N_UIDS];
            int64_t n = 0;
            builder b = { 0 };
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
            cudnnBackendDescriptor_t pack = make(&b, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
            set(&b, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids);
            set(&b, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, data);
            set(&b, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &rg_cuda_state_of(c)->workspace);
            finish(&b, pack);
            if (b.status == CUDNN_STATUS_SUCCESS)
                b.status = cudnnBackendExecute(rg_cuda_state_of(c)->dnn, p->plan, pack);
            if (b.status != CUDNN_STATUS_SUCCESS)
                rg_fail(c, RG_ERR_DEVICE, "cuDNN attention: %s", cudnnGetErrorString(b.status));
            if (pack)
                cudnnBackendDestroyDescriptor(pack);
        }
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "attention");
}
