/*
 * Float32 functions of one number: what a sampler computes on PyTorch's 0-dimensional float32 tensors. Each is evaluated in
 * float64 and rounded once, so that it is the correctly rounded result on every machine. PyTorch's own come from Intel's and
 * Sleef's vector libraries, differ from machine to machine, and are at most one unit in the last place away.
 */
#ifndef RG_DIFFUSION_SCALAR_H
#define RG_DIFFUSION_SCALAR_H

#include <math.h>

static inline float rg_exp_f32(float x) { return (float)exp((double)x); }
static inline float rg_expm1_f32(float x) { return (float)expm1((double)x); }
static inline float rg_log_f32(float x) { return (float)log((double)x); }
static inline float rg_pow_f32(float x, double y) { return (float)pow((double)x, (double)(float)y); }
static inline float rg_tan_f32(float x) { return (float)tan((double)x); }
static inline float rg_sqrt_f32(float x) { return sqrtf(x); }
static inline float rg_square_f32(float x) { return x * x; }

/* torch.sigmoid and torch.logit: written out as PyTorch does, one rounding per operation */
static inline float rg_sigmoid_f32(float x) { return 1.0f / (1.0f + rg_exp_f32(-x)); }
static inline float rg_logit_f32(float x) { return rg_log_f32(x / (1.0f - x)); }

/* torch.lerp of two numbers */
static inline float rg_lerp_f32(float a, float b, float w)
{
    return w < 0.5f ? a + w * (b - a) : b - (b - a) * (1.0f - w);
}

#endif
