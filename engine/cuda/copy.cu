/*
 * Copies: any strides and dtype to any, on the device and between host and device. On the device one thread moves one element
 * (a plain memcpy where the bytes lie alike); between host and device the bytes travel packed and are converted on the device.
 */
#include "engine/cuda/common.cuh"

#include <stdlib.h>

enum { N_THREADS = 256 };

struct layout {
    int n_dims;
    int64_t shape[RG_MAX_DIMS], out_stride[RG_MAX_DIMS], in_stride[RG_MAX_DIMS];
};

template <typename O, typename I> static __device__ __forceinline__ O convert(I v) { return from_f32<O>(to_f32(v)); }
/* what float32 cannot carry */
template <> __device__ __forceinline__ int64_t convert<int64_t, int64_t>(int64_t v) { return v; }
template <> __device__ __forceinline__ int32_t convert<int32_t, int32_t>(int32_t v) { return v; }
template <> __device__ __forceinline__ int64_t convert<int64_t, int32_t>(int32_t v) { return v; }
template <> __device__ __forceinline__ int32_t convert<int32_t, int64_t>(int64_t v) { return (int32_t)v; }
template <> __device__ __forceinline__ double convert<double, double>(double v) { return v; }

template <typename O, typename I>
static __global__ void copy_kernel(O *out, const I *in, layout l, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t rest = i, to = 0, from = 0;

    if (i >= n)
        return;
    for (int d = l.n_dims - 1; d >= 0; d--) {
        const int64_t at = rest % l.shape[d];
        rest /= l.shape[d];
        to += at * l.out_stride[d];
        from += at * l.in_stride[d];
    }
    out[to] = convert<O, I>(in[from]);
}

template <typename O, typename I>
static __global__ void convert_kernel(O *out, const I *in, int64_t n, const float *scale)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < n)
        out[i] = scale ? from_f32<O>(to_f32(in[i]) * *scale) : convert<O, I>(in[i]);
}

static unsigned blocks_for(int64_t n)
{
    return (unsigned)((n + N_THREADS - 1) / N_THREADS);
}

extern "C" void rg_cuda_convert(rg_ctx *c, void *out, rg_dtype out_dtype, const void *in, rg_dtype in_dtype, int64_t n, const float *scale)
{
    const cudaStream_t stream = (cudaStream_t)c->stream;

    if (n == 0)
        return;
    RG_FOR_FLOAT(c, out_dtype, O, RG_FOR_ANY(in_dtype, I,
        (convert_kernel<O, I><<<blocks_for(n), N_THREADS, 0, stream>>>((O *)out, (const I *)in, n, scale))));
    rg_cuda_check(c, "convert");
}

/* One end of a copy on the device: bytes, their type, and how they lie. */
struct side {
    void *data;
    rg_dtype dtype;
    const int64_t *stride;
};

static void copy_on_device(rg_ctx *c, const rg_tensor *like, side out, side in, bool is_dense)
{
    const cudaStream_t stream = (cudaStream_t)c->stream;
    const int64_t n = rg_numel(like);
    bool is_alike = is_dense && out.dtype == in.dtype;
    layout l;

    l.n_dims = like->n_dims;
    for (int d = 0; d < l.n_dims; d++) {
        l.shape[d] = like->shape[d];
        l.out_stride[d] = out.stride[d];
        l.in_stride[d] = in.stride[d];
        is_alike = is_alike && (l.shape[d] == 1 || out.stride[d] == in.stride[d]);
    }
    if (is_alike) {
        cudaMemcpyAsync(out.data, in.data, (size_t)n * rg_dtype_size(in.dtype), cudaMemcpyDeviceToDevice, stream);
    } else {
        RG_FOR_ANY(out.dtype, O, RG_FOR_ANY(in.dtype, I,
            (copy_kernel<O, I><<<blocks_for(n), N_THREADS, 0, stream>>>((O *)out.data, (const I *)in.data, l, n))));
    }
    rg_cuda_check(c, "copy");
}

/* Elements of a strided host tensor, packed row-major. The caller frees. */
static void *pack_host(const rg_tensor *x)
{
    const size_t size = rg_dtype_size(x->dtype);
    const int64_t n = rg_numel(x);
    char *packed = (char *)rg_malloc((size_t)n * size);

    for (int64_t i = 0; packed && i < n; i++) {
        int64_t rest = i, from = 0;
        for (int d = x->n_dims - 1; d >= 0; d--) {
            from += rest % x->shape[d] * x->stride[d];
            rest /= x->shape[d];
        }
        memcpy(packed + i * (int64_t)size, (const char *)x->data + from * (int64_t)size, size);
    }
    return packed;
}

static void copy_from_host(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    const size_t size = rg_dtype_size(x->dtype);
    const int64_t n = rg_numel(x);
    int64_t packed_stride[RG_MAX_DIMS], step = 1;
    bool is_constant = true;

    for (int d = x->n_dims - 1; d >= 0; d--) {
        is_constant = is_constant && (x->stride[d] == 0 || x->shape[d] == 1);
        packed_stride[d] = step;
        step *= x->shape[d];
    }
    if (n == 0)
        return;
    const bool is_dense = !is_constant && rg_is_dense(x), must_pack = !is_constant && !is_dense;
    const size_t n_bytes = is_constant ? size : (size_t)n * size;
    void *packed = must_pack ? pack_host(x) : NULL;
    if (must_pack && !packed) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory: %zu bytes on the host for a copy to the GPU", n_bytes);
        return;
    }
    const int s = rg_scope_begin(c);
    void *staged = rg_cuda_scratch(c, n_bytes);
    if (staged) {
        /* from pageable memory the call returns once the bytes are staged, so packed may go */
        cudaMemcpyAsync(staged, packed ? packed : x->data, n_bytes, cudaMemcpyHostToDevice, (cudaStream_t)c->stream);
        if (rg_cuda_check(c, "copy to the GPU"))
            copy_on_device(c, x, { out->data, out->dtype, out->stride }, { staged, x->dtype, must_pack ? packed_stride : x->stride }, !is_constant);
    }
    rg_scope_end(c, s, NULL);
    rg_free(packed);
}

static void copy_to_host(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    const cudaStream_t stream = (cudaStream_t)c->stream;

    if (rg_numel(x) == 0)
        return;
    if (!rg_is_dense(out)) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "a copy from the GPU into a host tensor with gaps");
        return;
    }
    const int s = rg_scope_begin(c);
    void *staged = rg_cuda_scratch(c, rg_nbytes(out));
    if (staged) {
        copy_on_device(c, x, { staged, out->dtype, out->stride }, { x->data, x->dtype, x->stride }, rg_is_dense(x));
        cudaMemcpyAsync(out->data, staged, rg_nbytes(out), cudaMemcpyDeviceToHost, stream);
        const cudaError_t e = cudaStreamSynchronize(stream);
        if (e != cudaSuccess)
            rg_fail(c, RG_ERR_DEVICE, "copy from the GPU: %s", cudaGetErrorString(e));
    }
    rg_scope_end(c, s, NULL);
}

extern "C" void rg_cuda_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    if (x->device.type == RG_CPU)
        copy_from_host(c, out, x);
    else if (out->device.type == RG_CPU)
        copy_to_host(c, out, x);
    else if (rg_numel(x) > 0)
        copy_on_device(c, x, { out->data, out->dtype, out->stride }, { x->data, x->dtype, x->stride }, rg_is_dense(x));
}
