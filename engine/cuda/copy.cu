/*
 * Copies: any strides and dtype to any, on the device and between host and device. On the device one thread moves one element
 * (a plain memcpy where the bytes lie alike). Equal types move by size; the pairs of types that weights and activations take have
 * kernels of their own, 15 of them, and one kernel that asks for the types at run time does all the rest; between host and device the bytes travel packed and are converted on the device.
 */
#include "engine/cuda/common.cuh"

#include <stdlib.h>

enum { N_THREADS = 256 };

static bool is_integer(rg_dtype t)
{
    return t == RG_I8 || t == RG_U8 || t == RG_I16 || t == RG_I32 || t == RG_I64 || t == RG_BOOL;
}

/* Bits move as they are: one kernel per element size. */
template <typename T>
static __global__ void move_kernel(T *out, const T *in, walk w, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t at[3];

    if (i >= n)
        return;
    walk_to(w, i, at);
    out[at[0]] = in[at[1]];
}

/* Any type to any other, the types known at run time, by way of what holds both. */
enum route { BY_F32, BY_F64, BY_I64 };
static __global__ void convert_any_kernel(void *out, rg_dtype out_dtype, const void *in, rg_dtype in_dtype, walk w, int64_t n, route by)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t at[3];

    if (i >= n)
        return;
    walk_to(w, i, at);
    if (by == BY_F32) {
        store_f32(out, out_dtype, at[0], load_f32(in, in_dtype, at[1]));
    } else if (by == BY_F64) {
        store_f64(out, out_dtype, at[0], load_f64(in, in_dtype, at[1]));
    } else {                            /* from int64: its low bits, as the definition has it; zero or not for a boolean */
        const int64_t v = ((const int64_t *)in)[at[1]];
        store_f64(out, out_dtype, at[0], out_dtype == RG_BOOL ? (double)(v != 0) : (double)(int32_t)v);
    }
}

/* Flat, between the types that weights and activations have: 8 elements a thread so that a side of 16 bits moves 16 bytes. */
template <typename T> struct alignas(8 * sizeof(T) < 16 ? 8 : 16) eight {
    T v[8];
};

template <typename O, typename I>
static __global__ void convert_kernel(O *out, const I *in, int64_t n)
{
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 8;

    if (first + 8 <= n) {
        const eight<I> from = *(const eight<I> *)(in + first);
        eight<O> to;
        for (int k = 0; k < 8; k++)
            to.v[k] = from_f32<O>(to_f32(from.v[k]));
        *(eight<O> *)(out + first) = to;
    } else {
        for (int64_t i = first; i < n; i++)
            out[i] = from_f32<O>(to_f32(in[i]));
    }
}

template <typename O>
static bool convert_to(rg_ctx *c, O *out, const void *in, rg_dtype in_dtype, int64_t n)
{
    const unsigned n_blocks = blocks_for((n + 7) / 8, N_THREADS);
    const cudaStream_t stream = (cudaStream_t)c->stream;

    switch (in_dtype) {
    case RG_F32: convert_kernel<<<n_blocks, N_THREADS, 0, stream>>>(out, (const float *)in, n); break;
    case RG_F16: convert_kernel<<<n_blocks, N_THREADS, 0, stream>>>(out, (const __half *)in, n); break;
    case RG_BF16: convert_kernel<<<n_blocks, N_THREADS, 0, stream>>>(out, (const __nv_bfloat16 *)in, n); break;
    case RG_F8_E4M3: convert_kernel<<<n_blocks, N_THREADS, 0, stream>>>(out, (const __nv_fp8_e4m3 *)in, n); break;
    case RG_F8_E5M2: convert_kernel<<<n_blocks, N_THREADS, 0, stream>>>(out, (const __nv_fp8_e5m2 *)in, n); break;
    default: return false;
    }
    return true;
}

/* Flat elements between common types; false where there is no kernel for the pair or an end does not lie on 16 bytes. */
static bool convert_flat(rg_ctx *c, void *out, rg_dtype out_dtype, const void *in, rg_dtype in_dtype, int64_t n)
{
    if (!is_aligned(out) || !is_aligned(in))
        return false;
    switch (out_dtype) {
    case RG_F32: return convert_to(c, (float *)out, in, in_dtype, n);
    case RG_F16: return convert_to(c, (__half *)out, in, in_dtype, n);
    case RG_BF16: return convert_to(c, (__nv_bfloat16 *)out, in, in_dtype, n);
    default: return false;
    }
}

extern "C" void rg_cuda_convert(rg_ctx *c, void *out, rg_dtype out_dtype, const void *in, rg_dtype in_dtype, int64_t n)
{
    const int64_t one = 1;

    if (n == 0)
        return;
    if (!convert_flat(c, out, out_dtype, in, in_dtype, n))
        convert_any_kernel<<<blocks_for(n, N_THREADS), N_THREADS, 0, (cudaStream_t)c->stream>>>(
            out, out_dtype, in, in_dtype, walk_of_strides(1, &n, &one, &one, &one), n, BY_F32);
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
    const bool is_same = out.dtype == in.dtype;
    const size_t size = rg_dtype_size(in.dtype);
    const walk w = walk_of_strides(like->n_dims, like->shape, out.stride, in.stride, in.stride);

    if (is_flat(w) && is_same && (is_dense || n == 1)) {
        cudaMemcpyAsync(out.data, in.data, (size_t)n * size, cudaMemcpyDeviceToDevice, stream);
    } else if (is_same) {
        RG_FOR_SIZE(size, T, (move_kernel<T><<<blocks_for(n, N_THREADS), N_THREADS, 0, stream>>>((T *)out.data, (const T *)in.data, w, n)));
    } else if (!is_flat(w) || !convert_flat(c, out.data, out.dtype, in.data, in.dtype, n)) {
        const bool is_wide = out.dtype == RG_F64 || in.dtype == RG_F64 || is_integer(out.dtype) || is_integer(in.dtype);
        const route by = in.dtype == RG_I64 && is_integer(out.dtype) ? BY_I64 : is_wide ? BY_F64 : BY_F32;
        convert_any_kernel<<<blocks_for(n, N_THREADS), N_THREADS, 0, stream>>>(out.data, out.dtype, in.data, in.dtype, w, n, by);
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
    if (is_dense && out->dtype == x->dtype && is_flat(walk_of(out, x, NULL))) {     /* a weight: straight to where it stays */
        rg_cuda_upload(c, (cudaStream_t)c->stream, out->data, x->data, n_bytes);
        rg_cuda_check(c, "copy to the GPU");
        return;
    }
    const int s = rg_scope_begin(c);
    void *staged = rg_cuda_scratch(c, n_bytes);
    if (staged) {
        rg_cuda_upload(c, (cudaStream_t)c->stream, staged, packed ? packed : x->data, n_bytes);      /* has read the bytes: packed may go */
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
