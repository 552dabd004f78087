/*
 * Sinusoids of times: each step rounds to float32 where the definition (engine/ops/timestep_embedding.c) does, exp, cos and sin run in
 * double. A few hundred numbers a step of the sampler.
 */
#include "engine/cuda/common.cuh"

static __global__ void timestep_embedding_kernel(float *out, const float *t, int64_t t_stride, int64_t n, int half, float minus_log, float time_factor)
{
    const int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, b = at / half;
    const int i = (int)(at % half);

    if (at >= n)
        return;
    const float time = time_factor * t[b * t_stride];
    const float frequency = (float)exp((double)(minus_log * (float)i / (float)half));
    const float angle = time * frequency;
    out[b * 2 * half + i] = (float)cos((double)angle);
    out[b * 2 * half + half + i] = (float)sin((double)angle);
}

extern "C" void rg_cuda_timestep_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *t, float max_period, float time_factor)
{
    const int half = (int)out->shape[1] / 2;
    const int64_t n = t->shape[0] * half;

    if (n == 0)
        return;
    const int s = rg_scope_begin(c);
    const rg_tensor *times = rg_to(c, t, RG_F32);
    if (times)
        timestep_embedding_kernel<<<blocks_for(n, 256), 256, 0, (cudaStream_t)c->stream>>>(
            (float *)out->data, (const float *)times->data, times->stride[0], n, half, (float)-log((double)max_period), time_factor);
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "timestep_embedding");
}
