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

/* Sum over the block, the same value in every thread. At most 1024 threads, a multiple of 32. */
static __device__ __forceinline__ float block_sum(float v)
{
    __shared__ float partial[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, n_warps = blockDim.x >> 5;

    for (int offset = 16; offset > 0; offset >>= 1)
        v += __shfl_xor_sync(0xffffffffu, v, offset);
    __syncthreads();                    /* partial may still be read by the call before */
    if (lane == 0)
        partial[warp] = v;
    __syncthreads();
    v = lane < n_warps ? partial[lane] : 0.0f;
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

/* The same over every storage type. */
#define RG_FOR_ANY(dtype_, T, ...)                                                                              \
    switch (dtype_) {                                                                                           \
    case RG_F32:     { typedef float T;         __VA_ARGS__; break; }                                           \
    case RG_F16:     { typedef __half T;        __VA_ARGS__; break; }                                           \
    case RG_BF16:    { typedef __nv_bfloat16 T; __VA_ARGS__; break; }                                           \
    case RG_F8_E4M3: { typedef __nv_fp8_e4m3 T; __VA_ARGS__; break; }                                           \
    case RG_F8_E5M2: { typedef __nv_fp8_e5m2 T; __VA_ARGS__; break; }                                           \
    case RG_F64:     { typedef double T;        __VA_ARGS__; break; }                                           \
    case RG_I8:      { typedef int8_t T;        __VA_ARGS__; break; }                                           \
    case RG_U8:      { typedef uint8_t T;       __VA_ARGS__; break; }                                           \
    case RG_I16:     { typedef int16_t T;       __VA_ARGS__; break; }                                           \
    case RG_I32:     { typedef int32_t T;       __VA_ARGS__; break; }                                           \
    case RG_I64:     { typedef int64_t T;       __VA_ARGS__; break; }                                           \
    case RG_BOOL:    { typedef bool T;          __VA_ARGS__; break; }                                           \
    default: break;                                                                                             \
    }

#endif
