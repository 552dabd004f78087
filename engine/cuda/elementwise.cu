/*
 * Arithmetic element by element, what samplers are made of: each operation rounded by itself (--fmad=false), true divisions, so
 * that the bits are the CPU's. Bound by memory: 2 or 3 times the tensor's bytes.
 */
#include "engine/cuda/elementwise.cuh"

struct binary_fn {
    rg_binary_kind kind;

    template <typename F> __device__ __forceinline__ F operator()(F a, F b) const
    {
        switch (kind) {
        case RG_ADD: return a + b;
        case RG_SUB: return a - b;
        case RG_MUL: return a * b;
        case RG_DIV: return a / b;
        case RG_MAXIMUM: return a != a || b != b ? (F)NAN : a > b ? a : b;  /* torch lets NaN through */
        default: return a != a || b != b ? (F)NAN : a < b ? a : b;
        }
    }
};

struct affine_fn {
    float scale, shift;

    template <typename F> __device__ __forceinline__ F operator()(F x, F) const
    {
        const F product = x * (F)scale;
        return shift == 0.0f ? product : product + (F)shift;    /* -0 stays -0 */
    }
};

struct div_scalar_fn {
    float divisor;

    template <typename F> __device__ __forceinline__ F operator()(F x, F) const { return x / (F)divisor; }
};

struct add_scaled_fn {
    float s;

    template <typename F> __device__ __forceinline__ F operator()(F a, F b) const
    {
        const F product = (F)s * b;
        return a + product;
    }
};

struct clamp_fn {
    float min, max;

    template <typename F> __device__ __forceinline__ F operator()(F v, F) const
    {
        if (v < (F)min)                 /* both false for NaN, which passes */
            v = (F)min;
        return v > (F)max ? (F)max : v;
    }
};

extern "C" void rg_cuda_binary(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, rg_binary_kind kind)
{
    map(c, "binary", out, a, b, binary_fn{ kind });
}

extern "C" void rg_cuda_affine(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float scale, float shift)
{
    map(c, "affine", out, x, NULL, affine_fn{ scale, shift });
}

extern "C" void rg_cuda_div_scalar(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float divisor)
{
    map(c, "div_scalar", out, x, NULL, div_scalar_fn{ divisor });
}

extern "C" void rg_cuda_add_scaled(rg_ctx *c, rg_tensor *out, const rg_tensor *a, const rg_tensor *b, float s)
{
    map(c, "add_scaled", out, a, b, add_scaled_fn{ s });
}

extern "C" void rg_cuda_clamp(rg_ctx *c, rg_tensor *out, const rg_tensor *x, float min, float max)
{
    map(c, "clamp", out, x, NULL, clamp_fn{ min, max });
}
