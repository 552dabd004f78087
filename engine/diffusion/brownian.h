/*
 * Noise for stochastic samplers that does not depend on where the steps fall: increments of one Brownian path per seed.
 * Bit for bit torchsde.BrownianTree (tol 1e-6, pool_size 24), which ComfyUI's BrownianTreeNoiseSampler wraps. On a GPU's tree
 * (the samplers named *_gpu) the normals come from PyTorch's CUDA generator.
 */
#ifndef RG_DIFFUSION_BROWNIAN_H
#define RG_DIFFUSION_BROWNIAN_H

#include "engine/core/ctx.h"

typedef struct rg_brownian rg_brownian;

/*
 * A path over [t0, t1] of tensors with this shape. NULL, with c failed, if no memory or t0 >= t1. Free with rg_brownian_free().
 *   n_cuda_threads  < 0: a tree on the CPU; else on a GPU that holds so many threads (rg_philox)
 */
rg_brownian *rg_brownian_new(rg_ctx *c, int n_dims, const int64_t *shape, float t0, float t1, uint64_t seed, int64_t n_cuda_threads);
void rg_brownian_free(rg_brownian *b);

/* (W(t_to) - W(t_from)) / sqrt(|t_to - t_from|): standard normal, float32, on the host, in c's scope. Times outside are clamped. */
rg_tensor *rg_brownian_noise(rg_ctx *c, rg_brownian *b, float t_from, float t_to);

/* numpy.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=24).generate_state(n), 32-bit words; n_spawn may be 0. */
void rg_seed_sequence(uint64_t entropy, const uint64_t *spawn_key, int n_spawn, uint32_t *out, int n);

#endif
