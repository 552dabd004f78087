/*
 * Host memory to the device at the speed of the bus. A plain copy from pageable memory goes through one small buffer of the driver's, by one
 * thread. Here several threads fill pinned buffers in turn while the one before is on its way; waiting for a buffer is waiting for its event.
 * The bytes are read before the call returns. Without pinned memory the plain copy does it.
 */
#include "engine/cuda/cuda.h"

#include <string.h>

enum { PIECE = 1 << 20 };

static bool make_buffers(rg_cuda_state *s)
{
    for (int i = 0; i < RG_CUDA_STAGES; i++) {
        if (s->stages[i].data)
            continue;
        if (cudaHostAlloc(&s->stages[i].data, RG_CUDA_STAGE_BYTES, cudaHostAllocDefault) != cudaSuccess ||
            cudaEventCreateWithFlags(&s->stages[i].is_free, cudaEventDisableTiming) != cudaSuccess) {
            cudaGetLastError();
            return false;
        }
    }
    return true;
}

void rg_cuda_upload_release(rg_cuda_state *s)
{
    for (int i = 0; i < RG_CUDA_STAGES; i++) {
        if (s->stages[i].is_free)
            cudaEventDestroy(s->stages[i].is_free);
        if (s->stages[i].data)
            cudaFreeHost(s->stages[i].data);
        s->stages[i].is_free = NULL;
        s->stages[i].data = NULL;
    }
}

void rg_cuda_upload(rg_ctx *c, cudaStream_t stream, void *to, const void *from, size_t n)
{
    rg_cuda_state *s = rg_cuda_state_of(c);

    if (n < RG_CUDA_STAGE_BYTES / 4 || !make_buffers(s)) {
        cudaMemcpyAsync(to, from, n, cudaMemcpyHostToDevice, stream);
        return;
    }
    for (size_t at = 0; at < n; at += RG_CUDA_STAGE_BYTES) {
        const size_t size = n - at < RG_CUDA_STAGE_BYTES ? n - at : RG_CUDA_STAGE_BYTES;
        const int64_t n_pieces = (int64_t)((size + PIECE - 1) / PIECE);
        const int k = s->next_stage;
        char *stage = (char *)s->stages[k].data;
        const char *source = (const char *)from + at;

        s->next_stage = (k + 1) % RG_CUDA_STAGES;
        if (cudaEventSynchronize(s->stages[k].is_free) != cudaSuccess)     /* the copy that read it last; at first there was none */
            return;                     /* rg_cuda_check() will say */
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n_pieces; i++) {
            const size_t first = (size_t)i * PIECE;
            memcpy(stage + first, source + first, size - first < PIECE ? size - first : PIECE);
        }
        if (cudaMemcpyAsync((char *)to + at, stage, size, cudaMemcpyHostToDevice, stream) != cudaSuccess ||
            cudaEventRecord(s->stages[k].is_free, stream) != cudaSuccess)
            return;
    }
}
