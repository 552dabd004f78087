/*
 * Attention where cuDNN has none: float32, head sizes that are not multiples of 8 or beyond 256, any strides.
 * A block takes 8 R queries of one head; its 8 warps own R rows each. For each tile of 32 keys a lane computes the scores of its key
 * (q and k pass through shared memory, 32 of the head's dims at a time), the warp updates each row's running maximum and sum, and its
 * lanes, now owning columns of v, add the tile's weighted values. Scores never leave the registers.
 *   FLOP 2 N M (D + Dv) a head; shared memory gives about half of the float32 ceiling (K 4 + Q R wavefronts for 8 R FMA cycles)
 * Source: Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867 (running softmax).
 */
#include "engine/cuda/common.cuh"

enum { N_WARPS = 8, N_KEYS = 32, CHUNK = 32, PITCH = CHUNK + 4 };  /* pitch: 16-byte reads of 8 lanes touch all banks once */

struct heads {                          /* strides of [B, H, N, D] */
    int64_t b, h, n, d;
};

struct flash_args {
    void *out;
    const void *q, *k, *v, *bias;
    bool bias_is_f32;                   /* else q's type */
    heads qs, ks, vs, bs;               /* bs.d: along the keys */
    int64_t out_b, out_n;
    int N, M, D, Dv, per_kv;            /* per_kv: query heads that share a key head */
    float scale;
    bool is_causal;
};

/* NV: columns of v a lane owns (Dv up to 32 NV); R: rows a warp owns */
template <typename T, int NV, int R>
static __global__ void __launch_bounds__(32 * N_WARPS) flash_kernel(flash_args p)
{
    constexpr int N_ROWS = N_WARPS * R;
    __shared__ __align__(16) float qs[N_ROWS][PITCH], ks[N_KEYS][PITCH];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y, first = blockIdx.x * N_ROWS;
    const int64_t b = blockIdx.z;
    const T *q = (const T *)p.q + b * p.qs.b + h * p.qs.h;
    const T *k = (const T *)p.k + b * p.ks.b + h / p.per_kv * p.ks.h;
    const T *v = (const T *)p.v + b * p.vs.b + h / p.per_kv * p.vs.h;
    const int last = first + N_ROWS < p.N ? first + N_ROWS : p.N, n_seen = p.is_causal ? last : p.M;
    float sums[R], maxima[R], values[R][NV];

    for (int r = 0; r < R; r++) {
        sums[r] = 0.0f;
        maxima[r] = -INFINITY;
        for (int j = 0; j < NV; j++)
            values[r][j] = 0.0f;
    }
    for (int tile = 0; tile < n_seen; tile += N_KEYS) {
        float s[R];
        for (int r = 0; r < R; r++)
            s[r] = 0.0f;
        for (int d0 = 0; d0 < p.D; d0 += CHUNK) {
            __syncthreads();            /* the chunk before has been used */
            for (int i = threadIdx.x; i < N_ROWS * CHUNK; i += 32 * N_WARPS) {
                const int row = i / CHUNK, d = d0 + i % CHUNK;
                qs[row][i % CHUNK] = first + row < p.N && d < p.D ? to_f32(q[(first + row) * p.qs.n + d * p.qs.d]) : 0.0f;
            }
            for (int i = threadIdx.x; i < N_KEYS * CHUNK; i += 32 * N_WARPS) {
                const int row = i / CHUNK, d = d0 + i % CHUNK;
                ks[row][i % CHUNK] = tile + row < p.M && d < p.D ? to_f32(k[(tile + row) * p.ks.n + d * p.ks.d]) : 0.0f;
            }
            __syncthreads();
#pragma unroll
            for (int d = 0; d < CHUNK; d += 4) {
                const float4 key = *(const float4 *)&ks[lane][d];
#pragma unroll
                for (int r = 0; r < R; r++) {
                    const float4 query = *(const float4 *)&qs[warp * R + r][d];
                    s[r] = fmaf(query.x, key.x, fmaf(query.y, key.y, fmaf(query.z, key.z, fmaf(query.w, key.w, s[r]))));
                }
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            const int row = first + warp * R + r, key = tile + lane;
            float score = s[r] * p.scale, max;
            if (row >= p.N || key >= p.M || (p.is_causal && key > row))
                score = -INFINITY;
            else if (p.bias) {
                const int64_t at = b * p.bs.b + h * p.bs.h + row * p.bs.n + key * p.bs.d;
                score += p.bias_is_f32 ? ((const float *)p.bias)[at] : to_f32(((const T *)p.bias)[at]);
            }
            max = score;
            for (int offset = 16; offset > 0; offset >>= 1)
                max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, offset));
            max = fmaxf(max, maxima[r]);
            const float centre = max == -INFINITY ? 0.0f : max;    /* nothing seen yet: weights 0, not NaN */
            const float weight = expf(score - centre), keep = expf(maxima[r] - centre);
            float sum = weight;
            for (int offset = 16; offset > 0; offset >>= 1)
                sum += __shfl_xor_sync(0xffffffffu, sum, offset);
            sums[r] = sums[r] * keep + sum;
            maxima[r] = max;
            s[r] = weight;
            for (int j = 0; j < NV; j++)
                values[r][j] *= keep;
        }
        const int n_keys = n_seen - tile < N_KEYS ? n_seen - tile : N_KEYS;
        for (int key = 0; key < n_keys; key++) {
            const T *row = v + (tile + key) * p.vs.n;
            float weight[R];
#pragma unroll
            for (int r = 0; r < R; r++)
                weight[r] = __shfl_sync(0xffffffffu, s[r], key);
#pragma unroll
            for (int j = 0; j < NV; j++) {
                const int column = lane + 32 * j;
                const float value = column < p.Dv ? to_f32(row[column * p.vs.d]) : 0.0f;
#pragma unroll
                for (int r = 0; r < R; r++)
                    values[r][j] = fmaf(weight[r], value, values[r][j]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int row = first + warp * R + r;
        if (row >= p.N)
            continue;
        T *place = (T *)p.out + b * p.out_b + row * p.out_n + (int64_t)h * p.Dv;
#pragma unroll
        for (int j = 0; j < NV; j++)
            if (lane + 32 * j < p.Dv)
                place[lane + 32 * j] = from_f32<T>(values[r][j] / sums[r]);
    }
}

template <typename T, int NV, int R>
static void launch(rg_ctx *c, const flash_args &p, int B, int H)
{
    flash_kernel<T, NV, R><<<dim3(blocks_for(p.N, N_WARPS * R), H, B), 32 * N_WARPS, 0, (cudaStream_t)c->stream>>>(p);
}

static heads heads_of(const rg_tensor *t)
{
    return heads{ t->stride[0], t->stride[1], t->stride[2], t->stride[3] };
}

extern "C" void rg_cuda_flash(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias,
                              const rg_attention_args *args)
{
    const int B = (int)q->shape[0], H = (int)q->shape[1], Dv = (int)v->shape[3];
    flash_args p = {};

    if (rg_numel(out) == 0)
        return;
    if (Dv > 512) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "attention on the GPU takes heads of up to 512 values, not %d", Dv);
        return;
    }
    p.out = out->data, p.q = q->data, p.k = k->data, p.v = v->data;
    p.qs = heads_of(q), p.ks = heads_of(k), p.vs = heads_of(v);
    if (bias) {
        p.bias = bias->data;
        p.bias_is_f32 = bias->dtype == RG_F32;
        p.bs = heads_of(bias);
    }
    p.out_b = out->stride[0], p.out_n = out->stride[1];
    p.N = (int)q->shape[2], p.M = (int)k->shape[2], p.D = (int)q->shape[3], p.Dv = Dv, p.per_kv = H / (int)k->shape[1];
    p.scale = args->scale, p.is_causal = args->is_causal;
    RG_FOR_FLOAT(c, q->dtype, T, {
        if (Dv <= 64)
            launch<T, 2, 8>(c, p, B, H);
        else if (Dv <= 128)
            launch<T, 4, 8>(c, p, B, H);
        else if (Dv <= 256)
            launch<T, 8, 4>(c, p, B, H);
        else
            launch<T, 16, 2>(c, p, B, H);
    });
    rg_cuda_check(c, "attention");
}
