/*
 * Windows of a channels-last picture as the rows of a matrix, for convolutions as products: rows[p, (ky KW + kx) C + ch] =
 * x[b, ch, y stride + ky - padding, x stride + kx - padding], zero outside. Bound by memory: writes KH KW times the picture.
 */
#include "engine/cuda/common.cuh"

/* T holds one channel or 16 bytes of neighbouring ones; C counts in Ts */
template <typename T>
static __global__ void unfold_kernel(T *rows, const T *x, int64_t C, int64_t H, int64_t W, int KH, int KW, int stride, int padding, int64_t OH,
                                     int64_t OW, int64_t first, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i >= n)
        return;
    const int64_t ch = i % C, tap = i / C % (KH * KW), p = first + i / C / (KH * KW);
    const int64_t b = p / (OH * OW), sy = p / OW % OH * stride + tap / KW - padding, sx = p % OW * stride + tap % KW - padding;
    const bool is_inside = sy >= 0 && sy < H && sx >= 0 && sx < W;
    T value = {};
    if (is_inside)
        value = x[((b * H + sy) * W + sx) * C + ch];
    rows[i] = value;
}

template <typename T>
static void launch(rg_ctx *c, void *rows, const rg_tensor *x, int64_t C, int KH, int KW, int stride, int padding, int64_t OH, int64_t OW, int64_t first,
                   int64_t n_rows)
{
    const int64_t n = n_rows * KH * KW * C;

    unfold_kernel<T><<<blocks_for(n, 256), 256, 0, (cudaStream_t)c->stream>>>((T *)rows, (const T *)x->data, C, x->shape[2], x->shape[3], KH, KW, stride,
                                                                            padding, OH, OW, first, n);
}

extern "C" void rg_cuda_unfold(rg_ctx *c, void *rows, const rg_tensor *x, int KH, int KW, int stride, int padding, int64_t OH, int64_t OW,
                               int64_t first, int64_t n)
{
    const int64_t C = x->shape[1], bytes = C * (int64_t)rg_dtype_size(x->dtype);

    /* 16 bytes a thread where a pixel's channels allow it */
    if (bytes % 16 == 0 && is_aligned(rows) && is_aligned(x->data))
        launch<uint4>(c, rows, x, bytes / 16, KH, KW, stride, padding, OH, OW, first, n);
    else if (rg_dtype_size(x->dtype) == 2)
        launch<uint16_t>(c, rows, x, C, KH, KW, stride, padding, OH, OW, first, n);
    else
        launch<uint32_t>(c, rows, x, C, KH, KW, stride, padding, OH, OW, first, n);
    rg_cuda_check(c, "conv2d");
}
