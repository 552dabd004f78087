/*
 * One value at a time over tensors of one shape: out[i] = f(a[i], b[i]). Bound by memory.
 *   flat     operands of one dtype that lie alike: 16 bytes a thread
 *   walked   any strides, any dtypes: one element a thread, types asked for at run time
 * f is a struct with operator() over floats and over doubles; doubles are used where the definition does (is_wide).
 */
#ifndef RG_CUDA_ELEMENTWISE_CUH
#define RG_CUDA_ELEMENTWISE_CUH

#include "engine/cuda/common.cuh"

template <typename T, bool HAS_B, typename F>
static __global__ void map_flat_kernel(T *out, const T *a, const T *b, int64_t n, F f)
{
    constexpr int N = pack<T>::N;
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;

    if (first + N <= n) {
        const pack<T> pa = *(const pack<T> *)(a + first), pb = HAS_B ? *(const pack<T> *)(b + first) : pa;
        pack<T> to;
#pragma unroll
        for (int k = 0; k < N; k++)
            to.v[k] = from_f32<T>(f(to_f32(pa.v[k]), to_f32(pb.v[k])));
        *(pack<T> *)(out + first) = to;
    } else {
        for (int64_t i = first; i < n; i++)
            out[i] = from_f32<T>(f(to_f32(a[i]), to_f32((HAS_B ? b : a)[i])));
    }
}

struct operand {
    void *data;
    rg_dtype dtype;
};

template <typename F>
static __global__ void map_walk_kernel(operand out, operand a, operand b, walk w, int64_t n, bool is_wide, F f)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t at[3];

    if (i >= n)
        return;
    walk_to(w, i, at);
    if (is_wide)
        store_f64(out.data, out.dtype, at[0], f(load_f64(a.data, a.dtype, at[1]), load_f64(b.data, b.dtype, at[2])));
    else
        store_f32(out.data, out.dtype, at[0], f(load_f32(a.data, a.dtype, at[1]), load_f32(b.data, b.dtype, at[2])));
}

/* b may be NULL: f then gets a twice. out may be a or b where they lie alike. */
template <typename F>
static void map(rg_ctx *c, const char *op, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, F f)
{
    enum { N_THREADS = 256 };
    const cudaStream_t stream = (cudaStream_t)c->stream;
    const int64_t n = rg_numel(out);
    const walk w = walk_of(out, a, b);
    const bool is_one_type = a->dtype == out->dtype && (!b || b->dtype == out->dtype);
    const bool is_common = out->dtype == RG_F32 || out->dtype == RG_F16 || out->dtype == RG_BF16;

    if (n == 0)
        return;
    if (is_flat(w) && is_one_type && is_common && is_aligned(out->data) && is_aligned(a->data) && (!b || is_aligned(b->data))) {
        const int64_t n_packs = (n * (int64_t)rg_dtype_size(out->dtype) + 15) / 16;
        if (b) {
            RG_FOR_FLOAT(c, out->dtype, T, (map_flat_kernel<T, true><<<blocks_for(n_packs, N_THREADS), N_THREADS, 0, stream>>>(
                (T *)out->data, (const T *)a->data, (const T *)b->data, n, f)));
        } else {
            RG_FOR_FLOAT(c, out->dtype, T, (map_flat_kernel<T, false><<<blocks_for(n_packs, N_THREADS), N_THREADS, 0, stream>>>(
                (T *)out->data, (const T *)a->data, (const T *)nullptr, n, f)));
        }
    } else {
        const bool is_wide = !is_common && out->dtype != RG_F8_E4M3 && out->dtype != RG_F8_E5M2;
        const rg_tensor *second = b ? b : a;
        map_walk_kernel<<<blocks_for(n, N_THREADS), N_THREADS, 0, stream>>>(operand{ out->data, out->dtype }, operand{ a->data, a->dtype },
                                                                            operand{ second->data, second->dtype }, w, n, is_wide, f);
    }
    rg_cuda_check(c, op);
}

#endif
