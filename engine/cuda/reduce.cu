/*
 * Sum, mean and softmax. Bound by memory. Sums run in double (their order is fixed, so two runs give the same bytes):
 *   sum      out[o, i] = sum over k of x[o, k, i].  Along neighbours (i steps wider than k): one block an output; else one thread.
 *   softmax  rows of n: largest, sum of exp, quotient; one block a row, read three times, after the first from cache
 */
#include "engine/cuda/common.cuh"

enum { N_THREADS = 256 };

static __device__ __forceinline__ double to_f64(double v) { return v; }
template <typename T> static __device__ __forceinline__ double to_f64(T v) { return (double)to_f32(v); }
template <typename T> static __device__ __forceinline__ T from_f64(double v) { return from_f32<T>((float)v); }
template <> __device__ __forceinline__ double from_f64<double>(double v) { return v; }

/* w: out's dims beside x's others; along: the summed dim's stride */
template <typename T>
static __global__ void sum_kernel(T *out, const T *x, walk w, int64_t n_out, int64_t n, int64_t along, double divisor, bool is_block)
{
    const int64_t i = is_block ? (int64_t)blockIdx.x : (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t at[3];
    double sum = 0.0;

    if (i >= n_out)
        return;
    walk_to(w, i, at);
    for (int64_t k = is_block ? threadIdx.x : 0; k < n; k += is_block ? blockDim.x : 1)
        sum += to_f64(x[at[1] + k * along]);
    if (is_block)
        sum = block_sum(sum);
    if (!is_block || threadIdx.x == 0)
        out[at[0]] = from_f64<T>(sum / divisor);
}

extern "C" void rg_cuda_sum(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int dim, bool is_mean)
{
    const cudaStream_t stream = (cudaStream_t)c->stream;
    const int64_t n = x->shape[dim], n_out = rg_numel(out), along = x->stride[dim];
    const double divisor = is_mean ? (double)n : 1.0;

    if (n_out == 0)
        return;
    const walk w = walk_of(out, x, NULL);       /* out's shape: x without the summed dim */
    /* a block reads neighbours along the dim, threads read neighbours across it; a block also where outputs are few */
    const bool is_block = n >= 64 && (along == 1 || n_out < 4096);
    const unsigned n_blocks = is_block ? (unsigned)n_out : blocks_for(n_out, N_THREADS);
    if (x->dtype == RG_F64) {
        sum_kernel<double><<<n_blocks, N_THREADS, 0, stream>>>((double *)out->data, (const double *)x->data, w, n_out, n, along, divisor, is_block);
    } else {
        RG_FOR_FLOAT(c, x->dtype, T, (sum_kernel<T><<<n_blocks, N_THREADS, 0, stream>>>((T *)out->data, (const T *)x->data, w, n_out, n,
                                                                                       along, divisor, is_block)));
    }
    rg_cuda_check(c, "sum");
}

static __device__ __forceinline__ float block_max(float v)
{
    __shared__ float partial[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, n_warps = blockDim.x >> 5;

    for (int offset = 16; offset > 0; offset >>= 1)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    __syncthreads();
    if (lane == 0)
        partial[warp] = v;
    __syncthreads();
    v = lane < n_warps ? partial[lane] : -INFINITY;
    for (int offset = 16; offset > 0; offset >>= 1)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

template <typename T>
static __global__ void softmax_kernel(T *out, const T *x, int64_t n)
{
    const int64_t row = (int64_t)blockIdx.x * n;
    float max = -INFINITY, sum = 0.0f;

    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        max = fmaxf(max, to_f32(x[row + i]));
    max = block_max(max);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += expf(to_f32(x[row + i]) - max);
    sum = block_sum(sum);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        out[row + i] = from_f32<T>(expf(to_f32(x[row + i]) - max) / sum);
}

extern "C" void rg_cuda_softmax(rg_ctx *c, rg_tensor *out, const rg_tensor *x)
{
    const int64_t n = rg_dim(x, -1), n_rows = n ? rg_numel(x) / n : 0;

    if (n_rows == 0)
        return;
    RG_FOR_FLOAT(c, x->dtype, T, (softmax_kernel<T><<<(unsigned)n_rows, n <= 128 ? 64 : N_THREADS, 0, (cudaStream_t)c->stream>>>(
        (T *)out->data, (const T *)x->data, n)));
    rg_cuda_check(c, "softmax");
}
