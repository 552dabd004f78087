/* Two helpers on tensors that the rest of engine/diffusion needs. */
#ifndef RG_DIFFUSION_TENSORS_H
#define RG_DIFFUSION_TENSORS_H

#include "engine/core/ctx.h"

/*
 * t cut or tiled along dim (not negative) to n entries: ComfyUI's repeat_to_batch_size. A view where possible, stride 0 when
 * one entry is repeated.
 */
rg_tensor *rg_repeat_to(rg_ctx *c, const rg_tensor *t, int64_t n, int dim);

/* A row-major tensor in host memory whatever c's device is, contents undefined: sigmas, noise. In c's scope. */
rg_tensor *rg_host_tensor(rg_ctx *c, rg_dtype dtype, int n_dims, const int64_t *shape);

#endif
