/*
 * The norms over the last dim, one block per row so that the reduction stays inside the block. Bound by memory: x is read twice
 * (variance needs the mean first, so layer norm reads it three times), after the first time from L2. Sums in float32.
 *   rms_norm        out[r,i] = x[r,i] * rsqrt(mean(x[r]^2) + eps) * w[i]
 *   layer_norm      out[r,i] = (x[r,i] - mean) * rsqrt(var + eps) * w[i] + b[i]
 *   modulated_norm  out[r,i] = layer_norm(x)[r,i] * (1 + scale[b,i]) + shift[b,i], b = r / n_tokens
 * Checked against the plain C definitions by tests/ops/test_ops.c --device cuda.
 */
#include "engine/cuda/common.cuh"

enum { N_THREADS = 256 };

template <typename T, typename W>
static __global__ void rms_norm_kernel(T *out, const T *x, const W *w, int D, float eps)
{
    const int64_t row = (int64_t)blockIdx.x * D;    /* 64-bit: video latents pass 2^31 elements */
    float sum = 0.0f;

    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        const float v = to_f32(x[row + i]);
        sum += v * v;
    }
    const float scale = rsqrtf(block_sum(sum) / D + eps);
    for (int i = threadIdx.x; i < D; i += blockDim.x)
        out[row + i] = from_f32<T>(to_f32(x[row + i]) * scale * (w ? to_f32(w[i]) : 1.0f));
}

/* Row statistics of a layer norm: the mean, and 1 / sqrt(variance + eps) from the centred values (the naive difference cancels). */
template <typename T>
static __device__ __forceinline__ float2 row_statistics(const T *x, int D, float eps)
{
    float sum = 0.0f, squares = 0.0f;

    for (int i = threadIdx.x; i < D; i += blockDim.x)
        sum += to_f32(x[i]);
    const float mean = block_sum(sum) / D;
    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        const float v = to_f32(x[i]) - mean;
        squares += v * v;
    }
    return make_float2(mean, rsqrtf(block_sum(squares) / D + eps));
}

template <typename T, typename W>
static __global__ void layer_norm_kernel(T *out, const T *x, const W *w, const W *b, int D, float eps)
{
    const int64_t row = (int64_t)blockIdx.x * D;
    const float2 s = row_statistics(x + row, D, eps);

    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        const float v = (to_f32(x[row + i]) - s.x) * s.y;
        out[row + i] = from_f32<T>(v * (w ? to_f32(w[i]) : 1.0f) + (b ? to_f32(b[i]) : 0.0f));
    }
}

template <typename T>
static __global__ void modulated_norm_kernel(T *out, const T *x, const float *scale, const float *shift, int64_t scale_stride,
                                             int64_t shift_stride, int n_tokens, int D, float eps)
{
    const int64_t row = (int64_t)blockIdx.x * D, b = blockIdx.x / n_tokens;
    const float2 s = row_statistics(x + row, D, eps);

    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        const float v = (to_f32(x[row + i]) - s.x) * s.y;
        out[row + i] = from_f32<T>(v * (1.0f + scale[b * scale_stride + i]) + shift[b * shift_stride + i]);
    }
}

/* A vector without gaps: as it is, or in float32 where the kernel's types differ. */
static const rg_tensor *vector_of(rg_ctx *c, const rg_tensor *t, bool is_same)
{
    return t ? rg_to(c, rg_contiguous(c, t), is_same ? t->dtype : RG_F32) : NULL;
}

extern "C" void rg_cuda_rms_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps)
{
    const int D = (int)rg_dim(x, -1);
    const unsigned n_rows = D ? (unsigned)(rg_numel(x) / D) : 0;
    const cudaStream_t stream = (cudaStream_t)c->stream;

    if (n_rows == 0)
        return;
    const int s = rg_scope_begin(c);
    const bool is_same = !weight || weight->dtype == x->dtype;
    const rg_tensor *xr = rg_contiguous(c, x);
    weight = vector_of(c, weight, is_same);
    if (xr && !c->error && !is_same) {
        RG_FOR_FLOAT(c, x->dtype, T, (rms_norm_kernel<T, float><<<n_rows, N_THREADS, 0, stream>>>(
            (T *)out->data, (const T *)xr->data, (const float *)weight->data, D, eps)));
    } else if (xr && !c->error) {
        RG_FOR_FLOAT(c, x->dtype, T, (rms_norm_kernel<T, T><<<n_rows, N_THREADS, 0, stream>>>(
            (T *)out->data, (const T *)xr->data, weight ? (const T *)weight->data : nullptr, D, eps)));
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "rms_norm");
}

extern "C" void rg_cuda_layer_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, const rg_tensor *bias, float eps)
{
    const int D = (int)rg_dim(x, -1);
    const unsigned n_rows = D ? (unsigned)(rg_numel(x) / D) : 0;
    const cudaStream_t stream = (cudaStream_t)c->stream;

    if (n_rows == 0)
        return;
    const int s = rg_scope_begin(c);
    const bool is_same = (!weight || weight->dtype == x->dtype) && (!bias || bias->dtype == x->dtype);
    const rg_tensor *xr = rg_contiguous(c, x), *b = vector_of(c, bias, is_same);
    weight = vector_of(c, weight, is_same);
    if (xr && !c->error && !is_same) {
        RG_FOR_FLOAT(c, x->dtype, T, (layer_norm_kernel<T, float><<<n_rows, N_THREADS, 0, stream>>>(
            (T *)out->data, (const T *)xr->data, weight ? (const float *)weight->data : nullptr, b ? (const float *)b->data : nullptr, D, eps)));
    } else if (xr && !c->error) {
        RG_FOR_FLOAT(c, x->dtype, T, (layer_norm_kernel<T, T><<<n_rows, N_THREADS, 0, stream>>>(
            (T *)out->data, (const T *)xr->data, weight ? (const T *)weight->data : nullptr, b ? (const T *)b->data : nullptr, D, eps)));
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "layer_norm");
}

extern "C" void rg_cuda_modulated_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *scale, const rg_tensor *shift, float eps)
{
    const int D = (int)rg_dim(x, -1), n_tokens = (int)rg_dim(x, 1);
    const unsigned n_rows = D ? (unsigned)(rg_numel(x) / D) : 0;
    const cudaStream_t stream = (cudaStream_t)c->stream;

    if (n_rows == 0)
        return;
    const int s = rg_scope_begin(c);
    const rg_tensor *xr = rg_contiguous(c, x);
    /* scale and shift are usually slices of one [B, 6 D] product: their rows may lie apart, their elements may not */
    scale = rg_to(c, scale->stride[1] == 1 ? scale : rg_contiguous(c, scale), RG_F32);
    shift = rg_to(c, shift->stride[1] == 1 ? shift : rg_contiguous(c, shift), RG_F32);
    if (xr && scale && shift) {
        RG_FOR_FLOAT(c, x->dtype, T, (modulated_norm_kernel<T><<<n_rows, N_THREADS, 0, stream>>>(
            (T *)out->data, (const T *)xr->data, (const float *)scale->data, (const float *)shift->data, scale->stride[0], shift->stride[0],
            n_tokens, D, eps)));
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "modulated_norm");
}
