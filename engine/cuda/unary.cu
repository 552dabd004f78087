/* Functions of one number, and the gated MLP's f(gate) * up. Formulas as in engine/ops/unary.c; bound by memory. */
#include "engine/cuda/elementwise.cuh"

/* std's functions are overloaded on the device: float in, float out */
template <typename F> static __device__ __noinline__ F rare_value(F x, rg_unary_kind kind)
{
    switch (kind) {
    case RG_EXP: return exp(x);
    case RG_LOG: return log(x);
    case RG_SQRT: return sqrt(x);
    case RG_SIN: return sin(x);
    case RG_COS: return cos(x);
    case RG_TANH: return tanh(x);
    case RG_SIGMOID: return (F)1 / ((F)1 + exp(-x));
    case RG_ABS: return fabs(x);
    case RG_NEG: return -x;
    case RG_RECIPROCAL: return (F)1 / x;
    case RG_ROUND: return rint(x);      /* half to even, as torch.round */
    case RG_FLOOR: return floor(x);
    case RG_RELU: return x < (F)0 ? (F)0 : x;   /* NaN passes */
    case RG_GELU: return (F)0.5 * x * erfc(-x * (F)0.70710678118654752440);
    case RG_NAN_TO_NUM: return x != x ? (F)0 : isinf(x) ? copysign((F)65504, x) : x;
    default: return x;
    }
}

/* The activations of models stand in the kernel; a call for each of the others, or the switch of 18 fills megabytes, unrolled. */
template <typename F> static __device__ __forceinline__ F unary_value(F x, rg_unary_kind kind)
{
    switch (kind) {
    case RG_SILU: return x / ((F)1 + exp(-x));
    case RG_GELU_TANH: return (F)0.5 * x * ((F)1 + tanh((F)0.7978845608028654 * (x + (F)0.044715 * x * x * x)));    /* sqrt(2 / pi) */
    case RG_QUICK_GELU: return x / ((F)1 + exp((F)-1.702 * x));
    default: return rare_value(x, kind);
    }
}

struct unary_fn {
    rg_unary_kind kind;

    template <typename F> __device__ __forceinline__ F operator()(F x, F) const { return unary_value(x, kind); }
};

struct gated_unary_fn {
    rg_unary_kind kind;

    template <typename F> __device__ __forceinline__ F operator()(F gate, F up) const { return unary_value(gate, kind) * up; }
};

extern "C" void rg_cuda_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind)
{
    map(c, "unary", out, x, NULL, unary_fn{ kind });
}

extern "C" void rg_cuda_gated_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind)
{
    map(c, "gated_unary", out, gate, up, gated_unary_fn{ kind });
}
