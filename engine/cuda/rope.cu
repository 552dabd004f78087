/*
 * Rotary embedding: the table, and the norm of a head with its rotation.
 *   rope_table  [[cos, -sin], [sin, cos]] of position / theta^(2i / axis size), angles in double: float32 angles would be off by
 *               1e-4 at position 1000. Computed once per run.
 *   norm_rope   y = x * rsqrt(mean(x^2) + eps) * w, then out pair = matrix y pair. One warp a head's row; it reads the row twice and
 *               each lane writes the pairs it reads, so out may be x. Bound by memory: 2 times the tensor's bytes.
 */
#include "engine/cuda/common.cuh"

enum { MAX_AXES = 8, N_THREADS = 128 };

struct rope_axes {
    int n, dim[MAX_AXES];
};

static __global__ void rope_table_kernel(float4 *out, const float *ids, int64_t token_stride, int64_t batch_stride, int64_t axis_stride,
                                         rope_axes axes, int half_D, int64_t n_tokens, int64_t n, double theta)
{
    const int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, token = at / half_D;
    int i = (int)(at % half_D), a = 0;

    if (at >= n)
        return;
    while (i >= axes.dim[a] / 2)
        i -= axes.dim[a++] / 2;
    const double position = ids[token / n_tokens * batch_stride + token % n_tokens * token_stride + a * axis_stride];
    const double angle = position * (1.0 / pow(theta, (double)(2 * i) / axes.dim[a]));
    const float cosine = (float)cos(angle), sine = (float)sin(angle);
    out[at] = make_float4(cosine, -sine, sine, cosine);
}

extern "C" void rg_cuda_rope_table(rg_ctx *c, rg_tensor *out, const rg_tensor *ids, const int *axes_dim, int n_axes, double theta)
{
    const int64_t n = rg_numel(out) / 4;
    rope_axes axes = { n_axes, {} };

    if (n == 0)
        return;
    if (n_axes > MAX_AXES) {
        rg_fail(c, RG_ERR_UNSUPPORTED, "rope_table on the GPU got %d axes, it takes up to %d", n_axes, MAX_AXES);
        return;
    }
    for (int a = 0; a < n_axes; a++)
        axes.dim[a] = axes_dim[a];
    const int s = rg_scope_begin(c);
    const rg_tensor *positions = rg_to(c, ids, RG_F32);
    if (positions)
        rope_table_kernel<<<blocks_for(n, N_THREADS), N_THREADS, 0, (cudaStream_t)c->stream>>>(
            (float4 *)out->data, (const float *)positions->data, positions->stride[1], positions->stride[0], positions->stride[2], axes,
            (int)out->shape[3], ids->shape[1], n, theta);
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "rope_table");
}

/* Strides of [B, H, N, D], in elements. */
struct heads {
    int64_t b, h, n, d;
};

template <typename T>
static __global__ void norm_rope_kernel(T *out, const T *x, const float *w, const float4 *pe, heads to, heads from, int64_t n_rows, int H,
                                        int64_t N, int D, int64_t pe_batch, float eps)
{
    const int64_t row = (int64_t)blockIdx.x * (N_THREADS / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x & 31;

    if (row >= n_rows)                  /* a whole warp leaves together */
        return;
    const int64_t n = row % N, h = row / N % H, b = row / N / H;
    const T *in = x + b * from.b + h * from.h + n * from.n;
    T *place = out + b * to.b + h * to.h + n * to.n;
    float r = 1.0f;

    if (w) {
        float sum = 0.0f;
        for (int i = lane; i < D; i += 32) {
            const float v = to_f32(in[i * from.d]);
            sum += v * v;
        }
        for (int offset = 16; offset > 0; offset >>= 1)
            sum += __shfl_xor_sync(0xffffffffu, sum, offset);
        r = rsqrtf(sum / D + eps);
    }
    __syncwarp();                       /* the whole row is read before the first lane writes: out may be x */
    if (!pe) {
        for (int i = lane; i < D; i += 32)
            place[i] = from_f32<T>(to_f32(in[i * from.d]) * r * (w ? w[i] : 1.0f));
        return;
    }
    for (int i = lane; i < D / 2; i += 32) {
        const float4 m = pe[b * pe_batch + n * (D / 2) + i];
        const float v0 = to_f32(in[2 * i * from.d]) * r * (w ? w[2 * i] : 1.0f);
        const float v1 = to_f32(in[(2 * i + 1) * from.d]) * r * (w ? w[2 * i + 1] : 1.0f);
        place[2 * i] = from_f32<T>(m.x * v0 + m.y * v1);
        place[2 * i + 1] = from_f32<T>(m.z * v0 + m.w * v1);
    }
}

extern "C" void rg_cuda_norm_rope(rg_ctx *c, rg_tensor *out, const rg_tensor *x, const rg_tensor *weight, float eps, const rg_tensor *pe)
{
    const int64_t H = x->shape[1], N = x->shape[2], n_rows = x->shape[0] * H * N;
    const int D = (int)x->shape[3];

    if (n_rows == 0 || D == 0)
        return;
    const int s = rg_scope_begin(c);
    const rg_tensor *w = weight ? rg_to(c, rg_contiguous(c, weight), RG_F32) : NULL, *table = pe ? rg_contiguous(c, pe) : NULL;
    const heads to = { out->stride[0], out->stride[1], out->stride[2], out->stride[3] };
    const heads from = { x->stride[0], x->stride[1], x->stride[2], x->stride[3] };
    if (table && !is_aligned(table->data))
        table = rg_clone(c, table);     /* a matrix is read as 16 bytes */
    if (!c->error) {
        RG_FOR_FLOAT(c, x->dtype, T, (norm_rope_kernel<T><<<blocks_for(n_rows, N_THREADS / 32), N_THREADS, 0, (cudaStream_t)c->stream>>>(
            (T *)out->data, (const T *)x->data, w ? (const float *)w->data : nullptr, table ? (const float4 *)table->data : nullptr, to, from,
            n_rows, (int)H, N, D, table && table->shape[0] > 1 ? N * (D / 2) : 0, eps)));
    }
    rg_scope_end(c, s, NULL);
    rg_cuda_check(c, "norm_rope");
}
