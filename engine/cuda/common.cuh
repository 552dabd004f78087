/* What kernels share: element types as CUDA has them, block reductions, and dispatch over dtypes. */
#ifndef RG_CUDA_COMMON_CUH
#define RG_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "engine/cuda/cuda.h"

static __device__ __forceinline__ float to_f32(float v) { return v; }
static __device__ __forceinline__ float to_f32(double v) { return (float)v; }
static __device__ __forceinline__ float to_f32(__half v) { return __half2float(v); }
static __device__ __forceinline__ float to_f32(__nv_bfloat16 v) { return __bfloat162float(v); }
static __device__ __forceinline__ float to_f32(__nv_fp8_e4m3 v) { return (float)v; }
static __device__ __forceinline__ float to_f32(__nv_fp8_e5m2 v) { return (float)v; }
static __device__ __forceinline__ float to_f32(int8_t v) { return (float)v; }
static __device__ __forceinline__ float to_f32(uint8_t v) { return (float)v; }
static __device__ __forceinline__ float to_f32(int16_t v) { return (float)v; }
static __device__ __forceinline__ float to_f32(int32_t v) { return (float)v; }
static __device__ __forceinline__ float to_f32(int64_t v) { return (float)v; }
static __device__ __forceinline__ float to_f32(bool v) { return v ? 1.0f : 0.0f; }

/* Round to nearest even. e4m3fn: beyond its range is NaN, as the CPU's definition and torch have it. */
template <typename T> static __device__ __forceinline__ T from_f32(float v) { return (T)v; }
template <> __device__ __forceinline__ __half from_f32<__half>(float v) { return __float2half_rn(v); }
template <> __device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float v) { return __float2bfloat16_rn(v); }
template <> __device__ __forceinline__ __nv_fp8_e4m3 from_f32<__nv_fp8_e4m3>(float v)
{
    __nv_fp8_e4m3 out;
    out.__x = fabsf(v) > 464.0f || v != v ? (__nv_fp8_storage_t)(0x7f | (v < 0 ? 0x80 : 0)) : __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
    return out;
}
template <> __device__ __forceinline__ __nv_fp8_e5m2 from_f32<__nv_fp8_e5m2>(float v)
{
    __nv_fp8_e5m2 out;
    out.__x = __nv_cvt_float_to_fp8(v, __NV_NOSAT, __NV_E5M2);
    return out;
}
template <> __device__ __forceinline__ bool from_f32<bool>(float v) { return v != 0.0f; }

/* An element by a dtype known at run time: one kernel for rare pairs of types, where a template would be a hundred. */
static __device__ __forceinline__ float load_f32(const void *data, rg_dtype dtype, int64_t i)
{
    switch (dtype) {
    case RG_F32: return ((const float *)data)[i];
    case RG_F16: return to_f32(((const __half *)data)[i]);
    case RG_BF16: return to_f32(((const __nv_bfloat16 *)data)[i]);
    case RG_F8_E4M3: return to_f32(((const __nv_fp8_e4m3 *)data)[i]);
    case RG_F8_E5M2: return to_f32(((const __nv_fp8_e5m2 *)data)[i]);
    case RG_F64: return (float)((const double *)data)[i];
    case RG_I8: return (float)((const int8_t *)data)[i];
    case RG_U8: case RG_BOOL: return (float)((const uint8_t *)data)[i];
    case RG_I16: return (float)((const int16_t *)data)[i];
    case RG_I32: return (float)((const int32_t *)data)[i];
    case RG_I64: return (float)((const int64_t *)data)[i];
    default: return 0.0f;
    }
}

static __device__ __forceinline__ double load_f64(const void *data, rg_dtype dtype, int64_t i)
{
    switch (dtype) {
    case RG_F64: return ((const double *)data)[i];
    case RG_I32: return (double)((const int32_t *)data)[i];
    case RG_I64: return (double)((const int64_t *)data)[i];
    default: return load_f32(data, dtype, i);   /* float32 holds the others exactly */
    }
}

static __device__ __forceinline__ void store_f32(void *data, rg_dtype dtype, int64_t i, float v)
{
    switch (dtype) {
    case RG_F32: ((float *)data)[i] = v; break;
    case RG_F16: ((__half *)data)[i] = from_f32<__half>(v); break;
    case RG_BF16: ((__nv_bfloat16 *)data)[i] = from_f32<__nv_bfloat16>(v); break;
    case RG_F8_E4M3: ((__nv_fp8_e4m3 *)data)[i] = from_f32<__nv_fp8_e4m3>(v); break;
    case RG_F8_E5M2: ((__nv_fp8_e5m2 *)data)[i] = from_f32<__nv_fp8_e5m2>(v); break;
    case RG_F64: ((double *)data)[i] = v; break;
    case RG_BOOL: ((uint8_t *)data)[i] = v != 0.0f; break;
    case RG_I8: ((int8_t *)data)[i] = (int8_t)v; break;
    case RG_U8: ((uint8_t *)data)[i] = (uint8_t)v; break;
    case RG_I16: ((int16_t *)data)[i] = (int16_t)v; break;
    case RG_I32: ((int32_t *)data)[i] = (int32_t)v; break;
    case RG_I64: ((int64_t *)data)[i] = (int64_t)v; break;
    default: break;
    }
}

static __device__ __forceinline__ void store_f64(void *data, rg_dtype dtype, int64_t i, double v)
{
    switch (dtype) {
    case RG_F64: ((double *)data)[i] = v; break;
    case RG_I32: ((int32_t *)data)[i] = (int32_t)v; break;
    case RG_I64: ((int64_t *)data)[i] = (int64_t)v; break;
    case RG_I16: ((int16_t *)data)[i] = (int16_t)v; break;
    default: store_f32(data, dtype, i, (float)v);
    }
}

/* 16 bytes at once: for rows that start on 16 bytes (is_aligned) and whose length is a multiple of N. */
template <typename T> struct alignas(16) pack {
    static constexpr int N = 16 / sizeof(T);
    T v[N];
};

static inline bool is_aligned(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

/*
 * How to step through up to three operands of one shape together: dims of size 1 gone, ordered by the first operand's strides
 * (so that neighbouring threads write neighbouring elements, channels-last too), and joined where all step evenly.
 */
struct walk {
    int n_dims;
    int64_t shape[RG_MAX_DIMS], stride[3][RG_MAX_DIMS];
};

static inline walk walk_of_strides(int n_dims, const int64_t *shape, const int64_t *s0, const int64_t *s1, const int64_t *s2)
{
    const int64_t *stride[3] = { s0, s1, s2 };
    walk w = {};
    int order[RG_MAX_DIMS], n = 0;

    for (int d = 0; d < n_dims; d++) {  /* insertion sort: larger strides first, stable */
        if (shape[d] == 1)
            continue;
        int at = n++;
        for (; at > 0 && s0[order[at - 1]] < s0[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
    for (int i = 0; i < n; i++) {
        const int d = order[i], last = w.n_dims - 1;
        bool joins = last >= 0;
        for (int k = 0; k < 3 && joins; k++)
            joins = w.stride[k][last] == stride[k][d] * shape[d];
        const int at = joins ? last : w.n_dims++;
        w.shape[at] = joins ? w.shape[at] * shape[d] : shape[d];
        for (int k = 0; k < 3; k++)
            w.stride[k][at] = stride[k][d];
    }
    return w;
}

static inline walk walk_of(const rg_tensor *out, const rg_tensor *a, const rg_tensor *b)
{
    return walk_of_strides(out->n_dims, out->shape, out->stride, a->stride, b ? b->stride : a->stride);
}

/* True if all operands lie alike without gaps: element i is element i everywhere. */
static inline bool is_flat(const walk &w)
{
    return w.n_dims == 0 || (w.n_dims == 1 && w.stride[0][0] == 1 && w.stride[1][0] == 1 && w.stride[2][0] == 1);
}

static __device__ __forceinline__ void walk_to(const walk &w, int64_t i, int64_t at[3])
{
    at[0] = at[1] = at[2] = 0;
    for (int d = w.n_dims - 1; d >= 0; d--) {
        int64_t step, rest;
        if (i <= 0xffffffff && w.shape[d] <= 0xffffffff) {  /* a 64-bit division costs several times a 32-bit one */
            rest = (uint32_t)i / (uint32_t)w.shape[d];
            step = (uint32_t)i % (uint32_t)w.shape[d];
        } else {
            rest = i / w.shape[d];
            step = i % w.shape[d];
        }
        for (int k = 0; k < 3; k++)
            at[k] += step * w.stride[k][d];
        i = rest;
    }
}

static inline unsigned blocks_for(int64_t n, int n_threads)
{
    return (unsigned)((n + n_threads - 1) / n_threads);
}

/* Sum over the block, the same value in every thread. At most 1024 threads, a multiple of 32. */
template <typename F>
static __device__ __forceinline__ F block_sum(F v)
{
    __shared__ F partial[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, n_warps = blockDim.x >> 5;

    for (int offset = 16; offset > 0; offset >>= 1)
        v += __shfl_xor_sync(0xffffffffu, v, offset);
    __syncthreads();                    /* partial may still be read by the call before */
    if (lane == 0)
        partial[warp] = v;
    __syncthreads();
    v = lane < n_warps ? partial[lane] : (F)0;
    for (int offset = 16; offset > 0; offset >>= 1)
        v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}

/* Run the statement with T as the element type of a dtype that ops compute in; anything else is an honest error. */
#define RG_FOR_FLOAT(c, dtype_, T, ...)                                                                         \
    switch (dtype_) {                                                                                           \
    case RG_F32:  { typedef float T;         __VA_ARGS__; break; }                                              \
    case RG_F16:  { typedef __half T;        __VA_ARGS__; break; }                                              \
    case RG_BF16: { typedef __nv_bfloat16 T; __VA_ARGS__; break; }                                              \
    default: rg_fail(c, RG_ERR_UNSUPPORTED, "no CUDA kernel computes in %s", rg_dtype_name(dtype_));            \
    }

/* The same by element size alone, for what moves bits. */
#define RG_FOR_SIZE(size_, T, ...)                                                                              \
    switch (size_) {                                                                                            \
    case 1: { typedef uint8_t T;  __VA_ARGS__; break; }                                                         \
    case 2: { typedef uint16_t T; __VA_ARGS__; break; }                                                         \
    case 4: { typedef uint32_t T; __VA_ARGS__; break; }                                                         \
    case 8: { typedef uint64_t T; __VA_ARGS__; break; }                                                         \
    default: break;                                                                                             \
    }

#endif
