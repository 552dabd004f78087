/* Pad the last two dims: zeros, edge values, or around. One thread an element of out, in out's memory order; bits move by size. */
#include "engine/cuda/common.cuh"

struct axis {
    int64_t out_stride, in_stride, out_size;
    int64_t before, in_size;            /* before < 0: not a padded axis */
};

struct axes {
    int n;
    axis a[RG_MAX_DIMS];
};

/* Which input row (or column) the output reads at i, or -1 for zero. */
static __device__ __forceinline__ int64_t source(int64_t i, int64_t before, int64_t n, rg_pad_mode mode)
{
    const int64_t p = i - before;

    if (p >= 0 && p < n)
        return p;
    if (mode == RG_PAD_ZERO)
        return -1;
    if (mode == RG_PAD_REPLICATE)
        return p < 0 ? 0 : n - 1;
    return p < 0 ? p + n : p - n;
}

template <typename T>
static __global__ void pad2d_kernel(T *out, const T *x, axes s, int64_t n, rg_pad_mode mode)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t rest = i, to = 0, from = 0;
    bool is_zero = false;

    if (i >= n)
        return;
    for (int d = s.n - 1; d >= 0; d--) {
        const axis a = s.a[d];
        int64_t at = rest % a.out_size;
        rest /= a.out_size;
        to += at * a.out_stride;
        if (a.before >= 0)
            at = source(at, a.before, a.in_size, mode);
        is_zero = is_zero || at < 0;
        from += at * a.in_stride;
    }
    out[to] = is_zero ? (T)0 : x[from]; /* all bits zero is zero in every type */
}

extern "C" void rg_cuda_pad2d(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode)
{
    const int64_t n = rg_numel(out);
    axes s = {};

    for (int d = 0; d < out->n_dims; d++) {     /* larger strides of out first */
        const int64_t before = d == out->n_dims - 1 ? left : d == out->n_dims - 2 ? top : -1;
        int at = s.n++;
        for (; at > 0 && s.a[at - 1].out_stride < out->stride[d]; at--)
            s.a[at] = s.a[at - 1];
        s.a[at] = axis{ out->stride[d], x->stride[d], out->shape[d], before, x->shape[d] };
    }
    if (n == 0)
        return;
    RG_FOR_SIZE(rg_dtype_size(out->dtype), T, (pad2d_kernel<T><<<blocks_for(n, 256), 256, 0, (cudaStream_t)c->stream>>>(
        (T *)out->data, (const T *)x->data, s, n, mode)));
    rg_cuda_check(c, "pad2d");
}
