/* Functions of one number. Source: torch's functions of the same names; quick GELU is CLIP's x * sigmoid(1.702 x). */
#include "engine/ops/define.h"

double rg_def_unary_value(double x, rg_unary_kind kind)
{
    switch (kind) {
    case RG_EXP: return exp(x);
    case RG_LOG: return log(x);
    case RG_SQRT: return sqrt(x);
    case RG_SIN: return sin(x);
    case RG_COS: return cos(x);
    case RG_TANH: return tanh(x);
    case RG_SIGMOID: return 1.0 / (1.0 + exp(-x));
    case RG_ABS: return fabs(x);
    case RG_NEG: return -x;
    case RG_RECIPROCAL: return 1.0 / x;
    case RG_ROUND: return nearbyint(x);         /* half to even, as torch.round */
    case RG_FLOOR: return floor(x);
    case RG_RELU: return x < 0.0 ? 0.0 : x;     /* NaN passes */
    case RG_SILU: return x / (1.0 + exp(-x));
    case RG_GELU: return 0.5 * x * erfc(-x * M_SQRT1_2);
    case RG_GELU_TANH: return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));  /* sqrt(2 / pi) */
    case RG_QUICK_GELU: return x / (1.0 + exp(-1.702 * x));
    case RG_NAN_TO_NUM: return isnan(x) ? 0.0 : isinf(x) ? copysign(65504.0, x) : x;
    case RG_N_UNARY: break;
    }
    RG_BUG("unary kind %d", kind);
}

void rg_def_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_unary_kind kind)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++)
        rg_set(out, i, rg_def_unary_value(rg_get(x, i), kind));
}

rg_tensor *rg_unary(rg_ctx *c, const rg_tensor *x, rg_unary_kind kind)
{
    if (!RG_READY(c, "unary", 1, x) || !rg_op_float(c, "unary", x))
        return NULL;
    rg_tensor *out = rg_new_like(c, x, x->dtype);
    if (!out)
        return NULL;
    RG_RUN(c, unary, out, x, kind);
    return c->error ? NULL : out;
}

void rg_def_gated_unary(rg_ctx *c, rg_tensor *out, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind)
{
    const int64_t n = rg_numel(out);

    for (int64_t i = 0; i < n; i++)
        rg_set(out, i, rg_def_unary_value(rg_get(gate, i), kind) * rg_get(up, i));
}

rg_tensor *rg_gated_unary(rg_ctx *c, const rg_tensor *gate, const rg_tensor *up, rg_unary_kind kind)
{
    if (!RG_READY(c, "gated_unary", 2, gate, up) || !rg_op_float(c, "gated_unary", gate))
        return NULL;
    if (!rg_same_shape(gate, up))
        return rg_op_mismatch(c, "gated_unary", gate, up);
    rg_tensor *out = rg_new_like(c, gate, gate->dtype);
    if (!out)
        return NULL;
    RG_RUN(c, gated_unary, out, gate, up, kind);
    return c->error ? NULL : out;
}
