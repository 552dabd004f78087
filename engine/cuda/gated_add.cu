/* out[b,n,d] = x[b,n,d] + gate[b,d] * y[b,n,d], the gate in float32 whatever x is. Bound by memory: 3 times the tensor's bytes. */
#include "engine/cuda/common.cuh"

/* a thread: 16 bytes of a row (N elements), or one element where rows do not allow it */
template <typename T, int N>
static __global__ void gated_add_kernel(T *out, const T *x, const float *gate, const T *y, int64_t gate_stride, int64_t n_total, int64_t n_sample, int D)
{
    struct alignas(N * sizeof(T)) group { T v[N]; };
    const int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;

    if (i >= n_total)
        return;
    const float *g = gate + i / n_sample * gate_stride + i % D;
    const group px = *(const group *)(x + i), py = *(const group *)(y + i);
    group to;
#pragma unroll
    for (int k = 0; k < N; k++)
        to.v[k] = from_f32<T>(to_f32(px.v[k]) + g[k] * to_f32(py.v[k]));
    *(group *)(out + i) = to;
}

extern "C" void rg_cuda_gated_add(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *gate, const rg_tensor *y)
{
    enum { N_THREADS = 256 };
    const cudaStream_t stream = (cudaStream_t)c->stream;
    const int D = (int)rg_dim(x, 2);
    const int64_t n = rg_numel(x), n_sample = x->shape[1] * D;

    if (n == 0)
        return;
    const int s = rg_scope_begin(c);
    const rg_tensor *xr = rg_contiguous(c, x), *yr = rg_to(c, rg_contiguous(c, y), x->dtype);
    const rg_tensor *g = rg_to(c, gate->stride[1] == 1 ? gate : rg_contiguous(c, gate), RG_F32);
    if (xr && yr && g) {
        RG_FOR_FLOAT(c, x->dtype, T, {
            constexpr int N = pack<T>::N;
            if (D % N == 0 && is_aligned(xr->data) && is_aligned(yr->data) && is_aligned(out->data))
                gated_add_kernel<T, N><<<blocks_for(n / N, N_THREADS), N_THREADS, 0, stream>>>(
                    (T *)out->data, (const T *)xr->data, (const float *)g->data, (const T *)yr->data, g->stride[0], n, n_sample, D);
            else
                gated_add_kernel<T, 1><<<blocks_for(n, N_THREADS), N_THREADS, 0, stream>>>(
                    (T *)out->data, (const T *)xr->data, (const float *)g->data, (const T *)yr->data, g->stride[0], n, n_sample, D);
        });
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "gated_add");
}
