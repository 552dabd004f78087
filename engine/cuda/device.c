/*
 * The CUDA device: context state, memory, and the table of rows. A new row that is not here yet is empty, which an op reports as
 * RG_ERR_UNSUPPORTED with its name.
 */
#include "engine/cuda/cuda.h"

#include <nvtx3/nvToolsExt.h>            /* headers alone; a profiler brings the rest */
#include <stdio.h>
#include <stdlib.h>

bool rg_cuda_check(rg_ctx *c, const char *op)
{
    cudaError_t e = cudaGetLastError();

    if (e == cudaSuccess && rg_cuda_state_of(c)->must_sync)
        e = cudaStreamSynchronize((cudaStream_t)c->stream);
    if (e == cudaSuccess)
        return true;
    rg_fail(c, e == cudaErrorMemoryAllocation ? RG_ERR_NOMEM : RG_ERR_DEVICE, "%s on the GPU: %s", op, cudaGetErrorString(e));
    return false;
}

void *rg_cuda_scratch(rg_ctx *c, size_t nbytes)
{
    rg_tensor *t = rg_tensor_new(c, RG_U8, 1, (const int64_t[]){ (int64_t)nbytes });

    return t ? t->data : NULL;
}

/* A context moves between threads (made by one, used by the server's executor), the current device belongs to a thread. */
static void bind(rg_ctx *c)
{
    static __thread int bound = -1;

    if (bound != c->device.index && cudaSetDevice(c->device.index) == cudaSuccess)
        bound = c->device.index;
}

static void ctx_release(rg_ctx *c)
{
    rg_cuda_state *s = rg_cuda_state_of(c);

    if (!s)
        return;
    bind(c);
    if (c->stream)
        cudaStreamSynchronize((cudaStream_t)c->stream);
    rg_cuda_product_release(s);
    rg_cuda_conv2d_release(s);
    rg_cuda_attention_release(s);
    rg_cuda_stream_release(s);
    rg_cuda_upload_release(s);
    if (s->dnn)
        cudnnDestroy(s->dnn);
    if (s->blas)
        cublasLtDestroy(s->blas);
    cudaFree(s->workspace);
    cudaFree(s->zero);
    if (c->stream)
        cudaStreamDestroy((cudaStream_t)c->stream);
    c->stream = NULL;
    c->backend_data = NULL;
    rg_free(s);
}

static int ctx_init(rg_ctx *c)
{
    rg_cuda_state *s;
    cudaStream_t stream;
    int n_devices = 0;

    if (cudaGetDeviceCount(&n_devices) != cudaSuccess || c->device.index >= n_devices)
        return RG_ERR_UNSUPPORTED;
    if (!(s = (rg_cuda_state *)rg_calloc(1, sizeof *s)))
        return RG_ERR_NOMEM;
    c->backend_data = s;
    s->must_sync = getenv("RG_SYNC") && *getenv("RG_SYNC") == '1';
    bind(c);
    if (cudaSetDevice(c->device.index) != cudaSuccess || cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess)
        goto failed;
    c->stream = stream;
    if (cudaMalloc(&s->workspace, RG_CUDA_WORKSPACE) != cudaSuccess || cudaMalloc((void **)&s->zero, sizeof *s->zero) != cudaSuccess ||
        cudaMemsetAsync(s->zero, 0, sizeof *s->zero, stream) != cudaSuccess || cublasLtCreate(&s->blas) != CUBLAS_STATUS_SUCCESS ||
        cudnnCreate(&s->dnn) != CUDNN_STATUS_SUCCESS || cudnnSetStream(s->dnn, stream) != CUDNN_STATUS_SUCCESS)
        goto failed;
    return 0;
failed:
    ctx_release(c);
    return RG_ERR_DEVICE;
}

static void *device_alloc(rg_ctx *c, size_t nbytes)
{
    void *data = NULL;

    bind(c);
    if (cudaMalloc(&data, nbytes) == cudaSuccess)
        return data;
    cudaGetLastError();                 /* out of memory is reported by the pool, not by the next launch */
    return NULL;
}

static void device_free(void *data)
{
    cudaFree(data);
}

static void synchronize(rg_ctx *c)
{
    const cudaError_t e = cudaStreamSynchronize((cudaStream_t)c->stream);

    if (e != cudaSuccess)
        rg_fail(c, RG_ERR_DEVICE, "the GPU: %s", cudaGetErrorString(e));
}

static void range(rg_ctx *c, const char *name)
{
    if (name)
        nvtxRangePushA(name);
    else
        nvtxRangePop();
}

static int64_t resident_threads(rg_ctx *c)
{
    int n_processors = 0, n_threads = 0;

    cudaDeviceGetAttribute(&n_processors, cudaDevAttrMultiProcessorCount, c->device.index);
    cudaDeviceGetAttribute(&n_threads, cudaDevAttrMaxThreadsPerMultiProcessor, c->device.index);
    return (int64_t)n_processors * n_threads;
}

static bool describe(int index, rg_device_info *out)
{
    struct cudaDeviceProp p;
    size_t n_free = 0, n_bytes = 0;
    int before = 0;

    if (cudaGetDevice(&before) != cudaSuccess || cudaGetDeviceProperties(&p, index) != cudaSuccess || cudaSetDevice(index) != cudaSuccess)
        return false;
    const bool is_told = cudaMemGetInfo(&n_free, &n_bytes) == cudaSuccess;
    cudaSetDevice(before);              /* the thread's own choice stays */
    *out = (rg_device_info){ .n_bytes = (int64_t)n_bytes, .n_free = (int64_t)n_free };
    snprintf(out->name, sizeof(out->name), "%.127s", p.name);
    return is_told;
}

static const rg_backend backend = {
    .name = "cuda",
    .writes_strided = true,
    .streams_weights = true,
    .copy = rg_cuda_copy,
    .binary = rg_cuda_binary,
    .affine = rg_cuda_affine,
    .div_scalar = rg_cuda_div_scalar,
    .add_scaled = rg_cuda_add_scaled,
    .clamp = rg_cuda_clamp,
    .unary = rg_cuda_unary,
    .gated_unary = rg_cuda_gated_unary,
    .pad2d = rg_cuda_pad2d,
    .embedding = rg_cuda_embedding,
    .sum = rg_cuda_sum,
    .softmax = rg_cuda_softmax,
    .linear = rg_cuda_linear,
    .matmul = rg_cuda_matmul,
    .attention = rg_cuda_attention,
    .conv2d = rg_cuda_conv2d,
    .layer_norm = rg_cuda_layer_norm,
    .rms_norm = rg_cuda_rms_norm,
    .group_norm = rg_cuda_group_norm,
    .modulated_norm = rg_cuda_modulated_norm,
    .gated_add = rg_cuda_gated_add,
    .norm_rope = rg_cuda_norm_rope,
    .rope_table = rg_cuda_rope_table,
    .timestep_embedding = rg_cuda_timestep_embedding,
    .interpolate = rg_cuda_interpolate,
    .bind = bind,
    .ctx_init = ctx_init,
    .alloc = device_alloc,
    .free = device_free,
    .synchronize = synchronize,
    .ctx_release = ctx_release,
    .capture_begin = rg_cuda_capture_begin,
    .capture_end = rg_cuda_capture_end,
    .capture_replay = rg_cuda_capture_replay,
    .capture_free = rg_cuda_capture_free,
    .range = range,
    .resident_threads = resident_threads,
    .describe = describe,
};

/* What engine/cuda/load.c looks for. NULL when this machine has no GPU that the driver can use. */
const rg_backend *rg_cuda_backend(void);
const rg_backend *rg_cuda_backend(void)
{
    int n_devices = 0;

    return cudaGetDeviceCount(&n_devices) == cudaSuccess && n_devices > 0 ? &backend : NULL;
}
