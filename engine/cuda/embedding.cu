/*
 * Rows of a table by number, one block per row. An id outside the table is an error of the call, so the host waits for the verdict:
 * once per prompt, on a stream that has hardly begun.
 */
#include "engine/cuda/common.cuh"

template <typename T, typename I>
static __global__ void embedding_kernel(T *out, const T *table, const I *ids, int64_t row_stride, int64_t stride, int64_t n_rows, int D,
                                        long long *bad)
{
    const int64_t id = ids[blockIdx.x];

    if (id < 0 || id >= n_rows) {
        if (threadIdx.x == 0)
            atomicMin(bad, (long long)blockIdx.x);      /* the first in order, whoever comes first */
        return;
    }
    for (int d = threadIdx.x; d < D; d += blockDim.x)
        out[(int64_t)blockIdx.x * D + d] = table[id * row_stride + d * stride];
}

extern "C" void rg_cuda_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids)
{
    const cudaStream_t stream = (cudaStream_t)c->stream;
    const int64_t n = rg_numel(ids), D = table->shape[1];

    if (n == 0 || D == 0)
        return;
    const int s = rg_scope_begin(c);
    const rg_tensor *rows = rg_contiguous(c, ids);
    long long *bad = (long long *)rg_cuda_scratch(c, sizeof *bad), first = 0;
    if (rows && bad) {
        cudaMemsetAsync(bad, 0x7f, sizeof *bad, stream);
        if (ids->dtype == RG_I64) {
            RG_FOR_SIZE(rg_dtype_size(out->dtype), T, (embedding_kernel<T, int64_t><<<(unsigned)n, 256, 0, stream>>>(
                (T *)out->data, (const T *)table->data, (const int64_t *)rows->data, table->stride[0], table->stride[1], table->shape[0], (int)D, bad)));
        } else {
            RG_FOR_SIZE(rg_dtype_size(out->dtype), T, (embedding_kernel<T, int32_t><<<(unsigned)n, 256, 0, stream>>>(
                (T *)out->data, (const T *)table->data, (const int32_t *)rows->data, table->stride[0], table->stride[1], table->shape[0], (int)D, bad)));
        }
        if (rg_cuda_check(c, "embedding")) {
            int64_t id = 0;
            cudaMemcpyAsync(&first, bad, sizeof first, cudaMemcpyDeviceToHost, stream);
            cudaStreamSynchronize(stream);
            if (first >= 0 && first < n && rg_cuda_check(c, "embedding")) {
                const size_t size = rg_dtype_size(ids->dtype);
                int32_t narrow = 0;
                cudaMemcpyAsync(size == 8 ? (void *)&id : (void *)&narrow, (const char *)rows->data + first * size, size, cudaMemcpyDeviceToHost, stream);
                cudaStreamSynchronize(stream);
                rg_fail(c, RG_ERR_INVALID, "embedding got id %lld, wanted 0 to %lld", (long long)(size == 8 ? id : narrow),
                        (long long)table->shape[0] - 1);
            }
        }
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "embedding");
}
