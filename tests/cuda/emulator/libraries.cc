/*
 * cuBLASLt and cuDNN for the emulated device: the meaning of their calls in plain loops, so that what engine/cuda tells them (orders,
 * pitches, epilogues, graphs) is put to the test. They accept more than the real ones do: check_plans.sh asks the real cuDNN.
 */
#include <math.h>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "cublasLt.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_fp8.h"
#include "cudnn_graph.h"

extern "C" void emu_enqueue(cudaStream_t s, std::function<void()> *work);

static void broken(const char *what)
{
    fprintf(stderr, "emulated library: %s\n", what);
    abort();
}

static double load(const void *data, cudaDataType_t t, int64_t i)
{
    switch (t) {
    case CUDA_R_16F: return __half2float(((const __half *)data)[i]);
    case CUDA_R_16BF: return __bfloat162float(((const __nv_bfloat16 *)data)[i]);
    case CUDA_R_8F_E4M3: return (float)((const __nv_fp8_e4m3 *)data)[i];
    case CUDA_R_8F_E5M2: return (float)((const __nv_fp8_e5m2 *)data)[i];
    default: return ((const float *)data)[i];
    }
}

static void store(void *data, cudaDataType_t t, int64_t i, double v)
{
    switch (t) {
    case CUDA_R_16F: ((__half *)data)[i] = __float2half_rn((float)v); break;
    case CUDA_R_16BF: ((__nv_bfloat16 *)data)[i] = __float2bfloat16_rn((float)v); break;
    case CUDA_R_32F: ((float *)data)[i] = (float)v; break;
    default: broken("a product into fp8");
    }
}

/* ---- cuBLASLt ---------------------------------------------------------------------------------------------------------------- */

struct emu_blas { int unused; };
struct emu_blas_desc {
    cublasOperation_t ta = CUBLAS_OP_N, tb = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    const float *a_scale = nullptr, *b_scale = nullptr;
    int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST, a_mode = CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F, b_mode = CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F, bias_type = -1;
};
struct emu_blas_layout { cudaDataType_t type; int64_t rows, columns, ld; int32_t n_batches = 1; int64_t step = 0; };
struct emu_blas_preference { uint32_t alignment[4] = { 256, 256, 256, 256 }; };

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { *h = new emu_blas; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { delete h; return CUBLAS_STATUS_SUCCESS; }
size_t cublasLtGetVersion(void) { return 1; }
const char *cublasLtGetStatusString(cublasStatus_t s) { return s ? "failed" : "success"; }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType_t) { *d = new emu_blas_desc; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { delete d; return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, const void *value, size_t n)
{
    void *to = nullptr;
    size_t size = 4;
    switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA: to = &d->ta; break;
    case CUBLASLT_MATMUL_DESC_TRANSB: to = &d->tb; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: to = &d->epilogue; break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: to = &d->bias, size = 8; break;
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: to = &d->pointer_mode; break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: to = &d->bias_type; break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: to = &d->a_scale, size = 8; break;
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: to = &d->b_scale, size = 8; break;
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE: to = &d->a_mode; break;
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE: to = &d->b_mode; break;
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM: return n == 1 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
    }
    if (n != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, n);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t ld)
{
    *l = new emu_blas_layout;
    **l = { type, (int64_t)rows, (int64_t)columns, ld };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { delete l; return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t name, const void *value, size_t n)
{
    if (n != (name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? 4u : 8u))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? (void *)&l->n_batches : (void *)&l->step, value, n);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) { *p = new emu_blas_preference; return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { delete p; return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name, const void *value, size_t n)
{
    if (n != (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8u : 4u))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (name != CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        memcpy(&p->alignment[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, n);
    return CUBLAS_STATUS_SUCCESS;
}

static bool is_fp8(cudaDataType_t t)
{
    return t == CUDA_R_8F_E4M3 || t == CUDA_R_8F_E5M2;
}

static int64_t element_size(cudaDataType_t t)
{
    return t == CUDA_R_32F ? 4 : is_fp8(t) ? 1 : 2;
}

/* The shapes fit; fp8 only as the real one takes it: "TN", steps of 16 bytes. */
static bool is_possible(const emu_blas_desc *d, const emu_blas_layout *a, const emu_blas_layout *b, const emu_blas_layout *out)
{
    const int64_t m = d->ta ? a->columns : a->rows, k = d->ta ? a->rows : a->columns, n = d->tb ? b->rows : b->columns;
    if (k != (d->tb ? b->columns : b->rows) || out->rows != m || out->columns != n || a->ld < a->rows || b->ld < b->rows || out->ld < m)
        return false;
    if (is_fp8(a->type) || is_fp8(b->type))
        return is_fp8(a->type) && is_fp8(b->type) && d->ta == CUBLAS_OP_T && d->tb == CUBLAS_OP_N && k % 16 == 0 && m % 16 == 0 && a->ld % 16 == 0 && b->ld % 16 == 0;
    return a->type == b->type && (a->type == out->type || out->type == CUDA_R_32F);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t out, cublasLtMatmulPreference_t p, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t *found, int *n_found)
{
    *n_found = 0;
    if (!is_possible(d, a, b, out))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (int i = 0; i < n_wanted && i < 3; i++) {
        memset(&found[i], 0, sizeof found[i]);
        found[i].algo.data[0] = 0x616c676f, found[i].algo.data[1] = (uint64_t)i;
        for (int k = 0; k < 4; k++)
            found[i].algo.data[2 + k] = p->alignment[k];
        found[i].wavesCount = 1;
        (*n_found)++;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t out, const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    memset(result, 0, sizeof *result);
    return algo->data[0] == 0x616c676f && is_possible(d, a, b, out) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static bool lies_on(const void *p, const emu_blas_layout &l, uint64_t alignment)
{
    return ((uintptr_t)p & (alignment - 1)) == 0 && (l.n_batches == 1 || ((uint64_t)(l.step * element_size(l.type)) & (alignment - 1)) == 0);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la_, const void *b,
                              cublasLtMatrixLayout_t lb_, const void *beta, const void *, cublasLtMatrixLayout_t, void *out,
                              cublasLtMatrixLayout_t lo_, const cublasLtMatmulAlgo_t *algo, void *, size_t, cudaStream_t s)
{
    const emu_blas_desc d = *desc;
    const emu_blas_layout la = *la_, lb = *lb_, lo = *lo_;
    const bool is_device_alpha = d.pointer_mode == CUBLASLT_POINTER_MODE_DEVICE;
    const float host_alpha = is_device_alpha ? 0.0f : *(const float *)alpha;

    if (!is_possible(&d, &la, &lb, &lo) || (!is_device_alpha && *(const float *)beta != 0.0f) || !algo || algo->data[0] != 0x616c676f)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!lies_on(a, la, algo->data[2]) || !lies_on(b, lb, algo->data[3]) || !lies_on(out, lo, algo->data[5]))
        broken("a matrix that does not lie as the plan was told");
    if (is_fp8(la.type) && (!d.a_scale || !d.b_scale))
        broken("an fp8 product without scales");
    emu_enqueue(s, new std::function<void()>([=]() {
        const int64_t m = lo.rows, n = lo.columns, k = d.ta ? la.rows : la.columns;
        const bool has_bias = d.epilogue == CUBLASLT_EPILOGUE_BIAS || d.epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
        const bool has_gelu = d.epilogue == CUBLASLT_EPILOGUE_GELU || d.epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
        if (is_device_alpha && *(const float *)beta != 0.0f)
            broken("a product that adds to what was there");
        const double scale = is_device_alpha ? *(const float *)alpha : host_alpha;
        std::vector<double> va((size_t)(m * k)), vb((size_t)(n * k));
        for (int64_t batch = 0; batch < lo.n_batches; batch++) {
            for (int64_t i = 0; i < m; i++)
                for (int64_t q = 0; q < k; q++)
                    va[(size_t)(i * k + q)] = load(a, la.type, batch * la.step + (d.ta ? q + i * la.ld : i + q * la.ld));
            for (int64_t j = 0; j < n; j++)
                for (int64_t q = 0; q < k; q++)
                    vb[(size_t)(j * k + q)] = load(b, lb.type, batch * lb.step + (d.tb ? j + q * lb.ld : q + j * lb.ld));
            for (int64_t j = 0; j < n; j++)
                for (int64_t i = 0; i < m; i++) {
                    double sum = 0.0;
                    for (int64_t q = 0; q < k; q++)
                        sum += va[(size_t)(i * k + q)] * vb[(size_t)(j * k + q)];
                    sum *= scale;
                    if (is_fp8(la.type))
                        sum *= (double)d.a_scale[d.a_mode == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F ? i : 0] *
                               (double)d.b_scale[d.b_mode == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F ? j : 0];
                    if (has_bias)
                        sum += load(d.bias, d.bias_type >= 0 ? (cudaDataType_t)d.bias_type : lo.type, i);
                    if (has_gelu)
                        sum = 0.5 * sum * (1.0 + tanh(0.7978845608028654 * (sum + 0.044715 * sum * sum * sum)));
                    store(out, lo.type, batch * lo.step + i + j * lo.ld, sum);
                }
        }
    }));
    return CUBLAS_STATUS_SUCCESS;
}

}

/* ---- cuDNN ----------------------------------------------------------------------------------------------------------------------- */

struct emu_dnn { cudaStream_t stream; };

struct values { cudnnBackendAttributeType_t type; std::vector<char> bytes; std::vector<std::shared_ptr<struct node>> nodes; };
struct node {                           /* what a descriptor holds; lives on in what was made of it */
    cudnnBackendDescriptorType_t type;
    bool is_finished = false;
    std::map<int, values> has;

    const values &get(int name) const
    {
        auto it = has.find(name);
        if (it == has.end())
            broken("an attribute that was never set");
        return it->second;
    }
    template <typename T> T value(int name, size_t i = 0) const
    {
        const values &v = get(name);
        if (v.bytes.size() < (i + 1) * sizeof(T))
            broken("an attribute of another size");
        T out;
        memcpy(&out, v.bytes.data() + i * sizeof(T), sizeof(T));
        return out;
    }
    const node &child(int name, size_t i = 0) const { return *get(name).nodes.at(i); }
};
struct handle { std::shared_ptr<node> n; };     /* a cudnnBackendDescriptor_t points to one of these */

static size_t size_of(cudnnBackendAttributeType_t t)
{
    return t == CUDNN_TYPE_BOOLEAN || t == CUDNN_TYPE_CHAR ? 1 : t == CUDNN_TYPE_INT64 || t == CUDNN_TYPE_HANDLE || t == CUDNN_TYPE_VOID_PTR || t == CUDNN_TYPE_BACKEND_DESCRIPTOR ? 8 : 4;
}

typedef std::vector<double> numbers;
typedef std::map<int64_t, numbers> board;       /* row-major values of every tensor of a graph, by uid */

static int64_t dim(const node &t, int i) { return t.value<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, (size_t)i); }
static int64_t step(const node &t, int i) { return t.value<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, (size_t)i); }
static int64_t uid(const node &t) { return t.value<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID); }
static int64_t count(const node &t) { return dim(t, 0) * dim(t, 1) * dim(t, 2) * dim(t, 3); }

static int64_t offset(const node &t, int64_t i)
{
    int64_t at = 0;
    for (int d = 3; d >= 0; d--) {
        at += i % dim(t, d) * step(t, d);
        i /= dim(t, d);
    }
    return at;
}

static cudaDataType_t float_type(const node &t)
{
    const cudnnDataType_t type = t.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
    return type == CUDNN_DATA_HALF ? CUDA_R_16F : type == CUDNN_DATA_BFLOAT16 ? CUDA_R_16BF : CUDA_R_32F;
}

static numbers &read(board &b, const std::map<int64_t, void *> &pointers, const node &t)
{
    auto it = b.find(uid(t));
    if (it != b.end())
        return it->second;
    auto p = pointers.find(uid(t));
    if (p == pointers.end())
        broken("a graph reads a tensor that nobody wrote");
    numbers v((size_t)count(t));
    if (!(t.has.count(CUDNN_ATTR_TENSOR_IS_BY_VALUE)) && ((uintptr_t)p->second & (uintptr_t)(t.value<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) - 1)))
        broken("a tensor that does not lie as the graph was told");
    for (int64_t i = 0; i < count(t); i++)
        v[(size_t)i] = load(p->second, float_type(t), offset(t, i));
    return b[uid(t)] = v;
}

static void write(board &b, const std::map<int64_t, void *> &pointers, const node &t, numbers v)
{
    const bool is_virtual = t.value<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL);
    const cudnnDataType_t type = t.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
    for (double &x : v) {               /* on the chip too they have their types */
        if (type == CUDNN_DATA_HALF)
            x = __half2float(__float2half_rn((float)x));
        else if (type == CUDNN_DATA_BFLOAT16)
            x = __bfloat162float(__float2bfloat16_rn((float)x));
    }
    if (!is_virtual) {
        void *p = pointers.at(uid(t));
        for (int64_t i = 0; i < count(t); i++)
            store(p, float_type(t), offset(t, i), v[(size_t)i]);
    }
    b[uid(t)] = std::move(v);
}

/* Index of element i of `like` in t, whose sizes of 1 repeat. */
struct places {
    int64_t shape[4], step[4];
    bool is_same = true;

    places(const node &like, const node &t)
    {
        int64_t scale = 1;
        for (int d = 3; d >= 0; d--) {
            if (dim(t, d) != 1 && dim(t, d) != dim(like, d))
                broken("operands of an operation that do not fit");
            shape[d] = dim(like, d);
            step[d] = dim(t, d) == 1 ? 0 : scale;
            scale *= dim(t, d);
            is_same = is_same && dim(t, d) == dim(like, d);
        }
    }
    int64_t operator()(int64_t i) const
    {
        int64_t at = 0;
        if (is_same)
            return i;
        for (int d = 3; d >= 0; d--) {
            at += i % shape[d] * step[d];
            i /= shape[d];
        }
        return at;
    }
};

static void run_pointwise(board &b, const std::map<int64_t, void *> &p, const node &op)
{
    const node &desc = op.child(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR), &x = op.child(CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
    const node &y = op.child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    const node *second = op.has.count(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) ? &op.child(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) : nullptr;
    const node *third = op.has.count(CUDNN_ATTR_OPERATION_POINTWISE_TDESC) ? &op.child(CUDNN_ATTR_OPERATION_POINTWISE_TDESC) : nullptr;
    const cudnnPointwiseMode_t mode = desc.value<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
    const int64_t n = count(y), axis = mode == CUDNN_POINTWISE_GEN_INDEX ? desc.value<int64_t>(CUDNN_ATTR_POINTWISE_AXIS) : 0;
    const places at_x(y, x), at_second(y, second ? *second : x), at_third(y, third ? *third : x);
    numbers out((size_t)n);
    const numbers &vx = read(b, p, x), &vc = second ? read(b, p, *second) : vx, &vt = third ? read(b, p, *third) : vx;

    for (int64_t i = 0; i < n; i++) {
        const double a = vx[(size_t)at_x(i)], c = vc[(size_t)at_second(i)];
        double v = 0.0;
        switch (mode) {
        case CUDNN_POINTWISE_ADD: v = a + c; break;
        case CUDNN_POINTWISE_SUB: v = a - c; break;
        case CUDNN_POINTWISE_MUL: v = a * c; break;
        case CUDNN_POINTWISE_DIV: v = a / c; break;
        case CUDNN_POINTWISE_EXP: v = exp(a); break;
        case CUDNN_POINTWISE_LOG: v = log(a); break;
        case CUDNN_POINTWISE_CMP_GE: v = a >= c; break;
        case CUDNN_POINTWISE_GEN_INDEX: {
            int64_t rest = i;
            for (int d = 3; d > (int)axis; d--)
                rest /= dim(y, d);
            v = (double)(rest % dim(y, (int)axis));
            break;
        }
        case CUDNN_POINTWISE_BINARY_SELECT: v = vt[(size_t)at_third(i)] != 0.0 ? a : c; break;
        }
        out[(size_t)i] = v;
    }
    write(b, p, y, std::move(out));
}

static void run_matmul(board &b, const std::map<int64_t, void *> &p, const node &op)
{
    const node &x = op.child(CUDNN_ATTR_OPERATION_MATMUL_ADESC), &y = op.child(CUDNN_ATTR_OPERATION_MATMUL_BDESC), &z = op.child(CUDNN_ATTR_OPERATION_MATMUL_CDESC);
    const numbers &vx = read(b, p, x), &vy = read(b, p, y);
    const int64_t M = dim(x, 2), K = dim(x, 3), N = dim(y, 3);
    numbers out((size_t)count(z));

    if (dim(y, 2) != K || dim(z, 2) != M || dim(z, 3) != N || dim(x, 1) != dim(y, 1) || dim(x, 0) != dim(y, 0))
        broken("a matmul whose sizes do not fit");
    for (int64_t h = 0; h < dim(x, 0) * dim(x, 1); h++)
        for (int64_t i = 0; i < M; i++)
            for (int64_t k = 0; k < K; k++)
                for (int64_t j = 0; j < N; j++)
                    out[(size_t)((h * M + i) * N + j)] += vx[(size_t)((h * M + i) * K + k)] * vy[(size_t)((h * K + k) * N + j)];
    write(b, p, z, std::move(out));
}

static void run_reduction(board &b, const std::map<int64_t, void *> &p, const node &op)
{
    const node &desc = op.child(CUDNN_ATTR_OPERATION_REDUCTION_DESC), &x = op.child(CUDNN_ATTR_OPERATION_REDUCTION_XDESC), &y = op.child(CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    const bool is_max = desc.value<cudnnReduceTensorOp_t>(CUDNN_ATTR_REDUCTION_OPERATOR) == CUDNN_REDUCE_TENSOR_MAX;
    const numbers &vx = read(b, p, x);
    numbers out((size_t)count(y), is_max ? -INFINITY : 0.0);

    const places at(x, y);

    for (int64_t i = 0, n = count(x); i < n; i++) {
        double &to = out[(size_t)at(i)];
        to = is_max ? fmax(to, vx[(size_t)i]) : to + vx[(size_t)i];
    }
    write(b, p, y, std::move(out));
}

static void run_convolution(board &b, const std::map<int64_t, void *> &p, const node &op)
{
    const node &x = op.child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X), &w = op.child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W);
    const node &y = op.child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y), &d = op.child(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
    const numbers &vx = read(b, p, x), &vw = read(b, p, w);
    const int64_t C = dim(x, 1), H = dim(x, 2), W = dim(x, 3), KH = dim(w, 2), KW = dim(w, 3);
    numbers out((size_t)count(y));

    for (int64_t i = 0; i < count(y); i++) {
        const int64_t ox = i % dim(y, 3), oy = i / dim(y, 3) % dim(y, 2), o = i / dim(y, 3) / dim(y, 2) % dim(y, 1), n = i / dim(y, 3) / dim(y, 2) / dim(y, 1);
        double sum = 0.0;
        for (int64_t c = 0; c < C; c++)
            for (int64_t ky = 0; ky < KH; ky++)
                for (int64_t kx = 0; kx < KW; kx++) {
                    const int64_t sy = oy * d.value<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 0) + ky - d.value<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0);
                    const int64_t sx = ox * d.value<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 1) + kx - d.value<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 1);
                    if (sy >= 0 && sy < H && sx >= 0 && sx < W)
                        sum += vx[(size_t)(((n * C + c) * H + sy) * W + sx)] * vw[(size_t)(((o * C + c) * KH + ky) * KW + kx)];
                }
        out[(size_t)i] = sum;
    }
    write(b, p, y, std::move(out));
}

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t *h) { *h = new emu_dnn{}; return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnDestroy(cudnnHandle_t h) { delete h; return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s) { h->stream = s; return CUDNN_STATUS_SUCCESS; }
size_t cudnnGetVersion(void) { return 1; }
const char *cudnnGetErrorString(cudnnStatus_t s) { return s ? "failed" : "success"; }

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *d)
{
    auto n = std::make_shared<node>();
    n->type = type;
    *d = new handle{ n };
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) { delete (handle *)d; return CUDNN_STATUS_SUCCESS; }

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
                                       const void *value)
{
    node &to = *((handle *)d)->n;
    values v = { type, std::vector<char>((const char *)value, (const char *)value + n * (int64_t)size_of(type)), {} };

    if (to.is_finished)
        return CUDNN_STATUS_BAD_PARAM;
    for (int64_t i = 0; i < n && type == CUDNN_TYPE_BACKEND_DESCRIPTOR; i++) {
        const handle *h = ((handle *const *)value)[i];
        if (!h || !h->n->is_finished)
            return CUDNN_STATUS_BAD_PARAM;
        v.nodes.push_back(h->n);
    }
    to.has[name] = v;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t, int64_t n_wanted,
                                       int64_t *n, void *value)
{
    const std::shared_ptr<node> &from = ((handle *)d)->n;

    if (!from->is_finished && name != CUDNN_ATTR_ENGINECFG_ENGINE)
        return CUDNN_STATUS_BAD_PARAM;
    *n = name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE ? 0 : 1;
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && n_wanted > 0) {
        node &config = *((handle **)value)[0]->n;      /* one engine, which stands for the graph */
        config.has[CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH] = from->get(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        config.is_finished = true;
    } else if (name == CUDNN_ATTR_ENGINECFG_ENGINE) {
        (*(handle **)value)->n->is_finished = true;
    } else if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) {
        *(int64_t *)value = 0;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    node &n = *((handle *)d)->n;
    if (n.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) {
        for (int name : { CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_STRIDES })
            if (!n.has.count(name))
                return CUDNN_STATUS_BAD_PARAM;
    }
    n.is_finished = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    const std::shared_ptr<node> config = ((handle *)plan)->n->get(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).nodes.at(0);
    const std::shared_ptr<node> graph = config->get(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).nodes.at(0);
    const node &given = *((handle *)pack)->n;
    const size_t n = given.get(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).bytes.size() / 8;
    auto pointers = std::make_shared<std::map<int64_t, void *>>();
    auto first = std::make_shared<board>();

    for (size_t i = 0; i < n; i++)
        (*pointers)[given.value<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, i)] = given.value<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, i);
    for (const auto &op : graph->get(CUDNN_ATTR_OPERATIONGRAPH_OPS).nodes)      /* values are taken now, device memory when it runs */
        for (const auto &attribute : op->has)
            for (const auto &t : attribute.second.nodes)
                if (t->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR && t->has.count(CUDNN_ATTR_TENSOR_IS_BY_VALUE))
                    read(*first, *pointers, *t);
    emu_enqueue(h->stream, new std::function<void()>([=]() {
        board b = *first;
        for (const auto &op : graph->get(CUDNN_ATTR_OPERATIONGRAPH_OPS).nodes) {
            switch (op->type) {
            case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: run_pointwise(b, *pointers, *op); break;
            case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR: run_matmul(b, *pointers, *op); break;
            case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR: run_reduction(b, *pointers, *op); break;
            case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR: run_convolution(b, *pointers, *op); break;
            default: broken("an operation that is not emulated");
            }
        }
    }));
    return CUDNN_STATUS_SUCCESS;
}

}
