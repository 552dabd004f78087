/* Graphs of cuDNN: see dnn.h. Source: cuDNN 9 developer guide, graph API. */
#include "engine/cuda/dnn.h"

cudnnDataType_t dnn_data_type(rg_dtype t)
{
    return t == RG_BF16 ? CUDNN_DATA_BFLOAT16 : t == RG_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

cudnnBackendDescriptor_t dnn_make(dnn_builder *b, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (b->status == CUDNN_STATUS_SUCCESS && b->n_all == DNN_MAX_DESCRIPTORS)
        RG_BUG("a cuDNN graph of more than %d descriptors", DNN_MAX_DESCRIPTORS);
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->status = cudnnBackendCreateDescriptor(type, &d);
    if (d)
        b->all[b->n_all++] = d;
    return d;
}

void dnn_set(dnn_builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->status = cudnnBackendSetAttribute(d, name, type, n, value);
}

void dnn_set_descriptor(dnn_builder *b, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
    dnn_set(b, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void dnn_finish(dnn_builder *b, cudnnBackendDescriptor_t d)
{
    if (b->status == CUDNN_STATUS_SUCCESS)
        b->status = cudnnBackendFinalize(d);
}

cudnnBackendDescriptor_t dnn_tensor(dnn_builder *b, int64_t uid, cudnnDataType_t dtype, const int64_t *shape, const int64_t *stride, bool is_by_value)
{
    const int64_t alignment = 16;
    const bool is_virtual = uid == 0;
    cudnnBackendDescriptor_t d = dnn_make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);

    if (is_virtual)
        uid = b->next_uid++;
    dnn_set(b, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    dnn_set(b, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &dtype);
    dnn_set(b, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    dnn_set(b, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, shape);
    dnn_set(b, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    dnn_set(b, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    if (is_by_value)
        dnn_set(b, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &is_by_value);
    dnn_finish(b, d);
    return d;
}

void dnn_add_op(dnn_builder *b, cudnnBackendDescriptor_t op)
{
    dnn_finish(b, op);
    b->ops[b->n_ops++] = op;
}

void dnn_pointwise(dnn_builder *b, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y, cudnnBackendDescriptor_t t,
                      cudnnBackendDescriptor_t out, int64_t axis)
{
    const cudnnDataType_t compute = mode == CUDNN_POINTWISE_CMP_GE ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t desc = dnn_make(b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), op;

    dnn_set(b, desc, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    dnn_set(b, desc, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    if (mode == CUDNN_POINTWISE_GEN_INDEX)
        dnn_set(b, desc, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    dnn_finish(b, desc);
    op = dnn_make(b, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, desc);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (y)
        dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, y);
    if (t)
        dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    dnn_set_descriptor(b, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
    dnn_add_op(b, op);
}

/* Whether an engine's notes allow it here. */
static bool is_wanted(cudnnBackendDescriptor_t config, bool is_plain)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine = NULL;
    int64_t n = 0, n_notes = 0;
    bool is_ok = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) == CUDNN_STATUS_SUCCESS &&
                 cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) == CUDNN_STATUS_SUCCESS &&
                 cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                                          &n_notes, notes) == CUDNN_STATUS_SUCCESS;

    for (int64_t i = 0; i < n_notes && is_ok; i++)
        is_ok = notes[i] != CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC &&
                !(is_plain && (notes[i] == CUDNN_NUMERICAL_NOTE_FFT || notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD ||
                               notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4 || notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6 ||
                               notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13 ||
                               notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION));
    if (engine)
        cudnnBackendDestroyDescriptor(engine);
    return is_ok;
}

/* A plan from an engine's configuration; NULL where the engine cannot, or wants more workspace than there is. */
static cudnnBackendDescriptor_t plan_of(rg_cuda_state *s, cudnnBackendDescriptor_t engine, int64_t *workspace_bytes)
{
    cudnnBackendDescriptor_t plan = NULL;
    int64_t n = 0;

    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) != CUDNN_STATUS_SUCCESS)
        return NULL;
    if ((s->dnn ? cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &s->dnn)
                : cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &s->dnn_device)) ==
            CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, workspace_bytes) == CUDNN_STATUS_SUCCESS &&
        *workspace_bytes <= RG_CUDA_WORKSPACE)
        return plan;
    cudnnBackendDestroyDescriptor(plan);
    return NULL;
}

dnn_plan dnn_plan_make(dnn_builder *b, rg_cuda_state *s, bool is_plain)
{
    enum { MAX_ENGINES = 16 };
    static const cudnnBackendHeurMode_t modes[] = { CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK };
    dnn_plan out = { 0 };

    cudnnBackendDescriptor_t graph = dnn_make(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    dnn_set(b, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, b->n_ops, b->ops);
    if (s->dnn)
        dnn_set(b, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &s->dnn);
    dnn_finish(b, graph);
    for (size_t m = 0; m < sizeof modes / sizeof *modes && b->status == CUDNN_STATUS_SUCCESS && !out.plan; m++) {
        cudnnBackendDescriptor_t engines[MAX_ENGINES], heuristics = dnn_make(b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
        int64_t n_engines = 0;

        dnn_set_descriptor(b, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
        dnn_set(b, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &modes[m]);
        if (!s->dnn)
            dnn_set_descriptor(b, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, s->dnn_device);
        dnn_finish(b, heuristics);
        for (int i = 0; i < MAX_ENGINES; i++)
            engines[i] = dnn_make(b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
        if (b->status != CUDNN_STATUS_SUCCESS || cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                                         MAX_ENGINES, &n_engines, engines) != CUDNN_STATUS_SUCCESS)
            continue;                   /* the other mode may know one */
        for (int64_t i = 0; !out.plan && i < n_engines; i++) {
            if (is_wanted(engines[i], is_plain) && (out.plan = plan_of(s, engines[i], &out.workspace_bytes))) {
                out.engine = engines[i];
                for (int k = 0; k < b->n_all; k++)
                    if (b->all[k] == engines[i])
                        b->all[k] = NULL;
            }
        }
    }
    for (int i = b->n_all - 1; i >= 0; i--)
        if (b->all[i])
            cudnnBackendDestroyDescriptor(b->all[i]);
    return out;
}

void dnn_plan_release(dnn_plan *p)
{
    if (p->plan)
        cudnnBackendDestroyDescriptor(p->plan);
    if (p->engine)
        cudnnBackendDestroyDescriptor(p->engine);
    *p = (dnn_plan){ 0 };
}

cudnnStatus_t dnn_run(rg_cuda_state *s, const dnn_plan *p, int64_t n, const int64_t *uids, void *const *data)
{
    dnn_builder b = { 0 };
    cudnnBackendDescriptor_t pack = dnn_make(&b, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);

    dnn_set(&b, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids);
    dnn_set(&b, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, data);
    dnn_set(&b, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &s->workspace);
    dnn_finish(&b, pack);
    if (b.status == CUDNN_STATUS_SUCCESS)
        b.status = cudnnBackendExecute(s->dnn, p->plan, pack);
    if (pack)
        cudnnBackendDestroyDescriptor(pack);
    return b.status;
}
