/*
 * Resize pictures: one thread a pixel of a channel, in out's memory order. Source positions are rg_interp_taps()'s float32 arithmetic
 * step by step (engine/ops/interpolate.c): their rounding decides which pixel nearest-exact takes.
 */
#include "engine/cuda/common.cuh"

struct taps {
    int64_t first, n;
    float weights[4];
};

static __device__ taps taps_at(rg_interp mode, int64_t i, int64_t in, int64_t out)
{
    const float scale = (float)in / (float)out, a = -0.75f;
    taps t = { 0, 1, { 1.0f, 0.0f, 0.0f, 0.0f } };
    float position, x;

    switch (mode) {
    case RG_NEAREST:
    case RG_NEAREST_EXACT:
        t.first = (int64_t)floorf(mode == RG_NEAREST ? (float)i * scale : ((float)i + 0.5f) * scale);
        break;
    case RG_BILINEAR:
        position = fmaxf(scale * ((float)i + 0.5f) - 0.5f, 0.0f);
        t.n = 2;
        t.first = (int64_t)position > in - 1 ? in - 1 : (int64_t)position;
        x = fminf(position - (float)t.first, 1.0f);
        t.weights[0] = 1.0f - x;
        t.weights[1] = x;
        break;
    case RG_BICUBIC:
        position = scale * ((float)i + 0.5f) - 0.5f;
        t.n = 4;
        t.first = (int64_t)floorf(position) - 1;
        x = position - floorf(position);
        for (int k = 0; k < 4; k++) {           /* distances 1 + x, x, 1 - x, 2 - x */
            const float d = fabsf(x + 1.0f - (float)k);
            t.weights[k] = d <= 1.0f ? ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f : ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a;
        }
        break;
    case RG_AREA:
        t.first = i * in / out;
        t.n = ((i + 1) * in + out - 1) / out - t.first;
        break;
    }
    return t;
}

static __device__ __forceinline__ int64_t clamped(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

struct picture {
    int64_t C, H, W, b, c, y, x;        /* sizes, then strides; batches are the grid's rest */
};

template <typename T>
static __global__ void interpolate_kernel(T *out, const T *in, picture to, picture from, int64_t n, bool is_channels_last, rg_interp mode)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t rest = i, b, ch, y, x;
    float sum = 0.0f;

    if (i >= n)
        return;
    if (is_channels_last) {
        ch = rest % to.C, rest /= to.C;
        x = rest % to.W, rest /= to.W;
        y = rest % to.H, b = rest / to.H;
    } else {
        x = rest % to.W, rest /= to.W;
        y = rest % to.H, rest /= to.H;
        ch = rest % to.C, b = rest / to.C;
    }
    const taps ty = taps_at(mode, y, from.H, to.H), tx = taps_at(mode, x, from.W, to.W);
    const T *plane = in + b * from.b + ch * from.c;
    if (mode == RG_NEAREST || mode == RG_NEAREST_EXACT) {
        out[b * to.b + ch * to.c + y * to.y + x * to.x] = plane[clamped(ty.first, from.H) * from.y + clamped(tx.first, from.W) * from.x];
        return;
    }
    for (int64_t ky = 0; ky < ty.n; ky++)
        for (int64_t kx = 0; kx < tx.n; kx++) {
            const float weight = mode == RG_AREA ? 1.0f : ty.weights[ky & 3] * tx.weights[kx & 3];
            sum += weight * to_f32(plane[clamped(ty.first + ky, from.H) * from.y + clamped(tx.first + kx, from.W) * from.x]);
        }
    if (mode == RG_AREA)
        sum /= (float)(ty.n * tx.n);
    out[b * to.b + ch * to.c + y * to.y + x * to.x] = from_f32<T>(sum);
}

static picture picture_of(const rg_tensor *t)
{
    return picture{ t->shape[1], t->shape[2], t->shape[3], t->stride[0], t->stride[1], t->stride[2], t->stride[3] };
}

extern "C" void rg_cuda_interpolate(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode)
{
    const int64_t n = rg_numel(out);

    if (n == 0)
        return;
    RG_FOR_FLOAT(c, x->dtype, T, (interpolate_kernel<T><<<blocks_for(n, 256), 256, 0, (cudaStream_t)c->stream>>>(
        (T *)out->data, (const T *)x->data, picture_of(out), picture_of(x), n, !rg_is_contiguous(out), mode)));
    rg_cuda_check(c, "interpolate");
}
