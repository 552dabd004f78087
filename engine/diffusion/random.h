/*
 * PyTorch's CPU generator, bit for bit: mt19937, its uniform mappings and its two Box-Muller layouts. And its CUDA generator.
 * Source: ATen/core/MT19937RNGEngine.h, ATen/native/cpu/DistributionTemplates.h (normal_fill, 16 or more elements) and
 * ATen/core/DistributionsHelper.h (fewer than 16, and float64).
 */
#ifndef RG_DIFFUSION_RANDOM_H
#define RG_DIFFUSION_RANDOM_H

#include "engine/core/ctx.h"

typedef struct rg_generator {
    uint32_t state[624];
    int next;                           /* the state word that comes out next; 624: make new ones first */
    bool has_normal;                    /* the second value of the last float64 Box-Muller pair waits */
    double normal;
} rg_generator;

/* torch.Generator().manual_seed(seed): the low 32 bits count, as in PyTorch. */
void rg_generator_seed(rg_generator *g, uint64_t seed);

uint32_t rg_generator_u32(rg_generator *g);
uint64_t rg_generator_u64(rg_generator *g);

/* torch.randn(n, generator=g), torch.rand(n, generator=g): n values into out. 15 then 15 are not 30 at once, as in PyTorch. */
void rg_randn_f32(rg_generator *g, float *out, int64_t n);
void rg_randn_f64(rg_generator *g, double *out, int64_t n);
void rg_rand_f32(rg_generator *g, float *out, int64_t n);

/*
 * PyTorch's generator of a CUDA device, which ComfyUI uses for the noise that samplers draw on the way: counter-based, so any
 * element can be computed anywhere. Values agree with a GPU's to about 1e-6 (its sine is approximate).
 */
typedef struct rg_philox {
    uint64_t seed, offset;              /* offset: what torch calls the philox offset; 0 after manual_seed */
    int64_t n_threads;                  /* threads that the GPU holds at once: the layout of large tensors depends on it; 0: no limit */
} rg_philox;

/* torch.randn(n, device="cuda", generator=g): n values into out, in host memory. */
void rg_randn_cuda_f32(rg_philox *g, float *out, int64_t n);

/* The block cipher itself: Philox4x32-10 of Salmon et al. 2011. */
void rg_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* torch.randn(shape, generator=g): a float32 CPU tensor in c's scope. */
rg_tensor *rg_randn(rg_ctx *c, rg_generator *g, int n_dims, const int64_t *shape);

#endif
