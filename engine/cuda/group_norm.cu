/*
 * Group norm, with SiLU if wanted. Bound by memory: x is read twice, out written once (floor 3 times the tensor's bytes).
 *   1. moments  mean and sum of squared distances per channel of a stretch of pixels. Sums are taken around the stretch's first
 *               pixel: a plain sum of squares would cancel where the mean is far from 0.
 *   2. groups   the stretches and channels of a group joined (Chan et al. 1979, parallel variance), in double and in fixed order
 *   3. apply    (x - mean) * r * weight + bias, SiLU; 16 bytes a thread where channels allow it
 * Channels-last and row-major differ in the walk of 1 (threads on channels, or a block on one plane) and in how 3 finds its channel.
 */
#include "engine/cuda/common.cuh"

enum { N_THREADS = 256, STRETCH = 128, PLANE_STRETCH = 4096 };     /* pixels of a stretch: channels-last, row-major */

/* one thread a channel; grid: stretches, channel blocks, batch */
template <typename T>
static __global__ void moments_last_kernel(float2 *partial, const T *x, int64_t HW, int C)
{
    const int channel = blockIdx.y * blockDim.x + threadIdx.x;
    const int64_t b = blockIdx.z, first = (int64_t)blockIdx.x * STRETCH, n = HW - first < STRETCH ? HW - first : STRETCH;

    if (channel >= C)
        return;
    const T *p = x + (b * HW + first) * C + channel;
    const float pivot = to_f32(p[0]);
    float sum = 0.0f, squares = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        const float v = to_f32(p[i * C]) - pivot;
        sum += v;
        squares += v * v;
    }
    partial[(b * gridDim.x + blockIdx.x) * C + channel] = make_float2(pivot + sum / (float)n, squares - sum * (sum / (float)n));
}

/* one block a stretch of one plane; grid: stretches, channels, batch */
template <typename T>
static __global__ void moments_rows_kernel(float2 *partial, const T *x, int64_t HW, int C)
{
    const int64_t b = blockIdx.z, channel = blockIdx.y, first = (int64_t)blockIdx.x * PLANE_STRETCH;
    const int64_t n = HW - first < PLANE_STRETCH ? HW - first : PLANE_STRETCH;
    const T *p = x + (b * C + channel) * HW + first;
    const float pivot = to_f32(p[0]);
    float sum = 0.0f, squares = 0.0f;

    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const float v = to_f32(p[i]) - pivot;
        sum += v;
        squares += v * v;
    }
    sum = block_sum(sum);
    squares = block_sum(squares);
    if (threadIdx.x == 0)
        partial[(b * gridDim.x + blockIdx.x) * C + channel] = make_float2(pivot + sum / (float)n, squares - sum * (sum / (float)n));
}

/* one block a group: its mean and 1 / sqrt(variance + eps); grid: groups, batch */
static __global__ void groups_kernel(float2 *statistics, const float2 *partial, int n_stretches, int stretch, int64_t HW, int C, float eps)
{
    const int per_group = C / gridDim.x;
    const int64_t b = blockIdx.y, n = (int64_t)n_stretches * per_group;
    const float2 *p = partial + b * n_stretches * C + blockIdx.x * per_group;
    double sum = 0.0, squares = 0.0;

    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const int64_t s = i / per_group, left = HW - s * stretch;
        sum += (double)p[s * C + i % per_group].x * (double)(left < stretch ? left : stretch);
    }
    const double mean = block_sum(sum) / ((double)HW * per_group);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const int64_t s = i / per_group, left = HW - s * stretch;
        const float2 m = p[s * C + i % per_group];
        const double d = (double)m.x - mean;
        squares += (double)m.y + d * d * (double)(left < stretch ? left : stretch);
    }
    const double variance = block_sum(squares) / ((double)HW * per_group);
    if (threadIdx.x == 0)
        statistics[b * gridDim.x + blockIdx.x] = make_float2((float)mean, (float)(1.0 / sqrt(variance + (double)eps)));
}

/* A thread: N elements in memory order. Channels-last: N channels of a pixel; row-major: N pixels of a channel. */
template <typename T, int N>
static __global__ void apply_kernel(T *out, const T *x, const float2 *statistics, const float *weight, const float *bias, int64_t n, int64_t HW,
                                    int C, int n_groups, bool is_channels_last, bool has_silu)
{
    struct alignas(N * sizeof(T)) group { T v[N]; };
    const int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;

    if (first >= n)
        return;
    const group from = *(const group *)(x + first);
    const int64_t b = first / (HW * C);
    const int per_group = C / n_groups, base = (int)(is_channels_last ? first % C : first / HW % C);
    group to;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int channel = is_channels_last ? base + k : base;
        const float2 s = statistics[b * n_groups + channel / per_group];
        const float v = (to_f32(from.v[k]) - s.x) * s.y * (weight ? weight[channel] : 1.0f) + (bias ? bias[channel] : 0.0f);
        to.v[k] = from_f32<T>(has_silu ? v / (1.0f + expf(-v)) : v);
    }
    *(group *)(out + first) = to;
}

extern "C" void rg_cuda_group_norm(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int n_groups, const rg_tensor *weight, const rg_tensor *bias,
                                   float eps, bool has_silu)
{
    const cudaStream_t stream = (cudaStream_t)c->stream;
    const int64_t n = rg_numel(x), HW = x->shape[2] * x->shape[3];
    const int B = (int)x->shape[0], C = (int)x->shape[1];
    const bool is_last = !rg_is_contiguous(out);        /* out has x's format, channels-last or row-major */

    if (n == 0)
        return;
    const int s = rg_scope_begin(c), stretch = is_last ? STRETCH : PLANE_STRETCH;
    const unsigned n_stretches = blocks_for(HW, stretch);
    const rg_tensor *xd = is_last ? x : rg_contiguous(c, x);
    const rg_tensor *w = weight ? rg_to(c, rg_contiguous(c, weight), RG_F32) : NULL, *b = bias ? rg_to(c, rg_contiguous(c, bias), RG_F32) : NULL;
    float2 *partial = (float2 *)rg_cuda_scratch(c, sizeof *partial * n_stretches * B * C);
    float2 *statistics = (float2 *)rg_cuda_scratch(c, sizeof *statistics * B * n_groups);
    const float *wf = w ? (const float *)w->data : nullptr, *bf = b ? (const float *)b->data : nullptr;
    if (!c->error) {
        const int n_channel_threads = C < N_THREADS ? (C + 31) / 32 * 32 : N_THREADS;
        RG_FOR_FLOAT(c, x->dtype, T, {
            constexpr int N = pack<T>::N;
            if (is_last)
                moments_last_kernel<T><<<dim3(n_stretches, blocks_for(C, n_channel_threads), B), n_channel_threads, 0, stream>>>(partial, (const T *)xd->data, HW, C);
            else
                moments_rows_kernel<T><<<dim3(n_stretches, C, B), N_THREADS, 0, stream>>>(partial, (const T *)xd->data, HW, C);
            groups_kernel<<<dim3(n_groups, B), N_THREADS, 0, stream>>>(statistics, partial, (int)n_stretches, stretch, HW, C, eps);
            if ((is_last ? C : HW) % N == 0 && is_aligned(xd->data) && is_aligned(out->data))
                apply_kernel<T, N><<<blocks_for(n / N, N_THREADS), N_THREADS, 0, stream>>>((T *)out->data, (const T *)xd->data, statistics, wf, bf, n,
                                                                                        HW, C, n_groups, is_last, has_silu);
            else
                apply_kernel<T, 1><<<blocks_for(n, N_THREADS), N_THREADS, 0, stream>>>((T *)out->data, (const T *)xd->data, statistics, wf, bf, n, HW,
                                                                                      C, n_groups, is_last, has_silu);
        });
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "group_norm");
}
